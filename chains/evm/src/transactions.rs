//! Single transactions, by a node's word as far as nothing proves it: in which block one is, and one that waits.

use alloy::primitives::{B256, keccak256};
use assay_types::{BlockHash, BlockRef, Fault, Height, NodeError, Watch};
use serde::Deserialize;
use serde_json::json;

use crate::block::StateAt;
use crate::block::body::{self, Senders};
use crate::codec::{Place, Transaction};
use crate::node::{Node, OrFail};
use crate::state::proofs;

/// The block that a transaction is in: by the node's word, and where that is one of these, it is.
pub(crate) async fn mined(
    node: &Node,
    txid: B256,
    among: impl Fn(BlockRef) -> bool,
) -> Result<Option<BlockRef>, NodeError> {
    #[derive(Deserialize)]
    struct Found {
        hash: B256,
        #[serde(flatten)]
        place: Place,
    }
    let subject = format!("transaction {txid}");
    let found: Option<Found> =
        node.ask("eth_getTransactionByHash", json!([txid]), &subject).await.or_fail(node, &subject)?;
    let Some(Found { hash, place }) = found else { return Ok(None) };
    is_asked_for(node, &subject, txid, hash)?;
    let Some((number, block)) = place.block_number.zip(place.block_hash) else { return Ok(None) };
    let at = BlockRef { height: Height(number.to()), hash: BlockHash(block.0) };
    if among(at) {
        let contents = body::read(node, at, body::ask(node, at).await, Senders::Of(&Watch::default())).await?;
        if contents.is_checked && contents.transactions.iter().all(|one| one.id != txid) {
            let block = format!("block {}, which it is said to be in", at.height);
            return Err(node.contradiction(&subject, &block, Fault::Forged, "it is not among its transactions"));
        }
    }
    Ok(Some(at))
}

fn is_asked_for(node: &Node, subject: &str, asked: B256, given: B256) -> Result<(), NodeError> {
    match asked == given {
        true => Ok(()),
        false => Err(node.contradiction(subject, "what was asked for", Fault::Reordered, format!("it is {given}"))),
    }
}

/// A transaction that waits for a block behind this one, if the node knows it as such: its sender has sent none with its nonce up to there.
pub(crate) async fn pending(node: &Node, txid: B256, after: StateAt) -> Result<Option<Transaction>, NodeError> {
    let subject = format!("transaction {txid}");
    let found: Option<Transaction> =
        node.ask("eth_getTransactionByHash", json!([txid]), &subject).await.or_fail(node, &subject)?;
    let Some(found) = found else { return Ok(None) };
    is_asked_for(node, &subject, txid, found.id)?;
    let is_pending = found.place.block_hash.is_none() && found.place.block_number.is_none();
    if !is_pending || found.is_foreign {
        return Ok(None);
    }
    found
        .check(keccak256(&found.bytes))
        .and_then(|()| found.check_sender())
        .map_err(|why| node.contradiction(&subject, "its own bytes", Fault::Forged, why))?;
    let next = proofs::nonce(node, after, found.sender).await?;
    if found.nonce < next {
        // A node's pool may be a moment behind its chain: nothing follows but that it does not wait.
        let why = format!("its nonce is {}, and its sender's next one is {next}", found.nonce);
        let against = format!("the state of block {}", after.block.height);
        let error = node.contradiction(&format!("{subject} that waits"), &against, Fault::Stale, why);
        tracing::warn!(kind = Fault::Stale.as_str(), "{error}");
        return Ok(None);
    }
    Ok(Some(found))
}
