//! `check --deep`: what is stored is computed again from what is stored beside it.

use assay_types::{Amount, Asset, Direction};

use crate::bytes::Reader;
use crate::rows::{Movement, Unspent};
use crate::{Family, Store, StoreError};
use std::collections::HashMap;

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Headers, each linked to the one below it.
    pub headers: u64,
    /// Movements, each balance the one before it plus or minus the amount.
    pub movements: u64,
    /// Unspent outputs, whose sum by account is the account's balance.
    pub outpoints: u64,
}

impl Store {
    /// Reads everything and checks that it agrees with itself.
    ///
    /// # Errors
    /// Damaged, with the first row that disagrees.
    pub fn audit(&self) -> Result<Audit, StoreError> {
        let headers = self.audit_headers()?;
        let (movements, balances) = self.audit_movements()?;
        let outpoints = self.audit_outpoints(balances)?;
        Ok(Audit { headers, movements, outpoints })
    }

    /// Shows every row of every column family, in order, as its bytes are. Stores that show the same answer the same.
    ///
    /// # Errors
    /// Damaged, or the database fails.
    pub fn each_row(&self, mut see: impl FnMut(&'static str, &[u8], &[u8])) -> Result<(), StoreError> {
        for family in Family::ALL {
            let mut rows = self.db.raw_iterator_cf(self.family(*family)?);
            rows.seek_to_first();
            while let Some((key, value)) = rows.item() {
                see(family.name(), key, value);
                rows.next();
            }
            rows.status().map_err(|error| self.database(error))?;
        }
        Ok(())
    }

    fn audit_headers(&self) -> Result<u64, StoreError> {
        let (Some(first), Some(tip)) = (self.first_height()?, self.tip()?) else { return Ok(0) };
        let mut below: Option<assay_types::Header> = None;
        for height in first.0..=tip.height.0 {
            let header = self.header(assay_types::Height(height))?;
            let header = header.ok_or_else(|| self.damaged(format!("header {height} is missing")))?;
            if below.is_some_and(|below| below.hash != header.parent) {
                return Err(self.damaged(format!("header {height} does not link to the one below it")));
            }
            below = Some(header);
        }
        Ok(tip.height.0 - first.0 + 1)
    }

    /// Counts the movements, and gives the last balance in the native coin of each account.
    fn audit_movements(&self) -> Result<(u64, HashMap<u32, Amount>), StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Movements)?);
        rows.seek_to_first();
        let (mut count, mut last, mut native) = (0, None, HashMap::new());
        while let Some((key, value)) = rows.item() {
            let mut prefix = Reader(key);
            let pair = prefix.account().zip(prefix.asset());
            let row = pair.zip(Movement::read(prefix.0, value));
            let ((account, asset), movement) = self.read(Family::Movements, key, row)?;
            let before = match last {
                Some((pair, balance)) if pair == (account, asset) => balance,
                _ => Amount::ZERO,
            };
            let after = match movement.direction {
                Direction::Credit => before.checked_add(movement.amount),
                Direction::Debit => before.checked_sub(movement.amount),
            };
            if after != Some(movement.balance) {
                let at = format!("account {} at block {}", account.0, movement.height);
                return Err(self.damaged(format!("{at}: the balance is not the one before it and the amount")));
            }
            if asset == Asset::Native {
                native.insert(account.0, movement.balance);
            }
            last = Some(((account, asset), movement.balance));
            count += 1;
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok((count, native))
    }

    fn audit_outpoints(&self, balances: HashMap<u32, Amount>) -> Result<u64, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Outpoints)?);
        rows.seek_to_first();
        let (mut count, mut sums) = (0, HashMap::<u32, Amount>::new());
        while let Some((key, value)) = rows.item() {
            let unspent = self.read(Family::Outpoints, key, Unspent::read(value))?;
            let sum = sums.entry(unspent.account.0).or_default();
            *sum = sum.checked_add(unspent.amount).ok_or_else(|| self.damaged("outputs above 2^256 - 1".into()))?;
            count += 1;
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        if count == 0 {
            return Ok(0); // a chain without outputs
        }
        for (account, balance) in balances {
            if sums.get(&account).copied().unwrap_or_default() != balance {
                return Err(self.damaged(format!("account {account}: its unspent outputs are not its balance")));
            }
        }
        Ok(count)
    }
}
