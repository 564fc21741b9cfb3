//! Accounts that are announced: whatever the chain does after that, what is said of them is true, and what is not known of them is
//! not said.

use std::collections::BTreeMap;

use assay_types::{Account, AccountNo, Asset, Between, BlockRef, Height, Reading, TxId, Watch};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::random::{spend, standings};
use super::world::{ACCOUNTS, Event, TOKEN, World};
use super::{account, chain, dump, folder, sats};
use crate::{Coverage, Family, Mode, Store, Undo};

const DEPTH: u64 = 6;

/// What may happen. Numbers are dice.
#[derive(Debug, Clone)]
enum Step {
    Block(Vec<(bool, u8, u16)>),
    Remove(u8),
    /// Announced so far below the last block.
    Announce(u8, u64),
    /// Proven again so far below the last block.
    Prove(u64),
    Declare(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = proptest::collection::vec(any::<(bool, u8, u16)>(), 0..5).prop_map(Step::Block);
    let below = prop_oneof![3 => Just(0), 1 => 0..4u64];
    let step = prop_oneof![
        8 => block,
        3 => (1u8..5).prop_map(Step::Remove),
        5 => (0..ACCOUNTS, below.clone()).prop_map(|(who, below)| Step::Announce(who, below)),
        2 => below.prop_map(Step::Prove),
        1 => (0..ACCOUNTS).prop_map(Step::Declare),
    ];
    proptest::collection::vec(step, 1..40)
}

struct Test {
    store: Store,
    world: World,
    /// From which height on an account must be known: where it was announced, while that block is there; and whether it was walked for
    /// from the first block.
    known_from: BTreeMap<u8, (u64, bool)>,
    _folder: tempfile::TempDir,
}

impl Test {
    fn new() -> Test {
        let folder = folder();
        let store = Store::open(folder.path(), &chain(), Mode::Write).unwrap();
        store.declare(&[[account(0), account(1)]]).unwrap();
        store.cover_by_walking(Height(0)).unwrap();
        let known_from = [(0, (0, true)), (1, (0, true))].into();
        Test { store, world: World::default(), known_from, _folder: folder }
    }

    fn tip(&self) -> Option<u64> {
        self.world.blocks.len().checked_sub(1).map(|tip| tip as u64)
    }

    fn at(&self, below: u64) -> Option<BlockRef> {
        let height = self.tip()?.checked_sub(below)?;
        Some(self.world.blocks[usize::try_from(height).unwrap()].header.at())
    }

    /// What an account holds after a block, from all blocks up to it.
    fn truth(&self, who: u8, height: u64) -> u64 {
        let mut open: BTreeMap<(TxId, u32), u64> = BTreeMap::new();
        for block in &self.world.blocks[..=usize::try_from(height).unwrap()] {
            for event in &block.events {
                match event {
                    Event::Output { tx, vout, to, amount, .. } if *to == who => {
                        open.insert((block.txids[*tx as usize], *vout), *amount);
                    }
                    Event::Input { spends, .. } => {
                        open.remove(spends);
                    }
                    _ => {}
                }
            }
        }
        open.values().sum()
    }

    fn reading(&self, number: u32, who: u8, at: BlockRef) -> Reading {
        let balance = Ok(sats(self.truth(who, at.height.0)));
        Reading {
            account: AccountNo(number),
            asset: Asset::Native,
            balance,
            proven: false,
            proof: None,
            between: Between::Told,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Block(dice) => self.block(dice),
            Step::Remove(count) => (0..*count).for_each(|_| self.remove()),
            Step::Announce(who, below) => self.announce(*who, *below),
            Step::Prove(below) => self.prove(*below),
            Step::Declare(who) => {
                if self.store.declare(&[[account(*who)]]).unwrap() > 0 {
                    self.fill_in();
                    self.known_from.insert(*who, (0, true));
                }
            }
        }
    }

    fn block(&mut self, dice: &[(bool, u8, u16)]) {
        for (pays, who, amount) in dice {
            let (who, amount) = (who % ACCOUNTS, u64::from(*amount));
            if *pays { self.world.pay_in(who, amount) } else { spend(&mut self.world, who, amount) }
        }
        let block = self.world.seal(0);
        let watch = self.store.watch().unwrap();
        let undo = Undo { depth: DEPTH, tip: block.header.height };
        self.store.apply(&block.view(&watch), &watch, undo, false).unwrap();
    }

    fn remove(&mut self) {
        if self.store.remove_tip().is_ok_and(|removed| removed.is_some()) {
            self.world.blocks.pop();
            let left = self.world.blocks.len() as u64;
            self.known_from.retain(|_, (from, walked)| *from < left || *walked);
        }
    }

    fn announce(&mut self, who: u8, below: u64) {
        let Some(at) = self.at(below) else { return };
        if self.store.number(&account(who)).unwrap().is_some() || self.truth(who, at.height.0) > 0 {
            return;
        }
        self.store.announce(&[account(who)], at, &[self.reading(0, who, at)], true).unwrap();
        assert_eq!(
            self.store.number(&account(who)).unwrap().unwrap().1,
            below == 0,
            "followed at once at the last block"
        );
        self.fill_in();
        assert!(self.store.number(&account(who)).unwrap().unwrap().1);
        self.known_from.insert(who, (at.height.0, false));
    }

    fn prove(&mut self, below: u64) {
        let Some(at) = self.at(below) else { return };
        let again = self.store.to_prove_again().unwrap();
        let who = |account: &Account| account.0[1];
        let readings: Vec<Reading> =
            again.iter().map(|(number, account)| self.reading(number.0, who(account), at)).collect();
        let differing = self.store.prove_again(at, &readings).unwrap();
        let left: Vec<AccountNo> = self.store.to_prove_again().unwrap().iter().map(|(number, _)| *number).collect();
        for (number, account) in again.into_iter().filter(|(number, _)| !left.contains(number)) {
            let ours = self.store.balance(number, Asset::Native, at.height).unwrap();
            let known = ours == sats(self.truth(who(&account), at.height.0));
            assert_eq!(differing.contains(&number), !known);
            if known {
                self.known_from.insert(who(&account), (at.height.0, false));
            }
        }
    }

    fn fill_in(&self) {
        while let Some(mut round) = self.store.round(Height(0)).unwrap() {
            let watch = self.store.round_watch(round).unwrap();
            for block in &self.world.blocks[usize::try_from(round.next.0).unwrap()..] {
                round = self.store.fill_in(&block.view(&watch), &watch, round).unwrap();
            }
            self.store.publish(round).unwrap();
        }
        self.store.cover_by_walking(Height(0)).unwrap();
    }

    fn check(&self) {
        let Some(tip) = self.tip() else { return };
        for who in 0..ACCOUNTS {
            let Some((number, true)) = self.store.number(&account(who)).unwrap() else { continue };
            let from = self.known_from.get(&who);
            for height in 0..=tip {
                let standing = self.store.standing((number, Asset::Native), Height(height)).unwrap();
                let unknown = matches!(standing.coverage, Coverage::Unknown(_));
                assert!(!unknown || from.is_none_or(|(from, _)| height < *from), "{who} at {height}: {standing:?}");
                assert!(
                    unknown || standing.balance == sats(self.truth(who, height)),
                    "{who} at {height}: {standing:?}"
                );
            }
        }
        standings(&self.store);
        self.store.audit().unwrap();
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_the_chain_does_what_is_said_of_them_is_true(steps in steps()) {
        let mut test = Test::new();
        for step in &steps {
            test.step(step);
            test.check();
        }
        test.step(&Step::Prove(0));
        test.check();
    }
}

#[test]
fn an_announced_account_is_known_from_its_block_on_and_not_below() {
    let mut test = Test::new();
    (0..3).for_each(|_| test.block(&[(true, 0, 5)]));
    test.announce(2, 0);
    let (number, followed) = test.store.number(&account(2)).unwrap().unwrap();
    assert_eq!((number, followed), (AccountNo(2), true));
    let said = |height| test.store.coverage(number, Asset::Native, Height(height)).unwrap();
    let before = Coverage::Unknown("announced at block 2".into());
    assert_eq!([0, 1, 2, 3].map(said), [before.clone(), before, Coverage::Unproven, Coverage::Unproven]);
    // What walking proves, it proves of those that were walked for.
    test.store.cover_by_walking(Height(0)).unwrap();
    assert_eq!(said(2), Coverage::Unproven);
    test.step(&Step::Declare(3));
    let late = test.store.number(&account(3)).unwrap().unwrap().0;
    assert_eq!(test.store.coverage(late, Asset::Native, Height(0)).unwrap(), Coverage::Verified);
}

#[test]
fn a_payment_that_a_reorganisation_brings_forward_is_never_counted_wrong() {
    let mut test = Test::new();
    (0..3).for_each(|_| test.block(&[]));
    test.announce(2, 0); // at block 2
    test.block(&[(true, 2, 70)]);
    (0..2).for_each(|_| test.remove()); // back to block 1
    test.block(&[(true, 2, 80)]); // another block 2
    let number = test.store.number(&account(2)).unwrap().unwrap().0;
    let stands = |test: &Test| test.store.standing((number, Asset::Native), Height(2)).unwrap();
    assert_eq!(stands(&test).coverage.as_str(), "unknown", "who says that it was empty at block 1?");
    assert_eq!(test.store.to_prove_again().unwrap(), [(number, account(2))]);
    let before = test.store.amended();
    test.prove(0);
    assert_eq!((stands(&test).coverage, stands(&test).balance), (Coverage::Unproven, sats(80)));
    assert!(test.store.amended() > before, "who keeps sums is told");
    // Taken back once more, it is to be proven once more.
    test.remove();
    assert_eq!(test.store.to_prove_again().unwrap().len(), 1);
    test.check();
}

#[test]
fn what_it_held_on_the_other_branch_before_is_found_out_and_it_stays_unknown() {
    let mut test = Test::new();
    test.block(&[(true, 2, 70)]);
    test.block(&[(false, 3, 0)]); // all of it goes to others
    assert_eq!(test.truth(2, 1), 0);
    test.announce(2, 0); // at block 1, where it is empty
    test.remove();
    test.block(&[]); // on this branch the 70 are still there
    assert_eq!(test.truth(2, 1), 70);
    let number = test.store.number(&account(2)).unwrap().unwrap().0;
    let reading = test.reading(number.0, 2, test.at(0).unwrap());
    assert_eq!(test.store.prove_again(test.at(0).unwrap(), &[reading]).unwrap(), [number]);
    assert!(matches!(test.store.coverage(number, Asset::Native, Height(1)).unwrap(), Coverage::Unknown(_)));
    assert!(test.store.to_prove_again().unwrap().is_empty(), "asking again would give the same answer");
}

#[test]
fn a_block_below_those_that_were_read_for_it_proves_nothing() {
    let mut test = Test::new();
    (0..3).for_each(|_| test.block(&[]));
    test.block(&[(true, 2, 70)]);
    test.block(&[(false, 3, 0)]); // all of it goes to others, in block 4
    test.announce(2, 0);
    test.remove();
    // It holds 70 at block 3, which nobody read for it; at block 2 it holds nothing, and that is not all there is to say.
    test.prove(1);
    assert_eq!(test.store.to_prove_again().unwrap().len(), 1);
    test.check();
    test.prove(0);
    assert!(test.store.to_prove_again().unwrap().is_empty());
    test.check();
}

#[test]
fn state_that_was_read_is_known_as_well_as_it_was_read_and_needs_no_second_question() {
    let mut test = Test::new();
    (0..2).for_each(|_| test.block(&[]));
    let read = |asset, balance, proven| Reading {
        account: AccountNo(0),
        asset,
        balance,
        proven,
        proof: None,
        between: Between::Told,
    };
    let odd = Asset::Token([9; 20]);
    let readings = [
        read(Asset::Native, Ok(sats(0)), true),
        read(TOKEN, Ok(sats(0)), false),
        read(odd, Err("balanceOf failed".into()), false),
    ];
    let at = test.at(0).unwrap();
    test.store.announce(&[account(2)], at, &readings, false).unwrap();
    let number = test.store.number(&account(2)).unwrap().unwrap().0;
    let said = |asset| test.store.coverage(number, asset, at.height).unwrap();
    let failed = Coverage::Unknown("balanceOf failed".into());
    assert_eq!([Asset::Native, TOKEN, odd].map(said), [Coverage::Verified, Coverage::Unproven, failed]);
    assert_eq!(test.store.coverage(number, Asset::Native, at.height.next()).unwrap(), Coverage::Unproven);
    test.store.remove_tip().unwrap();
    assert!(test.store.to_prove_again().unwrap().is_empty(), "the next block's state tells");
}

#[test]
fn announcing_is_undone_with_its_block_but_for_who_was_announced() {
    let mut test = Test::new();
    (0..2).for_each(|_| test.block(&[(true, 0, 5)]));
    let before = dump(&test.store);
    test.announce(2, 0);
    test.remove();
    test.world.blocks.push(World::default().seal(0)); // so that heights are right
    let after = dump(&test.store);
    let more: Vec<(&str, u8)> =
        after.keys().filter(|key| !before.contains_key(*key)).map(|(family, key)| (*family, key[0])).collect();
    let accounts = Family::Accounts.name();
    let expected = [(accounts, b'a'), (accounts, b'n'), (accounts, b'p'), (Family::Coverage.name(), 0)];
    assert_eq!(more, expected, "it is known, to be proven again, and unknown below its block");
}

#[test]
fn watches_grow_by_what_was_announced() {
    let mut test = Test::new();
    test.block(&[]);
    let mut watch: Watch = test.store.watch().unwrap();
    test.announce(4, 0);
    test.store.extend_watch(&mut watch).unwrap();
    assert_eq!((watch.len(), watch.number(&account(4).0)), (3, Some(AccountNo(2))));
}
