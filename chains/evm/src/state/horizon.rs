//! How far back a node keeps state, where it does not say so in words that are known here: Besu answers null (its issue 6926), others say
//! it in words of their own.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;

use alloy::primitives::{Address, keccak256};
use assay_types::{BlockHash, BlockRef, Fault};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::block::{by_hash, headers};
use crate::node::{Node, Refusal};

/// Every node keeps the state of so many of its last blocks. geth keeps that of 128.
const KEPT: u64 = 64;

/// What is asked for of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Balances,
    Proofs,
}

/// What a refusal of state at this block means: that it is gone, where the block is an old one and the node refuses the same of an address
/// that nobody picked, there and at the block below. Who leaves out something in between is told apart by that.
pub(crate) async fn meant(node: &Node, at: BlockRef, of: Of, refusal: Refusal) -> Refusal {
    let (Refusal::Null(_) | Refusal::Other(_)) = refusal else { return refusal };
    if !is_old(node, at) || !refuses(node, at.hash, of).await {
        return refusal;
    }
    let below = match at.height.previous() {
        Some(below) => headers::hash_at(node, below).await.ok().flatten(),
        None => Some(at.hash),
    };
    match (below, refusal) {
        (Some(below), refusal) if !refuses(node, below, of).await || !is_still_there(node, at).await => refusal,
        (Some(_), Refusal::Other(why)) => Refusal::Absent(why),
        (Some(_), _) => Refusal::Absent("the answer is null, as that of the block below".into()),
        (None, refusal) => refusal,
    }
}

/// Does it prove the state of this block, or of the one below, of an address that nobody picked? Nodes prove what lies above a block, or nothing: then
/// it leaves out what it does not prove at this one. Whom it is asked about it must not foretell; and what it did prove of the block says so too.
pub(crate) async fn proves(node: &Node, at: BlockRef) -> bool {
    if node.has_proven(at.hash) && !is_old(node, at) {
        return is_still_there(node, at).await;
    }
    if at.height.0 <= node.unproven_up_to.load(Ordering::Relaxed) {
        return false;
    }
    if !refuses(node, at.hash, Of::Proofs).await {
        return true;
    }
    let below = match at.height.previous() {
        Some(below) => headers::hash_at(node, below).await.ok().flatten(),
        None => None,
    };
    let proves = match below {
        Some(below) => !refuses(node, below, Of::Proofs).await,
        None => false,
    };
    if !is_still_there(node, at).await {
        return false;
    }
    if !proves {
        let before = node.unproven_up_to.fetch_max(at.height.0, Ordering::Relaxed);
        if node.recent.head() == Some(at.height) {
            tell_of_none(node, at, before == 0);
        }
    }
    proves
}

/// Nothing of the last block is proven: who gave proofs before leaves them out.
fn tell_of_none(node: &Node, at: BlockRef, is_first: bool) {
    let subject = format!("a proof of the state of block {}", at.height);
    let none = "it gives none of this block, its last one, nor of the one below";
    if node.can.proofs.doubt() {
        node.doubt(node.missing(&subject, Some(Fault::Omitted), format!("{none}, and gave some before")));
    } else if is_first {
        tracing::warn!(node = node.name, "{subject}: {none}, so nothing is proven");
    }
}

/// Of a block that is not on the chain any more the node may know nothing, and the one below its height is another's parent.
async fn is_still_there(node: &Node, at: BlockRef) -> bool {
    headers::hash_at(node, at.height).await.is_ok_and(|hash| hash == Some(at.hash))
}

fn is_old(node: &Node, at: BlockRef) -> bool {
    node.recent.head().is_some_and(|head| at.height.0 + KEPT <= head.0)
}

/// Asks for the zero address, which is there on most chains, and for a random one, which is there on none: some nodes prove nothing of accounts that
/// are not there.
async fn refuses(node: &Node, block: BlockHash, of: Of) -> bool {
    let block = by_hash(block);
    let chance = RandomState::new().hash_one(0).to_be_bytes();
    for address in [Address::ZERO, Address::from_word(keccak256(chance))] {
        let (method, params) = match of {
            Of::Balances => ("eth_getBalance", json!([address, block])),
            Of::Proofs => ("eth_getProof", json!([address, [], block])),
        };
        let answer = node.ask::<Option<IgnoredAny>>(method, params, "a state").await;
        if !matches!(answer, Ok(None) | Err(Refusal::Absent(_) | Refusal::Other(_))) {
            return false;
        }
    }
    true
}
