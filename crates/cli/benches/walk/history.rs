//! One account of ten million movements: its balance at a height, and the first page of its history from either end.

use std::time::Instant;

use assay_store::{Mode, Store, Undo};
use assay_types::{
    Account, AccountNo, Amount, Asset, Block, BlockHash, Body, ChainId, Direction, Effect, Header, Height, Kind, Leg,
    TakePayment, Timestamp, TxId,
};

const BLOCKS: u32 = 2_500;
const IN_EACH: u32 = 4_000;
const QUESTIONS: u64 = 10_000;

struct NoBody;

impl Body for NoBody {
    fn each_payment(&self, _: u32, _: &mut TakePayment<'_>) {}
}

pub fn ten_million_movements() {
    let id: ChainId = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &id, Mode::Write).unwrap();
    store.declare(&[[Account::new(b"one"), Account::new(b"other")]]).unwrap();
    let watch = store.watch().unwrap();
    let hash = |height: u32| BlockHash(std::array::from_fn(|n| height.to_be_bytes()[n % 4]));
    let mut applier = store.applier(&watch, Undo { depth: 1, tip: Height(BLOCKS.into()) }, true).unwrap();
    for height in 0..BLOCKS {
        let leg = |place: u32| Leg {
            account: AccountNo(0),
            asset: Asset::Native,
            direction: Direction::Credit,
            amount: Amount::from(u64::from(place) + 1),
            kind: Kind::Transfer,
            tx: Some(0),
            index: place,
            place,
        };
        let mut txid = [7; 32];
        txid[..4].copy_from_slice(&height.to_be_bytes());
        let header = Header {
            height: Height(height.into()),
            hash: hash(height),
            parent: hash(height.wrapping_sub(1)),
            time: Timestamp::from_unix_s(i64::from(height) * 600),
            seal: vec![],
        };
        let block = Block {
            header,
            txids: vec![TxId(txid)],
            effects: (0..IN_EACH).map(|place| Effect::Leg(leg(place))).collect(),
            spends: vec![],
            overwritten: None,
            readings: vec![],
            blank: vec![],
            remarks: vec![],
            sealed: None,
            checked: true,
            opening: false,
            body: Box::new(NoBody),
        };
        applier.apply(&block).unwrap();
        if applier.waiting_bytes() > 8 << 20 {
            store.write(&applier.give(), false).unwrap();
        }
    }
    store.write(&applier.give(), true).unwrap();
    let in_each = u64::from(IN_EACH) * (u64::from(IN_EACH) + 1) / 2;
    let ask = |height: u64| {
        let begun = Instant::now();
        let balance = store.balance(AccountNo(0), Asset::Native, Height(height)).unwrap();
        let took = begun.elapsed();
        assert_eq!(balance, Amount::from(in_each * (height + 1)));
        took
    };
    let mut times: Vec<_> = (0..QUESTIONS).map(|n| ask(n * 7_919 % u64::from(BLOCKS))).collect();
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1000].as_nanos() as f64 / 1e3;
    println!("{} movements of one account, {QUESTIONS} balances at heights far apart, in process:", BLOCKS * IN_EACH);
    println!("  median {:.1} µs, 99 % within {:.1}, worst {:.1}", at(500), at(990), at(999));
    let page = |from: u64, to: u64| {
        let begun = Instant::now();
        let movements = store.movements(AccountNo(0), Asset::Native, Height(from), Height(to)).unwrap();
        assert_eq!(movements.take(100).filter(|movement| movement.is_ok()).count(), 100);
        begun.elapsed().as_nanos() as f64 / 1e3
    };
    let last = u64::from(BLOCKS) - 1;
    println!("  the first hundred: {:.1} µs, a hundred of the last block: {:.1} µs", page(0, last), page(last, last));
}
