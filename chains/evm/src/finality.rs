//! Which block is final: by depth, or by a tag of which only what can be checked is believed.

use std::time::{Duration, Instant};

use alloy::primitives::B256;
use assay_types::{BlockRef, Fault, NodeError};

use crate::block::headers::{self, SealedHeader};
use crate::node::{Node, Refusal};

/// When a block may be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// When the node says so, by a tag.
    Tag(FinalityTag),
    /// With so many confirmations: N makes the block at tip - N + 1 final, 0 means 1.
    Confirmations(u64),
}

/// A tag that nodes know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalityTag {
    /// Finalized by the beacon chain.
    Finalized,
    /// Justified by the beacon chain.
    Safe,
}

impl FinalityTag {
    /// As JSON-RPC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            FinalityTag::Finalized => "finalized",
            FinalityTag::Safe => "safe",
        }
    }

    /// How many slots Ethereum's consensus lets pass before a block can be that: an epoch of 32 is justified by the next one,
    /// and finalized as the one after has ended (Casper FFG, consensus-specs `phase0/fork-choice.md`), before there is a block of the next. What
    /// is safe may be so after a slot (its `fast-confirmation.md`).
    fn least_slots(self) -> u64 {
        match self {
            FinalityTag::Finalized => 63,
            FinalityTag::Safe => 1,
        }
    }
}

const SLOT_S: u64 = 12;

/// How often that is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What the node names by this tag.
pub(crate) async fn tagged(node: &Node, tag: FinalityTag) -> Result<SealedHeader, Refusal> {
    headers::tagged(node, tag.as_str(), &subject(tag)).await
}

fn subject(tag: FinalityTag) -> String {
    format!("the {} header", tag.as_str())
}

/// The last final block by the node's tag; `None` where it has none yet, does not know the tag, or names a block above its
/// head, where nothing can be held against it. That it is on our chain is for the caller to see. What is final stays so: a node that names an
/// older one than before, none any more, or one that it does not have, is told, and the chain goes on without it.
///
/// # Errors
/// [`NodeError::Contradiction`] where the block is younger than the chain's consensus lets a final one be, and [`NodeError::Unreadable`] where
/// the node has another one at that height.
pub(crate) async fn final_block(
    node: &Node,
    tag: FinalityTag,
    head: &SealedHeader,
    tagged: Result<SealedHeader, Refusal>,
) -> Result<Option<BlockRef>, NodeError> {
    let sealed = match tagged {
        Ok(sealed) => sealed,
        Err(Refusal::Null(_)) => {
            hold_against_before(node, tag, None);
            return Ok(None);
        }
        Err(refusal) => return refusal.in_words().map(|_| None),
    };
    let header = &sealed.header;
    if header.number > head.header.number {
        // Blocks may have come between the two answers.
        let last = headers::head(node).await?.header.number;
        if header.number > last {
            let why = format!("it names block {}, and has {last}", header.number);
            tell(node, tag, "its last block", Fault::Forged, why);
        }
        return Ok(None);
    }
    let (blocks, age_s) = (head.header.number - header.number, head.header.timestamp.saturating_sub(header.timestamp));
    let by_ethereum = node.family.is_final_by_ethereum() && header.number > 0;
    // A node that makes up its times, as one for tests does, has the blocks instead.
    if by_ethereum && blocks < tag.least_slots() && age_s < tag.least_slots() * SLOT_S {
        let why = format!("block {} is {age_s} s and {blocks} blocks below the last one", header.number);
        return Err(node.contradiction(&subject(tag), "the rules of consensus", Fault::Forged, why));
    }
    let last = sealed.at();
    if node.named_final.lock().last != Some(last) {
        if let Some(ours) = headers::hash_at(node, last.height).await?.filter(|hash| *hash != last.hash) {
            let [said, ours] = [last.hash, ours].map(|hash| B256::from(hash.0));
            let why = format!("it is {said} at height {}, where its chain has {ours}", last.height);
            return Err(node.unreadable(&subject(tag), Fault::MixedForks, why));
        }
        node.named_final.lock().last = Some(last);
    }
    hold_against_before(node, tag, Some(header.number));
    Ok(Some(last))
}

fn hold_against_before(node: &Node, tag: FinalityTag, height: Option<u64>) {
    let before = {
        let mut named = node.named_final.lock();
        let highest = named.highest.max(height);
        std::mem::replace(&mut named.highest, highest)
    };
    let Some(before) = before.filter(|before| height.is_none_or(|height| height < *before)) else { return };
    let (fault, what) = height.map_or((Fault::Omitted, "none".into()), |it| (Fault::Stale, format!("block {it}")));
    tell(node, tag, "what it named before", fault, format!("it names {what}, and named block {before}"));
}

fn tell(node: &Node, tag: FinalityTag, against: &str, fault: Fault, why: String) {
    let is_told = |at: Instant| at.elapsed() < TOLD_EVERY;
    if !node.named_final.lock().told.is_some_and(is_told) {
        node.named_final.lock().told = Some(Instant::now());
        node.doubt(node.contradiction(&subject(tag), against, fault, why));
    }
}
