//! The desk at size: 100 exchanges, 300 assets, 1,000,000 accounts. How long from a statement, and from a block, to a verdict?
//!
//! `cargo bench --bench watch` makes two chains' stores on disk once, then measures in a process of its own, so that its
//! memory is the desk's and not the maker's. The peer is the same verdict with every account looked up.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::print_stdout
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_desk::evidence::gather;
use assay_desk::{Desk, Handling, Priced, Question, Settings, Source, Wallet, World};
use assay_registry::{Declarations, Declared, Exchange, Owner, Prices, Role, SecretKey, Terms};
use assay_store::{Mode, Records, Store, Undo};
use assay_types::{
    Account, AccountNo, Addresses, Amount, Ancestors, Asset, AssetEntry, Between, Block, BlockHash, BlockRef, Body,
    Chain, ChainEntry, ChainId, Deployment, Digest, Direction, Directory, Effect, Header, Height, Kind, Leg, NodeError,
    Notice, Pending, Reading, Reads, Timestamp, Tip, TxId, Watch,
};
use assay_verifier::{Policy, TimeOfDay, reconcile};
use serde_json::json;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXCHANGES: u32 = 100;
const TOKENS: u32 = 298;
/// Accounts of each exchange, on Bitcoin and on the EVM chain. Each of the latter is known in 299 assets.
const BITCOIN_EACH: u32 = 9_900;
const EVM_EACH: u32 = 100;
const TOUCHED: u32 = 3_000;
const UNDO: u64 = 100;
/// So many claims make a statement of 1 MB.
const CLAIMED: u32 = 8_700;

fn bitcoin() -> ChainId {
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()
}

fn evm() -> ChainId {
    "eip155:31337".parse().unwrap()
}

fn script(number: u32) -> Account {
    let mut script = [0u8; 22];
    script[1] = 20;
    script[2..6].copy_from_slice(&number.to_be_bytes());
    Account::new(&script)
}

fn token(number: u32) -> Asset {
    let mut token = [0xee; 20];
    token[..4].copy_from_slice(&number.to_be_bytes());
    Asset::Token(token)
}

/// As long as one on the main network.
fn address(number: u32) -> String {
    format!("a{number:041}")
}

struct Plain;

impl Addresses for Plain {
    fn parse(&self, address: &str) -> Result<Account, String> {
        let number = address.strip_prefix("a").and_then(|number| number.parse().ok());
        number.map(script).ok_or_else(|| "not an address".into())
    }

    fn show(&self, account: &Account) -> String {
        address(u32::from_be_bytes(account.0[2..6].try_into().unwrap()))
    }

    fn expand(&self, _: &str, _: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        Err("no descriptors here".into())
    }
}

fn directory() -> Directory {
    let entry =
        |symbol: String, chain, asset, decimals| AssetEntry { symbol, on: vec![Deployment { chain, asset, decimals }] };
    let mut assets = vec![entry("BTC".into(), bitcoin(), Asset::Native, 8)];
    assets.push(entry("ETH".into(), evm(), Asset::Native, 18));
    assets.extend((0..TOKENS).map(|number| entry(format!("T{number:03}"), evm(), token(number), 6)));
    let chain = |name: &str, id| ChainEntry { name: name.into(), id, addresses: Arc::new(Plain) };
    Directory { chains: vec![chain("bitcoin", bitcoin()), chain("ethereum", evm())], assets }
}

/// The numbers of an exchange's accounts on a chain.
fn numbers(exchange: u32, each: u32) -> std::ops::Range<u32> {
    exchange * each..(exchange + 1) * each
}

fn declarations() -> Declarations {
    let file: Arc<Path> = Path::new("accounts.csv").into();
    let exchange = |number: u32| {
        let terms = |chain: &ChainId, role: Role| Arc::new(Terms::plain(chain.clone(), role, file.clone()));
        let of = |chain: &ChainId| [terms(chain, Role::Cold), terms(chain, Role::Deposit)];
        let (bitcoin, evm) = (of(&bitcoin()), of(&evm()));
        let on = |terms: &[Arc<Terms>; 2], account: u32| Declared {
            account: script(account),
            line: account,
            terms: terms[(account % 2) as usize].clone(),
        };
        let accounts = numbers(number, BITCOIN_EACH).map(|account| on(&bitcoin, account));
        let accounts = accounts.chain(numbers(number, EVM_EACH).map(|account| on(&evm, account)));
        let (id, name) = (format!("x{number:03}"), format!("Exchange {number}"));
        Exchange { id, name, accounts: accounts.collect(), statement_keys: vec![key().public()], ranges: vec![] }
    };
    Declarations::new((0..EXCHANGES).map(exchange).collect())
}

/// By which every exchange signs.
fn key() -> SecretKey {
    SecretKey::from_random(&[7; 32])
}

struct NoBody;

impl Body for NoBody {
    fn each_payment(&self, _: u32, _: &mut assay_types::TakePayment<'_>) {}
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The next block, which pays 1,000 units to each of these accounts.
fn block(store: &Store, credits: impl Iterator<Item = u32>, readings: Vec<Reading>) -> Block {
    let tip = store.tip().unwrap();
    let height = tip.as_ref().map_or(Height(0), |tip| tip.height.next());
    let mut hash = [1; 32];
    hash[..8].copy_from_slice(&height.0.to_be_bytes());
    let parent = tip.map_or(BlockHash([0; 32]), |tip| tip.hash);
    let header =
        Header { height, hash: BlockHash(hash), parent, time: Timestamp::from_unix_s(now()), seal: vec![0; 80] };
    let (direction, kind, tx) = (Direction::Credit, Kind::Transfer, Some(0));
    let leg = |(place, account): (u32, u32)| Leg {
        account: AccountNo(account),
        asset: Asset::Native,
        direction,
        amount: Amount::from(1000),
        kind,
        tx,
        index: place,
        place,
    };
    Block {
        txids: vec![TxId(header.hash.0)],
        header,
        effects: (1..).zip(credits).map(|one| Effect::Leg(leg(one))).collect(),
        spends: Vec::new(),
        overwritten: None,
        readings,
        blank: Vec::new(),
        remarks: Vec::new(),
        sealed: None,
        checked: true,
        opening: height == Height(0),
        body: Box::new(NoBody),
    }
}

fn apply(store: &Store, block: &Block) {
    let undo = Undo { depth: UNDO, tip: block.header.height };
    store.apply(block, &assay_types::Watch::default(), undo, false).unwrap();
}

/// Two chains' stores, every account known.
fn make(folder: &Path) {
    let began = Instant::now();
    let store = Store::open(&folder.join("bitcoin"), &bitcoin(), Mode::Write).unwrap();
    let accounts = EXCHANGES * BITCOIN_EACH;
    store.declare(&[(0..accounts).map(script).collect::<Vec<_>>()]).unwrap();
    for part in 0..10 {
        apply(&store, &block(&store, (0..accounts).filter(|number| number % 10 == part), Vec::new()));
    }
    store.cover_by_walking(Height(0)).unwrap();
    for _ in 0..10 {
        apply(&store, &block(&store, 0..TOUCHED, Vec::new()));
    }
    let store = Store::open(&folder.join("ethereum"), &evm(), Mode::Write).unwrap();
    let accounts = EXCHANGES * EVM_EACH;
    store.declare(&[(0..accounts).map(script).collect::<Vec<_>>()]).unwrap();
    for part in 0..20 {
        let some = (0..accounts).filter(|number| number % 20 == part);
        let assets = || (0..TOKENS).map(token).chain([Asset::Native]);
        let read = |(number, asset)| Reading {
            account: AccountNo(number),
            asset,
            balance: Ok(Amount::from(1_000_000)),
            proven: true,
            proof: None,
            between: Between::Told,
        };
        let readings = some.flat_map(|number| assets().map(move |asset| (number, asset))).map(read);
        apply(&store, &block(&store, 0..0, readings.collect()));
    }
    println!("made: 1,000,000 accounts, {} pairs, in {:?}", accounts * (TOKENS + 1) + 990_000, began.elapsed());
}

/// A statement as an exchange writes it; `wallets`: how many it claims.
fn statement(exchange: u32, sequence: u64, at: &[(&str, &Header)], wallets: u32) -> Vec<u8> {
    let time = at.iter().map(|(_, header)| header.time).min().unwrap();
    let blocks: serde_json::Map<_, _> = at
        .iter()
        .map(|(name, header)| {
            let hash: String = header.hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
            let hash = if *name == "ethereum" { format!("0x{hash}") } else { hash };
            ((*name).to_owned(), json!({ "height": header.height, "hash": hash }))
        })
        .collect();
    let flows = json!({ "deposits": "1", "withdrawals": "1", "rewards": "0", "fees": "0", "corrections": "0" });
    let asset = |symbol: String, customers: &str| {
        json!({ "asset": symbol, "customers": customers, "house": "0", "flows": flows, "inventory": "1",
            "volume": [ { "window": "1h", "traded": if customers == "0" { "0" } else { "0.001" } } ] })
    };
    let mut assets = vec![asset("BTC".into(), "0.099"), asset("ETH".into(), "0")];
    assets.extend((0..TOKENS).map(|number| asset(format!("T{number:03}"), "100")));
    let claims = numbers(exchange, BITCOIN_EACH).take(wallets as usize);
    let claims = claims
        .map(|number| json!({ "chain": "bitcoin", "address": address(number), "asset": "BTC", "claimed": "0.00001" }));
    let document = json!({
        "format": "assay.statement/1", "exchange": format!("x{exchange:03}"), "sequence": sequence,
        "as_of": { "time": time, "blocks": blocks }, "assets": assets, "wallets": claims.collect::<Vec<_>>(),
    });
    serde_json::to_vec(&document).unwrap()
}

/// The same price of each asset on each of the last 800 days.
fn prices(price: u32) -> Priced {
    let day = |ago: i64| Timestamp::from_unix_s(now() - ago * 86_400).to_string()[..10].to_owned();
    let assets: Vec<String> = directory().assets.into_iter().map(|asset| asset.symbol).collect();
    let lines = (0..800).flat_map(|ago| assets.iter().map(move |asset| format!("{},{asset},{price}\n", day(ago))));
    let text = format!("date,asset,price\n{}", lines.collect::<String>());
    let (fetched_at, good_until) = (Timestamp::from_unix_s(now()), Timestamp::from_unix_s(now() + 86_400));
    let began = Instant::now();
    let prices = Prices::read(Path::new("prices.csv"), &text, "KRW", fetched_at, good_until).unwrap();
    println!("240,000 prices, {} bytes, read in {:?}", text.len(), began.elapsed());
    Priced::Known(Arc::new(prices))
}

/// From new prices to what each exchange's coins are worth: how long whoever asks meanwhile waits, and how long it takes in all.
fn reprice(desk: &Desk, minute: i64) -> (Vec<Duration>, Vec<Duration>) {
    while now() / 60 < minute {
        std::thread::sleep(Duration::from_secs(1));
    }
    let asks = || {
        let began = Instant::now();
        desk.handle(Handling::Unsilence { id: "nobody's".into() }).unwrap_err();
        began.elapsed()
    };
    let (mut waits, mut all) = (Vec::new(), Vec::new());
    for price in 1..=10 {
        let (known, price) = (prices(price), price.to_string());
        let began = Instant::now();
        desk.reprice(known);
        let said = |exchange: &assay_desk::ExchangeView| {
            let found = exchange.findings.iter().find(|one| one.rule == "cold-ratio");
            found.is_some_and(|found| found.evidence.json()["assets"][0]["mean_price"] == *price)
        };
        while !desk.view().exchanges.iter().all(|exchange| said(exchange)) {
            waits.push(asks());
        }
        all.push(began.elapsed());
    }
    (waits, all)
}

/// A node that says of every account that it holds nothing, and nothing else.
struct Empty(ChainId);

impl Chain for Empty {
    fn id(&self) -> &ChainId {
        &self.0
    }
    fn first(&self) -> Height {
        Height(0)
    }
    fn tip(&self) -> Result<Tip, NodeError> {
        none()
    }
    fn hash_at(&self, _: Height) -> Result<Option<BlockHash>, NodeError> {
        none()
    }
    fn block(&self, _: BlockRef, _: &Watch, _: &Reads) -> Result<Block, NodeError> {
        none()
    }
    fn check_header(&self, _: &Header, _: &dyn Ancestors) -> Result<(), NodeError> {
        none()
    }
    fn read_again(&self, _: &Header, _: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        none()
    }
    fn held(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        let tokens = if self.0 == evm() { TOKENS } else { 0 };
        let assets = || std::iter::once(Asset::Native).chain((0..tokens).map(token));
        let pairs = accounts.iter().flat_map(|(number, _)| assets().map(|asset| (*number, asset)));
        let read = |pair| Reading::unproven(pair, Ok(Amount::ZERO));
        Ok((at.at(), pairs.map(read).collect()))
    }
    fn pending(&self, _: TxId, _: &Header) -> Result<Option<Pending>, NodeError> {
        none()
    }
    fn check(&self) -> Result<Vec<Notice>, NodeError> {
        none()
    }
}

fn none<T>() -> Result<T, NodeError> {
    Err(NodeError::Unsupported("not asked".into()))
}

/// So many accounts that nobody has announced yet.
fn fresh(chain: &str, first: u32, count: u32) -> Vec<Wallet> {
    let wallet = |number: u32| Wallet {
        chain: chain.into(),
        address: address(10_000_000 + number),
        role: Role::Deposit,
        owner: Owner::Customers,
        label: None,
    };
    (first..first + count).map(wallet).collect()
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn report(what: &str, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |part: f64| each[((each.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {} times, median {:.1} ms, 99 % within {:.1} ms, worst {:.1} ms",
        each.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn measure(folder: &Path) {
    let stores: Vec<Arc<Store>> = [("bitcoin", bitcoin()), ("ethereum", evm())]
        .map(|(name, id)| Arc::new(Store::open(&folder.join(name), &id, Mode::Write).unwrap()))
        .into();
    let source = |name: &str, id: ChainId, store: &Arc<Store>| {
        let node = id.clone();
        let node = move || Ok(Box::new(Empty(node.clone())) as Box<dyn Chain>);
        let source = Source::new(name, id, Arc::new(node));
        source.set_store(Ok(store.clone()));
        source
    };
    let sources = vec![source("bitcoin", bitcoin(), &stores[0]), source("ethereum", evm(), &stores[1])];
    let before = resident_mb();
    // When cold-ratio is asked for: by then there are statements.
    let minute = now() / 60 + 2;
    let world = World {
        directory: Arc::new(directory()),
        declarations: Arc::new(declarations()),
        policy: Policy {
            cold_ratio: "0.8".parse().ok(),
            cold_ratio_at: TimeOfDay { minute: (minute % 1440) as u16 },
            ..Policy::default()
        },
        sources: Arc::new(sources),
        program: "bench",
        sums: assay_desk::Sums::Apart,
        timezone: assay_registry::TimeZone::UTC,
        prices: assay_desk::Priced::NotYet,
    };
    let declared = resident_mb();
    let records = Records::open(&folder.join(format!("desk-{}", std::process::id()))).unwrap();
    let (desk, thread) = Desk::start(records, world.clone(), Settings::default()).unwrap();
    let tips = || -> Vec<Header> { stores.iter().map(|store| store.tip().unwrap().unwrap()).collect() };
    let sequence = std::cell::Cell::new(0);
    let round = |desk: &Desk, wallets: u32, exchanges: u32| -> Vec<Duration> {
        sequence.set(sequence.get() + 1);
        let tips = tips();
        let at = [("bitcoin", &tips[0]), ("ethereum", &tips[1])];
        let one = |exchange: u32| {
            let bytes = statement(exchange, sequence.get(), &at, wallets);
            let id = format!("x{exchange:03}");
            let signature = key().sign(&id, Digest::of(&bytes));
            let began = Instant::now();
            let receipt = desk.submit(&id, &bytes, Some(&signature)).unwrap();
            let took = began.elapsed();
            let verdict = receipt.verdict.unwrap();
            assert_eq!(verdict.lines.len(), 300);
            assert_eq!(json!(verdict.verdict), "backed", "{:?}", verdict.findings.first());
            took
        };
        (0..exchanges).map(one).collect()
    };
    let began = Instant::now();
    round(&desk, 0, 1);
    println!("the first statement, with the sums made: {:?}", began.elapsed());
    println!("memory with the sums made: {:.0} MB", resident_mb());
    let statements: Vec<Duration> = (0..4).flat_map(|_| round(&desk, 0, EXCHANGES)).collect();
    report("statement to verdict, kept on disk", statements);
    println!("memory with a statement of each exchange: {:.0} MB", resident_mb());
    let mut all = Vec::new();
    for _ in 0..120 {
        stores.iter().for_each(|store| apply(store, &block(store, 0..0, Vec::new())));
        round(&desk, 0, EXCHANGES);
        let mut events = desk.subscribe();
        for store in &stores {
            let next = if store.published().unwrap() > 100_000 { TOUCHED } else { 0 };
            apply(store, &block(store, (0..next).map(|number| number * 300), Vec::new()));
            apply(store, &block(store, 0..0, Vec::new()));
            store.set_final(Some(store.tip().unwrap().unwrap().height)).unwrap();
        }
        let began = Instant::now();
        desk.look();
        let mut given = 0;
        while given < EXCHANGES {
            let event = events.blocking_recv().unwrap();
            if event.kind == "verdict" && event.json["stage"] == "final" && event.json["sequence"] == sequence.get() {
                all.push(began.elapsed());
                given += 1;
            }
        }
    }
    report("final block to verdict, all exchanges at once", all);
    let all = resident_mb();
    println!(
        "memory of the desk: {:.0} MB, of which {:.0} MB declarations; the whole process {all:.0} MB, {before:.0} MB of it before, with two stores open",
        all - before,
        declared - before
    );

    for (place, (chain, count)) in
        [("bitcoin", 1), ("bitcoin", 100), ("bitcoin", 1000), ("ethereum", 1), ("ethereum", 100)]
            .into_iter()
            .enumerate()
    {
        let (mut announced, mut same_block, mut next_block) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..10 {
            let wallets = fresh(chain, place as u32 * 100_000 + turn * count, count);
            let began = Instant::now();
            assert!(!desk.announce("x000", "bench", &wallets).unwrap().repeated);
            announced.push(began.elapsed());
            same_block.extend(round(&desk, 0, 1));
            stores.iter().for_each(|store| apply(store, &block(store, 0..0, Vec::new())));
            next_block.extend(round(&desk, 0, 1));
        }
        let what = format!("{count} announced on {chain}");
        report(&format!("{what}: until they are followed, kept and declared"), announced);
        report(&format!("{what}: the next statement to verdict"), same_block);
        report(&format!("{what}: the statement after the next block to verdict"), next_block);
    }

    let size = statement(0, 1, &[("bitcoin", &tips()[0])], CLAIMED).len();
    assert!(size >= 1_000_000, "{size}");
    let rounds = (0..3).flat_map(|_| round(&desk, CLAIMED, EXCHANGES)).collect();
    report(&format!("statement of {size} bytes, signed, kept and judged"), rounds);

    let (waits, all) = reprice(&desk, minute);
    report("prices anew, cold-ratio of all exchanges", all);
    report("meanwhile whoever asks waits", waits);

    let statement = statement(7, 1, &[("bitcoin", &tips()[0]), ("ethereum", &tips()[1])], 0);
    let statement = assay_ledger::parse(Path::new("statement"), &statement, &world.directory).unwrap();
    let exchange = world.exchange("x007").unwrap();
    let question = Question {
        exchange,
        as_of: statement.as_of,
        latest: false,
        named: &statement.blocks,
        ignore_named_after_s: 300,
        now: statement.as_of,
    };
    let looked_up = || {
        let began = Instant::now();
        let evidence = gather(&world, &question, &statement).unwrap();
        assert!(evidence.sums.is_empty());
        assert_eq!(reconcile(&statement, &evidence, &world.policy, statement.as_of, "bench").lines.len(), 300);
        began.elapsed()
    };
    report("the peer: the same verdict with every account looked up", (0..5).map(|_| looked_up()).collect());
    desk.stop();
    thread.join().unwrap();
}

fn main() {
    if let Some(folder) = std::env::var_os("ASSAY_BENCH_WATCH") {
        return measure(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let this = std::env::current_exe().unwrap();
    let status = Command::new(this).env("ASSAY_BENCH_WATCH", folder.path()).status().unwrap();
    assert!(status.success());
}
