//! Questions: headers, balances, histories, transactions, coverage.

use std::ops::RangeInclusive;

use assay_types::{AccountNo, Amount, Asset, Header, Height, Kind, Outpoint, Pair, Timestamp, TxId};

use crate::declare::PUBLISHED_KEY;
use crate::rows::{HeaderRow, Unspent, account_prefix, height_key, height_of};
use crate::standing::{NOT_FOLLOWED, UNFOLLOWED, pair_of};
use crate::{Coverage, Family, Movement, Store, StoreError, Transaction};

const FINAL_KEY: &[u8] = b"final";
const UNSETTLED_KEY: &[u8] = b"unread";
const SKIMMED_KEY: &[u8] = b"skimmed";
const ALL_READ_KEY: &[u8] = b"all-read";
/// A coinbase output can be spent once it has this many confirmations.
const COINBASE_MATURITY: u64 = 100;

impl Store {
    /// The last block's header.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tip(&self) -> Result<Option<Header>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Headers)?);
        rows.seek_to_last();
        rows.status().map_err(|error| self.database(error))?;
        let Some((key, value)) = rows.item() else { return Ok(None) };
        let header = height_of(key).and_then(|height| HeaderRow::read(height, value));
        self.read(Family::Headers, key, header).map(|row| Some(row.header))
    }

    /// The header at a height.
    ///
    /// # Errors
    /// When the database fails.
    pub fn header(&self, height: Height) -> Result<Option<Header>, StoreError> {
        Ok(self.header_row(height)?.map(|row| row.header))
    }

    pub(crate) fn header_row(&self, height: Height) -> Result<Option<HeaderRow>, StoreError> {
        let key = height_key(height);
        let Some(value) = self.get(Family::Headers, &key)? else { return Ok(None) };
        self.read(Family::Headers, &key, HeaderRow::read(height, &value)).map(Some)
    }

    /// The latest time that a block up to this height claims: unlike the blocks' own times it never goes back.
    ///
    /// # Errors
    /// When the database fails.
    pub fn latest_time(&self, height: Height) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.header_row(height)?.map(|row| row.latest))
    }

    /// The first height that is indexed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn first_height(&self) -> Result<Option<Height>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Headers)?);
        rows.seek_to_first();
        rows.status().map_err(|error| self.database(error))?;
        rows.key().map(|key| self.read(Family::Headers, key, height_of(key))).transpose()
    }

    /// The first indexed block whose time is later than this instant.
    ///
    /// # Errors
    /// When the database fails.
    pub fn first_later_than(&self, instant: Timestamp) -> Result<Option<Header>, StoreError> {
        let (Some(first), Some(tip)) = (self.first_height()?, self.tip()?) else { return Ok(None) };
        let (mut low, mut high) = (first, tip.height.next());
        while low < high {
            let middle = Height(low.0 + (high.0 - low.0) / 2);
            let row = self.header_row(middle)?.ok_or_else(|| self.damaged(format!("no header {middle}")))?;
            // The latest time so far never goes back; where it first passes the instant, that block's own time did.
            if row.latest > instant { high = middle } else { low = middle.next() }
        }
        self.header(low)
    }

    /// The last height that may be relied upon, as noted by [`Store::set_final`].
    ///
    /// # Errors
    /// When the database fails.
    pub fn final_height(&self) -> Result<Option<Height>, StoreError> {
        let Some(row) = self.get(Family::Meta, FINAL_KEY)? else { return Ok(None) };
        self.read(Family::Meta, FINAL_KEY, height_of(&row)).map(Some)
    }

    /// Notes the last height that may be relied upon.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_final(&self, height: Option<Height>) -> Result<(), StoreError> {
        if self.final_height()? == height {
            return Ok(());
        }
        let mut batch = rocksdb::WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        match height {
            Some(height) => batch.put_cf(meta, FINAL_KEY, height_key(height)),
            None => batch.delete_cf(meta, FINAL_KEY),
        }
        self.commit(batch, true)
    }

    /// Above which block others were applied after which not everyone was looked at yet: what changed there and left no trace is not known.
    /// `None` where everyone was.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unsettled_above(&self) -> Result<Option<Height>, StoreError> {
        let Some(row) = self.get(Family::Meta, UNSETTLED_KEY)? else { return Ok(None) };
        // Versions before noted no height.
        self.read(Family::Meta, UNSETTLED_KEY, if row.is_empty() { Some(Height(0)) } else { height_of(&row) }).map(Some)
    }

    /// Notes that, before the first of these blocks is applied, and that it is done.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_unsettled_above(&self, height: Option<Height>) -> Result<(), StoreError> {
        if self.unsettled_above()? == height {
            return Ok(());
        }
        let mut batch = rocksdb::WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        match height {
            Some(height) => batch.put_cf(meta, UNSETTLED_KEY, height_key(height)),
            None => batch.delete_cf(meta, UNSETTLED_KEY),
        }
        self.commit(batch, true)
    }

    /// Up to which block some were applied after which not everyone was read: two proofs of a token on both sides of such a one do not tell what lies between,
    /// for a token's balance may change, and come back, with no event.
    ///
    /// # Errors
    /// When the database fails.
    pub fn skimmed(&self) -> Result<Option<Height>, StoreError> {
        let Some(row) = self.get(Family::Meta, SKIMMED_KEY)? else { return Ok(None) };
        self.read(Family::Meta, SKIMMED_KEY, height_of(&row)).map(Some)
    }

    /// Notes that, before the first of these blocks is applied.
    ///
    /// # Errors
    /// When the database fails.
    pub fn note_skimmed(&self, up_to: Height) -> Result<(), StoreError> {
        if self.skimmed()? >= Some(up_to) {
            return Ok(());
        }
        let mut batch = rocksdb::WriteBatch::default();
        batch.put_cf(self.family(Family::Meta)?, SKIMMED_KEY, height_key(up_to));
        self.commit(batch, true)
    }

    /// The last blocks in a row after each of which everyone was read: what was known of a balance was right there, also where nothing was written of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn all_read(&self) -> Result<Option<RangeInclusive<Height>>, StoreError> {
        let Some(row) = self.get(Family::Meta, ALL_READ_KEY)? else { return Ok(None) };
        let heights = row.split_at_checked(8).and_then(|(from, to)| Some(height_of(from)?..=height_of(to)?));
        self.read(Family::Meta, ALL_READ_KEY, heights).map(Some)
    }

    /// Notes that of these blocks, which are applied. They join those right before them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn note_all_read(&self, blocks: RangeInclusive<Height>) -> Result<(), StoreError> {
        let (mut from, to) = blocks.into_inner();
        if let Some(before) = self.all_read()?
            && before.contains(&from.previous().unwrap_or(from))
        {
            from = from.min(*before.start());
        }
        let mut batch = rocksdb::WriteBatch::default();
        self.put_all_read(&mut batch, Some(from..=to))?;
        self.commit(batch, false)
    }

    /// Of blocks that are taken back it is not so any more.
    pub(crate) fn rewind_all_read(&self, batch: &mut rocksdb::WriteBatch, removed: Height) -> Result<(), StoreError> {
        match self.all_read()? {
            Some(read) if *read.end() >= removed => {
                let left = removed.previous().map(|to| *read.start()..=to).filter(|left| !left.is_empty());
                self.put_all_read(batch, left)
            }
            _ => Ok(()),
        }
    }

    /// `None`: of none.
    pub(crate) fn put_all_read(
        &self,
        batch: &mut rocksdb::WriteBatch,
        blocks: Option<RangeInclusive<Height>>,
    ) -> Result<(), StoreError> {
        let meta = self.family(Family::Meta)?;
        match blocks {
            Some(blocks) => {
                batch.put_cf(meta, ALL_READ_KEY, [height_key(*blocks.start()), height_key(*blocks.end())].concat())
            }
            None => batch.delete_cf(meta, ALL_READ_KEY),
        }
        Ok(())
    }

    /// Why nothing is said of the state after this block yet, where that is so.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unsettled(&self, at: Height) -> Result<Option<String>, StoreError> {
        let above = self.unsettled_above()?.filter(|above| *above < at);
        Ok(above.map(|above| format!("after block {above} not everyone was looked at yet: run assay index to its end")))
    }

    /// The balance after the block at this height: the last movement up to it, or zero. Says nothing about coverage.
    ///
    /// # Errors
    /// When the database fails.
    pub fn balance(&self, account: AccountNo, asset: Asset, at: Height) -> Result<Amount, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Movements)?);
        self.seek_balance(&mut rows, (account, asset), at)
    }

    pub(crate) fn latest_balance(&self, account: AccountNo, asset: Asset) -> Result<Amount, StoreError> {
        self.balance(account, asset, Height(u64::MAX))
    }

    /// The part of a balance that is coinbase outputs of fewer than 100 confirmations. They cannot have been spent.
    ///
    /// # Errors
    /// When the database fails.
    pub fn immature(&self, account: AccountNo, at: Height) -> Result<Amount, StoreError> {
        let from = Height(at.0.saturating_add(2).saturating_sub(COINBASE_MATURITY));
        let mut sum = Amount::ZERO;
        for movement in self.movements(account, Asset::Native, from, at)? {
            let movement = movement?;
            if movement.kind == Kind::Coinbase {
                let added = sum.checked_add(movement.amount);
                sum = added.ok_or_else(|| self.damaged("coinbase amounts above 2^256 - 1".into()))?;
            }
        }
        Ok(sum)
    }

    /// The movements of an account in an asset from one height to another, both included, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn movements(
        &self,
        account: AccountNo,
        asset: Asset,
        from: Height,
        to: Height,
    ) -> Result<impl Iterator<Item = Result<Movement, StoreError>> + '_, StoreError> {
        let prefix = account_prefix(account, asset);
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Movements)?);
        rows.seek(Movement::key_at(&prefix, from, 0));
        Ok(std::iter::from_fn(move || {
            if let Err(error) = rows.status() {
                return Some(Err(self.database(error)));
            }
            let (key, value) = rows.item().filter(|(key, _)| key.starts_with(&prefix))?;
            let movement = self.read(Family::Movements, key, Movement::read(&key[prefix.len()..], value));
            rows.next();
            (!matches!(&movement, Ok(movement) if movement.height > to)).then_some(movement)
        }))
    }

    /// The movements of an account in an asset before one at this height and place, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn movements_before(
        &self,
        account: AccountNo,
        asset: Asset,
        (height, place): (Height, u32),
    ) -> Result<impl Iterator<Item = Result<Movement, StoreError>> + '_, StoreError> {
        let prefix = account_prefix(account, asset);
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Movements)?);
        let before = Movement::key_at(&prefix, height, place);
        rows.seek_for_prev(&before);
        if rows.key() == Some(&before[..]) {
            rows.prev();
        }
        Ok(std::iter::from_fn(move || {
            if let Err(error) = rows.status() {
                return Some(Err(self.database(error)));
            }
            let (key, value) = rows.item().filter(|(key, _)| key.starts_with(&prefix))?;
            let movement = self.read(Family::Movements, key, Movement::read(&key[prefix.len()..], value));
            rows.prev();
            Some(movement)
        }))
    }

    /// How well an account's balance in an asset is known after the block at this height.
    ///
    /// # Errors
    /// When the database fails.
    pub fn coverage(&self, account: AccountNo, asset: Asset, at: Height) -> Result<Coverage, StoreError> {
        match self.unsettled(at)? {
            Some(why) => Ok(Coverage::Unknown(why)),
            None => self.noted_coverage(account, asset, at),
        }
    }

    /// The same by what is noted of it, whether everyone was looked at or not.
    ///
    /// # Errors
    /// When the database fails.
    pub fn noted_coverage(&self, account: AccountNo, asset: Asset, at: Height) -> Result<Coverage, StoreError> {
        let prefix = account_prefix(account, asset);
        match self.last_coverage(&prefix, at)? {
            Some((_, grade)) => Ok(grade),
            None => Ok(Coverage::Unknown(self.why_unfollowed(&prefix)?)),
        }
    }

    /// Within which of these heights, both inclusive, a balance is unknown, and why. From 0 on means from where it is followed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unknown_within(
        &self,
        (account, asset): Pair,
        from: Height,
        to: Height,
    ) -> Result<Vec<(Height, Height, String)>, StoreError> {
        let (prefix, mut rows, mut unknown) = (account_prefix(account, asset), self.coverage_rows()?, Vec::new());
        let mut open = match self.seek_coverage(&mut rows, &prefix, from)? {
            Some((_, Coverage::Unknown(why))) => Some((from, why)),
            None if from > Height(0) => Some((from, self.why_unfollowed(&prefix)?)),
            _ => None,
        };
        rows.seek(Coverage::key(&prefix, from.next()));
        while let Some(row) = rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
            let (at, grade) = self.read_coverage(&prefix, row)?;
            if at > to {
                break;
            }
            if let Some((since, why)) = open.take() {
                unknown.push((since, at.previous().unwrap_or(since), why));
            }
            if let Coverage::Unknown(why) = grade {
                open = Some((at, why));
            }
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        unknown.extend(open.filter(|_| from <= to).map(|(since, why)| (since, to, why)));
        if let (true, Some(above), Some(why)) = (from <= to, self.unsettled_above()?, self.unsettled(to)?) {
            unknown.retain(|(since, ..)| *since <= above);
            if let Some((_, last, _)) = unknown.last_mut() {
                *last = above.min(*last);
            }
            unknown.push((above.next().max(from), to, why));
        }
        Ok(unknown)
    }

    /// Was a block not read for an account in an asset, as one of the two was not followed then?
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_unread(&self, (account, asset): Pair, at: Height) -> Result<bool, StoreError> {
        let coverage = self.noted_coverage(account, asset, at)?;
        Ok(matches!(coverage, Coverage::Unknown(why) if why.starts_with(NOT_FOLLOWED)))
    }

    /// Why nothing is said of the lowest heights, in words.
    fn why_unfollowed(&self, prefix: &[u8]) -> Result<String, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Coverage)?);
        rows.seek(prefix);
        rows.status().map_err(|error| self.database(error))?;
        if let Some(row) = rows.item().filter(|(key, _)| key.starts_with(prefix)) {
            let (from, _) = self.read_coverage(prefix, row)?;
            return Ok(format!("{UNFOLLOWED}: only from block {from} on"));
        }
        let (_, asset) = self.read(Family::Coverage, prefix, pair_of(prefix))?;
        let is_new = self.tip()?.is_some() && !self.assets()?.contains(&asset);
        Ok(if is_new { format!("{UNFOLLOWED}: the asset is new, run assay index") } else { UNFOLLOWED.into() })
    }

    /// The last height up to this one at which the balance was verified, with that balance.
    ///
    /// # Errors
    /// When the database fails.
    pub fn last_verified(
        &self,
        account: AccountNo,
        asset: Asset,
        at: Height,
    ) -> Result<Option<(Height, Amount)>, StoreError> {
        let prefix = account_prefix(account, asset);
        let mut to = at;
        while let Some((from, grade)) = self.last_coverage(&prefix, to)? {
            if grade == Coverage::Verified {
                return Ok(Some((to, self.balance(account, asset, to)?)));
            }
            let Some(below) = from.previous() else { break };
            to = below;
        }
        Ok(None)
    }

    pub(crate) fn last_coverage(&self, prefix: &[u8], at: Height) -> Result<Option<(Height, Coverage)>, StoreError> {
        self.seek_coverage(&mut self.coverage_rows()?, prefix, at)
    }

    /// For several lookups: to make one takes longer than to find a row by it.
    pub(crate) fn coverage_rows(&self) -> Result<rocksdb::DBRawIterator<'_>, StoreError> {
        Ok(self.db.raw_iterator_cf(self.family(Family::Coverage)?))
    }

    pub(crate) fn seek_coverage(
        &self,
        rows: &mut rocksdb::DBRawIterator<'_>,
        prefix: &[u8],
        at: Height,
    ) -> Result<Option<(Height, Coverage)>, StoreError> {
        rows.seek_for_prev(Coverage::key(prefix, at));
        rows.status().map_err(|error| self.database(error))?;
        match rows.item().filter(|(key, _)| key.starts_with(prefix)) {
            Some(row) => self.read_coverage(prefix, row).map(Some),
            None => {
                let pair = self.read(Family::Coverage, prefix, pair_of(prefix))?;
                Ok(self.blanks()?.of(pair, at))
            }
        }
    }

    /// From which height on, and how well. `prefix`: that of the account and asset.
    pub(crate) fn read_coverage(
        &self,
        prefix: &[u8],
        (key, value): (&[u8], &[u8]),
    ) -> Result<(Height, Coverage), StoreError> {
        let row = height_of(&key[prefix.len()..]).zip(Coverage::read(value));
        self.read(Family::Coverage, key, row)
    }

    /// The account that an unspent output pays, and with how many base units, if that is a watched one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unspent(&self, outpoint: &Outpoint) -> Result<Option<(AccountNo, Amount)>, StoreError> {
        let key = Unspent::key(outpoint);
        let Some(row) = self.get(Family::Outpoints, &key)? else { return Ok(None) };
        self.read(Family::Outpoints, &key, Unspent::read(&row)).map(|unspent| Some((unspent.account, unspent.amount)))
    }

    /// How many accounts are followed by now: it grows each time that others are known as well as the first ones.
    ///
    /// # Errors
    /// When the database fails.
    pub fn followed(&self) -> Result<u32, StoreError> {
        self.counter(PUBLISHED_KEY)
    }

    /// A transaction that moved a watched account.
    ///
    /// # Errors
    /// When the database fails.
    pub fn transaction(&self, txid: TxId) -> Result<Option<Transaction>, StoreError> {
        let Some(row) = self.get(Family::Transactions, &txid.0)? else { return Ok(None) };
        self.read(Family::Transactions, &txid.0, Transaction::read(&row)).map(Some)
    }
}
