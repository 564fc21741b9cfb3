//! A coinbase that is there twice (BIP 30), as happened in 2010: the coins of the first one are lost.

use assay_types::{Asset, Direction, Effect, Height, Outpoint};

use super::world::{Event, Sealed, World};
use super::{FIRST, account, dump, folder, open, sats};
use crate::{Mode, Store, Undo};

const LOST: u64 = 50;

/// A coinbase, another one, the first one again, and what was left of it spent.
fn blocks() -> Vec<Sealed> {
    let mut world = World::default();
    world.pay_in(0, LOST);
    world.seal(0);
    world.pay_in(0, 10);
    world.seal(0);
    world.pay_in(0, LOST);
    let repeated = world.blocks[0].txids[0];
    world.seal(0);
    let (pays, tx) = (world.new_tx(), world.new_tx());
    assert_eq!(pays, 0);
    world.events.push(Event::Input { tx, index: 0, spends: (repeated, 0) });
    world.events.push(Event::Output { tx, vout: 0, to: 1, amount: LOST, coinbase: false });
    world.seal(0);
    world.blocks
}

fn apply(store: &Store, blocks: &[Sealed], one_by_one: bool) {
    let watch = store.watch().unwrap();
    let undo = Undo { depth: 9, tip: Height(3) };
    let mut applier = store.applier(&watch, undo, !one_by_one).unwrap();
    for sealed in blocks {
        let mut block = sealed.view(&watch);
        if block.header.height == Height(2) {
            let txid = blocks[0].txids[0];
            (block.txids[0], block.overwritten) = (txid, Some(Outpoint { txid, vout: 0 }));
            let [Effect::Output(leg)] = &mut block.effects[..] else { panic!("one output") };
            leg.place = 1;
        }
        applier.apply(&block).unwrap();
        if one_by_one {
            store.write(&applier.give(), false).unwrap();
        }
    }
    if !applier.is_written() {
        store.write(&applier.give(), false).unwrap();
    }
}

#[test]
fn the_coins_of_the_first_are_lost_and_come_back_with_the_block() {
    let blocks = blocks();
    let mut dumps = vec![];
    for one_by_one in [true, false] {
        let folder = folder();
        let store = open(folder.path(), Mode::Write).unwrap();
        store.declare(&[[account(0)]]).unwrap();
        apply(&store, &blocks[..3], one_by_one);
        assert_eq!(store.latest_balance(FIRST, Asset::Native).unwrap(), sats(LOST + 10));
        let at_two: Vec<_> =
            store.movements(FIRST, Asset::Native, Height(2), Height(2)).unwrap().map(Result::unwrap).collect();
        let sides: Vec<_> = at_two.iter().map(|it| (it.direction, it.amount)).collect();
        assert_eq!(sides, [(Direction::Debit, sats(LOST)), (Direction::Credit, sats(LOST))]);
        dumps.push(dump(&store));
        apply(&store, &blocks[3..], one_by_one);
        assert_eq!(store.latest_balance(FIRST, Asset::Native).unwrap(), sats(10), "spent once");
        store.remove_tip().unwrap();
        assert!(dump(&store) == dumps[0]);
        store.remove_tip().unwrap();
        assert_eq!(store.latest_balance(FIRST, Asset::Native).unwrap(), sats(LOST + 10), "both were unspent");
    }
    assert!(dumps[0] == dumps[1]);
}
