//! Which accounts are followed. The ones that come after blocks were indexed are filled in first, unpublished: until
//! then nothing is said about them.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::mpsc::sync_channel;

use assay_types::{Account, AccountNo, Height, Watch};
use rocksdb::WriteBatch;
use sha2::{Digest as _, Sha256};

use crate::bytes::{Reader, Writer};
use crate::cohorts::{COHORT, COHORT_ACCOUNTS, cohort_key};
use crate::table::Rows;
use crate::{Family, Store, StoreError};

/// How many rows that go are one write: few enough to stay small in memory.
const ROWS_A_WRITE: usize = 200_000;

/// So many are read at a time.
const ACCOUNTS_A_TIME: u32 = if cfg!(test) { 2 } else { 10_000 };

/// From so many on it is noted which accounts were declared.
const MANY_ACCOUNTS: usize = 10_000;

/// Rows from account to number, and from number to account, begin so.
const ACCOUNT: u8 = b'a';
const NUMBER: u8 = b'n';

pub(crate) const NEXT_KEY: &[u8] = b"accounts";
const DECLARED_KEY: &[u8] = b"declared";
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
    /// Makes the accounts known and says how many are new: of each group those that are in none before it get numbers one behind the
    /// other, and where they are many, are a cohort. Those declared before the first block are followed from it. All are known when this
    /// returns, or, after an error, none.
    ///
    /// # Errors
    /// When the database fails.
    ///
    /// # Panics
    /// When there are more than 2^32 accounts.
    pub fn declare<A: Borrow<Account>>(&self, groups: &[impl AsRef<[A]>]) -> Result<u32, StoreError> {
        let all = || groups.iter().flat_map(|group| group.as_ref().iter().map(A::borrow));
        // What was declared once is known for good, however it is grouped, and a million are not looked up again each time.
        let digest = (all().count() >= MANY_ACCOUNTS).then(|| digest(all()));
        if let (Some(digest), Some(last)) = (&digest, self.get(Family::Meta, DECLARED_KEY)?)
            && digest[..] == last[..]
        {
            return Ok(0);
        }
        let first = self.forget_unnumbered()?;
        let mut fresh: Vec<(&Account, u32)> = all().zip(0..).collect();
        // Of those that come twice the first stays. Sorted already, as they mostly are, they cost nothing to sort.
        fresh.sort_by_key(|(account, _)| *account);
        fresh.dedup_by_key(|(account, _)| *account);
        if first > 0 {
            let mut known = Ok(());
            fresh.retain(|(account, _)| match self.number(account) {
                Ok(number) => number.is_none(),
                Err(error) => {
                    known = Err(error);
                    false
                }
            });
            known?;
        }
        let cohorts = number_each(&mut fresh, first, groups.iter().map(|group| group.as_ref().len()));
        let next = first + narrow(fresh.len());
        let (mut batch, fresh) = (WriteBatch::default(), &fresh[..]);
        let by_account: Rows<'_> = Box::new(move |put| {
            let mut fresh = fresh.to_vec();
            fresh.sort_by_key(|(account, _)| *account);
            fresh.iter().try_for_each(|(account, number)| put(&account_key(account), &number.to_be_bytes()))?;
            cohorts.iter().try_for_each(|it| put(&cohort_key(AccountNo(it.start)), &it.end.to_be_bytes()))
        });
        let by_number: Rows<'_> = Box::new(move |put| {
            fresh.iter().try_for_each(|(account, number)| put(&number_key(AccountNo(*number)), &account.0))
        });
        self.put_sorted(Family::Accounts, 2 * fresh.len(), &mut batch, vec![by_account, by_number])?;
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, NEXT_KEY, next.to_be_bytes());
        if self.tip()?.is_none() {
            batch.put_cf(meta, PUBLISHED_KEY, next.to_be_bytes());
            batch.delete_cf(meta, ROUND_KEY); // its blocks were all taken back
        }
        if let Some(digest) = digest {
            batch.put_cf(meta, DECLARED_KEY, digest);
        }
        self.commit(batch, true)?;
        Ok(next - first)
    }

    /// Says which number comes next. Rows from that number on are of a declaring that did not come to its end, and go.
    pub(crate) fn forget_unnumbered(&self) -> Result<u32, StoreError> {
        let (next, family) = (self.counter(NEXT_KEY)?, self.family(Family::Accounts)?);
        for (kind, from) in [(COHORT, cohort_key(AccountNo(next))), (NUMBER, number_key(AccountNo(next)))] {
            loop {
                let (mut rows, mut batch) = (self.db.raw_iterator_cf(family), WriteBatch::default());
                rows.seek(&from);
                while let Some((key, account)) = rows.item().filter(|(key, _)| key[0] == kind)
                    && batch.len() < ROWS_A_WRITE
                {
                    batch.delete_cf(family, key);
                    if kind == NUMBER {
                        batch.delete_cf(family, account_key(&Account::new(account)));
                    }
                    rows.next();
                }
                rows.status().map_err(|error| self.database(error))?;
                if batch.is_empty() {
                    break;
                }
                self.commit(batch, true)?;
            }
        }
        Ok(next)
    }

    /// Every account that is followed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn watch(&self) -> Result<Watch, StoreError> {
        self.numbered(AccountNo(0), AccountNo(self.counter(PUBLISHED_KEY)?))
    }

    /// Adds those that are followed and not among these yet.
    ///
    /// # Errors
    /// When the database fails.
    pub fn extend_watch(&self, watch: &mut Watch) -> Result<(), StoreError> {
        let published = AccountNo(self.counter(PUBLISHED_KEY)?);
        if watch.is_empty() {
            *watch = Watch::with_room(AccountNo(0), published.0 as usize);
        }
        self.add_numbered(watch, published)
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
        self.begin_round_at(round, first)?;
        Ok(Some(round))
    }

    /// Lets a round of which no block was read begin at this one: nothing is said of its accounts below.
    ///
    /// # Errors
    /// When the database fails.
    pub fn begin_round_at(&self, round: Round, next: Height) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(Family::Meta)?, ROUND_KEY, Round { next, ..round }.value());
        self.commit(batch, true)
    }

    /// Ends a round that has reached the tip: its accounts are followed from here on. What is known of them was written before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn publish(&self, round: Round) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, PUBLISHED_KEY, round.to.0.to_be_bytes());
        batch.delete_cf(meta, ROUND_KEY);
        self.put_all_read(&mut batch, None)?; // they were not
        self.amend(|| self.commit(batch, true))
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
        // A declaring that did not come to its end may have left rows, which nothing says yet that they count.
        let is_followed = number < self.counter(PUBLISHED_KEY)?;
        Ok((is_followed || number < self.counter(NEXT_KEY)?).then_some((AccountNo(number), is_followed)))
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

    /// The bytes of every account with one of these numbers, in order: many are found so much sooner than one by one.
    ///
    /// # Errors
    /// When there is none with one of them, or the database fails.
    pub fn each_account(&self, numbers: Range<u32>, mut see: impl FnMut(&[u8])) -> Result<(), StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Accounts)?);
        rows.seek(number_key(AccountNo(numbers.start)));
        for number in numbers {
            rows.status().map_err(|error| self.database(error))?;
            let expected = number_key(AccountNo(number));
            let account = rows.item().filter(|(key, _)| *key == expected).map(|(_, account)| account);
            see(self.read(Family::Accounts, &expected, account)?);
            rows.next();
        }
        Ok(())
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

    pub(crate) fn current_round(&self) -> Result<Option<Round>, StoreError> {
        let Some(row) = self.get(Family::Meta, ROUND_KEY)? else { return Ok(None) };
        self.read(Family::Meta, ROUND_KEY, Round::read(&row)).map(Some)
    }

    fn numbered(&self, from: AccountNo, to: AccountNo) -> Result<Watch, StoreError> {
        let mut watch = Watch::with_room(from, to.0.saturating_sub(from.0) as usize);
        self.add_numbered(&mut watch, to)?;
        Ok(watch)
    }

    /// Adds the accounts from the watch's next number on, up to this one (exclusive).
    fn add_numbered(&self, watch: &mut Watch, to: AccountNo) -> Result<(), StoreError> {
        let from = watch.next();
        if from >= to {
            return Ok(());
        }
        if to.0 - from.0 < ACCOUNTS_A_TIME {
            return self.each_account(from.0..to.0, |account| watch.push(account));
        }
        // While some are entered the next ones are read.
        std::thread::scope(|scope| {
            let (give, given) = sync_channel::<Vec<u8>>(4);
            let reading = scope.spawn(move || {
                for start in (from.0..to.0).step_by(ACCOUNTS_A_TIME as usize) {
                    let (end, mut some) = (to.0.min(start.saturating_add(ACCOUNTS_A_TIME)), Vec::new());
                    self.each_account(start..end, |account| {
                        some.extend_from_slice(&account.len().to_le_bytes());
                        some.extend_from_slice(account);
                    })?;
                    let _ = give.send(some); // it is taken until there is no more
                }
                Ok(())
            });
            for some in given {
                let mut rest = &some[..];
                while let Some((length, behind)) = rest.split_first_chunk() {
                    let (account, others) = behind.split_at(usize::from_le_bytes(*length));
                    watch.push(account);
                    rest = others;
                }
            }
            reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
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
        let round = Round::read_one(&mut row)?;
        row.end(round)
    }

    pub(crate) fn read_one(row: &mut Reader<'_>) -> Option<Round> {
        Some(Round { from: row.account()?, to: row.account()?, next: Height(row.u64()?) })
    }
}

/// Turns the places of accounts among all that are declared into numbers, from `first` on, and says which of them are cohorts.
fn number_each(fresh: &mut [(&Account, u32)], first: u32, groups: impl Iterator<Item = usize>) -> Vec<Range<u32>> {
    fresh.sort_by_key(|(_, place)| *place);
    let (mut cohorts, mut end) = (vec![], 0);
    for length in groups {
        let start = end;
        end += narrow(length);
        let [from, to] = [start, end].map(|end| fresh.partition_point(|(_, place)| *place < end));
        if to - from >= COHORT_ACCOUNTS {
            cohorts.push(first + narrow(from)..first + narrow(to));
        }
    }
    fresh.iter_mut().zip(first..).for_each(|((_, place), number)| *place = number);
    cohorts
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("numbers have 32 bits")
}

/// SHA-256 of the accounts in order, each behind its length.
fn digest<'a>(accounts: impl Iterator<Item = &'a Account>) -> [u8; 32] {
    let each = |hash: Sha256, account: &Account| {
        hash.chain_update((account.0.len() as u64).to_be_bytes()).chain_update(&account.0)
    };
    accounts.fold(Sha256::new(), each).finalize().into()
}

pub(crate) fn account_key(account: &Account) -> Vec<u8> {
    Writer::default().u8(ACCOUNT).raw(&account.0).0
}

pub(crate) fn number_key(number: AccountNo) -> Vec<u8> {
    Writer::default().u8(NUMBER).account(number).0
}
