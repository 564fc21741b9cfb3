//! What things are called: chains (CAIP-2), accounts, assets, blocks, transactions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    fn new(text: &str, expected: &'static str) -> IdError {
        IdError { text: text.into(), expected }
    }
}

/// A chain's CAIP-2 id, `namespace:reference`; the namespace says which module serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainId(Arc<str>);

impl ChainId {
    /// The part before the colon: `bip122`, `eip155`.
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The part behind the colon: a genesis hash's first 32 digits, an EVM chain's number.
    pub fn reference(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, reference)| reference)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A 32-byte hash as people of this chain write it: with `0x` on EVM chains.
    pub fn show_hash(&self, hash: &[u8; 32]) -> String {
        match self.namespace() {
            "eip155" => const_hex::encode_prefixed(hash),
            _ => const_hex::encode(hash),
        }
    }

    /// The inverse of [`ChainId::show_hash`]; the `0x` of EVM chains may be left out.
    ///
    /// # Errors
    /// Anything but 64 hexadecimal digits.
    pub fn parse_hash(&self, text: &str) -> Result<[u8; 32], IdError> {
        let digits = if self.namespace() == "eip155" { text.strip_prefix("0x").unwrap_or(text) } else { text };
        let mut hash = [0; 32];
        let plain = digits.len() == 64 && !digits.starts_with("0x");
        (plain && const_hex::decode_to_slice(digits, &mut hash).is_ok())
            .then_some(hash)
            .ok_or_else(|| IdError::new(text, "a hash of 64 hexadecimal digits"))
    }
}

impl FromStr for ChainId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<ChainId, IdError> {
        let fits = |part: &str, least: usize, most: usize, more: &[u8]| {
            (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        match text.split_once(':') {
            Some((namespace, reference)) if fits(namespace, 3, 8, b"-") && fits(reference, 1, 32, b"-_") => {
                Ok(ChainId(text.into()))
            }
            _ => Err(IdError::new(text, "a CAIP-2 chain id such as `eip155:1`")),
        }
    }
}

impl TryFrom<String> for ChainId {
    type Error = IdError;
    fn try_from(text: String) -> Result<ChainId, IdError> {
        text.parse()
    }
}

impl From<ChainId> for String {
    fn from(id: ChainId) -> String {
        id.0.as_ref().into()
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What can hold coins on a chain, as bytes: a scriptPubKey (Bitcoin), a 20-byte address (EVM).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub Box<[u8]>);

impl Account {
    /// Copies the bytes.
    pub fn new(bytes: &[u8]) -> Account {
        Account(bytes.into())
    }
}

impl std::borrow::Borrow<[u8]> for Account {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// As chains write it whose accounts are addresses of bytes; how one shows a script is for its chain to say.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", const_hex::encode(&self.0))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", const_hex::encode(&self.0))
    }
}

/// A watched account's dense number within one chain's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountNo(pub u32);

/// An asset within one chain. With the chain's id it is a CAIP-19 id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// The chain's own coin.
    Native,
    /// A token by its contract's address (EVM: ERC-20).
    Token([u8; 20]),
}

impl Asset {
    /// Parses a CAIP-19 id: `CHAIN/slip44:N`, whatever the number, is the chain's native coin; `eip155:N/erc20:0x…` is a
    /// token, in any letter case.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse_caip19(text: &str) -> Result<(ChainId, Asset), IdError> {
        let wrong = || IdError::new(text, "a CAIP-19 asset id such as `eip155:1/erc20:0x…` or `eip155:1/slip44:60`");
        let (chain, asset) = text.split_once('/').ok_or_else(wrong)?;
        let chain: ChainId = chain.parse().map_err(|_| wrong())?;
        let asset = match asset.split_once(':') {
            Some(("slip44", coin)) if !coin.starts_with('+') && coin.parse::<u32>().is_ok() => Asset::Native,
            Some(("erc20", contract)) if chain.namespace() == "eip155" && contract.len() == 42 => {
                let mut address = [0; 20];
                let digits = contract.strip_prefix("0x").ok_or_else(wrong)?;
                const_hex::decode_to_slice(digits, &mut address).map_err(|_| wrong())?;
                Asset::Token(address)
            }
            _ => return Err(wrong()),
        };
        Ok((chain, asset))
    }
}

/// A block's height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// Above this no chain has a block: one of a block each millisecond comes here in 34 years. Whoever says so is not believed.
    pub const HIGHEST: Height = Height(1 << 40);

    /// The height after this one.
    #[must_use]
    pub fn next(self) -> Height {
        Height(self.0 + 1)
    }

    /// The height before this one; `None` below zero.
    #[must_use]
    pub fn previous(self) -> Option<Height> {
        self.0.checked_sub(1).map(Height)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A block's hash, in the order in which it is written (Bitcoin: the reverse of what SHA-256 gives).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

/// A transaction's hash, in the order in which it is written (Bitcoin: the reverse of what SHA-256 gives).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub [u8; 32]);

macro_rules! hex_text {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&const_hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
hex_text!(BlockHash TxId);

/// Output `vout` of transaction `txid` (Bitcoin).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outpoint {
    /// The transaction.
    pub txid: TxId,
    /// The output's place in it, from 0.
    pub vout: u32,
}

/// One block, by height and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// What is kept of every block's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// The hash of the block below it.
    pub parent: BlockHash,
    /// The time that it claims.
    pub time: crate::Timestamp,
    /// What the chain's own checks need again later: Bitcoin the 80 bytes, EVM the state root.
    pub seal: Vec<u8>,
}

impl Header {
    /// Height and hash.
    pub fn at(&self) -> BlockRef {
        BlockRef { height: self.height, hash: self.hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_caip_2() {
        for good in ["bip122:000000000019d6689c085ae165831e93", "eip155:1", "eip155:31337"] {
            assert_eq!(good.parse::<ChainId>().unwrap().as_str(), good);
        }
        for bad in ["", "eip155", "eip155:", "e:1", "eip155:1:2", "bip122:000000000019d6689c085ae165831e934ff"] {
            assert!(bad.parse::<ChainId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn asset_ids_follow_caip_19() {
        let token = "0xdAC17F958D2ee523a2206206994597C13D831ec7";
        let (chain, asset) = Asset::parse_caip19(&format!("eip155:1/erc20:{token}")).unwrap();
        assert_eq!(
            (chain.as_str(), Some(asset)),
            ("eip155:1", const_hex::decode_to_array(token).ok().map(Asset::Token))
        );
        for native in ["bip122:000000000019d6689c085ae165831e93/slip44:0", "eip155:56/slip44:714"] {
            assert_eq!(Asset::parse_caip19(native).unwrap().1, Asset::Native);
        }
        for bad in ["", "eip155:1", "eip155:1/slip44:", "eip155:1/slip44:x", "eip155:1/erc20:0x12", "x/slip44:0"] {
            assert!(Asset::parse_caip19(bad).is_err(), "{bad}");
        }
        assert!(Asset::parse_caip19(&format!("bip122:00/erc20:{token}")).is_err());
        assert!(Asset::parse_caip19(&format!("eip155:1/erc721:{token}")).is_err());
        assert!(Asset::parse_caip19(&format!("eip155:1/erc20:0x0x{}", &token[4..])).is_err());
    }

    #[test]
    fn hashes_are_written_as_on_their_chain() {
        let (bitcoin, evm): (ChainId, ChainId) = ("bip122:00".parse().unwrap(), "eip155:1".parse().unwrap());
        let hash = [7; 32];
        for chain in [&bitcoin, &evm] {
            assert_eq!(chain.parse_hash(&chain.show_hash(&hash)).unwrap(), hash);
        }
        assert!(evm.show_hash(&hash).starts_with("0x07"));
        assert!(bitcoin.parse_hash(&evm.show_hash(&hash)).is_err());
        assert!(evm.parse_hash("0x07").is_err());
    }
}
