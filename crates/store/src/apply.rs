//! One function that applies a block, and one that takes the last one back. Both go through [`changes::write`].

use std::collections::BTreeMap;

use assay_types::{
    AccountNo, Amount, Asset, Block, BlockRef, Direction, Effect, Header, Height, Kind, Leg, Outpoint, Reading, TxId,
    Watch,
};
use rocksdb::WriteBatch;

use crate::changes::{self, Change, Changes, Way};
use crate::rows::{HeaderRow, Unspent, account_prefix, height_key};
use crate::settle::settle;
use crate::{Coverage, Family, Movement, Store, StoreError, Transaction};

/// What is kept so that blocks can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undo {
    /// For how many blocks below the chain's tip.
    pub depth: u64,
    /// The chain's tip: blocks far below it need no undo.
    pub tip: Height,
}

impl Undo {
    fn is_kept(self, height: Height) -> bool {
        height.0.saturating_add(self.depth) >= self.tip.0
    }
}

/// The legs and the state of one account in one asset within a block.
#[derive(Default)]
struct Pair<'a> {
    legs: Vec<Leg>,
    reading: Option<&'a Reading>,
}

type Pairs<'a> = BTreeMap<(AccountNo, Asset), Pair<'a>>;

impl Store {
    /// Writes a block that links to the last one, atomically. `sync`: before this returns, it is safe on disk.
    ///
    /// # Errors
    /// When its movements are impossible, or the database fails. Nothing is written then.
    ///
    /// # Panics
    /// When the block does not link to the last one: the caller checks that.
    pub fn apply(&self, block: &Block, watch: &Watch, undo: Undo, sync: bool) -> Result<(), StoreError> {
        let tip = self.tip()?;
        assert!(
            tip.as_ref().is_none_or(|tip| tip.hash == block.header.parent && tip.height.next() == block.header.height),
            "a block is applied on its parent"
        );
        let mut changes = self.changes_of(block, watch)?;
        let latest = self.latest(tip.as_ref())?.map_or(block.header.time, |latest| latest.max(block.header.time));
        let row = HeaderRow { header: block.header.clone(), latest };
        changes.put(Family::Headers, height_key(block.header.height), row.value())?;
        let changes = changes.into_list();
        let mut batch = WriteBatch::default();
        changes::write(self, &mut batch, &changes, Way::Forth)?;
        let family = self.family(Family::Undo)?;
        if undo.is_kept(block.header.height) {
            batch.put_cf(family, height_key(block.header.height), changes::undo_row(&changes));
        }
        if let Some(pruned) = block.header.height.0.checked_sub(undo.depth.saturating_add(1)) {
            batch.delete_cf(family, height_key(Height(pruned)));
        }
        self.commit(batch, sync)
    }

    /// Writes what a block below the tip did to accounts declared late; its undo joins that of the block.
    ///
    /// # Errors
    /// When its movements are impossible, or the database fails. Nothing is written then.
    pub(crate) fn fill(&self, block: &Block, watch: &Watch, batch: &mut WriteBatch) -> Result<(), StoreError> {
        self.write_late(block.header.height, &self.changes_of(block, watch)?.into_list(), batch)
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
        self.commit(batch, true)?;
        Ok(Some(tip.at()))
    }

    /// Accounts and assets whose balance, as read from state at this block, is not what the stored balance and the
    /// block's own legs give. Where the stored balance is itself unknown, nothing surprises.
    ///
    /// # Errors
    /// When the database fails.
    pub fn surprises(&self, block: &Block) -> Result<Vec<(AccountNo, Asset)>, StoreError> {
        let mut surprised = Vec::new();
        if block.readings.is_empty() {
            return Ok(surprised); // a chain without state: its inputs need not be looked up twice
        }
        for ((account, asset), pair) in self.pairs(block, &mut Changes::new(self))? {
            let Some(Ok(state)) = pair.reading.map(|reading| &reading.balance) else { continue };
            let before = self.latest_balance(account, asset)?;
            let steps = settle(before, &pair.legs, None, Kind::Unattributed);
            let sum = steps.map(|steps| steps.last().map_or(before, |step| step.balance));
            if sum == Some(*state) {
                continue;
            }
            let last = self.last_coverage(&account_prefix(account, asset), Height(u64::MAX))?;
            if !matches!(last, Some((_, Coverage::Unknown(_)))) {
                surprised.push((account, asset));
            }
        }
        Ok(surprised)
    }

    fn changes_of(&self, block: &Block, watch: &Watch) -> Result<Changes<'_>, StoreError> {
        let mut changes = Changes::new(self);
        let pairs = self.pairs(block, &mut changes)?;
        let touched = self.move_coins(block, pairs, &mut changes)?;
        for (tx, legs) in touched {
            self.note_transaction(block, watch, tx, &legs, &mut changes)?;
        }
        Ok(changes)
    }

    /// Gathers legs and readings by account and asset, entering outputs and looking up what inputs spend on the way.
    fn pairs<'b>(&self, block: &'b Block, changes: &mut Changes<'_>) -> Result<Pairs<'b>, StoreError> {
        for effect in &block.effects {
            if let Effect::Output(leg) = effect {
                let (account, amount, height) = (leg.account, leg.amount, block.header.height);
                let unspent = Unspent { account, amount, height, coinbase: leg.kind == Kind::Coinbase };
                changes.put(Family::Outpoints, Unspent::key(&outpoint(block, leg)), unspent.value())?;
            }
        }
        let mut pairs = Pairs::new();
        for effect in &block.effects {
            let leg = match *effect {
                Effect::Leg(leg) | Effect::Output(leg) => leg,
                Effect::Input { spends, tx, index, place } => {
                    let key = Unspent::key(&spends);
                    let Some(row) = changes.get(Family::Outpoints, &key)? else { continue };
                    let unspent = self.read(Family::Outpoints, &key, Unspent::read(&row))?;
                    changes.delete(Family::Outpoints, key)?;
                    let (account, amount, direction) = (unspent.account, unspent.amount, Direction::Debit);
                    let (asset, kind, tx) = (Asset::Native, Kind::Transfer, Some(tx));
                    Leg { account, asset, direction, amount, kind, tx, index, place }
                }
            };
            pairs.entry((leg.account, leg.asset)).or_default().legs.push(leg);
        }
        for reading in &block.readings {
            pairs.entry((reading.account, reading.asset)).or_default().reading = Some(reading);
        }
        Ok(pairs)
    }

    /// Writes movements and coverage, and says which transactions moved what.
    fn move_coins(&self, block: &Block, pairs: Pairs<'_>, changes: &mut Changes<'_>) -> Result<Touched, StoreError> {
        let height = block.header.height;
        let residual = if block.opening { Kind::Opening } else { Kind::Unattributed };
        let mut touched = Touched::new();
        for ((account, asset), pair) in pairs {
            let before = self.latest_balance(account, asset)?;
            let state = pair.reading.and_then(|reading| reading.balance.as_ref().ok().copied());
            let steps = settle(before, &pair.legs, state, residual);
            let unreadable = pair.reading.and_then(|reading| reading.balance.as_ref().err());
            let steps = match (steps, unreadable) {
                (Some(steps), _) => steps,
                // Without state, legs that are impossible say nothing: coverage is unknown from here.
                (None, Some(_)) => Vec::new(),
                (None, None) => return Err(StoreError::Impossible(height)),
            };
            let unexplained = steps.iter().any(|step| step.kind == Kind::Unattributed);
            let prefix = account_prefix(account, asset);
            for step in steps {
                let txid = step.tx.map(|tx| txid(block, tx));
                if let Some(tx) = step.tx {
                    touched.entry(tx).or_default().push((account, asset, step.direction, step.amount));
                }
                let movement = Movement {
                    height,
                    place: step.place,
                    direction: step.direction,
                    amount: step.amount,
                    balance: step.balance,
                    kind: step.kind,
                    txid,
                    index: step.index,
                };
                changes.put(Family::Movements, movement.key(&prefix), movement.value())?;
            }
            if let Some(reading) = pair.reading {
                let last = self.last_coverage(&prefix, Height(u64::MAX))?;
                self.cover(height, reading, unexplained, last, changes)?;
            }
        }
        Ok(touched)
    }

    /// What a reading says about how well this height, and those below it, are known. `unexplained`: it is not what the
    /// block's own movements give; `last`: the last row before. See `FORMAT.md`.
    pub(crate) fn cover(
        &self,
        at: Height,
        read: &Reading,
        unexplained: bool,
        last: Option<(Height, Coverage)>,
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
                    Some((from, Coverage::Unproven)) if self.is_proven_by(read, *from, at, unexplained)? => {
                        changes.delete(Family::Coverage, Coverage::key(&prefix, *from))?;
                    }
                    _ => put(at, Coverage::Verified)?,
                }
                changes.put(Family::Coverage, Coverage::key(&prefix, at.next()), Coverage::Unproven.value())
            }
            (Ok(_), false, None | Some((_, Coverage::Unknown(_)))) => put(at, Coverage::Unproven),
            (Ok(_), false, Some(_)) => Ok(()),
        }
    }

    /// Is the unproven stretch that begins at `from` proven by a proof at `at`? It must be proven on both sides, with
    /// every movement between accounted for: where something unexplained happened, nobody knows when it did.
    fn is_proven_by(&self, read: &Reading, from: Height, at: Height, unexplained: bool) -> Result<bool, StoreError> {
        let Some(below) = from.previous() else { return Ok(false) };
        let prefix = account_prefix(read.account, read.asset);
        if !matches!(self.last_coverage(&prefix, below)?, Some((_, Coverage::Verified))) {
            return Ok(false);
        }
        if from == at {
            return Ok(true); // proven at two blocks in a row: nothing lies between
        }
        for movement in self.movements(read.account, read.asset, from, at)? {
            if movement?.kind == Kind::Unattributed {
                return Ok(false);
            }
        }
        Ok(!unexplained)
    }

    /// Adds what a transaction did to its row: accounts declared late may touch one that is there already.
    fn note_transaction(
        &self,
        block: &Block,
        watch: &Watch,
        tx: u32,
        legs: &[TouchedLeg],
        changes: &mut Changes<'_>,
    ) -> Result<(), StoreError> {
        let key = txid(block, tx).0.to_vec();
        let known = match changes.get(Family::Transactions, &key)? {
            Some(bytes) => Some(self.read(Family::Transactions, &key, Transaction::read(&bytes))?),
            None => None,
        };
        // The same transaction in two blocks, the historic duplicated coinbases: the later one is the one to look up.
        let height = block.header.height;
        if known.as_ref().is_some_and(|known| known.height > height) {
            return Ok(());
        }
        let known = known.filter(|known| known.height == height);
        let (mut debits, noted) = known.map_or_else(Default::default, |known| (known.debits, known.payments));
        let taken = legs.iter().filter(|(_, _, direction, _)| *direction == Direction::Debit);
        debits.extend(taken.map(|(account, asset, _, amount)| (*account, *asset, *amount)));
        // Taken from the whole body again, so that the order does not tell when an account was declared.
        let mut payments = block.body.payments(tx);
        if debits.is_empty() {
            payments.retain(|payment| watch.number(&payment.to.0).is_some() || noted.contains(payment));
        }
        changes.put(Family::Transactions, key, Transaction { height, debits, payments }.value())
    }

    fn latest(&self, tip: Option<&Header>) -> Result<Option<assay_types::Timestamp>, StoreError> {
        tip.map_or(Ok(None), |tip| self.latest_time(tip.height))
    }
}

type TouchedLeg = (AccountNo, Asset, Direction, Amount);
type Touched = BTreeMap<u32, Vec<TouchedLeg>>;

fn outpoint(block: &Block, leg: &Leg) -> Outpoint {
    Outpoint { txid: txid(block, leg.tx.unwrap_or(0)), vout: leg.index }
}

/// The chain's extractor numbers transactions by their place in the block's own list.
fn txid(block: &Block, tx: u32) -> TxId {
    block.txids[tx as usize]
}
