//! The API under load, on two cores with whoever asks: an account's history at 500 requests a second, then 72,000 requests of mixed
//! kinds while blocks come; and the pages: an account of a million movements, and the overview of 100 exchanges and 300 assets.
//! `cargo bench --bench requests`
//!
//! Requests are due at fixed instants and their time counts from there, so that a server that stalls is not spared the ones
//! that would have come meanwhile.
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

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use assay_desk::{Desk, Source, World};
use assay_registry::{Declarations, Declared, Exchange, Role, Terms};
use assay_server::{Scope, Settings, create_token};
use assay_store::{Mode, Records, Store, Undo};
use assay_types::{
    Account, AccountNo, Addresses, Amount, Asset, AssetEntry, Block, BlockHash, Body, ChainEntry, ChainId, Deployment,
    Direction, Directory, Effect, Header, Height, Kind, Leg, Timestamp, TxId, Watch,
};
use assay_verifier::Policy;
use serde_json::json;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BLOCKS: u64 = 10_000;
const IN_EACH: u32 = 100;
const HISTORIES: u32 = 5_000;
const A_SECOND: u32 = 500;
const MIXED: u32 = 72_000;
const CONNECTIONS: u32 = 16;

fn chain() -> ChainId {
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()
}

struct Plain;

impl Addresses for Plain {
    fn parse(&self, address: &str) -> Result<Account, String> {
        if address == "busy" { Ok(Account::new(b"busy")) } else { Err("not an address".into()) }
    }

    fn show(&self, _: &Account) -> String {
        "busy".into()
    }

    fn expand(&self, _: &str, _: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        Err("no descriptors here".into())
    }
}

struct NoBody;

impl Body for NoBody {
    fn each_payment(&self, _: u32, _: &mut assay_types::TakePayment<'_>) {}
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The next block: a hundred payments to the one account.
fn apply(store: &Store) {
    let tip = store.tip().unwrap();
    let height = tip.as_ref().map_or(Height(0), |tip| tip.height.next());
    let mut hash = [1; 32];
    hash[..8].copy_from_slice(&height.0.to_be_bytes());
    let parent = tip.map_or(BlockHash([0; 32]), |tip| tip.hash);
    let time = Timestamp::from_unix_s(now() - BLOCKS as i64 + height.0 as i64);
    let leg = |place: u32| Leg {
        account: AccountNo(0),
        asset: Asset::Native,
        direction: Direction::Credit,
        amount: Amount::from(1000),
        kind: Kind::Transfer,
        tx: Some(place - 1),
        index: place,
        place,
    };
    let txid = |place: u32| {
        let mut txid = hash;
        txid[30..].copy_from_slice(&(place as u16).to_be_bytes());
        TxId(txid)
    };
    let block = Block {
        txids: (0..IN_EACH).map(txid).collect(),
        header: Header { height, hash: BlockHash(hash), parent, time, seal: vec![0; 80] },
        effects: (1..=IN_EACH).map(|place| Effect::Leg(leg(place))).collect(),
        spends: Vec::new(),
        overwritten: None,
        readings: Vec::new(),
        blank: Vec::new(),
        remarks: Vec::new(),
        sealed: None,
        checked: true,
        opening: height == Height(0),
        body: Box::new(NoBody),
    };
    store.apply(&block, &Watch::default(), Undo { depth: 100, tip: height }, false).unwrap();
    store.set_final(height.previous()).unwrap();
}

fn world(store: &Arc<Store>) -> World {
    let entry = ChainEntry { name: "bitcoin".into(), id: chain(), addresses: Arc::new(Plain) };
    let on = vec![Deployment { chain: chain(), asset: Asset::Native, decimals: 8 }];
    let directory = Directory { chains: vec![entry], assets: vec![AssetEntry { symbol: "BTC".into(), on }] };
    let terms = Terms::plain(chain(), Role::Hot, Path::new("exchange.toml").into());
    let account = Declared { account: Account::new(b"busy"), line: 1, terms: terms.into() };
    let acme = Exchange {
        id: "acme".into(),
        name: "Acme".into(),
        accounts: vec![account].into(),
        statement_keys: vec![],
        ranges: vec![],
    };
    let source = Source::new("bitcoin", chain(), Arc::new(|| Err("there is no node".into())));
    source.set_store(Ok(store.clone()));
    World {
        directory: Arc::new(directory),
        declarations: Arc::new(Declarations::new(vec![acme])),
        policy: Policy::default(),
        sources: Arc::new(vec![source]),
        program: "bench",
        sums: assay_desk::Sums::Apart,
        timezone: assay_registry::TimeZone::UTC,
        prices: assay_desk::Priced::NotYet,
    }
}

/// One connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Asks, and gives the status.
    fn ask(&mut self, method: &str, path: &str, secret: &str, body: &str) -> u16 {
        self.read(method, path, secret, body).0
    }

    /// Asks, and gives the status with the body.
    fn read(&mut self, method: &str, path: &str, secret: &str, body: &str) -> (u16, Vec<u8>) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let text = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = text.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, body)
    }
}

fn report(what: &str, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |part: f64| each[((each.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let (median, most, worst) = (at(0.5), at(0.99), at(1.0));
    println!("{what}: {} times, median {median:.1} ms, 99 % within {most:.1} ms, worst {worst:.1} ms", each.len());
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn statement(sequence: u32) -> String {
    let time = Timestamp::from_unix_s(now());
    json!({ "format": "assay.statement/1", "exchange": "acme", "sequence": sequence, "as_of": { "time": time },
        "assets": [ { "asset": "BTC", "customers": "0.1" } ] })
    .to_string()
}

/// Histories at a fixed rate, each page from another height.
fn histories(address: SocketAddr, secret: &str) {
    let began = Instant::now() + Duration::from_millis(200);
    let each = std::thread::scope(|scope| {
        let one = |connection: u32| {
            move || {
                let mut client = Client::new(address);
                let mut took = Vec::new();
                for number in (connection..HISTORIES).step_by(CONNECTIONS as usize) {
                    let due = began + Duration::from_secs(1) * number / A_SECOND;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let from = u64::from(number).wrapping_mul(7919) % BLOCKS;
                    let path = format!("/v1/accounts/bitcoin/busy/history?from={from}&limit=100");
                    assert_eq!(client.ask("GET", &path, secret, ""), 200);
                    took.push(due.elapsed());
                }
                took
            }
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(one(connection))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    report(&format!("history of 1,000,000 movements, {A_SECOND} requests/s, pages of 100"), each);
}

/// Everything that the API has, while blocks come.
fn mixed(address: SocketAddr, regulator: &str, acme: &str, next_block: &(dyn Fn() + Sync)) {
    let (errors, sequence, ended) = (AtomicU32::new(0), AtomicU32::new(1), AtomicBool::new(false));
    let before = resident_mb();
    let began = Instant::now();
    let each: Vec<Duration> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                next_block();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let one = |connection: u32| {
            let (errors, sequence) = (&errors, &sequence);
            move || {
                let mut client = Client::new(address);
                let mut took = Vec::new();
                for number in (connection..MIXED).step_by(CONNECTIONS as usize) {
                    let from = u64::from(number).wrapping_mul(7919) % BLOCKS;
                    let due = Instant::now();
                    let status = match number % 100 {
                        0 => {
                            let body = statement(sequence.fetch_add(1, Ordering::Relaxed));
                            client.ask("POST", "/v1/exchanges/acme/statements", acme, &body)
                        }
                        1..40 => {
                            let path = format!("/v1/accounts/bitcoin/busy/history?from={from}&limit=20");
                            client.ask("GET", &path, regulator, "")
                        }
                        40..60 => {
                            let path = format!("/v1/accounts/bitcoin/busy/balance?at={from}");
                            client.ask("GET", &path, regulator, "")
                        }
                        60..70 => client.ask("GET", "/v1/exchanges/acme/gate?for=trading", acme, ""),
                        70..75 => client.ask("GET", "/v1/exchanges/acme/verdicts?limit=5", acme, ""),
                        75..80 => client.ask("GET", "/v1/exchanges/acme/holdings", regulator, ""),
                        80..85 => client.ask("GET", "/v1/exchanges", regulator, ""),
                        85..90 => client.ask("GET", "/v1/findings", regulator, ""),
                        90..95 => client.ask("GET", "/v1/alerts", acme, ""),
                        95..98 => client.ask("GET", "/v1/chains", regulator, ""),
                        _ => client.ask("GET", "/metrics", regulator, ""),
                    };
                    took.push(due.elapsed());
                    if !matches!(status, 200 | 201) {
                        errors.fetch_add(1, Ordering::Relaxed);
                    }
                    if number == MIXED / 4 {
                        println!("memory after a quarter: {:.0} MB", resident_mb());
                    }
                }
                took
            }
        };
        let threads: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(one(connection))).collect();
        let each = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        ended.store(true, Ordering::Relaxed);
        each
    });
    let a_second = f64::from(MIXED) / began.elapsed().as_secs_f64();
    report(&format!("mixed requests while indexing, {a_second:.0} a second"), each);
    let errors = errors.into_inner();
    println!("errors: {errors}; memory before {before:.0} MB, after {:.0} MB", resident_mb());
    assert_eq!(errors, 0);
}

/// A page, again and again, with what it loads beside.
fn pages(address: SocketAddr, secret: &str, what: &str, path: &dyn Fn(u32) -> String) {
    let mut client = Client::new(address);
    let (mut each, mut bytes, mut files) = (Vec::new(), 0, String::new());
    for number in 0..300 {
        let began = Instant::now();
        let (status, body) = client.read("GET", &path(number), secret, "");
        each.push(began.elapsed());
        assert_eq!(status, 200, "{}", path(number));
        (bytes, files) = (body.len(), String::from_utf8(body).unwrap());
    }
    let names = files.split('"').filter(|part| part.starts_with("/files/"));
    let loaded: usize = names.map(|name| client.read("GET", name, secret, "").1.len()).sum();
    report(what, each);
    println!("{what}: {bytes} bytes, {} with all that it loads", bytes + loaded);
}

/// A hundred exchanges that each report 300 assets, and a server of theirs.
fn overview(folder: &Path, store: &Arc<Store>) {
    let plain = world(store);
    let token = |number: u32| {
        let mut token = [7; 20];
        token[..4].copy_from_slice(&number.to_be_bytes());
        let on = vec![Deployment { chain: chain(), asset: Asset::Token(token), decimals: 6 }];
        AssetEntry { symbol: format!("T{number:03}"), on }
    };
    let mut directory = Directory::clone(&plain.directory);
    directory.assets.extend((1..300).map(token));
    let one = plain.declarations.exchange("acme").unwrap();
    let exchange =
        |number: u32| Exchange { id: format!("x{number:03}"), name: format!("Exchange {number}"), ..one.clone() };
    let declarations = Declarations::new((0..100).map(exchange).collect());
    let symbols: Vec<String> = directory.assets.iter().map(|entry| entry.symbol.clone()).collect();
    let world = World { directory: Arc::new(directory), declarations: Arc::new(declarations), ..plain };
    let records = Records::open(&folder.join("overview")).unwrap();
    let (desk, judging) = Desk::start(records, world, assay_desk::Settings::default()).unwrap();
    for number in 0..100 {
        let assets = symbols.iter().map(|symbol| json!({ "asset": symbol, "customers": "0.1" })).collect::<Vec<_>>();
        let statement = json!({ "format": "assay.statement/1", "exchange": format!("x{number:03}"), "sequence": 1,
            "as_of": { "time": Timestamp::from_unix_s(now()) }, "assets": assets });
        desk.submit(&format!("x{number:03}"), statement.to_string().as_bytes(), None).unwrap();
    }
    served(&desk, folder, |address, regulator, _| {
        pages(address, regulator, "overview of 100 exchanges and 300 assets", &|_| "/".into());
        pages(address, regulator, "an exchange with 300 assets", &|number| format!("/exchanges/x{:03}", number % 100));
    });
    desk.stop();
    judging.join().unwrap();
}

/// Serves a desk while `ask` asks it, with a regulator's token and an exchange's.
fn served(desk: &Desk, folder: &Path, ask: impl FnOnce(SocketAddr, &str, &str)) {
    let regulator = create_token("regulator", &Scope::Regulator, None).unwrap();
    let acme = create_token("acme", &Scope::Exchange("acme".into()), None).unwrap();
    let tokens = folder.join("tokens");
    std::fs::write(&tokens, [&*regulator.entry, &*acme.entry].concat()).unwrap();
    let settings =
        Settings { listen: "127.0.0.1:0".parse().unwrap(), tls: None, tokens_file: Some(tokens), rate: 1_000_000 };
    let (tell, address) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let wished = {
        let stop = stop.clone();
        async move {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let served = desk.clone();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(assay_server::serve(served, settings, |address| tell.send(address).unwrap(), wished)).unwrap();
    });
    ask(address.recv().unwrap(), &regulator.secret, &acme.secret);
    stop.store(true, Ordering::Relaxed);
    serving.join().unwrap();
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("bitcoin"), &chain(), Mode::Write).unwrap());
    store.declare(&[[Account::new(b"busy")]]).unwrap();
    (0..BLOCKS).for_each(|_| apply(&store));
    store.cover_by_walking(Height(0)).unwrap();
    let records = Records::open(&folder.path().join("desk")).unwrap();
    let (desk, judging) = Desk::start(records, world(&store), assay_desk::Settings::default()).unwrap();

    served(&desk, folder.path(), |address, regulator, acme| {
        histories(address, regulator);
        let older = |number: u32| {
            let before = u64::from(number).wrapping_mul(7919) % BLOCKS;
            format!("/accounts/bitcoin/busy?before={before}-{}", number % IN_EACH)
        };
        pages(address, regulator, "page of an account of 1,000,000 movements", &older);
        let none = |number: u32| format!("{}&kind=mint", older(number));
        pages(address, regulator, "the same, asked for what it does not have", &none);
        pages(address, regulator, "its chart", &|_| "/accounts/bitcoin/busy/course".into());
        let next_block = || {
            apply(&store);
            desk.look();
        };
        mixed(address, regulator, acme, &next_block);
    });
    desk.stop();
    judging.join().unwrap();
    overview(folder.path(), &store);
}
