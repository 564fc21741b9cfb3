//! What of some chains' blocks is their own.

use alloy::primitives::{B256, keccak256};
use assay_types::{BlockRef, Height};

/// The chains of whose transactions, receipts and headers every one can be rebuilt here: one that cannot is a lie, or newer than we are.
/// Ethereum with its test networks, Polygon, BNB, OP and Base with theirs.
const KNOWN: [u64; 12] = [1, 17_000, 560_048, 11_155_111, 137, 80_002, 56, 97, 10, 11_155_420, 8_453, 84_532];
/// With its test network, as the next ones.
const POLYGON: [u64; 2] = [137, 80_002];
const GNOSIS: [u64; 2] = [100, 10_200];
const MANTLE: [u64; 2] = [5_000, 5_003];
/// PIP-74: Polygon's state sync as a transaction to which the block commits. Its content is not in its JSON.
const STATE_SYNC: u8 = 0x7f;
/// Those that follow Ethereum's consensus: main network, Holesky, Hoodi, Sepolia.
const BY_ETHEREUM: [u64; 4] = [1, 17_000, 560_048, 11_155_111];

/// The rules of a chain, by its number (EIP-155).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family(pub(crate) u64);

impl Family {
    /// Is everything of this chain known here?
    pub(crate) fn knows(self) -> bool {
        KNOWN.contains(&self.0)
    }

    /// Polygon: what a block takes over from the main chain is done by a transaction at its end with this id, to which none of its roots commits
    /// (before PIP-74; bor's `GetDerivedBorTxHash`).
    pub(crate) fn state_sync(self, at: BlockRef) -> Option<B256> {
        let id = || keccak256([&b"matic-bor-receipt-"[..], &at.height.0.to_be_bytes(), &at.hash.0].concat());
        POLYGON.contains(&self.0).then(id)
    }

    /// The same since PIP-74.
    pub(crate) fn is_state_sync(self, kind: u8) -> bool {
        kind == STATE_SYNC && POLYGON.contains(&self.0)
    }

    /// Have its deposits more fields than the OP stack's, which are not in their JSON (Mantle's `ethValue`)?
    pub(crate) fn has_own_deposits(self) -> bool {
        MANTLE.contains(&self.0)
    }

    /// Is who destroys himself gone with what he has, by the rule of Ethereum's time? So it was until EIP-6780, which came with what headers say of blobs
    /// (Cancun), and to Polygon, whose headers never do, with its Napoli fork.
    pub(crate) fn burns(self, height: Height, says_of_blobs: bool) -> bool {
        let since = match self.0 {
            137 => 54_876_000,
            80_002 => 5_423_600,
            _ => u64::MAX,
        };
        !says_of_blobs && height.0 < since
    }

    /// Do tips go to the header's beneficiary? On Polygon that is nobody, and whoever sealed the block gets them.
    pub(crate) fn pays_beneficiary(self) -> bool {
        !POLYGON.contains(&self.0)
    }

    /// Are withdrawals paid in its native coin? On Gnosis they are GNO, which a contract pays (`gnosischain/specs`, withdrawals).
    pub(crate) fn pays_withdrawals(self) -> bool {
        !GNOSIS.contains(&self.0)
    }

    /// Does a block become final by Ethereum's consensus?
    pub(crate) fn is_final_by_ethereum(self) -> bool {
        BY_ETHEREUM.contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::BlockHash;

    #[test]
    fn polygons_state_sync_has_an_id_of_its_block() {
        let at = |height| BlockRef { height: Height(height), hash: BlockHash([0xab; 32]) };
        let bytes = [&b"matic-bor-receipt-\0\0\0\0\0\0\x01\0"[..], &[0xab; 32]].concat();
        assert_eq!(Family(137).state_sync(at(256)), Some(keccak256(bytes)));
        assert_ne!(Family(137).state_sync(at(256)), Family(137).state_sync(at(257)));
        assert_eq!(
            Family(1).state_sync(at(256)),
            None,
            "anyone could add such a transaction to another chain's blocks"
        );
    }
}
