//! `check --deep`: what is stored is computed again from what is stored beside it.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::ops::Range;

use assay_types::{AccountNo, Amount, Asset, Direction, Height, Pair, Wide};
use foldhash::quality::RandomState;

use crate::bytes::Reader;
use crate::cohorts::{cohort_of, read_total, read_total_key};
use crate::rows::{Movement, Unspent};
use crate::{Family, Store, StoreError};

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Headers, each linked to the one below it.
    pub headers: u64,
    /// Movements, each balance the one before it plus or minus the amount.
    pub movements: u64,
    /// Unspent outputs, whose sum by account is the account's balance.
    pub outpoints: u64,
    /// Totals of cohorts, each what the movements of its accounts come to.
    pub totals: u64,
}

/// What movements add to the totals of cohorts, each change weighed by a secret number of its block. Each total takes away what it says was
/// added: nothing is left if all of them agree, and no block's need be remembered.
struct Weighed {
    cohorts: Vec<Range<u32>>,
    left: HashMap<Pair, Wide>,
    secret: RandomState,
}

impl Weighed {
    fn add(&mut self, pair: Pair, at: Height, (before, after): (Wide, Wide)) {
        let weight = Wide::from(self.secret.hash_one(at.0));
        let left = self.left.entry(pair).or_default();
        *left = left.wrapping_add(after.wrapping_sub(before).wrapping_mul(weight));
    }
}

impl Store {
    /// Reads everything and checks that it agrees with itself.
    ///
    /// # Errors
    /// Damaged, with the first row that disagrees.
    pub fn audit(&self) -> Result<Audit, StoreError> {
        let headers = self.audit_headers()?;
        let cohorts = self.cohorts(0..u32::MAX)?;
        let mut weighed = Weighed { cohorts, left: HashMap::new(), secret: RandomState::default() };
        let (movements, balances) = self.audit_movements(&mut weighed)?;
        let outpoints = self.audit_outpoints(balances)?;
        let totals = self.audit_totals(weighed)?;
        Ok(Audit { headers, movements, outpoints, totals })
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
    fn audit_movements(&self, weighed: &mut Weighed) -> Result<(u64, HashMap<u32, Amount>), StoreError> {
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
            if let Some(cohort) = cohort_of(&weighed.cohorts, account) {
                let change = (Wide::from(before.0), Wide::from(movement.balance.0));
                weighed.add((cohort, asset), movement.height, change);
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

    fn audit_totals(&self, mut weighed: Weighed) -> Result<u64, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Holdings)?);
        rows.seek_to_first();
        let (mut count, mut last) = (0, None);
        while let Some((key, value)) = rows.item() {
            let (pair, at) = self.read(Family::Holdings, key, read_total_key(key))?;
            let total = self.read(Family::Holdings, key, read_total(value))?;
            let before = last.filter(|(before, _)| *before == pair).map_or(Wide::ZERO, |(_, total)| total);
            if total == before {
                let at = format!("cohort of account {} at block {at}", pair.0.0);
                return Err(self.damaged(format!("{at}: the total is the one before it")));
            }
            weighed.add(pair, at, (total, before));
            last = Some((pair, total));
            count += 1;
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        match weighed.left.iter().find(|(_, left)| !left.is_zero()) {
            Some(((AccountNo(first), _), _)) => Err(self
                .damaged(format!("cohort of account {first}: its totals are not what its accounts' movements give"))),
            None => Ok(count),
        }
    }
}
