//! Accounts that are announced before anybody uses them: after a block they were proven to hold nothing, so they are followed
//! from there on, and no block below has to be read again. What they held before is unknown for good.

use assay_types::{Account, AccountNo, BlockRef, Height, Pair, Reading};
use rocksdb::WriteBatch;

use crate::bytes::{Reader, Writer};
use crate::changes::{Change, Changes};
use crate::declare::{NEXT_KEY, PUBLISHED_KEY, ROUND_KEY, account_key, number_key};
use crate::rows::{account_prefix, height_key, height_of};
use crate::{Coverage, Family, Round, Store, StoreError};

impl Store {
    /// Follows accounts that nobody knows yet from the block `at` on, after which they hold nothing as these readings say, in which
    /// an account's number is its place. If that block is not the last one, a round is begun that has only the blocks above
    /// it to read. `walked`: no state tells what they hold once that block is taken back, so they are to be proven again then.
    ///
    /// # Errors
    /// When the database fails.
    ///
    /// # Panics
    /// When the block is not ours, an account is known, or others are being filled in: the caller, who holds the pen, looks first.
    pub fn announce(
        &self,
        accounts: &[Account],
        at: BlockRef,
        readings: &[Reading],
        walked: bool,
    ) -> Result<(), StoreError> {
        let first = self.forget_unnumbered()?;
        assert!(!self.is_filling_in()?, "accounts that are filled in come first");
        assert!(self.header(at.height)?.is_some_and(|ours| ours.hash == at.hash), "a block of ours");
        let mut batch = WriteBatch::default();
        let (family, mut next) = (self.family(Family::Accounts)?, first);
        for account in accounts {
            assert!(self.number(account)?.is_none(), "nobody knows it yet");
            batch.put_cf(family, account_key(account), next.to_be_bytes());
            batch.put_cf(family, number_key(AccountNo(next)), &account.0);
            next += 1;
        }
        let number = |place: AccountNo| AccountNo(first + place.0);
        self.know_nothing_below(at.height, readings.iter().map(|one| (number(one.account), one.asset)), &mut batch)?;
        let (mut changes, mut rows) = (Changes::new(self), self.coverage_rows()?);
        for reading in readings {
            let reading = Reading { account: number(reading.account), ..reading.clone() };
            assert!(reading.balance.as_ref().map_or(true, |balance| balance.is_zero()), "it holds nothing");
            self.cover(at.height, &reading, false, None, &mut rows, &mut changes)?;
        }
        let mut changes = changes.into_list();
        // There is no such row; taking the block back makes it.
        let again = |number| Change {
            family: Family::Accounts,
            key: again_key(AccountNo(number)),
            before: Some(height_key(at.height)),
            after: None,
        };
        changes.extend((first..next).filter(|_| walked).map(again));
        self.write_late(at.height, &changes, &mut batch)?;
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, NEXT_KEY, next.to_be_bytes());
        if self.tip()?.is_some_and(|tip| tip.height == at.height) {
            batch.put_cf(meta, PUBLISHED_KEY, next.to_be_bytes());
        } else {
            let round = Round { from: AccountNo(first), to: AccountNo(next), next: at.height.next() };
            batch.put_cf(meta, ROUND_KEY, round.value());
        }
        self.commit(batch, true)
    }

    /// The reason stays when the block is taken back.
    fn know_nothing_below(
        &self,
        at: Height,
        pairs: impl Iterator<Item = Pair>,
        batch: &mut WriteBatch,
    ) -> Result<(), StoreError> {
        let Some(lowest) = self.first_height()?.filter(|lowest| *lowest < at) else { return Ok(()) };
        let before = Coverage::Unknown(format!("announced at block {at}")).value();
        for (account, asset) in pairs {
            let key = Coverage::key(&account_prefix(account, asset), lowest);
            batch.put_cf(self.family(Family::Coverage)?, key, &before);
        }
        Ok(())
    }

    /// Announced accounts whose block was taken back, and of which nothing is known until they are proven again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn to_prove_again(&self) -> Result<Vec<(AccountNo, Account)>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Accounts)?);
        rows.seek([AGAIN]);
        let mut found = Vec::new();
        while let Some(key) = rows.key().filter(|key| key.starts_with(&[AGAIN])) {
            let mut row = Reader(&key[1..]);
            let number = row.account().and_then(|number| row.end(number));
            let number = self.read(Family::Accounts, key, number)?;
            found.push((number, self.account(number)?));
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok(found)
    }

    /// What such accounts hold after the block `at`, which is ours: where it is what was seen of them since they were announced,
    /// they are known from there on. Where it is not, they held something before, on the branch that the chain took: they stay
    /// unknown, and are given back. What could not be read is asked again; so is what is said of a block after which there are
    /// some that were not read for them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prove_again(&self, at: BlockRef, readings: &[Reading]) -> Result<Vec<AccountNo>, StoreError> {
        let (mut changes, mut differing) = (Changes::new(self), Vec::new());
        for Reading { account, asset, balance, .. } in readings {
            let (Ok(balance), key) = (balance, again_key(*account)) else { continue };
            let Some(row) = self.get(Family::Accounts, &key)? else { continue };
            // The blocks up to the one that is still there below the announcement's were indexed before it was made.
            if at.height.next() < self.read(Family::Accounts, &key, height_of(&row))? {
                continue;
            }
            changes.delete(Family::Accounts, key)?;
            if *balance != self.balance(*account, *asset, at.height)? {
                differing.push(*account);
            } else if matches!(self.noted_coverage(*account, *asset, at.height)?, Coverage::Unknown(_)) {
                let key = Coverage::key(&account_prefix(*account, *asset), at.height);
                changes.put(Family::Coverage, key, Coverage::Unproven.value())?;
            }
        }
        let mut batch = WriteBatch::default();
        self.write_late(at.height, &changes.into_list(), &mut batch)?;
        self.amend(|| self.commit(batch, true))?;
        Ok(differing)
    }
}

/// Rows of accounts that are to be proven again begin so.
const AGAIN: u8 = b'p';

fn again_key(number: AccountNo) -> Vec<u8> {
    Writer::default().u8(AGAIN).account(number).0
}
