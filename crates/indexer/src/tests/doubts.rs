//! Answers that state proves to have been wrong.

use assay_types::{AccountNo, Amount, Asset, Height, Kind, NodeError};

use super::fake::{Fake, Proof, Question, missing};
use super::{Kept, accounts, assert_same, catch_up, indexer, straight};
use crate::IndexError;

const TIP: u64 = 24;
/// Coins moved at this height.
const LIE: u64 = 13;

fn lied_to(times: u32) -> (Fake, Kept) {
    let chain = Fake::new(Proof::State, TIP);
    let kept = Kept::new(&chain);
    indexer(&chain, &kept).declare(&[accounts(0..4)]).unwrap();
    chain.lie_about(LIE, times);
    (chain, kept)
}

#[test]
fn a_lie_that_heals_changes_nothing() {
    for times in 1..=3 {
        let (chain, kept) = lied_to(times);
        let amended = kept.store.amended();
        let reached = catch_up(&chain, &kept).unwrap();
        assert!(reached.removed > 0, "it was not noticed");
        assert!(kept.store.amended() > amended, "who keeps sums hears of the same blocks read again");
        assert_same(&straight(&chain, &accounts(0..4)).rows(), &kept.rows(), &format!("{times} lies"));
    }
}

#[test]
fn a_lie_that_stays_is_named_and_nothing_wrong_is_kept() {
    let (chain, kept) = lied_to(u32::MAX);
    let told = catch_up(&chain, &kept);
    assert!(matches!(told, Err(IndexError::Node(NodeError::Contradiction { .. }))), "{told:?}");
    chain.heal();
    catch_up(&chain, &kept).unwrap();
    assert_same(&straight(&chain, &accounts(0..4)).rows(), &kept.rows(), "healed");
}

#[test]
fn where_no_state_proves_it_the_difference_stands_where_it_was_seen() {
    let (chain, kept) = lied_to(u32::MAX);
    chain.fail(Question::Prove, u32::MAX, Some(missing("state")));
    catch_up(&chain, &kept).unwrap();
    let honest = straight(&chain, &accounts(0..4));
    let mut unexplained = 0;
    for number in (0..4).map(AccountNo) {
        for movement in kept.store.movements(number, Asset::Native, Height(0), Height(TIP)).unwrap() {
            unexplained += u32::from(movement.unwrap().kind == Kind::Unattributed);
        }
        let at_tip = |kept: &Kept| kept.store.balance(number, Asset::Native, Height(TIP)).unwrap();
        assert_eq!(at_tip(&kept), at_tip(&honest));
        if kept.store.balance(number, Asset::Native, Height(LIE)).unwrap() != at_lie(&honest, number) {
            let grade = kept.store.coverage(number, Asset::Native, Height(LIE)).unwrap();
            assert_eq!(grade.as_str(), "unproven", "a balance that was wrong for a block never counts as verified");
        }
    }
    assert!(unexplained > 0);
}

fn at_lie(honest: &Kept, number: AccountNo) -> Amount {
    honest.store.balance(number, Asset::Native, Height(LIE)).unwrap()
}

#[test]
fn a_lie_to_accounts_that_are_filled_in_is_named_and_they_stay_unpublished() {
    let chain = Fake::new(Proof::State, TIP);
    let kept = Kept::new(&chain);
    indexer(&chain, &kept).declare(&[accounts(3..4)]).unwrap();
    catch_up(&chain, &kept).unwrap();
    indexer(&chain, &kept).declare(&[accounts(0..3)]).unwrap();
    chain.lie_about(LIE, 1);
    let told = catch_up(&chain, &kept);
    assert!(matches!(told, Err(IndexError::Node(NodeError::Contradiction { .. }))), "{told:?}");
    assert!(!kept.store.number(&super::fake::account(0)).unwrap().unwrap().1);
}
