//! Blocks are written, one or many at a time, and the last one can be taken back.

use assay_types::{AccountNo, Amount, Asset, Between, Block, BlockRef, Height, Kind, Leg, Pair, Reading, Watch};
use rocksdb::WriteBatch;

use crate::applier::{Applier, Task, by_pair};
use crate::changes::{self, Change, Changes, Way};
use crate::memory::Memory;
use crate::rows::{account_prefix, height_key};
use crate::settle::settle;
use crate::{Coverage, Family, Round, Store, StoreError};

/// What is kept so that blocks can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undo {
    /// For how many blocks below the chain's tip.
    pub depth: u64,
    /// The chain's tip: blocks far below it need no undo.
    pub tip: Height,
}

impl Undo {
    pub(crate) fn is_kept(self, height: Height) -> bool {
        height.0.saturating_add(self.depth) >= self.tip.0
    }
}

/// Those of whom something was known before, of what [`crate::Applier::parted`] gives.
pub fn known(parted: &[(Pair, Coverage)]) -> impl Iterator<Item = Pair> {
    parted.iter().filter(|(_, before)| !matches!(before, Coverage::Unknown(_))).map(|(pair, _)| *pair)
}

impl Store {
    /// Begins to apply blocks on top of the last one. `many`: so many come that it is worth while to read into memory what is unspent.
    ///
    /// # Errors
    /// When the database fails.
    pub fn applier<'a>(&'a self, watch: &'a Watch, undo: Undo, many: bool) -> Result<Applier<'a>, StoreError> {
        let tip = self.tip()?.map(|tip| self.header_row(tip.height)).transpose()?.flatten();
        let (first, end) = (AccountNo(0), watch.next());
        let memory = match (&tip, many) {
            (_, false) => None,
            (None, true) => Some(Memory::of_nothing(first, end)),
            (Some(_), true) => Some(Memory::load(self, first, end)?),
        };
        Applier::new(self, watch, Task::Above(undo), tip, memory)
    }

    /// Begins to read blocks again for the accounts of this round, from its next block on. `memory`: where many come, that of
    /// [`Store::remember`] or of the filler before this one, if the round is still where that left it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn filler<'a>(
        &'a self,
        watch: &'a Watch,
        round: Round,
        memory: Option<Memory>,
    ) -> Result<Applier<'a>, StoreError> {
        Applier::new(self, watch, Task::Below(round), None, memory)
    }

    /// Reads into memory what is unspent of a round's accounts before its next block.
    ///
    /// # Errors
    /// When the database fails.
    pub fn remember(&self, round: Round) -> Result<Memory, StoreError> {
        match round.next.previous().map_or(Ok(None), |below| self.header(below))? {
            None => Ok(Memory::of_nothing(round.from, round.to)),
            Some(_) => Memory::load(self, round.from, round.to),
        }
    }

    /// Writes a block that links to the last one, atomically. `sync`: before this returns, it is safe on disk.
    ///
    /// # Errors
    /// When its movements are impossible, or the database fails. Nothing is written then.
    ///
    /// # Panics
    /// When the block does not link to the last one: the caller checks that.
    pub fn apply(&self, block: &Block, watch: &Watch, undo: Undo, sync: bool) -> Result<(), StoreError> {
        let mut applier = self.applier(watch, undo, false)?;
        applier.apply(block)?;
        self.write(&applier.give(), sync)
    }

    /// Writes what the round's next block did to its accounts, atomically with the round's progress.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn fill_in(&self, block: &Block, watch: &Watch, round: Round) -> Result<Round, StoreError> {
        let mut filler = self.filler(watch, round, None)?;
        filler.apply(block)?;
        self.write(&filler.give(), false)?;
        Ok(Round { next: block.header.height.next(), ..round })
    }

    /// Writes what is known of a block only after it was applied; its undo joins that of the block.
    pub(crate) fn write_late(&self, at: Height, changes: &[Change], batch: &mut WriteBatch) -> Result<(), StoreError> {
        changes::write(self, batch, changes, Way::Forth)?;
        let key = height_key(at);
        if let Some(mut row) = self.get(Family::Undo, &key)? {
            row.extend(changes::undo_row(changes));
            batch.put_cf(self.family(Family::Undo)?, key, row);
        }
        Ok(())
    }

    /// Takes the last block back, and says which it was.
    ///
    /// # Errors
    /// When no undo is kept for it, or the database fails.
    pub fn remove_tip(&self) -> Result<Option<BlockRef>, StoreError> {
        let Some(tip) = self.tip()? else { return Ok(None) };
        let key = height_key(tip.height);
        let row = self.get(Family::Undo, &key)?.ok_or(StoreError::UndoGone(tip.height))?;
        let changes = self.read(Family::Undo, &key, changes::read_undo_row(&row))?;
        let mut batch = WriteBatch::default();
        changes::write(self, &mut batch, &changes, Way::Back)?;
        batch.delete_cf(self.family(Family::Undo)?, key);
        self.rewind_round(&mut batch, tip.height)?;
        self.rewind_all_read(&mut batch, tip.height)?;
        self.commit(batch, true)?;
        Ok(Some(tip.at()))
    }

    /// Accounts and assets whose balance, as read from state at this block, is not what the stored balance and the
    /// block's own legs give. Where nothing is known of the balance yet, or it is unknown, nothing surprises.
    ///
    /// # Errors
    /// When the database fails.
    pub fn surprises(&self, block: &Block) -> Result<Vec<Pair>, StoreError> {
        let parted = self.parted(block, |(account, asset)| self.latest_balance(account, asset))?;
        Ok(known(&parted).collect())
    }

    /// The same, of a block upon these balances, and of those that are unknown too; with how well each was known before.
    pub(crate) fn parted(
        &self,
        block: &Block,
        mut balance: impl FnMut(Pair) -> Result<Amount, StoreError>,
    ) -> Result<Vec<(Pair, Coverage)>, StoreError> {
        let mut parted = Vec::new();
        if block.readings.is_empty() {
            return Ok(parted); // a chain without state
        }
        let mut legs: Vec<Leg> = block.effects.iter().map(|effect| *effect.leg()).collect();
        for moved in by_pair(&mut legs, &block.readings) {
            let Some(Ok(state)) = moved.reading.map(|reading| &reading.balance) else { continue };
            let ((account, asset), before) = (moved.pair, balance(moved.pair)?);
            let steps = settle(before, moved.legs, None, Kind::Unattributed);
            let sum = steps.map(|steps| steps.last().map_or(before, |step| step.balance));
            if sum == Some(*state) {
                continue;
            }
            let last = self.last_coverage(&account_prefix(account, asset), Height(u64::MAX))?;
            parted.extend(last.map(|(_, before)| (moved.pair, before)));
        }
        Ok(parted)
    }

    /// What a reading says about how well this height, and those below it, are known. `unexplained`: it is not what the
    /// block's own movements give; `last`: the last row before. See `FORMAT.md`.
    pub(crate) fn cover(
        &self,
        at: Height,
        read: &Reading,
        unexplained: bool,
        last: Option<(Height, Coverage)>,
        rows: &mut rocksdb::DBRawIterator<'_>,
        changes: &mut Changes<'_>,
    ) -> Result<(), StoreError> {
        let prefix = account_prefix(read.account, read.asset);
        let mut put =
            |from: Height, grade: Coverage| changes.put(Family::Coverage, Coverage::key(&prefix, from), grade.value());
        match (&read.balance, read.proven, &last) {
            (Err(_), _, Some((_, Coverage::Unknown(_)))) => Ok(()),
            (Err(reason), ..) => put(at, Coverage::Unknown(reason.clone())),
            (Ok(_), true, last) => {
                match last {
                    Some((from, Coverage::Unproven)) if self.is_proven_by(read, *from, at, unexplained, rows)? => {
                        changes.delete(Family::Coverage, Coverage::key(&prefix, *from))?;
                    }
                    _ => put(at, Coverage::Verified)?,
                }
                let value = match read.between {
                    Between::Sent { after, .. } => Coverage::unproven_since(after),
                    Between::Told | Between::Untold => Coverage::Unproven.value(),
                };
                changes.put(Family::Coverage, Coverage::key(&prefix, at.next()), value)
            }
            (Ok(_), false, None | Some((_, Coverage::Unknown(_)))) => put(at, Coverage::Unproven),
            (Ok(_), false, Some(_)) => Ok(()),
        }
    }

    /// Is the unproven stretch that begins at `from` proven by a proof at `at`? It must be proven on both sides, with
    /// every movement between accounted for: where something unexplained happened, nobody knows when it did; where
    /// blocks do not tell of all, nobody knows whether it did.
    fn is_proven_by(
        &self,
        read: &Reading,
        from: Height,
        at: Height,
        unexplained: bool,
        rows: &mut rocksdb::DBRawIterator<'_>,
    ) -> Result<bool, StoreError> {
        let Some(below) = from.previous() else { return Ok(false) };
        let prefix = account_prefix(read.account, read.asset);
        if !matches!(self.seek_coverage(rows, &prefix, below)?, Some((_, Coverage::Verified))) {
            return Ok(false);
        }
        if from == at {
            return Ok(true); // proven at two blocks in a row: nothing lies between
        }
        let is_told = match read.between {
            Between::Told => true,
            Between::Untold => false,
            Between::Sent { before, .. } => {
                let row = self.get(Family::Coverage, &Coverage::key(&prefix, from))?;
                row.and_then(|row| Coverage::nonce(&row)) == Some(before)
            }
        };
        if unexplained || !is_told || read.asset != Asset::Native && self.skimmed()? >= Some(from) {
            return Ok(false);
        }
        for movement in self.movements(read.account, read.asset, from, at)? {
            if movement?.kind == Kind::Unattributed {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
