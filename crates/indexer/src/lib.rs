//! Follows one chain: fetches blocks ahead on several threads, applies them in order, takes them back when the chain
//! reorganises, fills in accounts that were declared late, and takes on those that are announced before they are used.
//!
//! Knows no chain and no node: it sees them through [`assay_types::Chain`], and writes through [`assay_store::Store`].

mod ahead;
mod announce;
mod assets;
mod breaks;
mod canary;
mod doubts;
mod everyone;
mod follow;
mod fork;
mod holders;
mod indexer;
mod late;
mod patience;
mod prove;
mod quorum;
mod residual;
mod slice;
mod stretch;
#[cfg(test)]
mod tests;
mod traced;
mod turns;

pub use announce::{Holding, Refusal};
pub use follow::reach;
pub use indexer::{Indexer, Progress, Reached, Settings};
pub use patience::Stop;
pub use quorum::Quorum;
pub use turns::Turns;

use assay_store::{Left, StoreError};
use assay_types::{ChainId, Fault, Height, NodeError};

/// Why a chain cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain left a block that was final, or that cannot be taken back.
    #[error("{0}")]
    Left(#[from] ChainLeft),
    /// The node's chain ends below what was final.
    #[error(
        "the node's chain ends at block {head}, below block {final_height}, which was final: it is behind {}",
        Fault::Stale
    )]
    NodeBehind {
        /// The node's last block.
        head: Height,
        /// What was final.
        final_height: Height,
    },
    /// The node's chain ends below where coverage starts.
    #[error("the node's chain ends at block {head}, below block {first}, where this chain is followed from")]
    NotBegun {
        /// The node's last block.
        head: Height,
        /// Where coverage starts.
        first: Height,
    },
    /// The configuration has another start than the index.
    #[error("the index begins at block {indexed}, and `start` is {start} now")]
    OtherStart {
        /// The first block that is indexed.
        indexed: Height,
        /// As configured.
        start: Height,
    },
    /// The chain changed faster than it could be followed.
    #[error("the chain reorganised again and again while it was followed")]
    Restless,
    /// Asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Blocks of ours that are not on the chain any more and stay, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chain reorganised beyond {}: block {} {hash} and those above it are not on it any more{}", self.beyond(), .left.block.height, self.why())]
pub struct ChainLeft {
    /// The first of them.
    pub left: Left,
    /// Its hash, as its chain writes it.
    pub hash: String,
}

impl ChainLeft {
    /// Says it as this chain does.
    pub fn new(chain: &ChainId, left: Left) -> ChainLeft {
        ChainLeft { left, hash: chain.show_hash(&left.block.hash.0) }
    }

    fn beyond(&self) -> &'static str {
        if self.left.final_height.is_some() { "finality" } else { "undo" }
    }

    fn why(&self) -> String {
        match self.left.final_height {
            Some(height) => format!(", and {height} was final"),
            None => ", and no undo is kept so far back".into(),
        }
    }
}

impl IndexError {
    /// What is wrong with the node's answer, where that is the reason.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            IndexError::Node(error) => error.fault(),
            IndexError::NodeBehind { .. } => Some(Fault::Stale),
            _ => None,
        }
    }

    /// A node that is away may come back; one that lies or refuses us will not.
    pub(crate) fn may_pass(&self) -> bool {
        use NodeError::{Disagreement, Limited, Missing, Unreachable, Unreadable};
        matches!(
            self,
            IndexError::Node(
                Unreachable { .. } | Limited { .. } | Disagreement { .. } | Unreadable { .. } | Missing { .. }
            ) | IndexError::NodeBehind { .. }
                | IndexError::NotBegun { .. }
                | IndexError::Restless
        )
    }
}
