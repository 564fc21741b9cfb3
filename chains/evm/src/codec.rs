//! Transactions and receipts: from the JSON that nodes write to the bytes that a header commits to, in one pass. Pure.
//!
//! Known are Ethereum's types 0 to 4 (EIP-155, 2930, 1559, 4844, 7702), which Polygon and BNB share, and the OP stack's deposits (type 0x7e,
//! `specs/protocol/deposits.md`). Of any other type the bytes must come from the node, and what they say is not read.

use alloy::primitives::{B256, U64, keccak256};
use alloy::rlp::Header;
use assay_types::BlockRef;
use serde::Deserialize;

use crate::json::{self, Wrong};

/// The OP stack's deposits.
const DEPOSIT: u8 = 0x7e;

/// The chains of whose transactions, receipts and headers every one can be rebuilt here: one that cannot is a lie, or newer than we are.
/// Ethereum with its test networks, Polygon, BNB, OP and Base with theirs.
const KNOWN: [u64; 12] = [1, 17_000, 560_048, 11_155_111, 137, 80_002, 56, 97, 10, 11_155_420, 8_453, 84_532];

/// Is everything of this chain known here?
pub(crate) fn knows(chain_number: u64) -> bool {
    KNOWN.contains(&chain_number)
}

/// Polygon: what a block takes over from the main chain is done by a transaction at its end with this id, to which none of its roots commits
/// (before PIP-74; bor's `GetDerivedBorTxHash`).
pub(crate) fn state_sync(chain_number: u64, at: BlockRef) -> Option<B256> {
    let is_polygon = matches!(chain_number, 137 | 80_002);
    is_polygon.then(|| keccak256([&b"matic-bor-receipt-"[..], &at.height.0.to_be_bytes(), &at.hash.0].concat()))
}

/// Where a transaction stands, by what the node says beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub(crate) block_hash: Option<B256>,
    pub(crate) block_number: Option<U64>,
    pub(crate) transaction_index: Option<U64>,
}

impl Place {
    fn read(hash: Text<'_>, number: Text<'_>, index: Text<'_>) -> Result<Place, Wrong> {
        Ok(Place {
            block_hash: read("blockHash", hash, json::hash)?,
            block_number: read("blockNumber", number, json::u64)?.map(U64::from),
            transaction_index: read("transactionIndex", index, json::u64)?.map(U64::from),
        })
    }
}

/// A field as it is written, where it is there and not `null`.
type Text<'a> = Option<&'a [u8]>;

/// The texts of these fields.
macro_rules! texts {
    ($texts:ident { $($field:ident = $name:literal),* $(,)? }) => {
        #[derive(Default)]
        struct $texts<'a> {
            $($field: Text<'a>),*
        }

        impl<'a> $texts<'a> {
            /// Takes a field, wanted or not.
            fn take(&mut self, name: &[u8], json: &mut Json<'a>) -> Result<(), Wrong> {
                let text = json.something()?;
                let place = match name {
                    $($name => &mut self.$field,)*
                    _ => return Ok(()),
                };
                match std::mem::replace(place, text) {
                    None => Ok(()),
                    Some(_) => Err(Wrong::Not("told once")),
                }
            }
        }
    };
}

// Behind the macro that they use.
mod receipt;
mod transaction;

pub(crate) use receipt::Receipt;
pub(crate) use transaction::Transaction;

fn need<T>(name: &'static str, text: Text<'_>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Wrong> {
    read(text.ok_or(Wrong::Missing(name))?).ok_or(Wrong::Field(name))
}

fn read<T>(name: &'static str, text: Text<'_>, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Wrong> {
    text.map(|text| read(text).ok_or(Wrong::Field(name))).transpose()
}

fn kind_of(text: Text<'_>) -> Result<u8, Wrong> {
    Ok(read("type", text, |text| json::u64(text)?.try_into().ok())?.unwrap_or(0))
}

fn typed_header(kind: u8, payload_length: usize, bytes: &mut Vec<u8>) {
    if kind > 0 {
        bytes.push(kind);
    }
    Header { list: true, payload_length }.encode(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{BlockHash, Height};

    #[test]
    fn polygons_state_sync_has_an_id_of_its_block() {
        let at = |height| BlockRef { height: Height(height), hash: BlockHash([0xab; 32]) };
        let bytes = [&b"matic-bor-receipt-\0\0\0\0\0\0\x01\0"[..], &[0xab; 32]].concat();
        assert_eq!(state_sync(137, at(256)), Some(keccak256(bytes)));
        assert_ne!(state_sync(137, at(256)), state_sync(137, at(257)));
        assert_eq!(state_sync(1, at(256)), None, "anyone could add such a transaction to another chain's blocks");
    }
}
