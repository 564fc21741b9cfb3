//! Faults of the node: what heals changes nothing, what does not is named, and the store stands at a boundary.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use assay_types::{BlockHash, BlockRef, Fault, Height, NodeError};

use super::fake::{Fake, Proof, Question, missing};
use super::{Kept, SETTINGS, accounts, assert_same, catch_up, indexer, straight};
use crate::{IndexError, Indexer, Stop};

const TIP: u64 = 50;

fn every_kind() -> Vec<NodeError> {
    let (node, subject, why) = (|| "fake".to_owned(), || "it".to_owned(), || "for the test".to_owned());
    vec![
        NodeError::Unreachable { node: node(), why: why() },
        NodeError::Unreadable { node: node(), subject: subject(), why: why(), fault: Fault::Garbled },
        missing("it"),
        NodeError::Contradiction {
            node: node(),
            subject: subject(),
            against: "itself".into(),
            why: why(),
            fault: Fault::Forged,
        },
        NodeError::LoginRefused { node: node(), why: why() },
        NodeError::WrongChain { node: node(), expected: "a".into(), found: "b".into() },
        NodeError::Unsupported("for the test".into()),
    ]
}

fn gone() -> NodeError {
    NodeError::Gone(BlockRef { height: Height(9), hash: BlockHash([9; 32]) })
}

const QUESTIONS: [Question; 3] = [Question::Tip, Question::HashAt, Question::Block];

fn followed(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    indexer(chain, &kept).declare(&[accounts(0..3)]).unwrap();
    kept
}

#[test]
fn what_heals_changes_nothing() {
    let healing: Vec<_> = every_kind().into_iter().filter(NodeError::may_heal).chain([gone()]).collect();
    assert_eq!(healing.len(), 5);
    std::thread::scope(|scope| {
        for (question, error) in QUESTIONS.into_iter().flat_map(|q| healing.iter().map(move |e| (q, e.clone()))) {
            scope.spawn(move || {
                let chain = Fake::new(Proof::Walking, TIP);
                let kept = followed(&chain);
                let what = format!("{question:?}: {error}");
                chain.fail(question, 2, Some(error));
                catch_up(&chain, &kept).unwrap();
                assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), &what);
            });
        }
    });
}

#[test]
fn what_does_not_heal_is_named_and_the_next_run_goes_on() {
    std::thread::scope(|scope| {
        for (question, error) in QUESTIONS.into_iter().flat_map(|q| every_kind().into_iter().map(move |e| (q, e))) {
            scope.spawn(move || {
                let chain = Fake::new(Proof::Walking, TIP / 2);
                let kept = followed(&chain);
                catch_up(&chain, &kept).unwrap();
                chain.mine(10);
                chain.fail(question, u32::MAX, Some(error.clone()));
                let told = catch_up(&chain, &kept);
                assert!(matches!(&told, Err(IndexError::Node(told)) if *told == error), "{question:?}: {told:?}");
                kept.store.audit().unwrap();
                chain.heal();
                catch_up(&chain, &kept).unwrap();
                assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), "gone on");
            });
        }
    });
}

#[test]
fn a_node_that_calls_every_block_gone_is_restless() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = followed(&chain);
    chain.fail(Question::Block, u32::MAX, Some(gone()));
    assert!(matches!(catch_up(&chain, &kept), Err(IndexError::Restless)));
}

/// Runs it on a thread of its own, so that a deadlock is a failure and not a test that never ends.
fn within_a_minute<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(run()));
    result.recv_timeout(Duration::from_secs(60)).expect("ended, and did not panic on its way")
}

#[test]
fn a_fetcher_that_panics_is_an_error_and_nobody_waits_for_it() {
    for times in [1, 4, u32::MAX] {
        within_a_minute(move || {
            let chain = Fake::new(Proof::Walking, TIP);
            let kept = followed(&chain);
            chain.fail(Question::Block, times, None);
            let told = catch_up(&chain, &kept);
            assert!(matches!(told, Err(IndexError::Node(NodeError::Unreadable { .. }))), "{told:?}");
            chain.heal();
            catch_up(&chain, &kept).unwrap();
            assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), "after a panic");
        });
    }
}

#[test]
fn a_panic_while_blocks_are_applied_ends_the_fetchers_too() {
    let ended = within_a_minute(|| {
        let chain = Fake::new(Proof::Walking, TIP);
        let kept = followed(&chain);
        let run = std::panic::AssertUnwindSafe(|| {
            indexer(&chain, &kept).catch_up(&|progress| assert!(progress.at < Height(20), "for the test"))
        });
        std::panic::catch_unwind(run).is_err() && kept.store.audit().unwrap().headers <= 21
    });
    assert!(ended);
}

#[test]
fn a_stop_at_any_block_leaves_a_boundary_and_the_next_run_goes_on_and_asks_for_nothing_again() {
    let tip = 4 * TIP;
    let chain = Fake::new(Proof::Walking, tip);
    let kept = followed(&chain);
    for until in (3..tip - 30).step_by(37) {
        let stop = Stop::default();
        let stopped = Indexer::new(&chain, &kept.store, SETTINGS, stop.clone()).catch_up(&|progress| {
            if progress.at.0 == until {
                stop.now();
            }
        });
        assert!(matches!(stopped, Err(IndexError::Stopped)), "{stopped:?}");
        let read = u64::from(chain.asked(Question::Block));
        assert_eq!(kept.store.tip().unwrap().unwrap().height, Height(read - 1), "what was asked for is stored");
        assert!(read < until + 30, "stopped at {until}, and asked for {read}");
    }
    catch_up(&chain, &kept).unwrap();
    assert_eq!(u64::from(chain.asked(Question::Block)), tip + 1);
    assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), "stopped and gone on");
}

#[test]
fn following_waits_for_a_node_that_is_away_and_ends_when_asked() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = followed(&chain);
    chain.fail(Question::Tip, 3, Some(NodeError::Unreachable { node: "fake".into(), why: "for the test".into() }));
    let (stop, reached) = (Stop::default(), AtomicU64::new(0));
    let indexer = Indexer::new(&chain, &kept.store, SETTINGS, stop.clone());
    let end = |now: &crate::Reached| {
        reached.store(now.tip.height.0, Ordering::Relaxed);
        stop.now();
    };
    indexer.follow(&|_| (), &end, &|_| ()).unwrap();
    assert_eq!(reached.load(Ordering::Relaxed), TIP);
}
