//! Blocks become rows, one block after another. What they wrote waits in a [`Window`] until it is written: at the tip block by
//! block, in bulk many blocks at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay_types::{
    AccountNo, Amount, Asset, Block, Direction, Effect, Header, Height, Input, Kind, Leg, Outpoint, Pair, Reading,
    Remark, TxId, Watch,
};
use foldhash::fast;
use hashbrown::HashMap;

use crate::blank::BLANK_KEY;
use crate::bytes::Writer;
use crate::changes::{Change, Changes, undone};
use crate::cohorts::{Totals, total_key};
use crate::declare::ROUND_KEY;
use crate::memory::Memory;
use crate::proofs::{proof_key, proof_value};
use crate::remarks::Remarks;
use crate::rows::{HeaderRow, Unspent, account_prefix, height_key};
use crate::settle::{Step, settle};
use crate::unattributed::{self, Unattributed};
use crate::window::Window;
use crate::{Coverage, Family, Movement, Round, Store, StoreError, Transaction, Undo};

/// Up to so many accounts each proof that is read is kept; of more, one of a balance that did not move is for so many blocks.
const ALWAYS_KEPT: u32 = 50;
const KEPT_FOR: u64 = 64;

/// So many balances are held at hand at most.
const MOST_RECENT: usize = 1 << 16;

/// What is done with blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    /// They come on top of the last one.
    Above(Undo),
    /// They are there already, and read again for accounts that were declared late.
    Below(Round),
}

/// Applies blocks in order. Where many come, the database is not asked for what their inputs spend and accounts hold: that is
/// kept in memory, some 20 bytes for each unspent output and for each account that moved.
///
/// After an error it is of no use any more, and what it has not given away to be written is not.
pub struct Applier<'a> {
    store: &'a Store,
    watch: &'a Watch,
    task: Task,
    /// The last block, written or not.
    tip: Option<HeaderRow>,
    /// The height of the last block that others wrote.
    began_at: Option<Height>,
    memory: Option<Memory>,
    /// Balances that were looked up or written lately: each is needed twice for a block, and mostly again for the next ones.
    recent: HashMap<Pair, Amount, fast::RandomState>,
    totals: Totals<'a>,
    remarks: Remarks,
    window: Window,
    /// What was given away to be written last: it may not be there yet.
    given: Arc<Window>,
    /// Something was noted that only the database can remember.
    must_write: bool,
    /// A round has come farther than was given away.
    goes_on: bool,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(
        store: &'a Store,
        watch: &'a Watch,
        task: Task,
        tip: Option<HeaderRow>,
        memory: Option<Memory>,
    ) -> Result<Self, StoreError> {
        let began_at = tip.as_ref().map(|tip| tip.header.height);
        let (window, given, must_write, goes_on) = (Window::default(), Arc::default(), false, false);
        // Each sees its own accounts alone, and a cohort is followed, or filled in, as a whole.
        let totals = Totals::among(
            store,
            match task {
                Task::Above(_) => 0..watch.next().0,
                Task::Below(round) => round.from.0..round.to.0,
            },
        )?;
        let (remarks, recent) = (Remarks::default(), HashMap::default());
        Ok(Applier {
            store,
            watch,
            task,
            tip,
            began_at,
            memory,
            recent,
            totals,
            remarks,
            window,
            given,
            must_write,
            goes_on,
        })
    }

    /// The last block on top of which the next one comes.
    pub fn tip(&self) -> Option<&Header> {
        self.tip.as_ref().map(|tip| &tip.header)
    }

    /// About how many bytes the blocks since [`Applier::give`] take.
    pub fn waiting_bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Was all that was applied given away? Also of blocks that moved nobody it is to be written how far a round is.
    pub fn is_written(&self) -> bool {
        self.window.is_empty() && !self.goes_on
    }

    /// Must what was applied be written before the next block?
    pub fn must_write(&self) -> bool {
        self.memory.is_none() || self.must_write
    }

    /// What it remembers, for another one to go on with. Good only where all that was applied is written.
    pub fn into_memory(self) -> Option<Memory> {
        self.memory
    }

    /// Gives away what is to be written, before anything that is given later. One is written at a time.
    pub fn give(&mut self) -> Arc<Window> {
        if let Task::Below(round) = self.task {
            self.window.put(Family::Meta, |key| key.raw(ROUND_KEY), |row| row.raw(&round.value()));
        }
        (self.must_write, self.goes_on) = (false, false);
        // The one before was written, and what it took in memory is used again.
        let next = Arc::try_unwrap(std::mem::take(&mut self.given)).map_or_else(|_| Window::default(), Window::emptied);
        self.given = Arc::new(std::mem::replace(&mut self.window, next));
        Arc::clone(&self.given)
    }

    /// What surprises of the next block, as [`Store::surprises`] has it, and what would if it were known; with how well each was known before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn parted(&mut self, block: &Block) -> Result<Vec<(Pair, Coverage)>, StoreError> {
        self.store.parted(block, |pair| self.balance(pair))
    }

    /// Before the next block.
    fn balance(&mut self, pair: Pair) -> Result<Amount, StoreError> {
        let known = self.memory.as_ref().and_then(|memory| memory.balances.get(pair));
        if let Some(balance) = known.or_else(|| self.recent.get(&pair).copied()) {
            return Ok(balance);
        }
        let balance = self.store.latest_balance(pair.0, pair.1)?;
        if self.memory.is_none() {
            self.note_recent(pair, balance);
        }
        Ok(balance)
    }

    fn note_recent(&mut self, pair: Pair, balance: Amount) {
        if self.recent.len() == MOST_RECENT {
            self.recent.clear();
        }
        self.recent.insert(pair, balance);
    }

    /// Applies the next block.
    ///
    /// # Errors
    /// When its movements are impossible, or the database fails.
    ///
    /// # Panics
    /// When the block does not link to the last one, or is not the round's next: the caller checks that.
    pub fn apply(&mut self, block: &Block) -> Result<(), StoreError> {
        let height = block.header.height;
        let mut past = self.begin(height, block)?;
        let mut legs = self.move_outputs(block, &mut past)?;
        let mut touched = self.move_coins(block, &mut legs, &mut past)?;
        touched.sort_by_key(|leg| leg.tx);
        for legs in touched.chunk_by(|one, other| one.tx == other.tx) {
            self.note_transaction(block, legs, &mut past)?;
        }
        self.note_totals(height, &mut past);
        self.note_blank(block, &mut past)?;
        self.note_remarks(block, &mut past)?;
        match self.task {
            Task::Above(undo) => {
                self.end_above(block, undo, &mut past);
            }
            Task::Below(round) => {
                self.task = Task::Below(Round { next: height.next(), ..round });
                self.goes_on = true;
            }
        }
        if let Some(row) = past.0 {
            self.window.put(Family::Undo, |key| key.u64(height.0), |value| value.raw(&row.0));
        }
        Ok(())
    }

    /// Checks the block's place, and says what its undo row begins with.
    fn begin(&self, height: Height, block: &Block) -> Result<Undone, StoreError> {
        match self.task {
            Task::Above(undo) => {
                let links = self.tip().is_none_or(|tip| tip.hash == block.header.parent && tip.height.next() == height);
                assert!(links, "a block is applied on its parent");
                Ok(Undone(undo.is_kept(height).then(Writer::default)))
            }
            Task::Below(round) => {
                assert_eq!(round.next, height, "blocks are read again in order");
                Ok(Undone(self.store.get(Family::Undo, &height_key(height))?.map(Writer)))
            }
        }
    }

    fn end_above(&mut self, block: &Block, undo: Undo, past: &mut Undone) {
        let Header { height, time, .. } = block.header;
        let latest = self.tip.as_ref().map_or(time, |tip| tip.latest.max(time));
        let row = HeaderRow { header: block.header.clone(), latest };
        self.window.put(Family::Headers, |key| key.u64(height.0), |value| row.value_into(value));
        past.note(Family::Headers, &height_key(height), None);
        self.tip = Some(row);
        let pruned = height.0.checked_sub(undo.depth.saturating_add(1)).map(Height);
        let is_there = |pruned: &Height| Some(*pruned) <= self.began_at || undo.is_kept(*pruned);
        if let Some(pruned) = pruned.filter(is_there) {
            self.window.delete(Family::Undo, &height_key(pruned));
        }
    }

    /// All legs of the block: outputs are entered before inputs are looked up, for what is spent within the block.
    fn move_outputs(&mut self, block: &Block, past: &mut Undone) -> Result<Vec<Leg>, StoreError> {
        let height = block.header.height;
        let mut legs = Vec::with_capacity(block.effects.len() * 2);
        // Before its own outputs are there.
        let overwritten = block.overwritten.map(|spends| Input { spends, tx: 0, index: 0, place: 0 });
        legs.extend(overwritten.map_or(Ok(None), |input| self.spend(&input, height, past))?);
        for effect in &block.effects {
            let leg = effect.leg();
            if matches!(effect, Effect::Output(_)) {
                let (account, amount, outpoint) = (leg.account, leg.amount, outpoint(block, leg));
                let unspent = Unspent { account, amount, height, coinbase: leg.kind == Kind::Coinbase };
                self.window.made.insert(outpoint, unspent);
                if let Some(memory) = &mut self.memory {
                    memory.unspent.insert(&outpoint);
                }
            }
            legs.push(*leg);
        }
        for input in self.inputs(block) {
            legs.extend(self.spend(&input, height, past)?);
        }
        if past.0.is_some() {
            let outputs = block.effects.iter().filter_map(|effect| match effect {
                Effect::Output(leg) => Some(outpoint(block, leg)),
                Effect::Leg(_) | Effect::Traced(_) => None,
            });
            for outpoint in outputs.filter(|outpoint| self.window.made.contains_key(outpoint)) {
                past.note(Family::Outpoints, &Unspent::key(&outpoint), None);
            }
        }
        Ok(legs)
    }

    /// Those that may spend what a watched account held.
    fn inputs(&self, block: &Block) -> Vec<Input> {
        let Some(memory) = &self.memory else { return block.inputs() };
        let spends = block.spends.iter().copied().filter(|spend| memory.unspent.may_have(*spend));
        block.body.inputs(&spends.collect::<Vec<_>>())
    }

    fn spend(&mut self, input: &Input, height: Height, past: &mut Undone) -> Result<Option<Leg>, StoreError> {
        let Input { spends, tx, index, place } = *input;
        let Some(Unspent { account, amount, .. }) = self.take(&spends, height, past)? else { return Ok(None) };
        let (asset, direction, kind, tx) = (Asset::Native, Direction::Debit, Kind::Transfer, Some(tx));
        Ok(Some(Leg { account, asset, direction, amount, kind, tx, index, place }))
    }

    /// Takes a followed output out of the unspent ones, if it is among them.
    fn take(&mut self, outpoint: &Outpoint, height: Height, past: &mut Undone) -> Result<Option<Unspent>, StoreError> {
        let made = self.window.made.remove(outpoint);
        let unspent = match made {
            Some(unspent) => unspent,
            None => {
                let Some(unspent) = self.written(outpoint)? else { return Ok(None) };
                self.window.delete(Family::Outpoints, &Unspent::key(outpoint));
                unspent
            }
        };
        if let Some(memory) = &mut self.memory {
            memory.unspent.remove(outpoint);
        }
        if made.is_none_or(|made| made.height != height) && past.0.is_some() {
            let before = unspent.value_into(Writer::default()).0;
            past.note(Family::Outpoints, &Unspent::key(outpoint), Some(&before));
        }
        Ok(Some(unspent))
    }

    /// An output that was given away to be written. Those of accounts that are filled in meanwhile, or were followed while these are filled in,
    /// stand beside: they are not ours to take.
    fn written(&self, outpoint: &Outpoint) -> Result<Option<Unspent>, StoreError> {
        if let Some(unspent) = self.given.made.get(outpoint) {
            return Ok(Some(*unspent));
        }
        let key = Unspent::key(outpoint);
        let Some(row) = self.store.get(Family::Outpoints, &key)? else { return Ok(None) };
        let unspent = self.store.read(Family::Outpoints, &key, Unspent::read(&row))?;
        Ok(self.watch.has(unspent.account).then_some(unspent))
    }

    /// What is to be written of a row, if it is: slow, and rarely asked.
    fn waiting(&self, family: Family, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let found = [&self.window, &*self.given].into_iter().find_map(|window| window.last(family, key))?;
        Some(found.map(<[u8]>::to_vec))
    }

    /// Writes movements and coverage, and says what each transaction moved.
    fn move_coins(
        &mut self,
        block: &Block,
        legs: &mut [Leg],
        past: &mut Undone,
    ) -> Result<Vec<TouchedLeg>, StoreError> {
        let height = block.header.height;
        let mut touched = Vec::with_capacity(legs.len());
        let (mut coverage, mut loose, mut since) = (Changes::new(self.store), Vec::new(), BTreeSet::new());
        let mut rows = self.store.coverage_rows()?;
        for moved in by_pair(legs, &block.readings) {
            let pair @ (account, asset) = moved.pair;
            let before = self.balance(pair)?;
            let state = moved.reading.and_then(|reading| reading.balance.as_ref().ok().copied());
            let last = match moved.reading {
                Some(_) => self.store.seek_coverage(&mut rows, &account_prefix(account, asset), Height(u64::MAX))?,
                None => None,
            };
            // An asset may be followed later than its account.
            let residual = if block.opening || last.is_none() { Kind::Opening } else { Kind::Unattributed };
            let steps = match (settle(before, moved.legs, state, residual), moved.reading.map(|it| &it.balance)) {
                (Some(steps), _) => steps,
                // Without state, legs that are impossible say nothing: coverage is unknown from here.
                (None, Some(Err(_))) => Vec::new(),
                (None, _) => return Err(StoreError::Impossible(height)),
            };
            if let Some(last) = steps.last() {
                self.totals.change(pair, before, last.balance)?;
                match &mut self.memory {
                    Some(memory) => self.must_write |= !memory.balances.set(pair, last.balance),
                    None => self.note_recent(pair, last.balance),
                }
            }
            let before = loose.len();
            loose.extend(unattributed::of(pair, &steps));
            if let Some((from, Coverage::Unknown(_))) = last.as_ref().filter(|_| loose.len() > before) {
                since.insert(*from);
            }
            for step in &steps {
                let Step { direction, amount, balance, kind, tx, index, place } = *step;
                if let Some(tx) = tx {
                    touched.push(TouchedLeg { tx, account, asset, direction, amount, index });
                }
                let txid = tx.map(|tx| txid(block, tx));
                let movement = Movement { height, place, direction, amount, balance, kind, txid, index };
                self.window.put(
                    Family::Movements,
                    |key| movement.key_into(key, pair),
                    |value| movement.value_into(value),
                );
                if past.0.is_some() {
                    past.note(Family::Movements, &movement.key_into(Writer::default(), pair).0, None);
                }
            }
            if let Some(reading) = moved.reading {
                let unexplained = steps.iter().any(|step| step.kind == Kind::Unattributed);
                self.store.cover(height, reading, unexplained, last, &mut rows, &mut coverage)?;
                self.keep_proof(block, reading, steps.is_empty(), past)?;
            }
        }
        if !loose.is_empty() {
            self.note_unattributed(block, &loose, since, past)?;
        }
        for Change { family, key, before, after } in coverage.into_list() {
            past.note(family, &key, before.as_deref());
            match after {
                Some(value) => self.window.put(family, |row| row.raw(&key), |row| row.raw(&value)),
                None => self.window.delete(family, &key),
            }
        }
        Ok(touched)
    }

    /// What moved without a transaction that is known, by its block; by where it may begin, of balances that were unknown since; and by the block's
    /// transactions, for one of these it is.
    fn note_unattributed(
        &mut self,
        block: &Block,
        loose: &[Unattributed],
        since: BTreeSet<Height>,
        past: &mut Undone,
    ) -> Result<(), StoreError> {
        let Header { height, hash, .. } = block.header;
        let key = unattributed::key(&hash);
        let (before, after) = self.store.with_unattributed((height, hash), loose)?;
        past.note(Family::Transactions, &key, before.as_deref());
        self.window.put(Family::Transactions, |row| row.raw(&key), |row| row.raw(&after));
        for from in since.into_iter().filter(|from| *from < height) {
            let key = unattributed::range_key(from, height);
            past.note(Family::Meta, &key, None);
            self.window.put(Family::Meta, |row| row.raw(&key), |row| row.raw(&hash.0));
        }
        for key in block.txids.iter().map(unattributed::key_of) {
            past.note(Family::Transactions, &key, self.store.get(Family::Transactions, &key)?.as_deref());
            self.window.put(Family::Transactions, |row| row.raw(&key), |row| row.count(height.0));
        }
        Ok(())
    }

    /// In the place of the one before, which does not come back when this block is taken back: it would be in every undo row. Where that one still
    /// shows the balance, and is young, it stays: proofs are long, and at each block are read of everyone.
    fn keep_proof(
        &mut self,
        block: &Block,
        reading: &Reading,
        is_unmoved: bool,
        past: &mut Undone,
    ) -> Result<(), StoreError> {
        let (Some(sealed), Some(proof)) = (&block.sealed, &reading.proof) else { return Ok(()) };
        let (pair, at) = (reading.pair(), block.header.height);
        if is_unmoved
            && self.watch.next().0 > ALWAYS_KEPT
            && let Some(kept) = self.store.kept_proof(pair.0, pair.1)?
            && at.0 < kept.at.0.saturating_add(KEPT_FOR)
            && !self.store.moved_between(pair, kept.at, at)?
        {
            return Ok(());
        }
        self.window.put(Family::Proofs, |key| proof_key(key, pair), |row| proof_value(row, at, sealed, proof));
        past.note(Family::Proofs, &proof_key(Writer::default(), pair).0, None);
        Ok(())
    }

    fn note_blank(&mut self, block: &Block, past: &mut Undone) -> Result<(), StoreError> {
        if block.blank.is_empty() {
            return Ok(());
        }
        let accounts = match self.task {
            Task::Above(_) => 0..self.watch.next().0,
            Task::Below(round) => round.from.0..round.to.0,
        };
        let before = self.store.blanks()?;
        past.note(Family::Meta, BLANK_KEY, self.store.get(Family::Meta, BLANK_KEY)?.as_deref());
        let after = before.with(&accounts, &block.blank, block.header.height);
        self.window.put(Family::Meta, |key| key.raw(BLANK_KEY), |row| row.raw(&after.value()));
        Ok(())
    }

    fn note_remarks(&mut self, block: &Block, past: &mut Undone) -> Result<(), StoreError> {
        // What code was a token's at a block that is read again was noted there.
        let is_above = matches!(self.task, Task::Above(_));
        for remark in block.remarks.iter().filter(|one| is_above || matches!(one, Remark::Frozen { .. })) {
            if let Some((subject, value)) = self.remarks.note(self.store, remark)? {
                let key = subject.key(block.header.height);
                past.note(Family::Meta, &key, None);
                self.window.put(Family::Meta, |row| row.raw(&key), |row| row.raw(&value));
            }
        }
        Ok(())
    }

    fn note_totals(&mut self, height: Height, past: &mut Undone) {
        self.totals.each_changed(|pair, total| {
            self.window.put(Family::Holdings, |key| total_key(key, pair, height), |value| value.sum(total));
            if past.0.is_some() {
                past.note(Family::Holdings, &total_key(Writer::default(), pair, height).0, None);
            }
        });
    }

    /// Adds what a transaction did to its row: accounts declared late may touch one that is there already.
    fn note_transaction(&mut self, block: &Block, legs: &[TouchedLeg], past: &mut Undone) -> Result<(), StoreError> {
        let (height, tx) = (block.header.height, legs[0].tx);
        let key = txid(block, tx).0;
        // What spends an output comes once, for an output is spent once, and so does what spends a nonce: all but the first of a block, which on
        // Bitcoin is the coinbase, need not be looked for.
        let may_be_known = matches!(self.task, Task::Below(_)) || tx == 0;
        // What is overwritten may wait to be written itself.
        let waiting = block.overwritten.and_then(|_| self.waiting(Family::Transactions, &key));
        let before = match waiting {
            Some(row) => row,
            None if may_be_known => self.store.get(Family::Transactions, &key)?,
            None => None,
        };
        let known = match &before {
            Some(row) => Some(self.store.read(Family::Transactions, &key, Transaction::read(row))?),
            None => None,
        };
        // The same transaction in two blocks, the historic duplicated coinbases: the later one is the one to look up.
        if known.as_ref().is_some_and(|known| known.height > height) {
            return Ok(());
        }
        let Transaction { mut debits, payments: noted, .. } =
            known.filter(|known| known.height == height).unwrap_or_else(|| Transaction::nothing_yet(height));
        let taken = legs.iter().filter(|leg| leg.direction == Direction::Debit);
        debits.extend(taken.map(|leg| (leg.account, leg.asset, leg.amount)));
        // Taken from the whole body again, so that the order does not tell when an account was declared.
        let by_index = !block.spends.is_empty();
        let counts = |index: Option<u32>, to: &[u8], asset: Asset, amount: Amount| {
            !debits.is_empty()
                // What an output paid to whom was found out already.
                || by_index && legs.iter().any(|leg| Some(leg.index) == index)
                || !by_index && self.watch.number(to).is_some()
                || noted.iter().any(|it| (it.index, &*it.to.0, it.asset, it.amount) == (index, to, asset, amount))
        };
        self.window.put(
            Family::Transactions,
            |it| it.raw(&key),
            |it| {
                let mut row = Some(Transaction::head_into(it, height, &debits));
                block.body.each_payment(tx, &mut |index, to, asset, amount| {
                    if counts(index, to, asset, amount) {
                        row = row.take().map(|row| Transaction::payment_into(row, index, to, asset, amount));
                    }
                });
                let row = row.unwrap_or_default();
                Transaction::told_into(row, block.body.told(tx))
            },
        );
        past.note(Family::Transactions, &key, before.as_deref());
        Ok(())
    }
}

/// An undo row as it grows; nothing where none is kept.
struct Undone(Option<Writer>);

impl Undone {
    fn note(&mut self, family: Family, key: &[u8], before: Option<&[u8]>) {
        if let Some(row) = self.0.take() {
            self.0 = Some(undone(row, family, key, before));
        }
    }
}

/// The legs and the state of one account in one asset within a block.
pub(crate) struct Moved<'l, 'r> {
    pub pair: Pair,
    pub legs: &'l [Leg],
    pub reading: Option<&'r Reading>,
}

/// Legs and readings by account and asset, in order; legs by place.
pub(crate) fn by_pair<'l, 'r>(legs: &'l mut [Leg], readings: &'r [Reading]) -> impl Iterator<Item = Moved<'l, 'r>> {
    legs.sort_unstable_by_key(|leg| (leg.account, leg.asset, leg.place));
    let mut legs: &'l [Leg] = legs;
    let mut readings: Vec<&Reading> = readings.iter().collect();
    readings.sort_by_key(|reading| std::cmp::Reverse(reading.pair()));
    std::iter::from_fn(move || {
        let moved = legs.first().map(|leg| (leg.account, leg.asset));
        let read = readings.last().map(|reading| reading.pair());
        let pair = moved.into_iter().chain(read).min()?;
        let own = legs.iter().take_while(|leg| (leg.account, leg.asset) == pair).count();
        let (own, others) = legs.split_at(own);
        legs = others;
        let reading = if read == Some(pair) { readings.pop() } else { None };
        Some(Moved { pair, legs: own, reading })
    })
}

/// What a transaction did to one account.
struct TouchedLeg {
    tx: u32,
    account: AccountNo,
    asset: Asset,
    direction: Direction,
    amount: Amount,
    index: u32,
}

fn outpoint(block: &Block, leg: &Leg) -> Outpoint {
    Outpoint { txid: txid(block, leg.tx.unwrap_or(0)), vout: leg.index }
}

/// The chain's extractor numbers transactions by their place in the block's own list.
fn txid(block: &Block, tx: u32) -> TxId {
    block.txids[tx as usize]
}
