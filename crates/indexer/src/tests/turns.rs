//! Many accounts: those that blocks move are read at once, all others in turn, and what changed without a trace is searched for.

use assay_store::Coverage;
use assay_types::{AccountNo, Asset, Height, Kind};

use super::fake::{Fake, Proof, Question};
use super::{Kept, SETTINGS, accounts, assert_same};
use crate::{Indexer, Settings, Stop, Turns};

/// Nobody is read at every block, and each within so many.
const WITHIN: u64 = 8;
const SOME: Settings = Settings { turns: Turns { few: 0, more: 0, within: WITHIN }, ..SETTINGS };
const WHO: std::ops::Range<u8> = 0..4;

fn follow(chain: &Fake, kept: &Kept) {
    Indexer::new(chain, &kept.store, SOME, Stop::default()).catch_up(&|_| ()).unwrap();
}

fn declared(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    Indexer::new(chain, &kept.store, SOME, Stop::default()).declare(&[accounts(WHO)]).unwrap();
    kept
}

/// Every balance at every block is what the state was; says how many movements have no cause.
fn agrees_everywhere(chain: &Fake, kept: &Kept) -> Vec<(u8, u64)> {
    let tip = chain.head().height.0;
    let mut unattributed = Vec::new();
    for who in WHO {
        let number = AccountNo(u32::from(who));
        for height in 0..=tip {
            let ours = kept.store.balance(number, Asset::Native, Height(height)).unwrap();
            assert_eq!(ours, chain.held_at(who, height), "account {who} at block {height}");
        }
        for movement in kept.store.movements(number, Asset::Native, Height(0), Height(tip)).unwrap() {
            let movement = movement.unwrap();
            if movement.kind == Kind::Unattributed {
                unattributed.push((who, movement.height.0));
            }
        }
    }
    kept.store.audit().unwrap();
    unattributed
}

fn grade(kept: &Kept, who: u8, height: u64) -> Coverage {
    kept.store.coverage(AccountNo(u32::from(who)), Asset::Native, Height(height)).unwrap()
}

/// 30 blocks; at block 31 the fourth account, which never moves, silently gets something; then more.
fn with_a_silent_credit(after: usize) -> Fake {
    let chain = Fake::new(Proof::State, 30);
    chain.mine_silently(3, 77);
    chain.mine(after);
    chain
}

#[test]
fn what_changed_without_a_trace_is_found_after_a_long_stretch() {
    for proves in [true, false] {
        let chain = with_a_silent_credit(25);
        if !proves {
            chain.proves_nothing();
        }
        let kept = declared(&chain);
        follow(&chain, &kept);
        assert!(agrees_everywhere(&chain, &kept).contains(&(3, 31)));
        assert!(chain.asked(Question::Look) > 0);
        let expected = if proves { Coverage::Verified } else { Coverage::Unproven };
        assert_eq!([30, 31].map(|height| grade(&kept, 3, height)), [expected.clone(), expected]);
    }
}

#[test]
fn block_by_block_it_is_found_within_the_turns_and_the_same_is_kept() {
    let chain = Fake::new(Proof::State, 30);
    let kept = declared(&chain);
    follow(&chain, &kept);
    chain.mine_silently(3, 77);
    for _ in 0..WITHIN {
        follow(&chain, &kept);
        chain.mine(1);
    }
    follow(&chain, &kept);
    assert_eq!(agrees_everywhere(&chain, &kept), [(3, 31)]);
    assert_eq!(grade(&kept, 3, 31), Coverage::Verified);
    // In a time as long as that everyone was proven.
    for who in WHO {
        let known = kept.store.last_known((AccountNo(u32::from(who)), Asset::Native), chain.head().height).unwrap();
        assert!(known.unwrap().0 + WITHIN >= chain.head().height.0, "account {who}: {known:?}");
    }
}

#[test]
fn of_those_that_are_not_many_it_is_found_at_the_next_block() {
    let chain = Fake::new(Proof::State, 30);
    let kept = declared(&chain);
    let follow = || {
        let settings = Settings { turns: Turns { few: 0, more: 10, within: 300 }, ..SETTINGS };
        Indexer::new(&chain, &kept.store, settings, Stop::default()).catch_up(&|_| ()).unwrap();
    };
    follow();
    chain.mine_silently(3, 77);
    follow();
    assert_eq!(agrees_everywhere(&chain, &kept), [(3, 31)]);
    // Also where blocks come several at a time.
    chain.mine_silently(3, 5);
    chain.mine(2);
    follow();
    assert_eq!(agrees_everywhere(&chain, &kept), [(3, 31), (3, 32)]);
}

/// That everyone was read who was followed then says nothing of those who were declared since.
#[test]
fn who_was_declared_late_is_searched_through_blocks_at_which_all_others_were_read() {
    let chain = Fake::new(Proof::State, 5);
    let kept = Kept::new(&chain);
    let settings = Settings { turns: Turns { few: 1, more: 10, within: 20 }, ..SETTINGS };
    let indexer = || Indexer::new(&chain, &kept.store, settings.clone(), Stop::default());
    indexer().declare(&[accounts(0..2)]).unwrap();
    for at in 0..6 {
        indexer().catch_up(&|_| ()).unwrap();
        if at == 2 {
            (0..3).for_each(|_| chain.mine_silently(2, 77)); // also where it does not move
        }
        chain.mine(5);
    }
    indexer().catch_up(&|_| ()).unwrap();
    assert_eq!(kept.store.all_read().unwrap(), Some(Height(0)..=chain.head().height));
    indexer().declare(&[accounts(WHO)]).unwrap();
    indexer().catch_up(&|_| ()).unwrap();
    assert_eq!(kept.store.all_read().unwrap(), Some(chain.head().height..=chain.head().height), "they were not");
    assert!(agrees_everywhere(&chain, &kept).iter().any(|(who, _)| *who == 2));
}

#[test]
fn several_changes_of_one_account_are_each_found() {
    let chain = Fake::new(Proof::State, 10);
    for blocks in [3, 0, 7, 12] {
        chain.mine_silently(3, 5);
        chain.mine(blocks);
    }
    let kept = declared(&chain);
    follow(&chain, &kept);
    assert_eq!(agrees_everywhere(&chain, &kept), [(3, 11), (3, 15), (3, 16), (3, 24)]);
}

#[test]
fn where_states_are_gone_the_range_is_named_and_unknown() {
    let chain = with_a_silent_credit(25);
    chain.keeps_states_from(40);
    let kept = declared(&chain);
    follow(&chain, &kept);
    let tip = chain.head().height;
    let number = AccountNo(3);
    assert_eq!(kept.store.balance(number, Asset::Native, tip).unwrap(), chain.held_at(3, tip.0));
    let first = kept.store.movements(number, Asset::Native, Height(0), tip).unwrap().next().unwrap().unwrap();
    assert_eq!((first.height, first.kind), (Height(40), Kind::Unattributed));
    let Coverage::Unknown(why) = grade(&kept, 3, 35) else { panic!("{:?}", grade(&kept, 3, 35)) };
    assert_eq!(why, "77 units more from one of the blocks 1 to 40 on, whose states the node does not keep");
    assert_eq!(grade(&kept, 3, 40), Coverage::Verified);
    kept.store.audit().unwrap();
}

/// Taking blocks back takes what was found of them too; what comes again is the same.
#[test]
fn a_correction_goes_with_its_block() {
    let chain = with_a_silent_credit(25);
    let kept = declared(&chain);
    follow(&chain, &kept);
    let before = kept.rows_but_undo();
    for _ in 0..30 {
        kept.store.remove_tip().unwrap();
    }
    assert!(kept.store.tip().unwrap().unwrap().height < Height(31));
    kept.store.audit().unwrap();
    let held = kept.store.balance(AccountNo(3), Asset::Native, Height(u64::MAX)).unwrap();
    assert_eq!(held, chain.held_at(3, 26));
    follow(&chain, &kept);
    assert_same(&before, &kept.rows_but_undo(), "again");
}

#[test]
fn a_lie_at_the_last_known_block_is_no_silent_change() {
    let chain = Fake::new(Proof::State, 12);
    chain.lie_about(11, 1);
    let kept = declared(&chain);
    follow(&chain, &kept);
    agrees_everywhere(&chain, &kept);
}
