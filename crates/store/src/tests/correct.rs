//! What is found out later of a block is kept as if it had been known when that was applied, and goes with it.

use assay_types::{AccountNo, Asset, Between, Height, Payment, Reading, Told, TxId};
use proptest::prelude::*;

use super::world::{Event, Said, TOKEN, World};
use super::{Dump, FIRST, account, dump, folder, open, sats, without};
use crate::{Coverage, Family, Mode, Seen, Standing, Store, StoreError, Undo};

const TIP: u64 = 12;
const BLOCKS: usize = 13;

/// At each height, what account 1 is paid in tokens by events; account 0 silently gets 7 at `silent`. `told`: it is read there at once.
fn grown(store: &Store, paid: &[u64], silent: u64, told: bool) {
    store.declare(&[[account(0), account(1)]]).unwrap();
    let (mut world, watch) = (World::default(), store.watch().unwrap());
    for (height, paid) in (0..).zip(paid) {
        let tx = world.new_tx();
        if *paid > 0 && height > 0 {
            world.events.push(Event::Token { tx, who: 1, credit: true, amount: *paid });
        }
        if height == 0 {
            (0..2).for_each(|who| world.readings.push((who, Said::Proven(100))));
        }
        for (at, held) in [(silent - 1, 100), (silent, 107)] {
            if told && at > 0 && height == at {
                world.readings.push((0, Said::Proven(held)));
            }
        }
        store.apply(&world.seal(0).view(&watch), &watch, Undo { depth: 99, tip: Height(TIP) }, false).unwrap();
    }
}

fn correct(store: &Store, at: u64, balance: u64, proven: bool, since: Option<u64>) -> Result<(), StoreError> {
    let seen = Seen { balance: sats(balance), proven, since: since.map(Height) };
    store.correct((FIRST, TOKEN), Height(at), &seen, &[])
}

fn rows(store: &Store) -> Dump {
    // What is seen later is not kept to be shown.
    without(without(dump(store), Family::Undo), Family::Proofs)
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 40, ..Default::default() })]
    #[test]
    fn later_is_as_good_as_at_once(paid in proptest::collection::vec(0u64..3, BLOCKS), silent in 1..TIP) {
        let (one, other) = (folder(), folder());
        let (at_once, later) = (open(one.path(), Mode::Write).unwrap(), open(other.path(), Mode::Write).unwrap());
        grown(&at_once, &paid, silent, true);
        grown(&later, &paid, silent, false);
        prop_assert_eq!(later.last_known((FIRST, TOKEN), Height(TIP)).unwrap(), Some(Height(0)));
        if silent > 1 {
            correct(&later, silent - 1, 100, true, None).unwrap();
        }
        let amended = later.amended();
        correct(&later, silent, 107, true, None).unwrap();
        prop_assert!(later.amended() > amended);
        later.audit().unwrap();
        for height in (0..=TIP).rev() {
            prop_assert!(rows(&at_once) == rows(&later), "with {} blocks above the first", height);
            if height > 0 {
                later.remove_tip().unwrap();
                at_once.remove_tip().unwrap();
            }
        }
    }
}

/// Who has a higher nonce than by what blocks tell may have had code, and paid by calls: what lies between two proofs is not known then.
#[test]
fn between_two_proofs_of_coins_nobody_may_have_had_code() {
    use Between::{Told as Known, Untold};
    let sent = |before, after| Between::Sent { before, after };
    let (token, cases) =
        (TOKEN, [(sent(3, 3), true), (sent(3, 5), true), (sent(4, 4), false), (sent(2, 3), false), (Untold, false)]);
    for (asset, at_last, known) in
        cases.map(|(last, known)| (Asset::Native, last, known)).into_iter().chain([(token, Known, true)])
    {
        let (folder, first) = (folder(), if asset == token { Known } else { sent(1, 3) });
        let store = open(folder.path(), Mode::Write).unwrap();
        store.declare(&[[account(0)]]).unwrap();
        let (mut world, watch) = (World::default(), store.watch().unwrap());
        for height in 0..=5 {
            let mut block = world.seal(0).view(&watch);
            let proven = |between| Reading {
                account: AccountNo(0),
                asset,
                balance: Ok(sats(7)),
                proven: true,
                proof: None,
                between,
            };
            block.readings = match height {
                0 => vec![proven(first)],
                5 => vec![proven(at_last)],
                _ => vec![],
            };
            store.apply(&block, &watch, Undo { depth: 99, tip: Height(5) }, false).unwrap();
        }
        let between = if known { Coverage::Verified } else { Coverage::Unproven };
        let seen = [0, 3, 5].map(|at| store.coverage(AccountNo(0), asset, Height(at)).unwrap());
        assert_eq!(seen, [Coverage::Verified, between, Coverage::Verified], "{asset:?} {at_last:?}");
    }
}

/// Account 0 has 7 of the chain's own coin at first; account 1 gets 5, and then account 0 loses 3.
#[test]
fn what_no_transaction_moved_stands_under_its_block_until_that_is_taken_back() {
    let native = |who: u32, amount: u64| {
        let (account, asset, balance) = (AccountNo(who), Asset::Native, Ok(sats(amount)));
        Reading { account, asset, balance, proven: true, proof: None, between: Between::Told }
    };
    let mut txids = Vec::new();
    let mut grown = |told: bool| {
        let folder = folder();
        let store = open(folder.path(), Mode::Write).unwrap();
        store.declare(&[[account(0), account(1)]]).unwrap();
        let (mut world, watch) = (World::default(), store.watch().unwrap());
        for height in 0..=TIP {
            let mut block = world.seal(0).view(&watch);
            block.readings = match height {
                0 => vec![native(0, 7), native(1, 0)],
                5 if told => vec![native(0, 4), native(1, 5)],
                5 => vec![native(1, 5)],
                _ => vec![],
            };
            if height == 5 {
                txids = vec![TxId([8; 32]), TxId([9; 32])];
                block.txids.clone_from(&txids);
            }
            store.apply(&block, &watch, Undo { depth: 99, tip: Height(TIP) }, false).unwrap();
        }
        (folder, store)
    };
    let ((_one, at_once), (_other, later)) = (grown(true), grown(false));
    let seen = Seen { balance: sats(4), proven: true, since: None };
    later.correct((FIRST, Asset::Native), Height(5), &seen, &txids).unwrap();
    assert!(rows(&at_once) == rows(&later));
    for store in [at_once, later] {
        let at = |height| store.header(Height(height)).unwrap().unwrap().at();
        let moved = store.unattributed(&at(5)).unwrap().unwrap();
        assert_eq!(moved.debits, [(FIRST, Asset::Native, sats(3))]);
        let [Payment { to, amount, .. }] = &moved.payments[..] else { panic!("{moved:?}") };
        assert_eq!((to, *amount, moved.told), (&account(1), sats(5), Told::NotCalls));
        let beside = |byte: u8| store.unattributed_beside(&TxId([byte; 32])).unwrap();
        assert_eq!([7, 8, 9].map(beside), [None, Some(Height(5)), Some(Height(5))]);
        let (block, above) = (at(5), at(6));
        assert_eq!(store.unattributed(&above).unwrap(), None);
        assert_eq!(store.transaction(TxId(block.hash.0)).unwrap(), None, "no id leads there");
        (5..=TIP).for_each(|_| _ = store.remove_tip().unwrap());
        assert_eq!(
            (store.unattributed(&block).unwrap(), store.unattributed_beside(&TxId([8; 32])).unwrap()),
            (None, None)
        );
    }
}

#[test]
fn a_range_is_unknown_and_says_why() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    grown(&store, &[1; BLOCKS], 3, false);
    correct(&store, 8, 107, false, Some(2)).unwrap();
    let grade = |height| store.coverage(FIRST, TOKEN, Height(height)).unwrap();
    assert_eq!((grade(0), grade(2), grade(8)), (Coverage::Verified, Coverage::Unproven, Coverage::Unproven));
    let why = "7 units more from one of the blocks 3 to 8 on, whose states the node does not keep";
    assert_eq!([3, 7].map(grade), [(); 2].map(|()| Coverage::Unknown(why.into())));
    assert_eq!(store.last_known((FIRST, TOKEN), Height(TIP)).unwrap(), Some(Height(8)));
    // Who moved was read when it did.
    assert_eq!(store.last_known((AccountNo(1), TOKEN), Height(5)).unwrap(), Some(Height(5)));
    let told = correct(&store, 8, 108, true, None);
    assert!(matches!(told, Err(StoreError::Damaged { .. })), "{told:?}");
    store.audit().unwrap();
}

#[test]
fn where_everyone_was_read_everyone_was_known_until_such_a_block_is_taken_back() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    grown(&store, &[0; BLOCKS], 3, false);
    let known = |at: u64| store.last_known((FIRST, TOKEN), Height(at)).unwrap().unwrap().0;
    assert_eq!(known(TIP), 0);
    store.note_all_read(Height(5)..=Height(5)).unwrap();
    store.note_all_read(Height(7)..=Height(9)).unwrap();
    assert_eq!([4, 6, 7, 8, TIP].map(known), [0, 0, 7, 8, 9], "the last blocks in a row");
    store.note_all_read(Height(10)..=Height(10)).unwrap();
    assert_eq!(store.all_read().unwrap(), Some(Height(7)..=Height(10)));
    while store.tip().unwrap().unwrap().height > Height(8) {
        store.remove_tip().unwrap();
    }
    assert_eq!((known(8), store.all_read().unwrap()), (8, Some(Height(7)..=Height(8))));
    (0..2).for_each(|_| _ = store.remove_tip().unwrap());
    assert_eq!((known(6), store.all_read().unwrap()), (0, None));
    store.audit().unwrap();
}

#[test]
fn accounts_without_rows_are_known_by_one_row_of_all_of_them() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(0), account(1), account(2)]]).unwrap();
    let (mut world, watch) = (World::default(), store.watch().unwrap());
    for height in 0..3 {
        if height == 1 {
            world.readings.extend([(1, Said::Proven(0)), (2, Said::Proven(5))]);
        }
        let mut block = world.seal(0).view(&watch);
        if height == 0 {
            block.blank = vec![TOKEN, Asset::Native];
        }
        store.apply(&block, &watch, Undo { depth: 9, tip: Height(2) }, false).unwrap();
    }
    let grades = |height| {
        let mut seen = Vec::new();
        let mut lookup = store.lookup().unwrap();
        lookup
            .each_standing(0..3, Height(height), |pair, Standing { coverage, .. }| seen.push((pair, coverage)))
            .unwrap();
        for (pair, coverage) in &seen {
            assert_eq!(&store.coverage(pair.0, pair.1, Height(height)).unwrap(), coverage);
            assert_eq!(&lookup.standing(*pair, Height(height)).unwrap().coverage, coverage);
        }
        assert!(seen.is_sorted_by(|one, other| one.0 < other.0));
        seen.into_iter()
            .map(|((account, asset), grade)| (account.0, asset == TOKEN, grade == Coverage::Verified))
            .collect::<Vec<_>>()
    };
    let nobody =
        [(0, false, false), (0, true, false), (1, false, false), (1, true, false), (2, false, false), (2, true, false)];
    assert_eq!((grades(0), grades(2)), (nobody.to_vec(), nobody.to_vec()));
    let two = nobody.map(|(account, token, _)| (account, token, token && account > 0));
    assert_eq!(grades(1), two);
    assert_eq!(store.last_known((FIRST, TOKEN), Height(2)).unwrap(), Some(Height(0)));
    let stranger = store.coverage(AccountNo(3), TOKEN, Height(2)).unwrap();
    assert!(matches!(stranger, Coverage::Unknown(_)));
    while store.remove_tip().unwrap().is_some() {}
    assert!(dump(&store).keys().all(|(family, _)| !matches!(*family, "coverage" | "movements")));
    assert!(matches!(store.coverage(FIRST, TOKEN, Height(2)).unwrap(), Coverage::Unknown(_)));
}

/// What moved in one of several blocks may have moved in each of them, beside what may have moved in others with these among them.
#[test]
fn what_moved_in_one_of_several_blocks_is_found_at_each_of_them() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(0), account(1)]]).unwrap();
    let (mut world, watch) = (World::default(), store.watch().unwrap());
    for height in 0..=TIP {
        let mut block = world.seal(0).view(&watch);
        let reading = |(who, amount): (u32, u64)| {
            let (account, asset, balance) = (AccountNo(who), Asset::Native, Ok(sats(amount)));
            Reading { account, asset, balance, proven: true, proof: None, between: Between::Told }
        };
        block.readings = if height == 0 { [(0, 7), (1, 0)].map(reading).into() } else { vec![] };
        store.apply(&block, &watch, Undo { depth: 99, tip: Height(TIP) }, false).unwrap();
    }
    let at: Vec<_> = (0..=TIP).map(|height| store.header(Height(height)).unwrap().unwrap().at()).collect();
    for (who, amount, since, seen_at) in [(0, 4, 1, 4), (1, 5, 2, 5)] {
        let seen = Seen { balance: sats(amount), proven: true, since: Some(Height(since)) };
        store.correct((AccountNo(who), Asset::Native), Height(seen_at), &seen, &[]).unwrap();
    }
    let moved = |height: usize| {
        let moved = store.unattributed(&at[height]).unwrap();
        moved.map_or((0, 0), |moved| (moved.debits.len(), moved.payments.len()))
    };
    assert_eq!([1, 2, 3, 4, 5, 6].map(moved), [(0, 0), (1, 0), (1, 1), (1, 1), (0, 1), (0, 0)]);
    (4..=TIP).for_each(|_| _ = store.remove_tip().unwrap());
    assert_eq!([2, 3].map(moved), [(0, 0); 2]);
}
