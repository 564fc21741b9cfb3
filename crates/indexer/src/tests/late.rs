//! Accounts that are declared after blocks were indexed: filled in, published, and in the end as if they had always
//! been there.

use assay_store::Coverage;
use assay_types::{AccountNo, Asset, BlockRef, Chain, Height, NodeError, Reads};

use super::fake::{ACCOUNTS, Fake, Proof, Question, Stale, account};
use super::{Kept, SETTINGS, accounts, assert_same, catch_up, catch_up_in_unrest, indexer, straight};
use crate::{IndexError, Indexer, Settings, Stop};

const TIP: u64 = 40;

/// With two accounts followed to the tip, and the others just declared.
fn waiting(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    indexer(chain, &kept).declare(&[accounts(0..2)]).unwrap();
    catch_up(chain, &kept).unwrap();
    assert_eq!(indexer(chain, &kept).declare(&[accounts(0..ACCOUNTS)]).unwrap(), 2);
    kept
}

fn ends_straight(chain: &Fake, kept: &Kept, what: &str) {
    assert!(chain.is_on(catch_up(chain, kept).unwrap().tip.at()), "{what}: it ended on a branch that was left");
    assert_eq!(catch_up(chain, kept).unwrap().tip.at(), chain.head()); // with what was mined meanwhile
    let straight = straight(chain, &accounts(0..ACCOUNTS));
    assert_same(&straight.rows_but_undo(), &kept.rows_but_undo(), what);
    // What undo holds stands in another order, and does the same.
    for _ in 0..8 {
        straight.store.remove_tip().unwrap();
        kept.store.remove_tip().unwrap();
        assert_same(&straight.rows_but_undo(), &kept.rows_but_undo(), what);
    }
}

#[test]
fn late_accounts_end_as_if_they_had_always_been_there() {
    for proof in [Proof::Walking, Proof::State] {
        let chain = Fake::new(proof, TIP);
        let kept = waiting(&chain);
        assert_eq!(kept.store.number(&account(2)).unwrap(), Some((AccountNo(2), false)));
        if proof == Proof::Walking {
            chain.mine(3);
        }
        ends_straight(&chain, &kept, "late");
    }
}

#[test]
fn a_round_that_is_stopped_anywhere_goes_on() {
    for proof in [Proof::Walking, Proof::State] {
        let chain = Fake::new(proof, TIP);
        let kept = waiting(&chain);
        for until in (0..TIP).step_by(7).chain([TIP - 1]) {
            let stop = Stop::default();
            let stopped = Indexer::new(&chain, &kept.store, SETTINGS, stop.clone()).catch_up(&|progress| {
                assert!(progress.filling_in);
                if progress.at.0 >= until {
                    stop.now();
                }
            });
            assert!(matches!(stopped, Err(IndexError::Stopped)), "{stopped:?}");
            // What was asked for as the stop came is still taken.
            let round = kept.store.round(Height(0)).unwrap();
            assert!(round.is_none_or(|round| round.next > Height(until)), "{round:?}");
            let is_known = kept.store.number(&account(3)).unwrap().unwrap().1;
            assert_eq!(is_known, round.is_none(), "nothing is said of it before it is known");
            if is_known {
                break;
            }
        }
        ends_straight(&chain, &kept, "stopped");
    }
}

#[test]
fn a_reorganisation_within_a_round_takes_it_back_with_the_chain() {
    std::thread::scope(|scope| {
        for stale in [Stale::Served, Stale::Gone, Stale::Missing] {
            for (asked, depth) in [(2, 5), (20, 20), (38, 1), (40, 12)] {
                scope.spawn(move || {
                    let chain = Fake::new(Proof::Walking, TIP).stale(stale);
                    let kept = waiting(&chain);
                    chain.reorg_as_asked_for(asked, depth, depth + 2);
                    ends_straight(&chain, &kept, &format!("{stale:?}, {depth} as {asked} was asked for"));
                });
            }
        }
    });
}

#[test]
fn accounts_declared_during_a_round_wait_for_the_next() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = Kept::new(&chain);
    indexer(&chain, &kept).declare(&[accounts(0..1)]).unwrap();
    catch_up(&chain, &kept).unwrap();
    indexer(&chain, &kept).declare(&[accounts(1..2)]).unwrap();
    let more = |progress: crate::Progress| {
        if progress.filling_in && progress.at == Height(11) {
            indexer(&chain, &kept).declare(&[accounts(2..ACCOUNTS)]).unwrap();
        }
    };
    indexer(&chain, &kept).catch_up(&more).unwrap();
    ends_straight(&chain, &kept, "declared during a round");
}

#[test]
fn new_blocks_are_there_while_a_long_round_runs() {
    for proof in [Proof::Walking, Proof::State] {
        let chain = Fake::new(proof, 10 * TIP);
        let kept = waiting(&chain);
        let tips = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let look = |progress: crate::Progress| {
            let tip = kept.store.tip().unwrap().unwrap();
            if progress.filling_in && progress.at.0 % 50 == 10 {
                chain.mine(1);
            }
            if progress.filling_in && progress.at.0 < 9 * TIP {
                assert!(!kept.store.number(&account(3)).unwrap().unwrap().1);
                tips.borrow_mut().insert(tip.height);
            }
        };
        indexer(&chain, &kept).catch_up(&look).unwrap();
        assert!(tips.borrow().len() > 2, "the tip moved while the round was far below it: {tips:?}");
        if proof == Proof::Walking {
            ends_straight(&chain, &kept, "blocks came meanwhile");
        }
    }
}

#[test]
fn a_round_goes_on_over_blocks_that_moved_none_of_its_accounts() {
    let chain = Fake::new(Proof::Walking, 10 * TIP);
    let kept = Kept::new(&chain);
    let settings = || Settings { undo_depth: 5, ..SETTINGS };
    let indexer = || Indexer::new(&chain, &kept.store, settings(), Stop::default());
    indexer().declare(&[accounts(0..1)]).unwrap();
    indexer().catch_up(&|_| ()).unwrap();
    let fetched = chain.asked(Question::Block);
    indexer().declare(&[accounts(200..202)]).unwrap();
    indexer().catch_up(&|_| ()).unwrap();
    assert!(kept.store.number(&account(201)).unwrap().unwrap().1);
    let fetched = u64::from(chain.asked(Question::Block) - fetched);
    assert!(fetched < 15 * TIP, "each block was read once, or twice where a slice took long: {fetched}");
}

#[test]
fn whatever_the_chain_does_during_a_round_it_ends_straight() {
    std::thread::scope(|scope| {
        for (seed, stale) in (1..24).flat_map(|seed| [Stale::Served, Stale::Gone].map(|stale| (seed, stale))) {
            scope.spawn(move || {
                let chain = Fake::new(Proof::Walking, 3 * TIP).stale(stale);
                let kept = waiting(&chain);
                let dice = std::cell::Cell::new(seed);
                let more = |_: crate::Progress| {
                    dice.set(dice.get() * 48_271 % 2_147_483_647_u64);
                    match dice.get() % 40 {
                        0 | 1 => chain.mine(1),
                        2 => chain.reorg(1 + (dice.get() / 40 % 6) as usize, 1 + (dice.get() / 400 % 9) as usize),
                        3 if dice.get() / 40 % 3 == 0 => {
                            // Killed, or stopped by new declarations: the next run knows what the store knows.
                            indexer(&chain, &kept).declare(&[accounts(0..ACCOUNTS)]).unwrap();
                        }
                        _ => {}
                    }
                };
                catch_up_in_unrest(&chain, &kept, &more);
                ends_straight(&chain, &kept, &format!("{stale:?}, seed {seed}"));
            });
        }
    });
}

#[test]
fn a_round_that_the_node_cannot_fill_in_keeps_nobody_from_following() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = waiting(&chain);
    chain.lacks_below(10);
    let stop = Stop::default();
    let looks = std::cell::Cell::new(0);
    let reached = |now: &crate::Reached| {
        assert!(now.filling_in);
        assert_eq!(now.tip.at(), chain.head());
        looks.set(looks.get() + 1);
        chain.mine(1);
        if looks.get() == 20 {
            stop.now();
        }
    };
    let waits = |error: &IndexError| panic!("nobody waits: {error}");
    Indexer::new(&chain, &kept.store, SETTINGS, stop.clone()).follow(&|_| (), &reached, &waits).unwrap();
    assert_eq!(looks.get(), 20);
    let told = catch_up(&chain, &kept);
    assert!(matches!(told, Err(IndexError::Node(NodeError::Missing { .. }))), "whoever waits for it is told: {told:?}");
    chain.lacks_below(0);
    ends_straight(&chain, &kept, "there again");
}

/// A node that says for a moment that it has no state where coverage begins is asked again; where it has none for longer, what follows is known from the
/// last block on alone.
#[test]
fn who_follows_asks_again_for_the_state_where_coverage_begins() {
    for heals in [true, false] {
        let chain = Fake::new(Proof::State, TIP);
        let kept = waiting(&chain);
        chain.lacks_below(1);
        let stop = Stop::default();
        let looks = std::cell::Cell::new(0);
        let reached = |now: &crate::Reached| {
            looks.set(looks.get() + 1);
            if heals && looks.get() == 2 {
                chain.lacks_below(0);
            }
            if !now.filling_in {
                stop.now();
            }
        };
        let waits = |error: &IndexError| panic!("nobody waits: {error}");
        Indexer::new(&chain, &kept.store, SETTINGS, stop.clone()).follow(&|_| (), &reached, &waits).unwrap();
        if heals {
            ends_straight(&chain, &kept, "asked again");
        } else {
            let below = kept.store.coverage(AccountNo(3), Asset::Native, Height(TIP - 1)).unwrap();
            assert!(matches!(below, Coverage::Unknown(_)), "{below:?}");
        }
    }
}

#[test]
fn accounts_that_are_declared_no_more_keep_their_history_and_go_on() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = Kept::new(&chain);
    indexer(&chain, &kept).declare(&[accounts(0..ACCOUNTS)]).unwrap();
    catch_up(&chain, &kept).unwrap();
    chain.mine(5);
    assert_eq!(indexer(&chain, &kept).declare(&[accounts(0..1)]).unwrap(), 0);
    catch_up(&chain, &kept).unwrap();
    chain.reorg(7, 9);
    ends_straight(&chain, &kept, "removed from the declarations");
}

#[test]
fn what_was_published_but_not_covered_before_a_kill_is_covered_by_the_next_run() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = waiting(&chain);
    let mut round = kept.store.round(chain.first()).unwrap().unwrap();
    let watch = kept.store.round_watch(round).unwrap();
    for height in (0..=TIP).map(Height) {
        let hash = chain.hash_at(height).unwrap().unwrap();
        let block = chain.block(BlockRef { height, hash }, &watch, &Reads::ALL).unwrap();
        round = kept.store.fill_in(&block, &watch, round).unwrap();
    }
    kept.store.publish(round).unwrap();
    // Here it was killed.
    let coverage = |kept: &Kept| kept.store.coverage(AccountNo(3), Asset::Native, Height(TIP)).unwrap();
    assert!(matches!(coverage(&kept), Coverage::Unknown(_)));
    catch_up(&chain, &kept).unwrap();
    assert_eq!(coverage(&kept), Coverage::Verified);
    ends_straight(&chain, &kept, "covered later");
}
