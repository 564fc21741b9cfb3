//! What a node says of other blocks, by which one of its answers is told apart. It is asked only after it contradicted something.

use alloy::primitives::B256;
use assay_types::BlockRef;
use serde_json::json;

use crate::block::headers::{self, BlockJson};
use crate::codec::Receipt;
use crate::node::Node;

/// The number of the last withdrawal before this block, and of the first one after it, where blocks near have some.
pub(crate) async fn withdrawals_around(node: &Node, at: BlockRef) -> (Option<u64>, Option<u64>) {
    const NEAR: u64 = 4;
    let numbers = async |heights: Vec<u64>| {
        for height in heights {
            let params = json!([format!("{height:#x}"), false]);
            let block = node.ask::<Option<BlockJson<B256>>>("eth_getBlockByNumber", params, "withdrawals").await;
            let withdrawals = block.ok().flatten()?.withdrawals.unwrap_or_default();
            if let (Some(first), Some(last)) = (withdrawals.first(), withdrawals.last()) {
                return Some((first.index, last.index));
            }
        }
        None
    };
    let height = at.height.0;
    let before = numbers((height.saturating_sub(NEAR)..height).rev().collect()).await.map(|(_, last)| last);
    (before, numbers((height + 1..=height + NEAR).collect()).await.map(|(first, _)| first))
}

/// Does the node give receipts of another block at this height than the one that its headers name, and that it does not have?
pub(crate) async fn has_another(node: &Node, at: BlockRef) -> bool {
    let params = json!([format!("{:#x}", at.height.0)]);
    let receipts = node.ask::<Option<Vec<Receipt>>>("eth_getBlockReceipts", params, "receipts").await;
    let other = receipts.ok().flatten().and_then(|receipts| receipts.first()?.place.block_hash);
    // Meanwhile the chain may have changed.
    other.is_some_and(|other| other.0 != at.hash.0)
        && headers::hash_at(node, at.height).await.is_ok_and(|named| named == Some(at.hash))
}
