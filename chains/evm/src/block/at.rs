//! Which state: that after a block, and the root by which it is proven.

use alloy::primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;
use assay_types::{BlockRef, Header, NodeError};

use crate::block::headers::SealedHeader;

/// The state after a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateAt {
    pub(crate) block: BlockRef,
    /// What its header commits to; that of no accounts where nothing can be held against it.
    pub(crate) root: B256,
}

impl StateAt {
    /// A header that was not verified commits to nothing.
    pub(crate) fn after(sealed: &SealedHeader) -> StateAt {
        let root = if sealed.is_foreign { EMPTY_ROOT_HASH } else { sealed.header.state_root };
        StateAt { block: sealed.at(), root }
    }

    /// As a header that is kept seals it.
    pub(crate) fn kept(header: &Header) -> Result<StateAt, NodeError> {
        let none = || NodeError::Unsupported(format!("the kept header of block {} is not an EVM one", header.height));
        let root = B256::try_from(header.seal.as_slice()).map_err(|_| none())?;
        Ok(StateAt { block: header.at(), root })
    }

    pub(crate) fn unproven(self) -> StateAt {
        StateAt { root: EMPTY_ROOT_HASH, ..self }
    }

    /// Can anything be proven of it? A test node's genesis commits to the empty state, whatever it holds.
    pub(crate) fn is_provable(&self) -> bool {
        self.root != EMPTY_ROOT_HASH
    }
}
