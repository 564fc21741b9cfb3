//! What of some chains' blocks is their own, by the chain's number.

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

/// Is everything of this chain known here?
pub(crate) fn knows(chain_number: u64) -> bool {
    KNOWN.contains(&chain_number)
}

/// Polygon: what a block takes over from the main chain is done by a transaction at its end with this id, to which none of its roots commits
/// (before PIP-74; bor's `GetDerivedBorTxHash`).
pub(crate) fn state_sync(chain_number: u64, at: BlockRef) -> Option<B256> {
    let id = || keccak256([&b"matic-bor-receipt-"[..], &at.height.0.to_be_bytes(), &at.hash.0].concat());
    POLYGON.contains(&chain_number).then(id)
}

/// The same since PIP-74.
pub(crate) fn is_state_sync(chain_number: u64, kind: u8) -> bool {
    kind == STATE_SYNC && POLYGON.contains(&chain_number)
}

/// Have its deposits more fields than the OP stack's, which are not in their JSON (Mantle's `ethValue`)?
pub(crate) fn has_own_deposits(chain_number: u64) -> bool {
    MANTLE.contains(&chain_number)
}

/// Is who destroys himself gone with what he has, by the rule of Ethereum's time? So it was until EIP-6780, which came with what headers say of blobs
/// (Cancun), and to Polygon, whose headers never do, with its Napoli fork.
pub(crate) fn burns(chain_number: u64, height: Height, says_of_blobs: bool) -> bool {
    let since = match chain_number {
        137 => 54_876_000,
        80_002 => 5_423_600,
        _ => u64::MAX,
    };
    !says_of_blobs && height.0 < since
}

/// Do tips go to the header's beneficiary? On Polygon that is nobody, and whoever sealed the block gets them.
pub(crate) fn pays_beneficiary(chain_number: u64) -> bool {
    !POLYGON.contains(&chain_number)
}

/// Are withdrawals paid in its native coin? On Gnosis they are GNO, which a contract pays (`gnosischain/specs`, withdrawals).
pub(crate) fn pays_withdrawals(chain_number: u64) -> bool {
    !GNOSIS.contains(&chain_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::BlockHash;

    #[test]
    fn polygons_state_sync_has_an_id_of_its_block() {
        let at = |height| BlockRef { height: Height(height), hash: BlockHash([0xab; 32]) };
        let bytes = [&b"matic-bor-receipt-\0\0\0\0\0\0\x01\0"[..], &[0xab; 32]].concat();
        assert_eq!(state_sync(137, at(256)), Some(keccak256(bytes)));
        assert_ne!(state_sync(137, at(256)), state_sync(137, at(257)));
        assert_eq!(state_sync(1, at(256)), None, "anyone could add such a transaction to another chain's blocks");
    }
}
