//! What accounts that were declared together hold together: a row for each block that changed it, so that the holdings of millions
//! of accounts are one backward seek. Whoever was declared together has numbers one behind the other; nobody joins a cohort later,
//! and nobody leaves it, so that declarations that change touch no row.

use std::ops::Range;

use assay_types::{AccountNo, Amount, Asset, Height, Pair, Wide};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::bytes::{Reader, Writer};
use crate::rows::{account_prefix, height_of};
use crate::{Family, Store, StoreError};

/// So many accounts that are new make a cohort, where they are declared together: fewer are looked up as quickly, and each cohort has
/// a row for every block that moves it.
pub(crate) const COHORT_ACCOUNTS: usize = if cfg!(test) { 2 } else { 100 };

/// Rows that name a cohort begin so.
pub(crate) const COHORT: u8 = b'c';

impl Store {
    /// The cohorts among the accounts with these numbers, each by the numbers of its own, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cohorts(&self, among: Range<u32>) -> Result<Vec<Range<u32>>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Accounts)?);
        rows.seek(cohort_key(AccountNo(among.start)));
        let mut cohorts = Vec::new();
        while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&[COHORT])) {
            let cohort = self.read(Family::Accounts, key, read_cohort(key, value))?;
            if cohort.end > among.end {
                break;
            }
            cohorts.push(cohort);
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok(cohorts)
    }

    /// What all of a cohort hold after the block at this height, by their stored balances: says nothing about coverage. `first`: the
    /// cohort's first account.
    ///
    /// # Errors
    /// When the database fails.
    pub fn total(&self, first: AccountNo, asset: Asset, at: Height) -> Result<Wide, StoreError> {
        let prefix = account_prefix(first, asset);
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Holdings)?);
        rows.seek_for_prev(total_key(Writer::default(), (first, asset), at).0);
        rows.status().map_err(|error| self.database(error))?;
        match rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
            Some((key, value)) => self.read(Family::Holdings, key, read_total(value)),
            None => Ok(Wide::ZERO),
        }
    }
}

/// The cohort, of these in order, that an account is in.
pub(crate) fn cohort_of(cohorts: &[Range<u32>], account: AccountNo) -> Option<AccountNo> {
    let cohort = cohorts.get(cohorts.partition_point(|cohort| cohort.end <= account.0))?;
    cohort.contains(&account.0).then_some(AccountNo(cohort.start))
}

/// The totals of some cohorts as blocks change them. What is here is newer than what is in the database, which gets it with the window.
pub(crate) struct Totals<'a> {
    store: &'a Store,
    cohorts: Vec<Range<u32>>,
    running: HashMap<Pair, Total, RandomState>,
    /// What the block changed; some may come twice.
    changed: Vec<Pair>,
}

struct Total {
    now: Wide,
    /// As of the last row.
    noted: Wide,
}

impl Totals<'_> {
    /// Of the cohorts among the accounts with these numbers.
    pub fn among(store: &Store, numbers: Range<u32>) -> Result<Totals<'_>, StoreError> {
        let (running, changed) = (HashMap::default(), Vec::new());
        Ok(Totals { store, cohorts: store.cohorts(numbers)?, running, changed })
    }

    /// A balance went from one amount to another.
    pub fn change(&mut self, (account, asset): Pair, before: Amount, after: Amount) -> Result<(), StoreError> {
        let Some(cohort) = cohort_of(&self.cohorts, account) else { return Ok(()) };
        let pair = (cohort, asset);
        let total = match self.running.get_mut(&pair) {
            Some(total) => total,
            None => {
                let noted = self.store.total(cohort, asset, Height(u64::MAX))?;
                self.running.entry(pair).or_insert(Total { now: noted, noted })
            }
        };
        let rest = total.now.checked_sub(Wide::from(before.0));
        let less = || self.store.damaged(format!("the cohort of account {} holds less than one of them", cohort.0));
        total.now = rest.ok_or_else(less)? + Wide::from(after.0);
        if self.changed.last() != Some(&pair) {
            self.changed.push(pair);
        }
        Ok(())
    }

    /// What the block changed, all in all.
    pub fn each_changed(&mut self, mut see: impl FnMut(Pair, Wide)) {
        for pair in self.changed.drain(..) {
            if let Some(total) = self.running.get_mut(&pair).filter(|total| total.now != total.noted) {
                total.noted = total.now;
                see(pair, total.now);
            }
        }
    }
}

pub(crate) fn cohort_key(first: AccountNo) -> Vec<u8> {
    Writer::default().u8(COHORT).account(first).0
}

fn read_cohort(key: &[u8], value: &[u8]) -> Option<Range<u32>> {
    let (mut first, mut end) = (Reader(&key[1..]), Reader(value));
    let cohort = first.account()?.0..end.account()?.0;
    (first.0.is_empty() && end.0.is_empty() && !cohort.is_empty()).then_some(cohort)
}

pub(crate) fn total_key(row: Writer, (first, asset): Pair, at: Height) -> Writer {
    row.account(first).asset(asset).u64(at.0)
}

pub(crate) fn read_total_key(key: &[u8]) -> Option<(Pair, Height)> {
    let mut row = Reader(key);
    let pair = (row.account()?, row.asset()?);
    Some((pair, height_of(row.0)?))
}

pub(crate) fn read_total(value: &[u8]) -> Option<Wide> {
    let mut row = Reader(value);
    let total = row.sum()?;
    row.end(total)
}
