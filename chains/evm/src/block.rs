//! A block, asked for by its hash from one node: its header (`headers`), what the header commits to (`body`, `receipts`), and the state after it (`at`).

pub(crate) mod at;
pub(crate) mod body;
pub(crate) mod elsewhere;
pub(crate) mod headers;
pub(crate) mod receipts;

use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::B256;
use assay_types::BlockHash;
use serde_json::{Value, json};

use crate::block::headers::SealedHeader;
use crate::codec::Transaction;

pub(crate) use at::StateAt;

/// How a question of state names its block (EIP-1898).
pub(crate) fn by_hash(block: BlockHash) -> Value {
    json!({ "blockHash": B256::from(block.0) })
}

/// A block's parts, held against its header.
pub(crate) struct Contents {
    pub(crate) sealed: SealedHeader,
    pub(crate) transactions: Vec<Transaction>,
    /// Is the last of them one to which nothing commits?
    pub(crate) apart: bool,
    /// Was everything else held against the header?
    pub(crate) is_checked: bool,
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
}

impl Contents {
    pub(crate) fn txids(&self) -> Vec<B256> {
        self.transactions.iter().map(|transaction| transaction.id).collect()
    }

    pub(crate) fn committed(&self) -> &[Transaction] {
        &self.transactions[..self.transactions.len() - usize::from(self.apart)]
    }
}
