//! A block, asked for by its hash from one node (`fetch`, `headers`), read once (`json`), and turned into the bytes that its header commits to (`codec`).

pub(crate) mod codec;
pub(crate) mod fetch;
pub(crate) mod headers;
pub(crate) mod json;

use alloy::primitives::B256;
use assay_types::BlockHash;
use serde_json::{Value, json};

/// How a question of state names its block (EIP-1898).
pub(crate) fn by_hash(block: BlockHash) -> Value {
    json!({ "blockHash": B256::from(block.0) })
}
