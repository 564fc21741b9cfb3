//! Accounts that were filled in by filters are unproven until every block was read for them: beside the chain that is followed, and
//! after whoever is still to be filled in. Nothing is written for them but how well they are known.

use assay_store::{Credits, Hidden, Round};
use assay_types::{Direction, Height, Watch};

use crate::ahead::each_block;
use crate::breaks::Break;
use crate::slice::{Restarts, Slice};
use crate::{IndexError, Indexer};

/// How far this process has come with them.
#[derive(Default)]
pub(crate) struct Unproven {
    proving: Option<Proving>,
    restarts: Restarts,
}

/// Accounts for which blocks are being read, between two slices.
struct Proving {
    round: Round,
    watch: Watch,
    credits: Credits,
    slice: Slice,
}

impl Indexer<'_> {
    /// Goes on with accounts that are unproven, for about a second; says whether there is more to do.
    pub(crate) fn prove_a_slice(&self, unproven: &mut Unproven) -> Result<bool, IndexError> {
        let proved = self.read_a_slice(&mut unproven.proving);
        unproven.restarts.settle(proved)
    }

    fn read_a_slice(&self, begun: &mut Option<Proving>) -> Result<bool, Break> {
        let Some(round) = self.store.proving()? else { return Ok(false) };
        let last = self.store.tip()?.map(|tip| tip.height).filter(|last| round.next <= *last);
        let Some(last) = last else {
            let _pen = self.store.pen();
            self.store.prove(round, self.chain.first())?;
            tracing::info!(accounts = round.to.0 - round.from.0, "blocks say of accounts what their filters said");
            *begun = None;
            return Ok(true);
        };
        let proving = begun.take().filter(|proving| proving.round == round);
        let mut proving = proving.map_or_else(|| self.begin_to_prove(round, last), Ok)?;
        self.compare(&mut proving, last)?;
        self.store.note_proving(proving.round)?;
        *begun = Some(proving);
        Ok(true)
    }

    fn begin_to_prove(&self, round: Round, last: Height) -> Result<Proving, IndexError> {
        let (from, accounts) = (round.next, round.to.0 - round.from.0);
        tracing::info!(%from, %last, accounts, "blocks are read for accounts of which filters were looked at");
        let (watch, credits) = (self.store.round_watch(round)?, self.store.credits(round)?);
        Ok(Proving { round, watch, credits, slice: Slice::new() })
    }

    /// Holds the next blocks against what is stored.
    fn compare(&self, proving: &mut Proving, last: Height) -> Result<(), Break> {
        let Proving { round, watch, credits, slice } = proving;
        let to = slice.begin(round.next, last);
        let ours = |height| self.store.header(height).ok().flatten();
        let mut span = self.span(watch, round.next, to, &ours);
        (span.prove_last, span.coming) = (false, last.0 - round.next.0 + 1);
        // Whoever follows the chain and answers meanwhile needs the other processors more.
        span.threads = (span.threads / 2).max(1);
        let mut next = round.next;
        let read = each_block(&span, |block| {
            let height = block.header.height;
            if ours(height).is_none_or(|ours| ours.hash != block.header.hash) {
                return Err(Break::Reorganised);
            }
            for one in self.store.hidden(&block, watch, credits)? {
                self.distrust(&one)?;
            }
            next = height.next();
            if slice.is_long() { Err(Break::Enough) } else { Ok(()) }
        });
        round.next = next;
        slice.end();
        match self.as_reorganised(read) {
            Ok(()) | Err(Break::Enough) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The node gave a filter that is wrong: what else it hid nobody knows.
    fn distrust(&self, hidden: &Hidden) -> Result<(), IndexError> {
        let Hidden { account, height, txid, direction, index } = hidden;
        let how = if *direction == Direction::Credit { "pays" } else { "spends from" };
        let script: String = self.store.account(*account)?.0.iter().map(|byte| format!("{byte:02x}")).collect();
        tracing::warn!(
            "block {height}: transaction {txid} {how} script:{script} ({} {index}), which the node's filter of that block hid: \
             the account is unknown until this chain is indexed anew",
            if *direction == Direction::Credit { "output" } else { "input" },
        );
        let _pen = self.store.pen();
        let reason = format!("the node's filter of block {height} hid transaction {txid}");
        Ok(self.store.disprove(*account, self.chain.first(), &reason)?)
    }
}
