//! Which accounts are followed. The ones that come after blocks were indexed are filled in first, unpublished: until
//! then nothing is said about them.

use assay_types::{Account, AccountNo, Block, Height, Watch};
use rocksdb::WriteBatch;

use crate::bytes::{Reader, Writer};
use crate::rows::account_prefix;
use crate::{Coverage, Family, Store, StoreError};

/// How many accounts go into one write: enough to be fast, few enough to stay small in memory.
const ACCOUNTS_A_WRITE: usize = 100_000;

pub(crate) const NEXT_KEY: &[u8] = b"accounts";
pub(crate) const PUBLISHED_KEY: &[u8] = b"published";
pub(crate) const ROUND_KEY: &[u8] = b"round";

/// Accounts that are being filled in: numbers `from` to `to` (exclusive) are known below `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// The first number.
    pub from: AccountNo,
    /// The number after the last.
    pub to: AccountNo,
    /// The height that comes next.
    pub next: Height,
}

impl Store {
    /// Makes the accounts known and says how many are new. Those declared before the first block are followed from it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn declare(&self, accounts: &[Account]) -> Result<u32, StoreError> {
        let first = self.counter(NEXT_KEY)?;
        let fresh_store = self.tip()?.is_none();
        let mut next = first;
        let mut seen = std::collections::HashSet::new();
        for chunk in accounts.chunks(ACCOUNTS_A_WRITE) {
            let mut batch = WriteBatch::default();
            let family = self.family(Family::Accounts)?;
            for account in chunk {
                let (by_bytes, row) = (account_key(account), next.to_be_bytes());
                if self.get(Family::Accounts, &by_bytes)?.is_some() || !seen.insert(account) {
                    continue;
                }
                batch.put_cf(family, by_bytes, row);
                batch.put_cf(family, number_key(AccountNo(next)), &account.0);
                next += 1;
            }
            batch.put_cf(self.family(Family::Meta)?, NEXT_KEY, next.to_be_bytes());
            if fresh_store {
                batch.put_cf(self.family(Family::Meta)?, PUBLISHED_KEY, next.to_be_bytes());
                batch.delete_cf(self.family(Family::Meta)?, ROUND_KEY); // its blocks were all taken back
            }
            self.commit(batch, true)?;
        }
        Ok(next - first)
    }

    /// Every account that is followed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn watch(&self) -> Result<Watch, StoreError> {
        self.watch_from(AccountNo(0))
    }

    /// Those that are followed with this number and above.
    ///
    /// # Errors
    /// When the database fails.
    pub fn watch_from(&self, first: AccountNo) -> Result<Watch, StoreError> {
        self.numbered(first, AccountNo(self.counter(PUBLISHED_KEY)?))
    }

    /// Are there accounts that wait to be filled in, or are being filled in?
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_filling_in(&self) -> Result<bool, StoreError> {
        Ok(self.counter(NEXT_KEY)? != self.counter(PUBLISHED_KEY)?)
    }

    /// The accounts of a round.
    ///
    /// # Errors
    /// When the database fails.
    pub fn round_watch(&self, round: Round) -> Result<Watch, StoreError> {
        self.numbered(round.from, round.to)
    }

    /// The round to go on with, begun if accounts wait for one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn round(&self, first: Height) -> Result<Option<Round>, StoreError> {
        if let Some(round) = self.current_round()? {
            return Ok(Some(round));
        }
        let (from, to) = (AccountNo(self.counter(PUBLISHED_KEY)?), AccountNo(self.counter(NEXT_KEY)?));
        if from == to {
            return Ok(None);
        }
        let round = Round { from, to, next: first };
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(Family::Meta)?, ROUND_KEY, round.value());
        self.commit(batch, true)?;
        Ok(Some(round))
    }

    /// Writes what the round's next block did to its accounts, atomically with the round's progress.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn fill_in(&self, block: &Block, watch: &Watch, round: Round) -> Result<Round, StoreError> {
        let round = Round { next: block.header.height.next(), ..round };
        let mut batch = WriteBatch::default();
        self.fill(block, watch, &mut batch)?;
        batch.put_cf(self.family(Family::Meta)?, ROUND_KEY, round.value());
        self.commit(batch, false)?;
        Ok(round)
    }

    /// Ends a round that has reached the tip: its accounts are followed from here on.
    ///
    /// # Errors
    /// When the database fails.
    pub fn publish(&self, round: Round) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, PUBLISHED_KEY, round.to.0.to_be_bytes());
        batch.delete_cf(meta, ROUND_KEY);
        self.commit(batch, true)
    }

    /// Notes that walking the blocks from `first` proves everything about the accounts in the native coin: those that were
    /// followed from there, and of which nothing is said at `first` yet. Of those that were announced something is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn cover_by_walking(&self, first: Height) -> Result<(), StoreError> {
        let published = self.counter(PUBLISHED_KEY)?;
        let key = |number| Coverage::key(&account_prefix(AccountNo(number), assay_types::Asset::Native), first);
        // They are covered in the order of their numbers, so the first that is not is found by halving.
        let (mut covered, mut end) = (0, published);
        while covered < end {
            let middle = covered + (end - covered) / 2;
            match self.get(Family::Coverage, &key(middle))? {
                Some(_) => covered = middle + 1,
                None => end = middle,
            }
        }
        for chunk in (covered..published).collect::<Vec<_>>().chunks(ACCOUNTS_A_WRITE) {
            let mut batch = WriteBatch::default();
            for number in chunk {
                if self.get(Family::Coverage, &key(*number))?.is_none() {
                    batch.put_cf(self.family(Family::Coverage)?, key(*number), Coverage::Verified.value());
                }
            }
            self.amend(batch)?;
        }
        Ok(())
    }

    /// The number of an account that was ever declared, and whether it is followed by now.
    ///
    /// # Errors
    /// When the database fails.
    pub fn number(&self, account: &Account) -> Result<Option<(AccountNo, bool)>, StoreError> {
        let key = account_key(account);
        let Some(row) = self.get(Family::Accounts, &key)? else { return Ok(None) };
        let number = row.as_slice().try_into().ok().map(u32::from_be_bytes);
        let number = self.read(Family::Accounts, &key, number)?;
        Ok(Some((AccountNo(number), number < self.counter(PUBLISHED_KEY)?)))
    }

    /// The account with this number.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub fn account(&self, number: AccountNo) -> Result<Account, StoreError> {
        let key = number_key(number);
        let row = self.get(Family::Accounts, &key)?;
        self.read(Family::Accounts, &key, row).map(|bytes| Account(bytes.into()))
    }

    /// A round never runs ahead of the chain that it fills in.
    pub(crate) fn rewind_round(&self, batch: &mut WriteBatch, removed: Height) -> Result<(), StoreError> {
        if let Some(round) = self.current_round()?
            && round.next > removed
        {
            batch.put_cf(self.family(Family::Meta)?, ROUND_KEY, Round { next: removed, ..round }.value());
        }
        Ok(())
    }

    fn current_round(&self) -> Result<Option<Round>, StoreError> {
        let Some(row) = self.get(Family::Meta, ROUND_KEY)? else { return Ok(None) };
        self.read(Family::Meta, ROUND_KEY, Round::read(&row)).map(Some)
    }

    fn numbered(&self, from: AccountNo, to: AccountNo) -> Result<Watch, StoreError> {
        (from.0..to.0).map(|number| Ok((self.account(AccountNo(number))?, AccountNo(number)))).collect()
    }

    pub(crate) fn counter(&self, key: &[u8]) -> Result<u32, StoreError> {
        match self.get(Family::Meta, key)? {
            None => Ok(0),
            Some(row) => self.read(Family::Meta, key, row.as_slice().try_into().ok().map(u32::from_be_bytes)),
        }
    }
}

impl Round {
    pub(crate) fn value(self) -> Vec<u8> {
        Writer::default().account(self.from).account(self.to).u64(self.next.0).0
    }

    fn read(value: &[u8]) -> Option<Round> {
        let mut row = Reader(value);
        let round = Round { from: row.account()?, to: row.account()?, next: Height(row.u64()?) };
        row.end(round)
    }
}

pub(crate) fn account_key(account: &Account) -> Vec<u8> {
    Writer::default().u8(b'a').raw(&account.0).0
}

pub(crate) fn number_key(number: AccountNo) -> Vec<u8> {
    Writer::default().u8(b'n').account(number).0
}
