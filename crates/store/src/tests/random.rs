//! The store against the model, under whatever order of events.

use std::collections::{BTreeMap, BTreeSet};

use assay_types::{Account, AccountNo, Amount, Asset, Height, Pair};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::model::Model;
use super::world::{ACCOUNTS, Event, Said, TOKEN, World};
use super::{Dump, account, chain, dump, folder, without};
use crate::{Coverage, Family, Memory, Mode, Round, Standing, Store, StoreError, Undo};

const DEPTH: u64 = 5;

/// What may happen to a store. Numbers are dice: what they mean depends on what there is.
#[derive(Debug, Clone)]
enum Step {
    Block(Vec<(u8, u8, u16)>),
    Remove(u8),
    Reopen,
    /// So many, from this one on.
    Declare(u8, u8),
    FillIn(u8),
    FillInBulk(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = proptest::collection::vec(any::<(u8, u8, u16)>(), 0..9).prop_map(Step::Block);
    let step = prop_oneof![
        8 => block,
        2 => (1u8..5).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
        2 => (0..ACCOUNTS, 1..4u8).prop_map(|(first, count)| Step::Declare(first, count)),
        1 => (1u8..6).prop_map(Step::FillIn),
        2 => (1u8..6).prop_map(Step::FillInBulk),
    ];
    proptest::collection::vec(step, 1..28)
}

struct Test {
    folder: tempfile::TempDir,
    store: Option<Store>,
    world: World,
    declared: Vec<Account>,
    /// What the last bulk left.
    memory: Option<(Round, Memory)>,
}

impl Test {
    fn new() -> Test {
        let folder = folder();
        let store = Store::open(folder.path(), &chain(), Mode::Write).unwrap();
        let declared = vec![account(0), account(1)];
        store.declare(&[&declared]).unwrap();
        Test { folder, store: Some(store), world: World::default(), declared, memory: None }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Block(dice) => self.block(dice),
            Step::Remove(count) => (0..*count).for_each(|_| self.remove()),
            Step::Reopen => {
                self.store = None;
                self.store = Some(Store::open(self.folder.path(), &chain(), Mode::Write).unwrap());
            }
            Step::Declare(first, count) => {
                let group: Vec<Account> = (*first..ACCOUNTS.min(first + count)).map(account).collect();
                let fresh: Vec<Account> =
                    group.iter().filter(|account| !self.declared.contains(account)).cloned().collect();
                assert_eq!(self.store().declare(&[&group, &group]).unwrap() as usize, fresh.len());
                self.declared.extend(fresh);
            }
            Step::FillIn(count) => self.fill_in(usize::from(*count)),
            Step::FillInBulk(count) => {
                let mut memory = self.memory.take();
                self.fill_in_with(&mut memory, usize::from(*count));
                self.memory = memory;
            }
        }
    }

    /// A block is made of the dice, and applied, taken back and applied again, whoever is being filled in.
    fn block(&mut self, dice: &[(u8, u8, u16)]) {
        dice.iter().for_each(|die| happen(&mut self.world, *die));
        let block = self.world.seal(i64::from(dice.first().map_or(0, |die| die.1)) * 20);
        let (store, watch) = (self.store(), self.store().watch().unwrap());
        let (height, view) = (block.header.height, block.view(&watch));
        let undo = Undo { depth: DEPTH, tip: height };
        let mut before = dump(store);
        let stood = standings(store);
        store.apply(&view, &watch, undo, false).unwrap();
        sums_can_follow(store, &stood);
        let after = dump(store);
        assert_eq!(store.remove_tip().unwrap(), Some(block.header.at()));
        // What apply dropped is undo that lies too deep to be wanted again: it does not come back.
        let dropped = height.0.checked_sub(DEPTH + 1).map(|height| height.to_be_bytes().to_vec());
        before.retain(|(family, key), _| *family != Family::Undo.name() || Some(key) != dropped.as_ref());
        // Nor does a proof that was overwritten.
        before.retain(|row, value| row.0 != Family::Proofs.name() || after.get(row) == Some(value));
        assert_same(&before, &dump(store));
        store.apply(&view, &watch, undo, true).unwrap();
        assert_same(&after, &dump(store));
    }

    fn remove(&mut self) {
        let Some(tip) = self.store().tip().unwrap() else {
            assert_eq!(self.store().remove_tip().unwrap(), None);
            return;
        };
        match self.store().remove_tip() {
            Err(StoreError::UndoGone(height)) => assert_eq!(height, tip.height),
            removed => {
                assert_eq!(removed.unwrap(), Some(tip.at()));
                self.world.blocks.pop();
            }
        }
    }

    /// Goes on with the rounds of late accounts, as an indexer does.
    fn fill_in(&mut self, most: usize) {
        let store = self.store();
        let mut left = most;
        while let Some(mut round) = store.round(Height(0)).unwrap() {
            let watch = store.round_watch(round).unwrap();
            while let Some(block) = self.world.blocks.get(usize::try_from(round.next.0).unwrap()) {
                if left == 0 {
                    return;
                }
                left -= 1;
                round = store.fill_in(&block.view(&watch), &watch, round).unwrap();
            }
            store.publish(round).unwrap();
        }
    }

    /// The same in bulk: some blocks at a time, where each goes on with what the one before remembers unless blocks were taken back.
    fn fill_in_with(&mut self, memory: &mut Option<(Round, Memory)>, most: usize) {
        let store = self.store();
        let Some(round) = store.round(Height(0)).unwrap() else { return };
        let watch = store.round_watch(round).unwrap();
        let kept = memory.take().filter(|(left, _)| *left == round).map(|(_, memory)| memory);
        let mut filler =
            store.filler(&watch, round, Some(kept.unwrap_or_else(|| store.remember(round).unwrap()))).unwrap();
        let next = usize::try_from(round.next.0).unwrap();
        for block in self.world.blocks.iter().skip(next).take(most) {
            filler.apply(&block.view(&watch)).unwrap();
            if !block.readings.is_empty() || filler.must_write() {
                store.write(&filler.give(), false).unwrap();
            }
        }
        if !filler.is_written() {
            store.write(&filler.give(), true).unwrap();
        }
        let now = store.round(Height(0)).unwrap().unwrap();
        *memory = filler.into_memory().map(|memory| (now, memory));
        if store.tip().unwrap().is_none_or(|tip| now.next > tip.height) {
            store.publish(now).unwrap();
        }
    }

    fn followed(&self) -> usize {
        self.declared.iter().filter(|account| self.store().number(account).unwrap().unwrap().1).count()
    }

    /// Only what was published is spoken of; what a round wrote already is not.
    fn check(&self) {
        let followed = self.followed();
        let model = Model::of(&self.world.blocks, &self.declared[..followed]);
        match followed == self.declared.len() {
            true => model.agrees_with(self.store(), followed),
            false => model.speaks_as(self.store(), followed),
        }
        self.store().audit().unwrap();
    }

    /// Everything applied in bulk, many blocks a write: half of the accounts with the blocks, the others filled in.
    fn in_bulk(&self, blocks_a_write: usize) -> Test {
        let bulk = Test::new();
        let store = bulk.store();
        store.declare(&[&self.declared]).unwrap();
        let tip = Height(self.world.blocks.len().saturating_sub(1) as u64);
        // What one block at a time would have pruned by now is never written.
        let undo = Undo { depth: DEPTH, tip };
        let watch = store.watch().unwrap();
        let mut applier = store.applier(&watch, undo, true).unwrap();
        for (block, nth) in self.world.blocks.iter().zip(1..) {
            applier.apply(&block.view(&watch)).unwrap();
            // State is read from the database.
            if nth % blocks_a_write == 0 || !block.readings.is_empty() || applier.must_write() {
                store.write(&applier.give(), false).unwrap();
            }
        }
        store.write(&applier.give(), true).unwrap();
        drop(applier);
        bulk
    }

    /// However it came here: the same rows as with everything declared and applied at once.
    fn check_against_a_straight_run(&mut self) {
        self.fill_in(usize::MAX);
        self.check();
        let mut straight = Test::new();
        straight.store().declare(&[&self.declared]).unwrap();
        let watch = straight.store().watch().unwrap();
        for block in &self.world.blocks {
            let undo = Undo { depth: DEPTH, tip: block.header.height };
            straight.store().apply(&block.view(&watch), &watch, undo, false).unwrap();
        }
        straight.world = self.world.clone();
        straight.declared = self.declared.clone();
        for blocks_a_write in [1, 3, usize::MAX] {
            assert_same(&dump(straight.store()), &dump(self.in_bulk(blocks_a_write).store()));
        }
        // A late account's undo stands behind that of its block: another order, the same effect.
        let bare = |test: &Test| {
            let mut rows = without(without(dump(test.store()), Family::Undo), Family::Proofs);
            // Who was declared with whom is another matter: the model tells what these cohorts hold.
            rows.retain(|(family, key), _| {
                *family != Family::Holdings.name() && !(*family == Family::Accounts.name() && key[0] == b'c')
            });
            rows
        };
        assert_same(&bare(&straight), &bare(self));
        // Proofs went with blocks that were taken back; what is kept is the last that there was.
        let proofs = |test: &Test| {
            let mut rows = dump(test.store());
            rows.retain(|(family, _), _| *family == Family::Proofs.name());
            rows
        };
        let last = proofs(&straight);
        assert!(proofs(self).iter().all(|(key, proof)| last.get(key) == Some(proof)));
        for _ in 0..self.world.blocks.len().min(2) {
            if matches!(self.store().remove_tip(), Err(StoreError::UndoGone(_))) {
                break; // dropped by blocks that were taken back since
            }
            straight.store().remove_tip().unwrap();
            assert_same(&bare(&straight), &bare(self));
            self.world.blocks.pop();
            self.check();
        }
    }
}

/// One thing happens in the block that is being made.
fn happen(world: &mut World, (what, who, amount): (u8, u8, u16)) {
    let (who, amount) = (who % ACCOUNTS, u64::from(amount));
    match what % 4 {
        0 => world.pay_in(who, amount),
        1 => spend(world, who, amount),
        _ => token(world, what, who, amount),
    }
}

/// A transaction that spends up to two outputs, perhaps of this very block, to two others.
pub(super) fn spend(world: &mut World, to: u8, dice: u64) {
    let unspent = world.unspent();
    if unspent.is_empty() {
        return;
    }
    let tx = world.new_tx();
    let mut sum = 0;
    let dice = usize::try_from(dice).unwrap();
    let picks = [dice % unspent.len(), (dice / 7) % unspent.len()];
    let picks = if picks[0] == picks[1] { &picks[..1] } else { &picks[..] };
    for (pick, index) in picks.iter().zip(0..) {
        let (txid, vout, _, amount) = unspent[*pick];
        world.events.push(Event::Input { tx, index, spends: (txid, vout) });
        sum += amount;
    }
    let first = sum / 3;
    world.events.push(Event::Output { tx, vout: 0, to, amount: first, coinbase: false });
    world.events.push(Event::Output { tx, vout: 1, to: (to + 1) % ACCOUNTS, amount: sum - first, coinbase: false });
}

/// A token transfer with a reading of state: true to it or not, proven or not, or none at all.
fn token(world: &mut World, what: u8, who: u8, amount: u64) {
    if world.readings.iter().any(|(other, _)| *other == who) {
        return;
    }
    let sum: i128 = Model::of(&world.blocks, &[account(who)]).token_balance();
    let tx = world.new_tx();
    let debit = i128::from(amount) % (sum + 3); // now and then more than there is
    let (credit, moved) = if what & 4 == 0 { (true, i128::from(amount)) } else { (false, debit) };
    let after = if credit { sum + moved } else { sum - moved };
    let rebased = if what & 8 == 0 { after } else { after + i128::from(amount % 50) - 20 };
    let state = u64::try_from(rebased.max(0)).unwrap();
    if what & 16 == 0 {
        world.events.push(Event::Token { tx, who, credit, amount: u64::try_from(moved).unwrap() });
    }
    let said = match what >> 5 {
        0 | 1 => Said::Unproven(state),
        2 => Said::Nothing,
        _ => Said::Proven(state),
    };
    world.readings.push((who, said));
}

fn assert_same(left: &Dump, right: &Dump) {
    for (key, value) in left {
        assert_eq!(right.get(key), Some(value), "{key:02x?}");
    }
    let more = right.keys().find(|key| !left.contains_key(*key));
    assert_eq!(more, None, "a row too many");
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn it_answers_as_the_model_whatever_happens(steps in steps()) {
        let mut test = Test::new();
        for step in &steps {
            test.step(step);
            test.check();
        }
        test.check_against_a_straight_run();
    }
}

#[test]
fn impossible_movements_write_nothing() {
    let mut test = Test::new();
    test.block(&[(0, 0, 100)]);
    let before = dump(test.store());
    let tx = test.world.new_tx();
    test.world.events.push(Event::Token { tx, who: 0, credit: false, amount: 1 });
    let block = test.world.seal(0);
    let watch = test.store().watch().unwrap();
    let undo = Undo { depth: DEPTH, tip: block.header.height };
    let refused = test.store().apply(&block.view(&watch), &watch, undo, true);
    assert!(matches!(refused, Err(StoreError::Impossible(Height(1)))), "{refused:?}");
    assert_same(&before, &dump(test.store()));
    assert_eq!(test.store().balance(super::FIRST, TOKEN, Height(1)).unwrap(), super::sats(0));
}

#[test]
fn a_stretch_with_an_unexplained_change_is_never_verified_by_its_ends() {
    let grade = |readings: &[Said]| {
        let mut test = Test::new();
        let watch = test.store().watch().unwrap();
        for said in readings {
            test.world.readings.push((0, *said));
            let block = test.world.seal(0);
            let undo = Undo { depth: DEPTH, tip: block.header.height };
            test.store().apply(&block.view(&watch), &watch, undo, false).unwrap();
        }
        let grade = |height| test.store().coverage(super::FIRST, TOKEN, Height(height)).unwrap();
        (0..readings.len() as u64).map(|height| grade(height).as_str()).collect::<Vec<_>>()
    };
    let (verified, unproven, unknown) = ("verified", "unproven", "unknown");
    use Said::{Nothing, Proven, Unproven};
    assert_eq!(grade(&[Proven(5), Unproven(5), Unproven(5), Proven(5)]), [verified; 4]);
    assert_eq!(grade(&[Proven(5), Unproven(5), Proven(9)]), [verified, unproven, verified]);
    assert_eq!(grade(&[Proven(5), Unproven(9), Unproven(9), Proven(9)]), [verified, unproven, unproven, verified]);
    assert_eq!(grade(&[Proven(5), Proven(9), Unproven(9), Proven(9)]), [verified; 4]);
    assert_eq!(grade(&[Proven(5), Nothing, Unproven(5), Proven(5)]), [verified, unknown, unproven, verified]);
}

#[test]
fn a_round_ends_with_the_last_of_its_blocks() {
    let mut test = Test::new();
    test.block(&[(0, 2, 100)]);
    test.step(&Step::Declare(2, 1));
    test.block(&[(0, 2, 30)]);
    test.step(&Step::Declare(3, 1));
    test.step(&Step::FillIn(1));
    test.step(&Step::Remove(2));
    // From here on there is nothing that late accounts missed: whoever waits is followed from the first block.
    test.step(&Step::Declare(4, 1));
    assert_eq!((test.store().round(Height(0)).unwrap(), test.followed()), (None, 5));
    test.block(&[(0, 2, 7), (0, 3, 8)]);
    test.check_against_a_straight_run();
}

#[test]
fn what_late_accounts_hold_is_not_touched_by_blocks_that_come_meanwhile() {
    // An output of a late account, made below where its round is, is spent above.
    let mut test = Test::new();
    test.block(&[(0, 2, 100)]);
    test.block(&[(0, 0, 50)]);
    test.step(&Step::Declare(2, 1));
    test.step(&Step::FillIn(1));
    test.block(&[(1, 0, 0)]); // spends the 100
    test.block(&[(0, 2, 30)]);
    test.step(&Step::Remove(1));
    test.step(&Step::FillIn(1));
    test.step(&Step::Remove(2));
    assert_eq!(test.store().round(Height(0)).unwrap().unwrap().next, Height(1), "taken back with the chain");
    test.block(&[(0, 2, 70)]); // which the round has still to read
    test.block(&[(1, 1, 0)]);
    test.check_against_a_straight_run();
}

#[test]
fn a_transaction_that_came_twice_is_looked_up_in_its_later_block() {
    let mut world = World::default();
    for _ in 0..3 {
        let tx = world.new_tx();
        for (vout, to) in [(0, 0), (1, 2)] {
            world.events.push(Event::Output { tx, vout, to, amount: 50, coinbase: true });
        }
        world.seal(0);
    }
    world.blocks[2].txids = world.blocks[0].txids.clone();
    let rows_with = |early: u8| {
        let mut test = Test::new();
        (2..2 + early).for_each(|who| test.step(&Step::Declare(who, 1)));
        let watch = test.store().watch().unwrap();
        for block in &world.blocks {
            let undo = Undo { depth: DEPTH, tip: block.header.height };
            test.store().apply(&block.view(&watch), &watch, undo, false).unwrap();
        }
        (2 + early..4).for_each(|who| test.step(&Step::Declare(who, 1)));
        test.world = world.clone();
        test.fill_in(usize::MAX);
        let row = test.store().transaction(world.blocks[0].txids[0]).unwrap().unwrap();
        assert_eq!((row.height, row.payments.len()), (Height(2), 2));
        without(dump(test.store()), Family::Undo)
    };
    assert_same(&rows_with(2), &rows_with(0));
}

pub(super) fn standings(store: &Store) -> BTreeMap<Pair, Standing> {
    let mut all = BTreeMap::new();
    let Some(tip) = store.tip().unwrap() else { return all };
    let numbers = 0..store.published().unwrap();
    let put = |pair, standing| drop(all.insert(pair, standing));
    store.lookup().unwrap().each_standing(numbers, tip.height, put).unwrap();
    // One that goes on from pair to pair, also over pairs of which nothing is said, at each height.
    let every =
        (0..store.published().unwrap()).map(AccountNo).flat_map(|number| [(number, Asset::Native), (number, TOKEN)]);
    for height in tip.height.0.saturating_sub(3)..=tip.height.0 + 1 {
        let mut lookup = store.lookup().unwrap();
        for pair in every.clone() {
            let alone = store.standing(pair, Height(height)).unwrap();
            assert_eq!(lookup.standing(pair, Height(height)).unwrap(), alone, "{pair:?} at {height}");
        }
    }
    for (pair, standing) in &all {
        assert_eq!(*standing, store.standing(*pair, tip.height).unwrap());
    }
    all
}

/// Whoever keeps sums needs only look at what the last two blocks touched, and can tell how it stood before.
fn sums_can_follow(store: &Store, stood: &BTreeMap<Pair, Standing>) {
    let (tip, stands) = (store.tip().unwrap().unwrap().height, standings(store));
    let Some(before) = tip.previous() else { return };
    let past = store.past(before, tip).unwrap().unwrap();
    let Some(last) = store.touched(before).unwrap() else { return };
    let touched: BTreeSet<Pair> = last.union(past.touched()).copied().collect();
    let unfollowed =
        Standing { balance: Amount::ZERO, coverage: Coverage::Unknown("not followed at this height".into()) };
    for pair in stood.keys().chain(stands.keys()) {
        let was = stood.get(pair).unwrap_or(&unfollowed);
        let mut now = store.lookup().unwrap();
        assert_eq!(past.standing(&mut now, *pair).unwrap(), *was, "{pair:?} before {tip}");
        let is = now.standing(*pair, tip).unwrap();
        let at_hand = Some(was.coverage.clone()).filter(|_| !last.contains(pair));
        for known in [None, at_hand] {
            let change = past.change(&mut now, *pair, tip, known).unwrap();
            assert_eq!(change, (was.clone(), is.clone()), "{pair:?} to {tip}");
        }
        if !touched.contains(pair) {
            assert_eq!(stands.get(pair), stood.get(pair), "{pair:?} at {tip}");
        }
    }
}
