//! Accounts that are declared after blocks were indexed: filled in, published, and in the end as if they had always
//! been there.

use assay_store::Coverage;
use assay_types::{AccountNo, Asset, BlockRef, Chain, Height, Proofs};

use super::fake::{ACCOUNTS, Fake, Proof, Stale, account};
use super::{Kept, SETTINGS, accounts, assert_same, catch_up, indexer, straight};
use crate::{IndexError, Indexer, Stop};

const TIP: u64 = 40;

/// With two accounts followed to the tip, and the others just declared.
fn waiting(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    indexer(chain, &kept).declare(&accounts(0..2)).unwrap();
    catch_up(chain, &kept).unwrap();
    assert_eq!(indexer(chain, &kept).declare(&accounts(0..ACCOUNTS)).unwrap(), 2);
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
                if progress.at.0 == until {
                    stop.now();
                }
            });
            assert!(matches!(stopped, Err(IndexError::Stopped)), "{stopped:?}");
            assert_eq!(kept.store.round(Height(0)).unwrap().unwrap().next, Height(until + 1));
            assert!(!kept.store.number(&account(3)).unwrap().unwrap().1, "nothing is said of it before it is known");
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
    indexer(&chain, &kept).declare(&accounts(0..1)).unwrap();
    catch_up(&chain, &kept).unwrap();
    indexer(&chain, &kept).declare(&accounts(1..2)).unwrap();
    let more = |progress: crate::Progress| {
        if progress.filling_in && progress.at == Height(11) {
            indexer(&chain, &kept).declare(&accounts(2..ACCOUNTS)).unwrap();
        }
    };
    indexer(&chain, &kept).catch_up(&more).unwrap();
    ends_straight(&chain, &kept, "declared during a round");
}

#[test]
fn what_was_published_but_not_covered_before_a_kill_is_covered_by_the_next_run() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = waiting(&chain);
    let mut round = kept.store.round(chain.first()).unwrap().unwrap();
    let watch = kept.store.round_watch(round).unwrap();
    for height in (0..=TIP).map(Height) {
        let hash = chain.hash_at(height).unwrap().unwrap();
        let block = chain.block(BlockRef { height, hash }, &watch, Proofs::Moved).unwrap();
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
