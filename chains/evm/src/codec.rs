//! Transactions and receipts: from the JSON that nodes write to the bytes that a header commits to, in one pass. Pure.
//!
//! Known are Ethereum's types 0 to 4 (EIP-155, 2930, 1559, 4844, 7702), which Polygon and BNB share, and the OP stack's deposits (type 0x7e,
//! `specs/protocol/deposits.md`). Of any other type the bytes must come from the node, and what they say is not read. What is
//! a chain's own is in `family`.

use alloy::primitives::{B256, U64};
use alloy::rlp::Header;
use serde::Deserialize;

use crate::json::{self, Wrong};

/// The OP stack's deposits.
const DEPOSIT: u8 = 0x7e;

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

mod family;
// Behind the macro that they use.
mod receipt;
mod transaction;

pub(crate) use family::Family;
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
