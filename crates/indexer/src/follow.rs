//! The loop: go back to the fork, apply what is new, and go on with filling in late accounts.

use std::borrow::Borrow;
use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use assay_store::{Applier, Coverage, Left, Pair, Store, StoreError, Undo};
use assay_types::{
    Account, AccountNo, Ancestors, Asset, Block, BlockHash, BlockRef, Chain, Fault, Header, Height, NodeError, Reading,
    Reads, Tip, Watch,
};

use crate::ahead::Span;
use crate::holders::Holders;
use crate::late::Late;
use crate::patience::{MOMENT_MS, Stop, patiently};
use crate::residual::Held;
use crate::stretch::{Below, MANY, apply_each};
use crate::turns::Turns;
use crate::{ChainLeft, IndexError};

/// How a chain is followed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many blocks of undo are kept.
    pub undo_depth: u64,
    /// The node's last block, if the operator accepts that it lies on another branch than what was final.
    pub accept_reorg: Option<BlockHash>,
    /// On how many processors blocks are read and checked.
    pub threads: usize,
    /// How balances are read from state, on chains that have it.
    pub turns: Turns,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The block that was just written.
    pub at: Height,
    /// Where this stretch began.
    pub from: Height,
    /// Where it ends.
    pub to: Height,
    /// Accounts declared late are being filled in.
    pub filling_in: bool,
}

/// Where the index stands after it has caught up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The last indexed block.
    pub tip: Header,
    /// The last final height.
    pub final_height: Option<Height>,
    /// How many blocks were written.
    pub applied: u64,
    /// How many were taken back.
    pub removed: u64,
    /// When the node was asked for its tip: what it has had since may be missing.
    pub asked: Instant,
    /// Accounts that were declared late are still being filled in.
    pub filling_in: bool,
}

/// How many blocks were written and taken back so far.
#[derive(Default)]
struct Done {
    applied: u64,
    removed: u64,
}

/// One chain and its store.
pub struct Indexer<'a> {
    pub(crate) chain: &'a dyn Chain,
    pub(crate) store: &'a Store,
    pub(crate) settings: Settings,
    pub(crate) stop: Stop,
    /// The accounts that are followed, as far as they were read already.
    watch: RefCell<Watch>,
    pub(crate) holders: RefCell<Holders>,
}

/// A chain that reorganises this often while it is followed once is not going to rest.
pub(crate) const RESTARTS: u32 = 20;
/// How often what an earlier answer hid is fetched again before the node counts as proven to lie.
const DOUBTS: u32 = 3;
/// How often it is looked whether a node whose chain ends within ours is only late, before blocks are taken back for it.
const LATE: u32 = 6;
/// How long to wait between looks at the tip, at most and at least.
const POLL: Duration = Duration::from_millis(5 * MOMENT_MS);
const SHORTEST_POLL: Duration = Duration::from_micros(500 * MOMENT_MS);
/// Over how many of the last blocks it is looked how quickly they follow each other.
const LAST_BLOCKS: u64 = 8;
/// The longest wait while a node is away.
pub(crate) const AWAY: Duration = Duration::from_millis(150 * MOMENT_MS);

/// What ends a stretch before its last block.
pub(crate) enum Break {
    Error(IndexError),
    /// The next block does not link to ours.
    Reorganised,
    /// State proves that an earlier answer was wrong.
    Doubt(Vec<(AccountNo, Asset)>, Box<NodeError>),
    /// It took so long that the tip comes first.
    Enough,
    /// What was stored of blocks below was not all that they did, and now is.
    Corrected,
}

impl<E: Into<IndexError>> From<E> for Break {
    fn from(error: E) -> Break {
        match error.into() {
            IndexError::Node(NodeError::Gone(_)) => Break::Reorganised,
            error => Break::Error(error),
        }
    }
}

impl<'a> Indexer<'a> {
    /// Follows this chain into this store.
    pub fn new(chain: &'a dyn Chain, store: &'a Store, settings: Settings, stop: Stop) -> Indexer<'a> {
        Indexer { chain, store, settings, stop, watch: RefCell::default(), holders: RefCell::default() }
    }

    /// Makes the declared accounts known to the store, each group as declared together; says how many are new. Where accounts are
    /// announced meanwhile, the caller holds the store's pen.
    ///
    /// # Errors
    /// When the database fails.
    pub fn declare<A: Borrow<Account>>(&self, groups: &[impl AsRef<[A]>]) -> Result<u32, IndexError> {
        let added = self.store.declare(groups)?;
        self.cover()?;
        Ok(added)
    }

    /// Reads the accounts that are followed into memory, where they are needed for the first block: some 45 bytes for each.
    ///
    /// # Errors
    /// When the database fails.
    pub fn load(&self) -> Result<(), IndexError> {
        self.followed()?;
        Ok(())
    }

    /// Follows the chain until a stop is wished, reporting each time that it has caught up, and each time that it could
    /// not. A node that is away is waited for; one that is proven to lie, refuses us or left what was final is not.
    ///
    /// # Errors
    /// See [`IndexError`]; `Stopped` is not one here.
    pub fn follow(
        &self,
        progress: &dyn Fn(Progress),
        reached: &dyn Fn(&Reached),
        waiting: &dyn Fn(&IndexError),
    ) -> Result<(), IndexError> {
        let (mut late, mut away) = (Late::default(), self.poll()?);
        while !self.stop.is_wished() {
            let looked = self.come_to_the_tip(progress).and_then(|now| {
                reached(&now);
                self.fill_in_beside(&mut late, progress)
            });
            match looked {
                Ok(more) => {
                    away = self.poll()?;
                    if more {
                        continue;
                    }
                }
                Err(IndexError::Stopped) => break,
                // Of several nodes one that lies is told apart, and may come to its senses.
                Err(error) if may_pass(&error) || error.fault().is_some() && self.chain.standings().len() > 1 => {
                    waiting(&error);
                    tracing::warn!(%error, wait_s = away.as_secs(), "the node is away, waiting for it");
                    away = (away.max(POLL) * 2).min(AWAY);
                }
                Err(error) => return Err(error),
            }
            self.stop.pause(away);
        }
        Ok(())
    }

    /// How long to wait until the next look at the tip: a tenth of the mean time between the last blocks.
    fn poll(&self) -> Result<Duration, StoreError> {
        let Some(last) = self.store.tip()? else { return Ok(POLL) };
        let from = last.height.0.saturating_sub(LAST_BLOCKS).max(self.chain.first().0);
        let Some(first) = self.store.header(Height(from))?.filter(|first| first.height < last.height) else {
            return Ok(POLL);
        };
        let took_s = u64::try_from(last.time.unix_s() - first.time.unix_s()).unwrap_or(0);
        Ok((Duration::from_secs(took_s) / 10 / u32::try_from(last.height.0 - from).unwrap_or(1))
            .clamp(SHORTEST_POLL, POLL))
    }

    /// Catches up with the node's tip, also for accounts that were declared late.
    ///
    /// # Errors
    /// See [`IndexError`]. Whatever happens, the store is left at a block boundary.
    pub fn catch_up(&self, progress: &dyn Fn(Progress)) -> Result<Reached, IndexError> {
        let (mut late, mut done) = (Late::default(), Done::default());
        loop {
            let now = self.come_to_the_tip(progress)?;
            done = Done { applied: done.applied + now.applied, removed: done.removed + now.removed };
            if !self.fill_in_a_slice(&mut late, progress)? {
                return Ok(Reached { applied: done.applied, removed: done.removed, ..now });
            }
            if self.stop.is_wished() {
                return Err(IndexError::Stopped);
            }
        }
    }

    /// Catches up with the node's tip for the accounts that are followed; those that were declared late wait.
    ///
    /// # Errors
    /// See [`IndexError`]. Whatever happens, the store is left at a block boundary.
    pub fn come_to_the_tip(&self, progress: &dyn Fn(Progress)) -> Result<Reached, IndexError> {
        let _pen = self.store.pen();
        let start = self.chain.first();
        if let Some(indexed) = self.store.first_height()?.filter(|indexed| *indexed != start) {
            return Err(IndexError::OtherStart { indexed, start });
        }
        let (mut done, mut doubts, mut late) = (Done::default(), 0, 0);
        let mut restarts = 0;
        while restarts < RESTARTS {
            match self.once(progress, &mut done, late < LATE) {
                Ok(Some(reached)) => return Ok(reached),
                Ok(None) => {
                    late += 1;
                    self.stop.pause(POLL);
                }
                Err(Break::Error(error)) => return Err(error),
                Err(Break::Enough) => {}
                Err(Break::Corrected) => continue,
                Err(Break::Reorganised) => tracing::info!("the chain reorganised while it was followed"),
                Err(Break::Doubt(_, error)) if doubts == DOUBTS => return Err((*error).into()),
                Err(Break::Doubt(pairs, error)) => {
                    tracing::warn!(%error, "an earlier answer was wrong: going back to where state agrees");
                    doubts += 1;
                    match self.back_to_agreement(&pairs, &mut done) {
                        Err(IndexError::Node(NodeError::Gone(_))) => {} // a reorganisation: the fork comes first
                        agreed => agreed?,
                    }
                }
            }
            restarts += 1;
            self.stop.pause(Duration::from_millis(MOMENT_MS));
            if self.stop.is_wished() {
                return Err(IndexError::Stopped);
            }
        }
        Err(IndexError::Restless)
    }

    /// `None`: the node is late, if it may be.
    fn once(&self, progress: &dyn Fn(Progress), done: &mut Done, may_be_late: bool) -> Result<Option<Reached>, Break> {
        let (asked, applied) = (Instant::now(), done.applied);
        let tip = patiently(&self.stop, || self.chain.tip())?;
        if tip.head.height < self.chain.first() {
            return Err(IndexError::NotBegun { head: tip.head.height, first: self.chain.first() }.into());
        }
        if !self.back_to_the_fork(&tip, done, may_be_late)? {
            return Ok(None);
        }
        self.follow_assets()?;
        match self.advance(&tip, progress, done) {
            // What is missing may have been there a moment ago, on a branch that the node has left since.
            Err(Break::Error(IndexError::Node(NodeError::Missing { .. }))) if !self.is_still_there(tip.head)? => {
                Err(Break::Reorganised)
            }
            followed => followed,
        }?;
        let last = self.store.tip()?.ok_or(IndexError::Restless)?;
        if (done.applied > applied || last.at() != tip.head) && !self.is_still_there(last.at())? {
            return Err(Break::Reorganised); // a node may serve blocks that it left meanwhile
        }
        self.note_final(&tip, last.height)?;
        if let Some(error) = self.chain.disagreement() {
            return Err(error.into()); // all that is agreed on is taken
        }
        let final_height = self.store.final_height()?;
        let filling_in = self.store.is_filling_in()?;
        let Done { applied, removed, .. } = *done;
        Ok(Some(Reached { tip: last, final_height, applied, removed, asked, filling_in }))
    }

    pub(crate) fn is_still_there(&self, block: BlockRef) -> Result<bool, IndexError> {
        let now = patiently(&self.stop, || self.chain.hash_at(block.height))?;
        Ok(now == Some(block.hash))
    }

    /// Takes blocks back until the last one is on the node's active chain; none, when that is not allowed. Where the node's chain
    /// ends within ours, nothing speaks against our blocks: one that is late says the same. If this one may be, the answer is `false`.
    fn back_to_the_fork(&self, tip: &Tip, done: &mut Done, may_be_late: bool) -> Result<bool, IndexError> {
        let accepted = self.settings.accept_reorg == Some(tip.head.hash);
        let final_height = self.store.final_height()?.filter(|_| !accepted);
        let mut left = Vec::new();
        let mut ours = self.store.tip()?;
        while let Some(header) = ours {
            if header.at() == tip.head {
                break;
            }
            let theirs = match patiently(&self.stop, || self.chain.hash_at(header.height)) {
                // They agreed on it once, and do not any more.
                Err(NodeError::Disagreement { .. }) => None,
                theirs => theirs?,
            };
            if theirs == Some(header.hash) {
                break;
            }
            let disagreement = self.chain.disagreement();
            if theirs.is_none() && left.is_empty() && !accepted && self.is_ours(tip.head)? {
                let (node, head, ours) = (self.node(), tip.head.height, header.height);
                let kind = Fault::Stale;
                if disagreement.is_none() {
                    tracing::warn!(
                        kind = kind.as_str(),
                        "{node}: its chain ends at block {head}, ours at {ours} {kind}"
                    );
                }
                if may_be_late {
                    return Ok(false);
                }
            }
            match (final_height.filter(|height| header.height <= *height), theirs) {
                (Some(final_height), Some(_)) => return Err(self.left(header.at(), Some(final_height))?),
                (Some(final_height), None) => {
                    let Some(disagreement) = disagreement else {
                        if header.height <= tip.head.height {
                            let (subject, why) =
                                (format!("block {}", header.height), format!("its chain goes to {}", tip.head.height));
                            let fault = Some(Fault::Omitted);
                            return Err(NodeError::Missing { node: self.node(), subject, why, fault }.into());
                        }
                        return Err(IndexError::NodeBehind { head: tip.head.height, final_height });
                    };
                    self.take_back(left, done)?;
                    return Err(IndexError::Node(disagreement));
                }
                (None, _) if left.len() as u64 > self.settings.undo_depth => {
                    return Err(self.left(header.at(), None)?);
                }
                (None, _) => left.push(header.at()),
            }
            ours = header.height.previous().map_or(Ok(None), |below| self.store.header(below))?;
        }
        self.take_back(left, done)?;
        self.store.set_left(None)?;
        Ok(true)
    }

    /// Takes these back, which are the last ones, from the tip on.
    fn take_back(&self, left: Vec<BlockRef>, done: &mut Done) -> Result<(), IndexError> {
        // Final is what is still there: noted first, so that it holds wherever this is interrupted.
        let fork = left.last().map(|block| block.height.previous());
        if let Some(fork) = fork
            && fork < self.store.final_height()?
        {
            self.store.set_final(fork)?;
        }
        for block in left {
            tracing::info!(height = block.height.0, hash = %block.hash, "block left the active chain");
            match self.remove(block.height) {
                Err(StoreError::UndoGone(_)) => return Err(self.left(block, None)?),
                removed => removed?,
            }
            done.removed += 1;
        }
        Ok(())
    }

    /// Takes the last block back, and what it said of holders.
    fn remove(&self, last: Height) -> Result<(), StoreError> {
        let touched = self.store.touched(last)?;
        self.store.remove_tip()?;
        let mut holders = self.holders.borrow_mut();
        for (account, asset) in touched.into_iter().flatten() {
            holders.note((account, asset), self.store.balance(account, asset, last)?);
        }
        Ok(())
    }

    /// That the chain left this block, which stays, is remembered with the first block that left: whoever reads the store is to know it.
    fn left(&self, block: BlockRef, final_height: Option<Height>) -> Result<IndexError, IndexError> {
        let (mut low, mut first) = (self.store.first_height()?.unwrap_or(block.height), block);
        while low < first.height {
            let middle = Height(low.0 + (first.height.0 - low.0) / 2);
            let ours = self.store.header(middle)?.ok_or(StoreError::UndoGone(middle))?.at();
            if self.is_still_there(ours)? { low = middle.next() } else { first = ours }
        }
        let left = Left { block: first, final_height };
        self.store.set_left(Some(left))?;
        Ok(ChainLeft::new(self.chain.id(), left).into())
    }

    fn is_ours(&self, block: BlockRef) -> Result<bool, StoreError> {
        Ok(self.store.header(block.height)?.is_some_and(|header| header.hash == block.hash))
    }

    /// The node that answered last, for people.
    pub(crate) fn node(&self) -> String {
        self.chain.source().unwrap_or_else(|| "the node".into())
    }

    fn advance(&self, tip: &Tip, progress: &dyn Fn(Progress), done: &mut Done) -> Result<(), Break> {
        let last = self.store.tip()?;
        if last.is_none() {
            self.fill_in()?; // nobody has missed anything
        }
        let from = last.map_or(self.chain.first(), |last| last.height.next());
        let to = tip.head.height;
        let watch = self.followed()?;
        if from > to {
            return self.read_everyone_if_due(&watch);
        }
        let undo = Undo { depth: self.settings.undo_depth, tip: to };
        let span = self.span(&watch, from, to, &|_| None);
        let is_long = self.is_long(&watch, from, to);
        let in_turn = !self.chain.proves_by_walking() && !self.settings.turns.are_few(&watch);
        if in_turn {
            self.find_holders(&watch)?;
        }
        let was_unsettled = self.store.unsettled_above()?;
        if in_turn && from < to {
            // Who holds what is looked at after the last of these blocks: until then those before are not known.
            let above = from.previous().unwrap_or(from).max(self.chain.first());
            self.store.set_unsettled_above(Some(was_unsettled.map_or(above, |before| before.min(above))))?;
        }
        let mut applier = self.store.applier(&watch, undo, self.are_many(from, to))?;
        let check = |block: &mut Block, below: &Below<'_>, applier: &mut Applier<'_>| {
            let parent = below.parent(block.header.height);
            self.check_place(block, parent.as_ref(), from, below)?;
            let is_last = block.header.height == to;
            if in_turn && !block.opening {
                self.read_more(block, applier, is_last, is_long)?;
            }
            self.ask_state(block, parent.as_ref(), &watch, applier)?;
            if in_turn {
                self.note_holders(block, is_last);
            }
            Ok(())
        };
        apply_each(self.store, &span, &mut applier, check, |at| {
            done.applied += 1;
            progress(Progress { at, from, to, filling_in: false });
        })?;
        match was_unsettled {
            None if !is_long => Ok(self.store.set_unsettled_above(None)?),
            _ => self.read_everyone_if_due(&watch),
        }
    }

    /// What ended a long stretch, before everyone was read after it, or while they were, is made up for.
    fn read_everyone_if_due(&self, watch: &Watch) -> Result<(), Break> {
        if let (Some(_), Some(last)) = (self.store.unsettled_above()?, self.store.tip()?) {
            self.read_everyone(&last, watch)?;
            self.store.set_unsettled_above(None)?;
        }
        Ok(())
    }

    /// Do turns wait for the end of this stretch?
    fn is_long(&self, watch: &Watch, from: Height, to: Height) -> bool {
        let turns = self.settings.turns;
        !self.chain.proves_by_walking() && !turns.are_few(watch) && turns.is_long(to.0 - from.0 + 1)
    }

    /// Is it worth while to keep in memory what these blocks need? State is read block by block, and asks the database.
    pub(crate) fn are_many(&self, from: Height, to: Height) -> bool {
        self.chain.proves_by_walking() && to.0.saturating_sub(from.0) >= MANY
    }

    pub(crate) fn span<'s>(
        &'s self,
        watch: &'s Watch,
        from: Height,
        to: Height,
        known: &'s (dyn Fn(Height) -> Option<Header> + Sync),
    ) -> Span<'s> {
        let Settings { threads, turns, .. } = self.settings;
        let (chain, stop, coming) = (self.chain, &self.stop, (to.0 + 1).saturating_sub(from.0));
        Span { chain, watch, from, to, coming, known, filtered: false, turns, prove_last: true, threads, stop }
    }

    /// Every account that is followed: those that came since the last time are read.
    pub(crate) fn followed(&self) -> Result<Ref<'_, Watch>, StoreError> {
        self.store.extend_watch(&mut self.watch.borrow_mut())?;
        Ok(self.watch.borrow())
    }

    /// The block must be the next one, and link to ours.
    fn check_place(
        &self,
        block: &Block,
        parent: Option<&Header>,
        from: Height,
        below: &dyn Ancestors,
    ) -> Result<(), Break> {
        let header = &block.header;
        match parent {
            Some(parent) if header.parent != parent.hash => {
                // Where the node still has our block below, it contradicts itself; else the chain reorganised, or it was wrong
                // about this one, and is asked as often as about anything else.
                if !self.is_still_there(parent.at())? {
                    return Err(Break::Reorganised);
                }
                for _ in 0..2 {
                    if !self.is_still_there(header.at())? {
                        return Err(Break::Reorganised);
                    }
                }
                let (subject, against) = (format!("block {}", header.height), format!("block {}", parent.height));
                let why = format!("its parent is {}, but that block is {}", header.parent, parent.hash);
                Err(NodeError::Contradiction { node: self.node(), subject, against, why, fault: Fault::MixedForks }
                    .into())
            }
            None if header.height != from => Err(Break::Reorganised),
            // Another node may have it right, or this one the next time.
            _ => self.chain.check_header(header, below).map_err(|error| Break::Doubt(Vec::new(), Box::new(error))),
        }
    }

    /// Where state read at this block is not what our sums say, it is read again, proven where it can be, here and at the
    /// parent: if it already differed there, an earlier answer was wrong, and the difference does not belong to this block.
    pub(crate) fn ask_state(
        &self,
        block: &mut Block,
        parent: Option<&Header>,
        watch: &Watch,
        applier: &mut Applier<'_>,
    ) -> Result<(), Break> {
        let (false, Some(parent)) = (block.opening, parent) else { return Ok(()) };
        let surprised = applier.surprises(block)?;
        if surprised.is_empty() {
            return Ok(());
        }
        let pairs = self.with_bytes(&surprised)?;
        let of: HashMap<Pair, usize> = block.readings.iter().map(Reading::pair).zip(0..).collect();
        for again in self.read_again(&block.header, &pairs)? {
            let Some(first) = of.get(&again.pair()).map(|place| &mut block.readings[*place]) else { continue };
            if again.proven {
                *first = again;
            } else if again.balance != first.balance {
                *first = self.read_a_third_time(&block.header, first, again)?;
            }
        }
        // What was proven at the parent itself as that was applied needs no second proof, and may have none any more.
        let mut doubtful = Vec::with_capacity(pairs.len());
        for pair in pairs {
            if self.store.noted_coverage(pair.0, pair.2, parent.height)? != Coverage::Verified {
                doubtful.push(pair);
            }
        }
        if self.settings.turns.are_few(watch) {
            if let Some(why) = self.first_disagreement(parent, &doubtful)? {
                return Err(Break::Doubt(surprised, Box::new(why)));
            }
        } else if self.explain_parted(parent, &doubtful)? {
            return Err(Break::Corrected);
        }
        self.explain_again(block, watch)?;
        self.drop_denied(block, parent)
    }

    /// Where state is right and the movements of the native coin do not lead to it, they are asked for again: nothing
    /// commits to a trace, and one that was wrong the first time explains nothing.
    fn explain_again(&self, block: &mut Block, watch: &Watch) -> Result<(), Break> {
        let unexplained = |block: &Block| -> Result<usize, StoreError> {
            Ok(self.store.surprises(block)?.iter().filter(|(_, asset)| *asset == Asset::Native).count())
        };
        let before = unexplained(block)?;
        if before == 0 {
            return Ok(());
        }
        let again = patiently(&self.stop, || self.chain.block(block.header.at(), watch, &Reads::MOVED))?;
        if again.effects != block.effects {
            let (readings, sealed, remarks) = (block.readings.clone(), block.sealed.clone(), block.remarks.clone());
            let again = Block { readings, sealed, remarks, ..again };
            if unexplained(&again)? < before {
                tracing::warn!(height = block.header.height.0, "the node explains this block in another way now");
                *block = again;
            }
        }
        Ok(())
    }

    /// What nothing proves counts when two of three answers agree, and is unknown otherwise.
    fn read_a_third_time(&self, at: &Header, first: &Reading, second: Reading) -> Result<Reading, IndexError> {
        let pairs = self.with_bytes(&[(first.account, first.asset)])?;
        let third = self.read_again(at, &pairs)?.into_iter().next();
        let units = |reading: &Reading| reading.balance.as_ref().map_or_else(String::clone, ToString::to_string);
        let said = [Some(first), Some(&second), third.as_ref()].into_iter().flatten().map(units).collect::<Vec<_>>();
        let (height, node, account) = (at.height.0, self.node(), &pairs[0].1);
        tracing::warn!(height, node, "of {account} the node does not say the same twice: {}", said.join(", then "));
        let agreed = third.filter(|third| third.balance == first.balance || third.balance == second.balance);
        let differs = || Reading { balance: Err("the node says something else each time".into()), ..second };
        Ok(agreed.unwrap_or_else(differs))
    }

    /// The first of these balances of which the store knows something else than state says at this block.
    fn first_disagreement(
        &self,
        at: &Header,
        pairs: &[(AccountNo, Account, Asset)],
    ) -> Result<Option<NodeError>, IndexError> {
        for Reading { account, asset, balance, proven, .. } in self.read_again(at, pairs)? {
            let Ok(state) = balance else { continue };
            let ours = self.store.balance(account, asset, at.height)?;
            let is_known = !matches!(self.store.noted_coverage(account, asset, at.height)?, Coverage::Unknown(_));
            if is_known && ours != state && (proven || asset != Asset::Native) {
                return Ok(Some(self.wrong_answer(at, account, ours, Held { amount: state, proven })));
            }
        }
        Ok(None)
    }

    /// What state says at this block; nothing where the node keeps none so far back.
    pub(crate) fn read_again(
        &self,
        at: &Header,
        pairs: &[(AccountNo, Account, Asset)],
    ) -> Result<Vec<Reading>, IndexError> {
        match patiently(&self.stop, || self.chain.read_again(at, pairs)) {
            Err(NodeError::Missing { .. }) => Ok(Vec::new()),
            readings => Ok(readings?),
        }
    }

    pub(crate) fn with_bytes(
        &self,
        pairs: &[(AccountNo, Asset)],
    ) -> Result<Vec<(AccountNo, Account, Asset)>, IndexError> {
        pairs.iter().map(|(number, asset)| Ok((*number, self.store.account(*number)?, *asset))).collect()
    }

    /// Takes blocks back until state agrees with these balances, or undo ends.
    fn back_to_agreement(&self, pairs: &[(AccountNo, Asset)], done: &mut Done) -> Result<(), IndexError> {
        let pairs = self.with_bytes(pairs)?;
        while let Some(last) = self.store.tip()? {
            if self.first_disagreement(&last, &pairs)?.is_none() {
                break;
            }
            match self.remove(last.height) {
                Err(StoreError::UndoGone(_)) => break,
                removed => removed?,
            }
            done.removed += 1;
        }
        Ok(())
    }

    pub(crate) fn cover(&self) -> Result<(), StoreError> {
        if self.chain.proves_by_walking() { self.store.cover_by_walking(self.chain.first()) } else { Ok(()) }
    }

    /// What was final stays final, unless the operator accepted that it does not. A block that the node calls final must be
    /// ours; where we have none at that height, nothing tells whether it is.
    fn note_final(&self, tip: &Tip, last: Height) -> Result<(), Break> {
        let mut height = tip.final_height.map(|height| height.min(last));
        if let (Some(claimed), Some(hash)) = (tip.final_height, tip.final_hash) {
            match self.store.header(claimed)? {
                None => height = None,
                Some(ours) if ours.hash == hash => {}
                Some(ours) if self.is_still_there(ours.at())? => {
                    let (node, subject) = (self.node(), format!("the final block {claimed}"));
                    let (why, fault) = (format!("it is {hash}, and {} on its own chain", ours.hash), Fault::MixedForks);
                    // A balancer before honest nodes does the same for a moment.
                    let error = NodeError::Unreadable { node, subject, why, fault };
                    return Err(Break::Doubt(Vec::new(), Box::new(error)));
                }
                Some(_) => return Err(Break::Reorganised),
            }
        }
        let height = height.max(self.store.final_height()?.filter(|_| self.settings.accept_reorg.is_none()));
        Ok(self.store.set_final(height)?)
    }
}

/// Asks where the chain stands, patiently: so that a node which is on another chain, or refuses us, is found out before
/// anything is written for it.
///
/// # Errors
/// See [`NodeError`].
pub fn reach(chain: &dyn Chain, stop: &Stop) -> Result<Tip, NodeError> {
    patiently(stop, || chain.tip())
}

/// A node that is away may come back; one that lies or refuses us will not.
pub(crate) fn may_pass(error: &IndexError) -> bool {
    use NodeError::{Disagreement, Limited, Missing, Unreachable, Unreadable};
    matches!(
        error,
        IndexError::Node(
            Unreachable { .. } | Limited { .. } | Disagreement { .. } | Unreadable { .. } | Missing { .. }
        ) | IndexError::NodeBehind { .. }
            | IndexError::NotBegun { .. }
            | IndexError::Restless
    )
}
