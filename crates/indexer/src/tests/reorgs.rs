//! Reorganisations of every depth, between and during catching up, and finality.

use assay_types::{BlockHash, BlockRef, Chain, Fault, Height};

use super::fake::{Fake, Proof, Stale};
use super::{Kept, SETTINGS, accounts, assert_same, catch_up, indexer, straight};
use crate::{IndexError, Indexer, Settings, Stop};

const TIP: u64 = 30;

fn followed(chain: &Fake) -> Kept {
    let kept = Kept::new(chain);
    indexer(chain, &kept).declare(&[accounts(0..3)]).unwrap();
    kept
}

#[test]
fn reorganisations_of_every_depth_between_two_looks() {
    for depth in 1..=20 {
        let chain = Fake::new(Proof::Walking, TIP);
        let kept = followed(&chain);
        catch_up(&chain, &kept).unwrap();
        // Now and then the new branch is shorter at first: what was taken back is not held any more.
        chain.reorg(depth, if depth % 3 == 0 { 0 } else { depth + 1 });
        let reached = catch_up(&chain, &kept).unwrap();
        assert_eq!((reached.removed, reached.tip.at()), (depth as u64, chain.head()));
        chain.mine(depth);
        catch_up(&chain, &kept).unwrap();
        assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), &format!("depth {depth}"));
    }
}

#[test]
fn reorganisations_of_every_depth_while_blocks_are_fetched() {
    for depth in 1..=20 {
        let stale = if depth % 2 == 0 { Stale::Served } else { Stale::Gone };
        during(Fake::new(Proof::Walking, TIP).stale(stale), depth, depth + 1);
    }
}

#[test]
fn a_node_that_forgets_stale_blocks_or_becomes_shorter_has_reorganised_and_is_not_at_fault() {
    std::thread::scope(|scope| {
        for stale in [Stale::Missing, Stale::Served] {
            for (depth, by) in [(1, 0), (5, 1), (20, 3), (4, 9)] {
                scope.spawn(move || during(Fake::new(Proof::Walking, TIP).stale(stale), depth, by));
            }
        }
    });
}

fn during(chain: Fake, depth: usize, by: usize) {
    let kept = followed(&chain);
    chain.reorg_as_asked_for(TIP - 3, depth, by);
    let reached = catch_up(&chain, &kept).unwrap();
    assert!(chain.is_on(reached.tip.at()), "it ended on a branch that was left");
    catch_up(&chain, &kept).unwrap(); // what was mined meanwhile
    assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), &format!("depth {depth} by {by}"));
}

/// It is not late: where it ends it is another one.
#[test]
fn a_chain_that_is_shorter_than_what_was_final_and_another_one_left_it() {
    let chain = Fake::new(Proof::Walking, TIP);
    chain.finality(6); // block 25 is final
    let kept = followed(&chain);
    catch_up(&chain, &kept).unwrap();
    chain.reorg(12, 3);
    let left = catch_up(&chain, &kept);
    assert!(matches!(&left, Err(IndexError::Left(left)) if left.left.block.height == Height(19)), "{left:?}");
}

#[test]
fn what_was_final_stays_unless_the_operator_accepts_it() {
    let chain = Fake::new(Proof::Walking, TIP);
    chain.finality(6); // block 25 is final
    let kept = followed(&chain);
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(25)));
    let before = kept.rows();

    chain.reorg(7, 0);
    let behind = catch_up(&chain, &kept);
    assert!(matches!(behind, Err(IndexError::NodeBehind { head: Height(23), final_height: Height(25) })), "{behind:?}");
    chain.mine(9);
    let left = catch_up(&chain, &kept);
    assert!(
        matches!(&left, Err(IndexError::Left(left)) if left.left.block.height == Height(24)),
        "the first block that was left is named: {left:?}"
    );
    let remembered = kept.store.left().unwrap().unwrap();
    assert_eq!((remembered.block.height, remembered.final_height), (Height(24), Some(Height(25))));
    assert!(kept.store.header(Height(24)).unwrap().is_some_and(|ours| ours.at() == remembered.block));
    kept.store.set_left(None).unwrap();
    assert_same(&before, &kept.rows(), "nothing is taken back that is not replaced");

    let settings = Settings { accept_reorg: Some(chain.head().hash), ..SETTINGS };
    let accepted = Indexer::new(&chain, &kept.store, settings, Stop::default()).catch_up(&|_| ()).unwrap();
    assert_eq!((accepted.tip.at(), accepted.removed), (chain.head(), 7));
    assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), "accepted");
    assert_eq!(kept.store.left().unwrap(), None);
}

#[test]
fn final_heights_never_go_back() {
    let chain = Fake::new(Proof::Walking, TIP);
    chain.finality(3);
    let kept = followed(&chain);
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(28)));
    chain.finality(20);
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(28)));
}

#[test]
fn a_node_that_is_late_takes_no_block_back_and_a_shorter_chain_does() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = followed(&chain);
    catch_up(&chain, &kept).unwrap();
    chain.is_late(3, 4);
    let reached = catch_up(&chain, &kept).unwrap();
    assert_eq!((reached.tip.at(), reached.removed), (chain.head(), 0));
    chain.reorg(4, 0);
    let reached = catch_up(&chain, &kept).unwrap();
    assert_eq!((reached.tip.at(), reached.removed), (chain.head(), 4));
    assert_same(&straight(&chain, &accounts(0..3)).rows(), &kept.rows(), "shorter");
}

#[test]
fn a_block_that_the_node_calls_final_must_be_ours() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = followed(&chain);
    let named = |height: u64, hash: BlockHash| BlockRef { height: Height(height), hash };
    let ours = |height: u64| chain.hash_at(Height(height)).unwrap().unwrap();
    chain.names_final(named(20, ours(20)));
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(20)));
    // One that nobody has yet is not final, and what was stays so.
    chain.names_final(named(TIP + 5, BlockHash([7; 32])));
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(20)));
    chain.names_final(named(10, ours(10)));
    assert_eq!(catch_up(&chain, &kept).unwrap().final_height, Some(Height(20)));
    // Another block than that of the node's own chain.
    chain.names_final(named(22, BlockHash([7; 32])));
    let told = catch_up(&chain, &kept).unwrap_err();
    assert_eq!(told.fault(), Some(Fault::MixedForks), "{told}");
    assert_eq!(kept.store.final_height().unwrap(), Some(Height(20)));
}

#[test]
fn a_reorganisation_beyond_undo_is_told_and_takes_nothing_back() {
    let chain = Fake::new(Proof::Walking, TIP);
    let kept = followed(&chain);
    let settings = Settings { undo_depth: 4, ..SETTINGS };
    let follow = || Indexer::new(&chain, &kept.store, settings.clone(), Stop::default()).catch_up(&|_| ());
    follow().unwrap();
    chain.reorg(5, 6);
    assert_eq!(follow().unwrap().removed, 5);
    let before = kept.rows();
    chain.reorg(6, 7);
    let gone = follow();
    assert!(matches!(&gone, Err(IndexError::Left(left)) if left.left.final_height.is_none()), "{gone:?}");
    assert_eq!(kept.store.left().unwrap().unwrap().block.height, Height(26));
    kept.store.set_left(None).unwrap();
    assert_same(&before, &kept.rows(), "undo gone");
}

#[test]
fn a_chain_that_has_not_reached_its_start_is_waited_for() {
    let chain = Fake::new(Proof::State, 5).from(8);
    let kept = followed(&chain);
    assert!(matches!(catch_up(&chain, &kept), Err(IndexError::NotBegun { head: Height(5), first: Height(8) })));
    chain.mine(10);
    let reached = catch_up(&chain, &kept).unwrap();
    assert_eq!((reached.tip.height, reached.applied), (Height(15), 8));
    // Once it was there, who ends below it is late, or is another chain, which its last block tells right below ours.
    chain.reorg(10, 0);
    let behind = catch_up(&chain, &kept);
    assert!(matches!(behind, Err(IndexError::NodeBehind { head: Height(5), .. })), "{behind:?}");
    chain.reorg(1, 3);
    let left = catch_up(&chain, &kept);
    assert!(matches!(&left, Err(IndexError::Left(left)) if left.left.block.height == Height(8)), "{left:?}");
    assert_eq!(kept.store.first_height().unwrap(), Some(Height(8)));
}

#[test]
fn the_very_first_block_may_be_replaced_while_accounts_wait() {
    let chain = Fake::new(Proof::State, 10).from(8);
    let kept = followed(&chain);
    catch_up(&chain, &kept).unwrap();
    indexer(&chain, &kept).declare(&[accounts(3..4)]).unwrap();
    kept.store.round(Height(8)).unwrap();
    chain.reorg(4, 6);
    catch_up(&chain, &kept).unwrap();
    assert_same(&straight(&chain, &accounts(0..4)).rows(), &kept.rows(), "from the first block");
}
