//! Where walking the blocks proves what accounts hold: one row for each says so, from the first block on.

use std::ops::Range;

use assay_types::{AccountNo, Asset, Height};
use rocksdb::WriteBatch;

use crate::declare::PUBLISHED_KEY;
use crate::rows::account_prefix;
use crate::table::Rows;
use crate::{Coverage, Family, Round, Store, StoreError};

impl Store {
    /// Notes how well blocks from `first` on, read for the accounts of a round, prove what these hold in the native coin: those of
    /// which nothing is said at `first` yet. Of those that were announced something is. Nobody hears of it before they are published.
    /// Says whether some are unproven from there on.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cover_round(&self, round: Round, first: Height, grade: &Coverage) -> Result<bool, StoreError> {
        self.cover_each(round.from.0..round.to.0, first, grade)
    }

    /// Notes that walking the blocks from `first` proves everything about the accounts in the native coin: those that were
    /// followed from there, and of which nothing is said at `first` yet. Of those that were announced something is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cover_by_walking(&self, first: Height) -> Result<(), StoreError> {
        let published = self.counter(PUBLISHED_KEY)?;
        // They are covered in the order of their numbers, so the first that is not is found by halving.
        let (mut covered, mut end) = (0, published);
        while covered < end {
            let middle = covered + (end - covered) / 2;
            match self.get(Family::Coverage, &walked_key(AccountNo(middle), first))? {
                Some(_) => covered = middle + 1,
                None => end = middle,
            }
        }
        if covered < published {
            self.amend(|| self.cover_each(covered..published, first, &Coverage::Verified))?;
        }
        Ok(())
    }

    fn cover_each(&self, numbers: Range<u32>, first: Height, grade: &Coverage) -> Result<bool, StoreError> {
        let (grade, unproven, mut is_one_unproven) = (grade.value(), Coverage::Unproven.value(), false);
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Coverage)?);
        rows.seek(walked_key(AccountNo(numbers.start), first));
        let mut batch = WriteBatch::default();
        let count = numbers.len();
        let each: Rows<'_> = Box::new(|put| {
            for number in numbers {
                let key = walked_key(AccountNo(number), first);
                while rows.key().is_some_and(|other| other < &key[..]) {
                    rows.next();
                }
                rows.status().map_err(|error| self.database(error))?;
                let known = rows.item().filter(|(other, _)| *other == key).map(|(_, grade)| grade);
                is_one_unproven |= known.unwrap_or(&grade) == unproven;
                if known.is_none() {
                    put(&key, &grade)?;
                }
            }
            Ok(())
        });
        self.put_sorted(Family::Coverage, count, &mut batch, vec![each])?;
        self.commit(batch, true)?;
        Ok(is_one_unproven)
    }
}

/// The row that says how well an account is known by walking blocks from the first one on.
pub(crate) fn walked_key(number: AccountNo, first: Height) -> Vec<u8> {
    Coverage::key(&account_prefix(number, Asset::Native), first)
}
