//! Where the chain left our blocks: back to the last one that is still there, and never below what was final.

use assay_store::{Left, StoreError};
use assay_types::{BlockRef, Fault, Height, NodeError, Tip};

use crate::breaks::Break;
use crate::indexer::Done;
use crate::patience::patiently;
use crate::{ChainLeft, IndexError, Indexer};

/// How often a node whose chain ends below our last block is looked at before our blocks are taken back: it may only be late.
const LATE: u32 = 6;

impl Indexer<'_> {
    /// Takes blocks back until the last one is on the node's active chain; none, when that is not allowed. Where the node's chain
    /// ends within ours, nothing speaks against our blocks: one that is late says the same. If this one may be, after so many looks, the answer is `false`.
    pub(crate) fn back_to_the_fork(&self, tip: &Tip, done: &mut Done, looks: u32) -> Result<bool, Break> {
        let accepted = self.settings.accept_reorg == Some(tip.head.hash);
        let final_height = self.store.final_height()?.filter(|_| !accepted);
        let (mut left, mut stands) = (Vec::new(), false);
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
            // What it names last is on its chain, or that is another one by now. Who names the one and the other by turns is told for that.
            if theirs.is_some() && !stands && !self.is_still_there(tip.head)? {
                return Err(Break::Reorganised);
            }
            stands |= theirs.is_some();
            let disagreement = self.chain.disagreement();
            if theirs.is_none() && left.is_empty() && !accepted && self.is_ours(tip.head)? {
                let (node, head, ours) = (self.node(), tip.head.height, header.height);
                let kind = Fault::Stale;
                // The first time it may be about to have another branch there.
                if disagreement.is_none() && looks > 0 {
                    tracing::warn!(
                        kind = kind.as_str(),
                        "{node}: its chain ends at block {head}, ours at {ours} {kind}"
                    );
                }
                if looks < LATE {
                    return Ok(false);
                }
            }
            match (final_height.filter(|height| header.height <= *height), theirs) {
                (Some(final_height), Some(_)) => return Err(self.left(header.at(), Some(final_height))?.into()),
                (Some(final_height), None) => {
                    let Some(disagreement) = disagreement else {
                        return Err(self.has_none_of(header.height, tip.head, final_height)?.into());
                    };
                    self.take_back(left, done)?;
                    return Err(IndexError::Node(disagreement).into());
                }
                (None, _) if left.len() as u64 > self.settings.undo_depth => {
                    return Err(self.left(header.at(), None)?.into());
                }
                (None, _) => left.push(header.at()),
            }
            ours = header.height.previous().map_or(Ok(None), |below| self.store.header(below))?;
        }
        self.take_back(left, done)?;
        self.store.set_left(None)?;
        Ok(true)
    }

    /// What it means that the node, with this last block, has none at a height that was final.
    fn has_none_of(&self, height: Height, head: BlockRef, final_height: Height) -> Result<IndexError, IndexError> {
        if height <= head.height {
            let (subject, why) = (format!("block {height}"), format!("its chain goes to {}", head.height));
            return Ok(NodeError::Missing { node: self.node(), subject, why, fault: Some(Fault::Omitted) }.into());
        }
        // A chain that is shorter than ours, and another one where it ends, is not late.
        match self.store.header(head.height)?.filter(|ours| ours.hash != head.hash) {
            Some(ours) if !self.is_still_there(ours.at())? => self.left(ours.at(), Some(final_height)),
            _ => Ok(IndexError::NodeBehind { head: head.height, final_height }),
        }
    }

    /// What it means that the node's chain ends below where coverage starts.
    pub(crate) fn below_the_first(&self, head: BlockRef) -> Result<IndexError, IndexError> {
        let first = self.chain.first();
        let Some(ours) = self.store.header(first)? else {
            return Ok(IndexError::NotBegun { head: head.height, first });
        };
        let (final_height, below) = (self.store.final_height()?, BlockRef { height: head.height, hash: ours.parent });
        match head.height.next() == first && below != head && !self.is_still_there(below)? {
            true => self.left(ours.at(), final_height),
            false => Ok(IndexError::NodeBehind { head: head.height, final_height: final_height.unwrap_or(first) }),
        }
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
    pub(crate) fn remove(&self, last: Height) -> Result<(), StoreError> {
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
        patiently(&self.stop, || self.chain.identify())?;
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

    /// What was final stays final, unless the operator accepted that it does not. A block that the node calls final must be
    /// ours; where we have none at that height, nothing tells whether it is.
    pub(crate) fn note_final(&self, tip: &Tip, last: Height) -> Result<(), Break> {
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
