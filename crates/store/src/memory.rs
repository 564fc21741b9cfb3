//! What is kept in memory while many blocks are applied one after another, so that the database need not be asked for every
//! input and every balance.

use std::ops::Range;

use assay_types::{AccountNo, Amount, Asset, Fingerprint, Outpoint, Pair, Spend};
use foldhash::fast;
use hashbrown::{HashMap, HashTable};

use crate::rows::Unspent;
use crate::{Family, Store, StoreError};

/// A number for each unspent output of some accounts, and the balances of those that moved.
pub struct Memory {
    pub(crate) unspent: Fingerprints,
    pub(crate) balances: Balances,
}

impl Memory {
    /// Of accounts that nothing was read for yet: they hold nothing. Theirs are the numbers from `first` to `end` (exclusive).
    pub(crate) fn of_nothing(first: AccountNo, end: AccountNo) -> Memory {
        Memory { unspent: Fingerprints::default(), balances: Balances::new(first, end, 0) }
    }

    /// Of what the database holds of those accounts.
    pub(crate) fn load(store: &Store, first: AccountNo, end: AccountNo) -> Result<Memory, StoreError> {
        let mut unspent = Fingerprints::default();
        let mut rows = store.db.raw_iterator_cf(store.family(Family::Outpoints)?);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            let of = store.read(Family::Outpoints, key, Unspent::read(value))?.account;
            if (first..end).contains(&of) {
                unspent.insert(&store.read(Family::Outpoints, key, Unspent::read_key(key))?);
            }
            rows.next();
        }
        rows.status().map_err(|error| store.database(error))?;
        Ok(Memory { unspent, balances: Balances::new(first, end, UNKNOWN) })
    }
}

/// The fingerprint of each outpoint, as often as there are outpoints with that one: what has none is not among them, and what
/// has one nearly always is. 10 to 20 bytes each.
pub(crate) struct Fingerprints {
    of: Fingerprint,
    numbers: HashTable<u64>,
}

impl Default for Fingerprints {
    fn default() -> Fingerprints {
        Fingerprints { of: Fingerprint::get(), numbers: HashTable::new() }
    }
}

impl Fingerprints {
    #[inline]
    pub fn may_have(&self, spend: Spend) -> bool {
        let number = spend.fingerprint;
        self.numbers.find(number, |other| *other == number).is_some()
    }

    pub fn insert(&mut self, outpoint: &Outpoint) {
        let number = self.of.of(outpoint);
        self.numbers.insert_unique(number, number, |number| *number);
    }

    pub fn remove(&mut self, outpoint: &Outpoint) {
        let number = self.of.of(outpoint);
        if let Ok(entry) = self.numbers.find_entry(number, |other| *other == number) {
            entry.remove();
        }
    }
}

/// Balances in the native coin of the accounts that moved: of a million that are followed most never do. Some 20 bytes each.
pub(crate) struct Balances {
    numbers: Range<u32>,
    units: HashMap<u32, u64, fast::RandomState>,
    /// Of an account of which nothing was noted.
    others: u64,
}

/// The database is to be asked, also for what has more than 64 bits.
const UNKNOWN: u64 = u64::MAX;

impl Balances {
    fn new(first: AccountNo, end: AccountNo, others: u64) -> Balances {
        Balances { numbers: first.0..end.0, units: HashMap::default(), others }
    }

    pub fn get(&self, pair: Pair) -> Option<Amount> {
        let units = self.units.get(&self.number(pair)?).unwrap_or(&self.others);
        (*units != UNKNOWN).then(|| Amount::from(*units))
    }

    /// Could it be noted? Where it could not, the database must be asked the next time.
    #[must_use]
    pub fn set(&mut self, pair: Pair, balance: Amount) -> bool {
        let Some(number) = self.number(pair) else { return false };
        let units = u64::try_from(balance.0).unwrap_or(UNKNOWN);
        self.units.insert(number, units);
        units != UNKNOWN
    }

    fn number(&self, (account, asset): Pair) -> Option<u32> {
        Some(account.0).filter(|number| asset == Asset::Native && self.numbers.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::TxId;

    #[test]
    fn outpoints_are_remembered_as_often_as_they_came() {
        let outpoint = |n: u8| Outpoint { txid: TxId([n; 32]), vout: u32::from(n) };
        let mut some = Fingerprints::default();
        for n in [1, 2, 2] {
            some.insert(&outpoint(n));
        }
        let spend = |n: u8| Spend { fingerprint: Fingerprint::get().of(&outpoint(n)), tx: 0, place: 0 };
        some.remove(&outpoint(2));
        assert!(some.may_have(spend(1)) && some.may_have(spend(2)) && !some.may_have(spend(3)));
        some.remove(&outpoint(2));
        assert!(!some.may_have(spend(2)));
    }

    #[test]
    fn what_is_too_large_or_of_others_is_asked_of_the_database() {
        let native = |n| (AccountNo(n), Asset::Native);
        let mut some = Balances::new(AccountNo(5), AccountNo(7), 0);
        assert_eq!(some.get(native(6)), Some(Amount::ZERO));
        assert!(some.set(native(6), Amount::from(3)) && !some.set(native(5), Amount::MAX));
        assert_eq!((some.get(native(6)), some.get(native(5))), (Some(Amount::from(3)), None));
        assert!(!some.set(native(7), Amount::ZERO) && some.get(native(4)).is_none());
        assert!(some.get((AccountNo(6), Asset::Token([1; 20]))).is_none());
    }
}
