//! The loop: go back to the fork (`fork`), apply what is new, ask again where it does not agree with state (`doubts`), and go on with filling in
//! late accounts.

use std::time::{Duration, Instant};

use assay_store::{Applier, StoreError, Undo};
use assay_types::{Ancestors, Block, Chain, Fault, Header, Height, NodeError, Tip, Watch};

use crate::breaks::{Break, RESTARTS};
use crate::indexer::Done;
use crate::late::Late;
use crate::patience::{MOMENT_MS, Stop, patiently};
use crate::prove::Unproven;
use crate::stretch::{Below, apply_each};
use crate::{IndexError, Indexer, Progress, Reached};

/// How often what an earlier answer hid is fetched again before the node counts as proven to lie.
const DOUBTS: u32 = 3;
/// How long to wait between looks at the tip, at most and at least.
const POLL: Duration = Duration::from_millis(5 * MOMENT_MS);
const SHORTEST_POLL: Duration = Duration::from_micros(500 * MOMENT_MS);
/// Over how many of the last blocks it is looked how quickly they follow each other.
const LAST_BLOCKS: u64 = 8;
/// The longest wait while a node is away.
const AWAY: Duration = Duration::from_millis(150 * MOMENT_MS);

/// What is done beside following new blocks.
struct Beside {
    late: Late,
    unproven: Unproven,
    /// When the node is asked again for what it could not give.
    again: Option<Instant>,
}

impl Indexer<'_> {
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
        let (late, unproven, again) = (Late::patient(), Unproven::default(), None);
        let (mut beside, mut away) = (Beside { late, unproven, again }, self.poll()?);
        while !self.stop.is_wished() {
            let looked = self.come_to_the_tip(progress).and_then(|now| {
                reached(&now);
                self.go_on_beside(&mut beside, progress)
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
                Err(error) if error.may_pass() || error.fault().is_some() && self.chain.standings().len() > 1 => {
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

    /// Goes on beside with accounts that were declared late, and then with those that are unproven, where old blocks that the node does not give keep nobody
    /// from following new ones. Says whether there is more to do.
    fn go_on_beside(&self, beside: &mut Beside, progress: &dyn Fn(Progress)) -> Result<bool, IndexError> {
        if beside.again.is_some_and(|again| Instant::now() < again) {
            return Ok(false);
        }
        let slice = match self.fill_in_a_slice(&mut beside.late, progress) {
            Ok(false) => self.prove_a_slice(&mut beside.unproven),
            filled => filled,
        };
        match slice {
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, wait_s = AWAY.as_secs(), "old blocks cannot be read at the moment");
                beside.again = Some(Instant::now() + AWAY);
                Ok(false)
            }
            slice => slice,
        }
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
            match self.once(progress, &mut done, late) {
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

    /// `None`: the node is late, if it may be, after so many looks.
    fn once(&self, progress: &dyn Fn(Progress), done: &mut Done, looks: u32) -> Result<Option<Reached>, Break> {
        let (asked, applied) = (Instant::now(), done.applied);
        let tip = patiently(&self.stop, || self.chain.tip())?;
        if tip.head.height < self.chain.first() {
            return Err(self.below_the_first(tip.head)?.into());
        }
        if !self.back_to_the_fork(&tip, done, looks)? {
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
        let has_state = !self.chain.proves_by_walking();
        let in_turn = has_state && !self.settings.turns.are_few(&watch);
        if in_turn {
            self.find_holders(&watch)?;
        }
        let was_unsettled = self.store.unsettled_above()?;
        if in_turn && let Some(skimmed) = self.settings.turns.skimmed(&watch, from, to) {
            self.store.note_skimmed(skimmed)?;
        }
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
            self.note_giver(block.header.height);
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
        if was_unsettled.is_some() || is_long {
            return self.read_everyone_if_due(&watch);
        }
        if let Some(first) = self.settings.turns.all_read_from(&watch, from, to).filter(|_| has_state) {
            self.store.note_all_read(first..=to)?;
        }
        Ok(self.store.set_unsettled_above(None)?)
    }

    /// Reads every balance where a long stretch ended before that was done.
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
}

/// Asks where the chain stands, patiently: so that a node which is on another chain, or refuses us, is found out before
/// anything is written for it.
///
/// # Errors
/// See [`NodeError`].
pub fn reach(chain: &dyn Chain, stop: &Stop) -> Result<Tip, NodeError> {
    patiently(stop, || chain.tip())
}
