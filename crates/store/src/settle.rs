//! Pure: the legs of one account in one asset within one block, and what state says after it, become movements.

use assay_types::{Amount, Direction, Kind, Leg};

/// A leg with the balance after it, and its final place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub direction: Direction,
    pub amount: Amount,
    pub kind: Kind,
    pub tx: Option<u32>,
    pub index: u32,
    pub place: u32,
    pub balance: Amount,
}

/// Where a residual stands that explains what comes after it: before every leg.
const BEFORE_ALL: u32 = 0;
/// Where a residual stands otherwise: after every leg.
const AFTER_ALL: u32 = u32::MAX;

/// The legs in order, each with the balance after it. `state` is what the chain's state says after the block: what the
/// legs do not explain becomes a movement of kind `residual`, an opening before the legs where it can. `None` when the legs, taken alone, go below zero or
/// above 2^256 - 1 and no state says better.
///
/// State is the truth and the legs its explanation. Where tokens rebase or lie, the legs may not even be possible on
/// the balance before the block: then the residual goes first, and if that does not help it replaces them.
pub(crate) fn settle(before: Amount, legs: &[Leg], state: Option<Amount>, residual: Kind) -> Option<Vec<Step>> {
    let Some(state) = state else { return run(before, legs) };
    if (residual != Kind::Opening || legs.is_empty())
        && let Some(mut steps) = run(before, legs)
    {
        let end = steps.last().map_or(before, |step| step.balance);
        steps.extend(unexplained(end, state, residual, AFTER_ALL));
        return Some(steps);
    }
    let first = start_that_ends_at(state, legs).and_then(|start| {
        let mut steps: Vec<Step> = unexplained(before, start, residual, BEFORE_ALL).into_iter().collect();
        steps.extend(run(start, legs)?);
        Some(steps)
    });
    Some(first.unwrap_or_else(|| unexplained(before, state, residual, AFTER_ALL).into_iter().collect()))
}

fn run(before: Amount, legs: &[Leg]) -> Option<Vec<Step>> {
    let mut balance = before;
    let mut step = |leg: &Leg| {
        balance = match leg.direction {
            Direction::Credit => balance.checked_add(leg.amount)?,
            Direction::Debit => balance.checked_sub(leg.amount)?,
        };
        let Leg { direction, amount, kind, tx, index, .. } = *leg;
        Some(Step { direction, amount, kind, tx, index, place: leg.place.checked_add(1)?, balance })
    };
    legs.iter().map(&mut step).collect()
}

fn unexplained(from: Amount, to: Amount, kind: Kind, place: u32) -> Option<Step> {
    let (direction, amount) = match to.checked_sub(from) {
        Some(amount) => (Direction::Credit, amount),
        None => (Direction::Debit, from.checked_sub(to)?),
    };
    (!amount.is_zero()).then_some(Step { direction, amount, kind, tx: None, index: 0, place, balance: to })
}

/// The balance from which these legs lead to `end`.
fn start_that_ends_at(end: Amount, legs: &[Leg]) -> Option<Amount> {
    legs.iter().rev().try_fold(end, |balance, leg| match leg.direction {
        Direction::Credit => balance.checked_sub(leg.amount),
        Direction::Debit => balance.checked_add(leg.amount),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{AccountNo, Asset};
    use proptest::prelude::*;

    fn leg(direction: Direction, amount: u64, place: u32) -> Leg {
        let (account, asset, kind) = (AccountNo(0), Asset::Native, Kind::Transfer);
        Leg { account, asset, direction, amount: Amount::from(amount), kind, tx: Some(0), index: 0, place }
    }

    #[test]
    fn without_state_the_legs_must_be_possible() {
        let debit = [leg(Direction::Debit, 5, 0)];
        assert_eq!(settle(Amount::from(4), &debit, None, Kind::Unattributed), None);
        assert_eq!(settle(Amount::from(5), &debit, None, Kind::Unattributed).unwrap()[0].balance, Amount::ZERO);
    }

    #[test]
    fn a_rebase_before_a_payment_goes_first() {
        // 100 became 200 without an event, then 150 were sent.
        let steps =
            settle(Amount::from(100), &[leg(Direction::Debit, 150, 0)], Some(Amount::from(50)), Kind::Unattributed);
        let seen: Vec<_> = steps.unwrap().iter().map(|s| (s.kind, s.place, s.balance.to_string())).collect();
        assert_eq!(seen, [(Kind::Unattributed, 0, "200".into()), (Kind::Transfer, 1, "50".into())]);
    }

    #[test]
    fn what_was_there_before_it_was_looked_at_opens() {
        let steps = settle(Amount::ZERO, &[leg(Direction::Credit, 5, 0)], Some(Amount::from(12)), Kind::Opening);
        let seen: Vec<_> = steps.unwrap().iter().map(|s| (s.kind, s.place, s.balance.to_string())).collect();
        assert_eq!(seen, [(Kind::Opening, 0, "7".into()), (Kind::Transfer, 1, "12".into())]);
    }

    #[test]
    fn impossible_legs_give_way_to_state() {
        let mut lie = leg(Direction::Credit, 0, 0);
        lie.amount = Amount::MAX;
        let steps = settle(Amount::from(1), &[lie], Some(Amount::from(3)), Kind::Unattributed).unwrap();
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].amount, steps[0].balance), (Amount::from(2), Amount::from(3)));
    }

    proptest! {
        #[test]
        fn state_always_has_the_last_word(
            before: u64,
            state: u64,
            legs in proptest::collection::vec((any::<bool>(), any::<u64>()), 0..6),
        ) {
            let side = |credit| if credit { Direction::Credit } else { Direction::Debit };
            let legs: Vec<_> = (0u32..).zip(&legs).map(|(place, (c, amount))| leg(side(*c), *amount, place)).collect();
            let (before, state) = (Amount::from(before), Amount::from(state));
            let steps = settle(before, &legs, Some(state), Kind::Unattributed).unwrap();
            let mut balance = before;
            for (step, next) in steps.iter().zip(steps.iter().skip(1).map(Some).chain([None])) {
                balance = match step.direction {
                    Direction::Credit => balance.checked_add(step.amount).unwrap(),
                    Direction::Debit => balance.checked_sub(step.amount).unwrap(),
                };
                prop_assert_eq!(balance, step.balance);
                prop_assert!(next.is_none_or(|next| next.place > step.place));
            }
            prop_assert_eq!(balance, state);
        }
    }
}
