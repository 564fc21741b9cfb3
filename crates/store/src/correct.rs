//! What is found out of a balance at blocks that were applied already: it changed there, and no movement says so. Balances that nobody moved
//! are not read at every block, so that what changes them without a trace shows later than it happened.

use assay_types::{Amount, Asset, Between, Direction, Height, Kind, Pair, Reading, TxId, Wide};
use rocksdb::WriteBatch;

use crate::bytes::Writer;
use crate::changes::Changes;
use crate::cohorts::{cohort_of, read_total, read_total_key, total_key};
use crate::rows::account_prefix;
use crate::settle::settle;
use crate::unattributed;
use crate::{Coverage, Family, Movement, Store, StoreError};

/// What state says of a balance after a block, seen later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Base units.
    pub balance: Amount,
    /// Verified against the block's state root?
    pub proven: bool,
    /// Where it changed in one of several blocks whose states are not to be had: the last one below after which it was known.
    pub since: Option<Height>,
}

impl Store {
    /// The last block up to this height after which the balance was known from state. Since then it was not looked at, and did not move.
    ///
    /// # Errors
    /// When the database fails.
    pub fn last_known(&self, (account, asset): Pair, at: Height) -> Result<Option<Height>, StoreError> {
        let prefix = account_prefix(account, asset);
        let Some((from, grade)) = self.last_coverage(&prefix, at)? else { return Ok(None) };
        let mut read = match grade {
            Coverage::Unknown(_) => return Ok(None),
            Coverage::Verified => at,
            Coverage::Unproven => match from.previous() {
                Some(below) if matches!(self.last_coverage(&prefix, below)?, Some((_, Coverage::Verified))) => below,
                _ => from,
            },
        };
        // Those who are still being filled in were not among them.
        if account.0 < self.published()?
            && let Some(all) = self.all_read()?.filter(|all| *all.start() <= at)
        {
            read = read.max(at.min(*all.end()));
        }
        // Who moves is read.
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Movements)?);
        rows.seek_for_prev(Movement::key_at(&prefix, at, u32::MAX));
        rows.status().map_err(|error| self.database(error))?;
        let moved = match rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
            Some((key, value)) => {
                Some(self.read(Family::Movements, key, Movement::read(&key[prefix.len()..], value))?.height)
            }
            None => None,
        };
        Ok(Some(moved.map_or(read, |moved| moved.max(read))))
    }

    /// Notes what state says of a balance after a block that was applied already. It joins what that block did, and goes with it; totals above
    /// it change with it. The block's transactions are noted with it, where they are at hand.
    ///
    /// # Errors
    /// Damaged, where the account moved at that block or above: then state was read there. Or the database fails.
    pub fn correct(&self, (account, asset): Pair, at: Height, seen: &Seen, txids: &[TxId]) -> Result<(), StoreError> {
        if let Some(later) = self.movements(account, asset, at, Height(u64::MAX))?.next() {
            let later = later?.height;
            return Err(self.damaged(format!("account {} moved at block {later}, and is corrected at {at}", account.0)));
        }
        let (pair, prefix, mut changes) = ((account, asset), account_prefix(account, asset), Changes::new(self));
        let before = self.balance(account, asset, at)?;
        let mut last = self.last_coverage(&prefix, at)?;
        let residual = if last.is_none() { Kind::Opening } else { Kind::Unattributed };
        let steps = settle(before, &[], Some(seen.balance), residual).unwrap_or_default();
        for step in &steps {
            let (height, direction, amount, balance, kind) = (at, step.direction, step.amount, step.balance, step.kind);
            let movement =
                Movement { height, place: step.place, direction, amount, balance, kind, txid: None, index: 0 };
            let (key, value) = (movement.key_into(Writer::default(), pair).0, movement.value_into(Writer::default()).0);
            changes.put(Family::Movements, key, value)?;
        }
        if let Some(since) = seen.since.filter(|since| since.next() < at)
            && let Some(step) = steps.first()
        {
            let way = if step.direction == Direction::Credit { "more" } else { "less" };
            let why = format!(
                "{} units {way} from one of the blocks {} to {at} on, whose states the node does not keep",
                step.amount,
                since.next()
            );
            let gap = (since.next(), Coverage::Unknown(why));
            changes.put(Family::Coverage, Coverage::key(&prefix, gap.0), gap.1.value())?;
            last = Some(gap);
        }
        let loose: Vec<_> = unattributed::of(pair, &steps).collect();
        let gap = seen.since.map(Height::next).filter(|from| *from < at);
        if let Some(header) = self.header(at)?.filter(|_| !loose.is_empty()) {
            let (_, row) = self.with_unattributed((at, header.hash), &loose)?;
            changes.put(Family::Transactions, unattributed::key(&header.hash), row)?;
            if let Some(from) = gap {
                changes.put(Family::Meta, unattributed::range_key(from, at), header.hash.0.to_vec())?;
            }
            for txid in txids {
                changes.put(Family::Transactions, unattributed::key_of(txid), Writer::default().count(at.0).0)?;
            }
        }
        let (balance, proven) = (Ok(seen.balance), seen.proven);
        // A native coin is corrected where blocks do not tell of all that moves it.
        let between = if asset == Asset::Native { Between::Untold } else { Between::Told };
        let reading = Reading { account, asset, balance, proven, proof: None, between };
        self.cover(at, &reading, !steps.is_empty(), last, &mut self.coverage_rows()?, &mut changes)?;
        let mut batch = WriteBatch::default();
        if seen.balance != before
            && let Some(cohort) = cohort_of(&self.cohorts(0..u32::MAX)?, account)
        {
            self.shift_totals((cohort, asset), at, (before, seen.balance), &mut changes, &mut batch)?;
        }
        self.write_late(at, &changes.into_list(), &mut batch)?;
        self.amend(|| self.commit(batch, true))
    }

    /// What a cohort holds from this block on. Its undo takes back the row at the block itself; those above are gone by then.
    fn shift_totals(
        &self,
        pair: Pair,
        at: Height,
        (before, after): (Amount, Amount),
        changes: &mut Changes<'_>,
        batch: &mut WriteBatch,
    ) -> Result<(), StoreError> {
        let less = || self.damaged(format!("the cohort of account {} holds less than one of them", pair.0.0));
        let shifted = |total: Wide| {
            let rest = total.checked_sub(Wide::from(before.0)).ok_or_else(less)?;
            Ok::<_, StoreError>(rest + Wide::from(after.0))
        };
        let key = |at: Height| total_key(Writer::default(), pair, at).0;
        let here = shifted(self.total(pair.0, pair.1, at)?)?;
        let below = at.previous().map_or(Ok(Wide::ZERO), |below| self.total(pair.0, pair.1, below))?;
        if here == below {
            changes.delete(Family::Holdings, key(at))?;
        } else {
            changes.put(Family::Holdings, key(at), Writer::default().sum(here).0)?;
        }
        let (family, prefix) = (self.family(Family::Holdings)?, account_prefix(pair.0, pair.1));
        let mut rows = self.db.raw_iterator_cf(family);
        rows.seek(key(at.next()));
        while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
            self.read(Family::Holdings, key, read_total_key(key))?;
            let total = shifted(self.read(Family::Holdings, key, read_total(value))?)?;
            batch.put_cf(family, key, Writer::default().sum(total).0);
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))
    }
}
