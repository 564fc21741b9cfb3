//! Whatever the chain does, sums that are kept, here or in the store, come to the same as looking up every account.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use assay_desk::evidence::gather;
use assay_desk::{Books, Question, Source, Sums, World, holdings};
use assay_registry::{Declarations, Declared, Exchange, Owner, Role, Terms};
use assay_store::{Mode, Store, Undo};
use assay_types::{
    Account, Amount, Asset, AssetEntry, AssetReport, Between, Block, BlockHash, Body, ChainId, Deployment, Digest,
    Direction, Directory, Effect, Header, Height, Kind, Leg, Reading, Statement, Timestamp, TxId, WalletClaim, Watch,
};
use assay_verifier::{Policy, Require, reconcile};
use proptest::prelude::*;

const TOKEN: Asset = Asset::Token([7; 20]);
const ASSETS: [Asset; 2] = [Asset::Native, TOKEN];
/// Those from 9 on are declared by nobody's files.
const ACCOUNTS: u8 = 12;
const IN_FILES: u8 = 9;
const DEPTH: u64 = 8;
/// Enough to be a cohort.
const MANY: std::ops::Range<u8> = 100..210;

fn chain() -> ChainId {
    "eip155:31337".parse().unwrap()
}

fn account(number: u8) -> Account {
    Account::new(&[number; 20])
}

fn second(height: u64) -> Timestamp {
    Timestamp::from_unix_s(1_000_000 + 12 * height as i64)
}

#[derive(Debug, Clone, Copy)]
struct Move {
    who: u8,
    asset: usize,
    amount: u64,
    credit: bool,
    /// 0 nothing is read, 1 not readable, 2 read, else proven.
    reading: u8,
    /// The state moved by more than the legs say.
    hidden: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Block(Vec<Move>),
    Remove(u8),
    Declare(u8),
    DeclareMany,
    Change(u8),
    /// By which exchange, and so far below the last block.
    Announce(u8, bool, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let hidden = prop_oneof![9 => Just(false), 1 => Just(true)];
    let who = prop_oneof![6 => 0..ACCOUNTS, 1 => MANY];
    let one = (who, 0..2usize, 0..9u64, any::<bool>(), 0..6u8, hidden);
    let one = one.prop_map(|(who, asset, amount, credit, reading, hidden)| Move {
        who,
        asset,
        amount,
        credit,
        reading,
        hidden,
    });
    let step = prop_oneof![
        9 => proptest::collection::vec(one, 0..8).prop_map(Step::Block),
        2 => (1..5u8).prop_map(Step::Remove),
        1 => (0..IN_FILES).prop_map(Step::Declare),
        1 => Just(Step::DeclareMany),
        2 => any::<u8>().prop_map(Step::Change),
        3 => (IN_FILES..ACCOUNTS, any::<bool>(), 0..2u64).prop_map(|(who, first, below)| Step::Announce(who, first, below)),
    ];
    proptest::collection::vec(step, 4..30)
}

/// A block as it happened, whoever watches.
#[derive(Clone)]
struct Sealed {
    header: Header,
    legs: Vec<(u8, Asset, Direction, u64)>,
    readings: BTreeMap<(u8, Asset), (Result<u64, String>, bool)>,
    after: BTreeMap<(u8, Asset), u64>,
}

struct NoBody;

impl Body for NoBody {
    fn each_payment(&self, _: u32, _: &mut assay_types::TakePayment<'_>) {}
}

impl Sealed {
    fn view(&self, watch: &Watch) -> Block {
        let number = |who: u8| watch.number(&account(who).0);
        let legs = (1u32..).zip(&self.legs).filter_map(|(place, (who, asset, direction, amount))| {
            let (asset, direction, amount) = (*asset, *direction, Amount::from(*amount));
            let (kind, tx, index) = (Kind::Transfer, Some(0), place);
            Some(Effect::Leg(Leg { account: number(*who)?, asset, direction, amount, kind, tx, index, place }))
        });
        let readings = self.readings.iter().filter_map(|((who, asset), (balance, proven))| {
            let balance = balance.clone().map(Amount::from);
            Some(Reading {
                account: number(*who)?,
                asset: *asset,
                balance,
                proven: *proven,
                proof: None,
                between: Between::Told,
            })
        });
        Block {
            header: self.header.clone(),
            txids: vec![TxId(self.header.hash.0)],
            effects: legs.collect(),
            spends: Vec::new(),
            overwritten: None,
            readings: readings.collect(),
            blank: Vec::new(),
            remarks: Vec::new(),
            sealed: None,
            checked: true,
            opening: self.header.height == Height(0),
            body: Box::new(NoBody),
        }
    }
}

struct Test {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
    blocks: Vec<Sealed>,
    made: u64,
    declared: Vec<u8>,
    announced: Vec<(&'static str, Declared)>,
    with: World,
}

fn exchanges(declared: &[u8], die: u8) -> Declarations {
    let terms = |number: u8, since: Option<u64>, until: Option<u64>| {
        let role = if number.is_multiple_of(2) { Role::Cold } else { Role::Hot };
        let owner = if number.is_multiple_of(3) { Owner::House } else { Owner::Customers };
        let plain = Terms::plain(chain(), role, Path::new("exchange.toml").into());
        Terms { owner, since: since.map(second), until: until.map(second), ..plain }
    };
    let on = |number, since, until| Declared {
        account: account(number),
        line: 1,
        terms: terms(number, since, until).into(),
    };
    let has = |number: &u8| declared.contains(number);
    // Of the many some have left by the die, some are another's too, and some are declared no more.
    let many = |number: u8, until| Declared { account: account(number), line: 1, terms: terms(1, None, until).into() };
    let says = |bit: u8| die & bit != 0;
    let acme = [0, 1, 2, 3, 4, 8].into_iter().chain(MANY).filter(has).filter_map(|number| match number {
        2 => Some(on(2, Some(3), None)),
        3 => Some(on(3, None, Some(5 + u64::from(die % 4)))),
        100..140 => Some(many(number, Some(4).filter(|_| says(8)))),
        140..160 if says(16) => None,
        160..170 => Some(on(number, None, None)),
        140..160 | 170.. => Some(many(number, None)),
        number => Some(on(number, None, None)),
    });
    let globex = [4, 5, 6, 7].into_iter().chain(if says(32) { 155..165 } else { 0..0 }).filter(has);
    let globex = globex.map(|number| on(number, None, Some(9).filter(|_| number == 4)));
    let exchange = |id: &str, accounts: Vec<Declared>| Exchange {
        id: id.into(),
        name: id.into(),
        accounts: accounts.into(),
        statement_keys: vec![],
        ranges: vec![],
    };
    Declarations::new(vec![exchange("acme", acme.collect()), exchange("globex", globex.collect())])
}

impl Test {
    /// `walked`: the native balances of those that are declared first are known without being read.
    fn new(strict: bool, many: bool, walked: bool) -> Test {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = Arc::new(Store::open(folder.path(), &chain(), Mode::Write).unwrap());
        let declared: Vec<u8> = (0..6).chain(if many { MANY } else { 0..0 }).collect();
        store.declare(&[declared.iter().map(|number| account(*number)).collect::<Vec<_>>()]).unwrap();
        if walked {
            store.cover_by_walking(Height(0)).unwrap();
        }
        let source = Source::new("anvil", chain(), Arc::new(|| Err("there is no node".into())));
        source.set_store(Ok(store.clone()));
        let entry = |symbol: &str, asset, decimals| AssetEntry {
            symbol: symbol.into(),
            on: vec![Deployment { chain: chain(), asset, decimals }],
        };
        let assets = vec![entry("ETH", Asset::Native, 18), entry("USDX", TOKEN, 6)];
        let require = if strict { Require::Verified } else { Require::Unproven };
        let with = World {
            directory: Arc::new(Directory { chains: Vec::new(), assets }),
            declarations: Arc::new(exchanges(&declared, 0)),
            policy: Policy { require, ..Policy::default() },
            sources: Arc::new(vec![source]),
            program: "test",
            sums: Sums::Kept(Arc::new(Books::default())),
            timezone: assay_registry::TimeZone::UTC,
            prices: assay_desk::Priced::NotYet,
        };
        let (blocks, announced) = (Vec::new(), Vec::new());
        Test { _folder: folder, store, blocks, made: 0, declared, announced, with }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Block(moves) => self.block(moves),
            Step::Remove(count) => {
                for _ in 0..*count {
                    if self.blocks.len() > 1 && self.store.remove_tip().is_ok() {
                        self.blocks.pop();
                    }
                }
            }
            Step::Declare(number) => self.declare(*number..number + 1),
            Step::DeclareMany => self.declare(MANY),
            Step::Change(die) => self.read_files(*die),
            Step::Announce(who, first, below) => self.announce(*who, if *first { "acme" } else { "globex" }, *below),
        }
    }

    fn declare(&mut self, numbers: std::ops::Range<u8>) {
        if !self.declared.contains(&numbers.start) {
            self.declared.extend(numbers.clone());
            self.store.declare(&[numbers.map(account).collect::<Vec<_>>()]).unwrap();
            self.read_files(0);
            self.compare(0); // declared, and not published yet
            self.fill_in();
        }
    }

    /// Everything that was announced is declared behind what the files say.
    fn read_files(&mut self, die: u8) {
        let mut declarations = exchanges(&self.declared, die);
        for (exchange, declared) in &self.announced {
            declarations = declarations.with(exchange, vec![declared.clone()]);
        }
        self.with.declarations = Arc::new(declarations);
    }

    /// Takes on an account that holds nothing, unless somebody else did: followed first, then declared.
    fn announce(&mut self, who: u8, exchange: &'static str, below: u64) {
        let again = |(by, on): &(&str, Declared)| *by == exchange && on.account == account(who);
        let Some(tip) = self.blocks.len().checked_sub(1).filter(|_| !self.announced.iter().any(again)) else { return };
        let is_known = self.store.number(&account(who)).unwrap().is_some();
        let Some(place) = tip.checked_sub(if is_known { 0 } else { below as usize }) else { return };
        let block = &self.blocks[place];
        let held = ASSETS.map(|asset| block.after.get(&(who, asset)).copied().unwrap_or(0));
        if held != [0, 0] {
            return;
        }
        if !is_known {
            let reading = |(asset, proven)| Reading {
                account: assay_types::AccountNo(0),
                asset,
                balance: Ok(Amount::ZERO),
                proven,
                proof: None,
                between: Between::Told,
            };
            let readings = [(ASSETS[0], true), (ASSETS[1], false)].map(reading);
            self.store.announce(&[account(who)], block.header.at(), &readings, false).unwrap();
            self.fill_in_from(place + 1);
            self.compare(0); // followed, and not declared yet
        }
        let height = block.header.height;
        let terms = Terms {
            owner: if who.is_multiple_of(2) { Owner::House } else { Owner::Customers },
            since: Some(second(height.0)),
            announced: Some(height),
            ..Terms::plain(chain(), Role::Deposit, Path::new("announced").into())
        };
        let declared = Declared { account: account(who), line: 1, terms: terms.into() };
        self.with.declarations = Arc::new(self.with.declarations.with(exchange, vec![declared.clone()]));
        self.announced.push((exchange, declared));
        (0..3).for_each(|below| self.compare(below));
    }

    fn fill_in(&self) {
        self.fill_in_from(0);
    }

    fn fill_in_from(&self, first: usize) {
        while let Some(mut round) = self.store.round(Height(0)).unwrap() {
            let watch = self.store.round_watch(round).unwrap();
            for block in &self.blocks[first..] {
                round = self.store.fill_in(&block.view(&watch), &watch, round).unwrap();
            }
            self.store.publish(round).unwrap();
        }
    }

    fn block(&mut self, moves: &[Move]) {
        let height = self.blocks.len() as u64;
        let mut after = self.blocks.last().map(|block| block.after.clone()).unwrap_or_default();
        let (mut legs, mut readings) = (Vec::new(), BTreeMap::new());
        for one in moves {
            let pair = (one.who, ASSETS[one.asset]);
            let balance = after.entry(pair).or_insert(0);
            let amount = if one.credit { one.amount } else { one.amount.min(*balance) };
            // What moves without a reading would be impossible where the state moved unseen before.
            if one.reading > 0 && amount > 0 {
                let direction = if one.credit { Direction::Credit } else { Direction::Debit };
                *balance = if one.credit { *balance + amount } else { *balance - amount };
                legs.push((one.who, pair.1, direction, amount));
            }
            if one.reading > 0 {
                *balance += u64::from(one.hidden);
                readings.insert(pair, one.reading);
            }
        }
        let readings = readings.into_iter().map(|(pair, reading)| {
            let balance = if reading == 1 { Err("node away".to_owned()) } else { Ok(after[&pair]) };
            (pair, (balance, reading > 2))
        });
        let readings = readings.collect();
        self.made += 1;
        let mut hash = [9; 32];
        hash[..8].copy_from_slice(&self.made.to_be_bytes());
        let parent = self.blocks.last().map_or(BlockHash([0; 32]), |block| block.header.hash);
        let header =
            Header { height: Height(height), hash: BlockHash(hash), parent, time: second(height), seal: vec![] };
        let sealed = Sealed { header, legs, readings, after };
        let watch = self.store.watch().unwrap();
        let undo = Undo { depth: DEPTH, tip: Height(height) };
        if self.store.apply(&sealed.view(&watch), &watch, undo, false).is_ok() {
            self.blocks.push(sealed);
        }
    }

    /// Every exchange at a block so far below the tip, and at an instant of it.
    fn compare(&self, below: u64) {
        let Some(tip) = self.store.tip().unwrap() else { return };
        let header = self.store.header(Height(tip.height.0.saturating_sub(below))).unwrap().unwrap();
        let from = |sums| World { sums, ..self.with.clone() };
        let (stored, apart) = (from(Sums::Stored), from(Sums::Apart));
        for exchange in &self.with.declarations.exchanges {
            let statement = statement(&exchange.id, &header);
            let question = Question {
                exchange,
                as_of: statement.as_of,
                latest: false,
                named: &statement.blocks,
                ignore_named_after_s: 300,
                now: statement.as_of,
            };
            let judge = |world: &World| {
                let evidence = gather(world, &question, &statement).unwrap();
                let sums = evidence.sums.len();
                (reconcile(&statement, &evidence, &world.policy, statement.as_of, "test"), sums)
            };
            let document = |world| holdings(world, exchange, Some(header.time), header.time).unwrap();
            let ((looked_up, none), listed) = (judge(&apart), document(&apart));
            assert_eq!(none, 0);
            for (world, sums) in [(&self.with, "kept"), (&stored, "stored")] {
                let at = || format!("{sums}, {} at {} below {}", exchange.id, header.height, tip.height);
                assert_eq!(judge(world).0, looked_up, "{}", at());
                assert_eq!(document(world), listed, "{}", at());
            }
        }
    }
}

fn statement(exchange: &str, header: &Header) -> Statement {
    let report = |symbol: &str, decimals: u8, customers: u64| AssetReport {
        symbol: symbol.into(),
        decimals,
        customers: Amount::from(customers),
        house: Some(Amount::ZERO),
        negative: Amount::ZERO,
        pending_withdrawals: vec![],
        uncredited_deposits: vec![],
        unconfirmed_credits: vec![],
        elsewhere: vec![],
        flows: None,
        inventory: None,
        volume: vec![],
    };
    let claim = |number: u8, symbol: &str| WalletClaim {
        field: "wallets[0]".into(),
        chain: chain(),
        account: account(number),
        address: format!("address-{number}"),
        symbol: symbol.into(),
        claimed: Amount::from(5u64),
    };
    Statement {
        digest: Digest::of(b"statement"),
        exchange: exchange.into(),
        sequence: None,
        previous: None,
        as_of: header.time,
        blocks: vec![(chain(), header.at())],
        assets: vec![report("ETH", 18, 20), report("USDX", 6, 10)],
        wallets: vec![claim(1, "ETH"), claim(5, "USDX"), claim(4, "ETH"), claim(9, "ETH"), claim(200, "ETH")],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_come_to_the_same_as_every_account(
        steps in steps(),
        (strict, deep, many, walked) in any::<(bool, bool, bool, bool)>(),
    ) {
        let mut test = Test::new(strict, many, walked);
        for (place, step) in steps.iter().enumerate() {
            test.step(step);
            if place % 2 == 0 {
                test.compare(0);
                test.compare(if deep { 4 } else { 1 });
            }
        }
    }
}

#[test]
fn what_was_announced_long_ago_is_summed_with_what_was_declared_always() {
    let mut test = Test::new(false, false, false);
    let pay = |who| Move { who, asset: 0, amount: 7, credit: true, reading: 3, hidden: false };
    (0..3).for_each(|_| test.block(&[pay(0)]));
    test.compare(0);
    test.announce(9, "acme", 0);
    test.block(&[pay(9)]);
    test.announce(10, "acme", 0);
    for height in 0..1_100 {
        test.block(if height % 90 == 0 {
            &[Move { who: 9, asset: 0, amount: 7, credit: true, reading: 3, hidden: false }]
        } else {
            &[]
        });
        if height % 50 == 0 || height > 990 {
            test.compare(0);
            test.compare(1);
        }
        if height == 500 {
            test.announce(11, "acme", 0);
        }
    }
    test.step(&Step::Remove(4));
    test.compare(0);
    test.block(&[pay(9), pay(10), pay(11)]);
    (0..3).for_each(|below| test.compare(below));
}

#[test]
fn who_counts_like_most_of_a_cohort_is_not_looked_up() {
    let mut test = Test::new(false, true, true);
    let pay = |who| Move { who, asset: 0, amount: 7, credit: true, reading: 3, hidden: false };
    (0..12).for_each(|height| test.block(&[pay(100 + height), pay(150), pay(0)]));
    test.read_files(8 | 16 | 32);
    (0..8).for_each(|below| test.compare(below));
    let acme = test.with.exchange("acme").unwrap();
    let listed = |as_of| {
        let question =
            Question { exchange: acme, as_of, latest: false, named: &[], ignore_named_after_s: 0, now: as_of };
        let world = World { sums: Sums::Stored, ..test.with.clone() };
        let evidence = gather(&world, &question, &statement("acme", &test.blocks[5].header)).unwrap();
        let native = evidence.accounts.iter().filter(|one| one.symbol == "ETH" && !one.summed).count();
        let summed: u64 = evidence.sums.iter().filter(|sum| sum.symbol == "ETH").map(|sum| sum.accounts).sum();
        (native, summed)
    };
    // By itself stands 4, and five of the many: globex declares them too.
    assert_eq!(listed(second(2)), (6, 88));
    assert_eq!(listed(second(8)), (6, 48), "forty and one have left, and one came");
}
