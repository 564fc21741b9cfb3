//! Movements that only a trace tells of. Nothing commits to a trace: it explains, and state decides.

use assay_store::Coverage;
use assay_types::{AccountNo, Amount, Asset, Block, Direction, Effect, Fault, Header, Height, Leg, Pair};

use crate::Indexer;
use crate::breaks::Break;

impl Indexer<'_> {
    /// Where proofs at the parent and here take back what a trace says of an account, none of it stays as its movement; what is
    /// then left without a cause is called that. Where not everything is told, that may be what is missing, and nothing is taken back.
    pub(crate) fn drop_denied(&self, block: &mut Block, parent: &Header) -> Result<(), Break> {
        if !is_all_told(block) {
            return Ok(());
        }
        for (account, asset) in self.store.surprises(block)?.into_iter().filter(|(_, asset)| *asset == Asset::Native) {
            let read = block.readings.iter().find(|read| read.pair() == (account, asset) && read.proven);
            let Some(Ok(state)) = read.map(|read| &read.balance) else { continue };
            let before = self.store.balance(account, asset, parent.height)?;
            if self.store.noted_coverage(account, asset, parent.height)? != Coverage::Verified
                && !self.is_proven(parent, (account, asset), before)?
            {
                continue;
            }
            let own = block.effects.iter().filter(|effect| is_native(effect.leg(), account)).collect::<Vec<_>>();
            let (node, height, account_no) = (self.node(), block.header.height, account.0);
            match Part::of(&own, before, *state) {
                Part::Denied => {
                    tracing::warn!(
                        kind = Fault::Forged.as_str(),
                        "{node}: the traces of block {height} contradict the proven balances of account {account_no}, and are not believed of it {}",
                        Fault::Forged
                    );
                    block.effects.retain(|effect| !(is_native(effect.leg(), account) && is_traced(effect)));
                    block.body.deny(&self.store.account(account)?.0);
                }
                Part::LeftOut => self.tell_left_out(height, account),
                Part::Kept => {}
            }
        }
        Ok(())
    }

    /// Does a proof show that this is what is held after a block?
    fn is_proven(&self, at: &Header, pair: Pair, balance: Amount) -> Result<bool, Break> {
        let readings = self.read_again(at, &self.with_bytes(&[pair])?)?;
        Ok(readings.iter().any(|reading| reading.proven && reading.balance == Ok(balance)))
    }

    pub(crate) fn tell_left_out(&self, at: Height, account: AccountNo) {
        tracing::warn!(
            kind = Fault::Omitted.as_str(),
            "{}: the traces of block {at} leave out what account {} paid {}",
            self.node(),
            account.0,
            Fault::Omitted
        );
    }
}

/// Is it told of every transaction what it called?
pub(crate) fn is_all_told(block: &Block) -> bool {
    (0..).zip(&block.txids).all(|(tx, _)| block.body.is_explained(tx))
}

fn is_native(leg: &Leg, account: AccountNo) -> bool {
    leg.account == account && leg.asset == Asset::Native
}

fn is_traced(effect: &Effect) -> bool {
    matches!(effect, Effect::Traced(_))
}

/// What becomes of what traces tell of an account.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// It leads away from what state says.
    Denied,
    /// It falls short of what the account paid: nothing but a call takes anything away that the block does not show.
    LeftOut,
    /// It falls short of what came to it, which may have another cause.
    Kept,
}

impl Part {
    fn of(own: &[&Effect], before: Amount, state: Amount) -> Part {
        let traced: Vec<&Effect> = own.iter().copied().filter(|effect| is_traced(effect)).collect();
        let sides = |effects: &[&Effect]| Some((sum(effects, Direction::Credit)?, sum(effects, Direction::Debit)?));
        let compared = || {
            let ((credits, debits), (credited, debited)) = (sides(own)?, sides(&traced)?);
            let (told, held) = (before.checked_add(credits)?, state.checked_add(debits)?);
            Some(match told > held {
                true if credited > debited => Part::Denied,
                true => Part::LeftOut,
                false if told < held && credited < debited => Part::Denied,
                false => Part::Kept,
            })
        };
        // A sum that no balance can have is denied by itself.
        compared().unwrap_or(if traced.is_empty() { Part::Kept } else { Part::Denied })
    }
}

fn sum(effects: &[&Effect], direction: Direction) -> Option<Amount> {
    let one_way = effects.iter().map(|effect| effect.leg()).filter(|leg| leg.direction == direction);
    one_way.map(|leg| leg.amount).try_fold(Amount::ZERO, Amount::checked_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::Kind;

    #[test]
    fn a_traced_movement_is_denied_where_state_takes_it_back() {
        use Direction::{Credit, Debit};
        let leg = |direction, amount: u64| Leg {
            account: AccountNo(1),
            asset: Asset::Native,
            direction,
            amount: amount.into(),
            kind: Kind::Transfer,
            tx: Some(0),
            index: 0,
            place: 0,
        };
        let (plain, traced) =
            (|way, amount| Effect::Leg(leg(way, amount)), |way, amount| Effect::Traced(leg(way, amount)));
        let part =
            |effects: &[Effect], state: u64| Part::of(&effects.iter().collect::<Vec<_>>(), 10.into(), state.into());
        let denied = |effects: &[Effect], state: u64| part(effects, state) == Part::Denied;
        let invented = [traced(Credit, 3)];
        assert!(denied(&invented, 10) && denied(&invented, 12) && !denied(&invented, 14));
        let invented = [traced(Debit, 3), plain(Credit, 5)];
        assert!(denied(&invented, 15) && denied(&invented, 13) && !denied(&invented, 11));
        // Without a trace nothing of it is to be denied; but it may not tell all.
        assert_eq!([20, 15, 10].map(|state| part(&[plain(Credit, 5)], state)), [Part::Kept, Part::Kept, Part::LeftOut]);
        assert_eq!(part(&[traced(Debit, 3)], 6), Part::LeftOut);
        assert!(denied(&[Effect::Traced(Leg { amount: Amount::from_be_bytes([255; 32]), ..leg(Credit, 0) })], 10));
    }
}
