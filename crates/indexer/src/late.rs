//! Accounts that were declared after blocks were indexed are filled in beside the chain that is followed: a slice of blocks, then
//! the tip again. Nothing is said of them until their round has reached the tip.

use std::time::Instant;

use assay_store::{Applier, Coverage, Memory, Round};
use assay_types::{Block, Height, NodeError, Watch};

use crate::breaks::Break;
use crate::slice::{Restarts, Slice};
use crate::stretch::{Below, apply_each};
use crate::{IndexError, Indexer, Progress};

/// How often who follows a chain asks again for state of which a node says that it has none.
const TRIES: u32 = 3;

/// How far this process has come with filling in.
#[derive(Default)]
pub(crate) struct Late {
    round: Option<Filling>,
    restarts: Restarts,
    /// How often it may yet be asked again for the state where coverage begins, of which a node says that it has none: it may have it a moment later.
    tries: u32,
}

/// A round between two slices.
struct Filling {
    round: Round,
    watch: Watch,
    memory: Option<Memory>,
    slice: Slice,
    /// Only those blocks are read that may have moved an account, as their filters have it.
    filtered: bool,
    from: Height,
    began: Instant,
}

impl Late {
    /// One that has time to ask again.
    pub(crate) fn patient() -> Late {
        Late { tries: TRIES, ..Late::default() }
    }
}

impl Indexer<'_> {
    /// Goes on with accounts that were declared late, for about a second; says whether there is more to do. The chain is caught up with
    /// before.
    pub(crate) fn fill_in_a_slice(&self, late: &mut Late, progress: &dyn Fn(Progress)) -> Result<bool, IndexError> {
        let _pen = self.store.pen();
        let filled = self.slice(late, progress);
        late.restarts.settle(filled)
    }

    /// Fills in whoever waits, without a look at the tip between. The caller holds the pen.
    pub(crate) fn fill_in(&self) -> Result<(), Break> {
        let mut late = Late::default();
        while self.slice(&mut late, &|_| ())? {}
        Ok(())
    }

    fn slice(&self, late: &mut Late, progress: &dyn Fn(Progress)) -> Result<bool, Break> {
        let Some(round) = self.store.round(self.chain.first())? else {
            late.round = None;
            self.cover()?; // what an earlier version published before it was killed
            return Ok(false);
        };
        let last = self.store.tip()?.map(|tip| tip.height).filter(|last| round.next <= *last);
        let Some(last) = last else { return self.publish(round, late) };
        // What blocks were taken back for, what is remembered does not know.
        let filling = late.round.take().filter(|filling| filling.round == round);
        let mut filling = filling.map_or_else(|| self.begin(round, last), Ok)?;
        match self.walk_again(&mut filling, last, progress) {
            Err(Break::Error(IndexError::Node(why @ NodeError::Missing { fault: None, .. })))
                if round.next == self.chain.first() && round.next < last && !self.chain.proves_by_walking() =>
            {
                if late.tries > 0 {
                    late.tries -= 1;
                    return Err(why.into());
                }
                // No node says that it has what they held there, and none will again: new ones would wait for it for ever.
                let accounts = round.to.0 - round.from.0;
                tracing::warn!(%why, "{accounts} accounts that were declared late are known from block {last} on alone");
                self.store.begin_round_at(round, last)?;
                return Ok(true);
            }
            walked => walked?,
        }
        let round = filling.round;
        late.round = Some(filling);
        if round.next > last { self.publish(round, late) } else { Ok(true) }
    }

    fn begin(&self, round: Round, last: Height) -> Result<Filling, IndexError> {
        let (watch, slice) = (self.store.round_watch(round)?, Slice::new());
        let memory = self.are_many(round.next, last).then(|| self.store.remember(round)).transpose()?;
        let may_filter = !self.store.distrusts_filters()?;
        let filtered = may_filter && self.chain.prefers_filters(last.0 - round.next.0 + 1, &watch);
        if filtered {
            // Before the first block is left out, and for good: whoever goes on after a kill may read all others.
            self.store.cover_round(round, self.chain.first(), &Coverage::Unproven)?;
        }
        Ok(Filling { round, watch, memory, slice, filtered, from: round.next, began: Instant::now() })
    }

    /// Walks the next indexed blocks again for the accounts of the round.
    fn walk_again(&self, filling: &mut Filling, last: Height, progress: &dyn Fn(Progress)) -> Result<(), Break> {
        let Filling { round, watch, memory, slice, filtered, from, .. } = filling;
        let to = slice.begin(round.next, last);
        let ours = |height| self.store.header(height).ok().flatten();
        let check = |block: &mut Block, below: &Below<'_>, applier: &mut Applier<'_>| {
            if ours(block.header.height).is_none_or(|ours| ours.hash != block.header.hash) {
                return Err(Break::Reorganised);
            }
            if block.header.height > round.next && slice.is_long() {
                return Err(Break::Enough);
            }
            let parent = below.parent(block.header.height);
            self.ask_state(block, parent.as_ref(), watch, applier)
        };
        let coming = last.0 - round.next.0 + 1;
        if !self.chain.proves_by_walking() && !self.settings.turns.are_all_read(watch, coming) {
            self.store.note_skimmed(last)?;
        }
        let mut span = self.span(watch, round.next, to, &ours);
        (span.prove_last, span.coming, span.filtered) = (to == last, coming, *filtered);
        let mut filler = self.store.filler(watch, *round, memory.take())?;
        let walked = apply_each(self.store, &span, &mut filler, check, |at| {
            progress(Progress { at, from: *from, to: last, filling_in: true });
        });
        match self.as_reorganised(walked) {
            Ok(()) | Err(Break::Enough | Break::Corrected) => {}
            Err(other) => return Err(other),
        }
        *memory = filler.into_memory();
        round.next = self.store.round(self.chain.first())?.map_or(round.next, |now| now.next);
        slice.end();
        Ok(())
    }

    /// The round has reached the tip. What is known of its accounts is written first, so that they are all known at once.
    fn publish(&self, round: Round, late: &mut Late) -> Result<bool, Break> {
        let (first, walked) = (self.chain.first(), self.chain.proves_by_walking());
        if walked && self.store.cover_round(round, first, &Coverage::Verified)? {
            self.store.publish_unproven(round, first)?;
        } else {
            if !walked && round.to.0 - round.from.0 > self.settings.turns.few {
                self.store.set_unsettled_above(Some(first))?; // blocks read those among them that they moved
            }
            self.store.publish(round)?;
        }
        let (accounts, filling) = (round.to.0 - round.from.0, late.round.take());
        let seconds = filling.map_or(0, |filling| filling.began.elapsed().as_secs());
        tracing::info!(accounts, seconds, "accounts declared late are known");
        Ok(true) // others may have been declared meanwhile
    }
}
