//! Movements that only a trace tells of. Nothing commits to a trace: it explains, and state decides.

use assay_store::Coverage;
use assay_types::{AccountNo, Amount, Asset, Block, Direction, Effect, Fault, Header, Kind, Leg};

use crate::follow::{Break, Indexer};

impl Indexer<'_> {
    /// Where proofs at the parent and here take back what a trace says of an account, none of it stays as its movement; what is
    /// then left without a cause is called that.
    pub(crate) fn drop_denied(&self, block: &mut Block, parent: &Header) -> Result<(), Break> {
        for (account, asset) in self.store.surprises(block)? {
            let read = block.readings.iter().find(|read| (read.account, read.asset) == (account, asset) && read.proven);
            let (Asset::Native, Some(Ok(state))) = (asset, read.map(|read| &read.balance)) else { continue };
            if self.store.coverage(account, asset, parent.height)? != Coverage::Verified {
                continue;
            }
            let before = self.store.balance(account, asset, parent.height)?;
            let legs = block.effects.iter().map(Effect::leg).filter(|leg| is_native(leg, account)).collect::<Vec<_>>();
            if is_denied(&legs, before, *state) {
                tracing::warn!(
                    kind = Fault::Forged.as_str(),
                    "{}: the traces of block {} contradict the proven balances of account {}, and are not believed of it {}",
                    self.node(),
                    block.header.height,
                    account.0,
                    Fault::Forged
                );
                block.effects.retain(|effect| !(is_native(effect.leg(), account) && is_traced(effect.leg())));
            }
        }
        Ok(())
    }
}

fn is_native(leg: &Leg, account: AccountNo) -> bool {
    leg.account == account && leg.asset == Asset::Native
}

fn is_traced(leg: &Leg) -> bool {
    leg.kind == Kind::Internal
}

/// Do the traced legs lead away from what state says? Where all legs only fall short of it, another cause is missing.
fn is_denied(legs: &[&Leg], before: Amount, state: Amount) -> bool {
    let traced: Vec<&Leg> = legs.iter().copied().filter(|leg| is_traced(leg)).collect();
    let sides = |legs: &[&Leg]| Some((sum(legs, Direction::Credit)?, sum(legs, Direction::Debit)?));
    let compared = || {
        let ((credits, debits), (credited, debited)) = (sides(legs)?, sides(&traced)?);
        let (told, held) = (before.checked_add(credits)?, state.checked_add(debits)?);
        Some(told > held && credited > debited || told < held && credited < debited)
    };
    // A sum that no balance can have is denied by itself.
    compared().unwrap_or(!traced.is_empty())
}

fn sum(legs: &[&Leg], direction: Direction) -> Option<Amount> {
    let one_way = legs.iter().filter(|leg| leg.direction == direction);
    one_way.map(|leg| leg.amount).try_fold(Amount::ZERO, Amount::checked_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traced_movement_is_denied_where_state_takes_it_back() {
        use Direction::{Credit, Debit};
        let leg = |direction, amount: u64, kind| Leg {
            account: AccountNo(1),
            asset: Asset::Native,
            direction,
            amount: amount.into(),
            kind,
            tx: Some(0),
            index: 0,
            place: 0,
        };
        let denied = |legs: &[Leg], state: u64| is_denied(&legs.iter().collect::<Vec<_>>(), 10.into(), state.into());
        let invented = [leg(Credit, 3, Kind::Internal)];
        assert!(denied(&invented, 10) && denied(&invented, 12) && !denied(&invented, 14));
        let invented = [leg(Debit, 3, Kind::Internal), leg(Credit, 5, Kind::Transfer)];
        assert!(denied(&invented, 15) && denied(&invented, 13) && !denied(&invented, 11));
        // Without a trace nothing of it is to be denied.
        assert!(!denied(&[leg(Credit, 5, Kind::Transfer)], 10));
        let too_much = Leg { amount: Amount::from_be_bytes([255; 32]), ..invented[0] };
        assert!(denied(&[Leg { direction: Credit, ..too_much }], 10));
    }
}
