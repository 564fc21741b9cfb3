//! The coins that chains pay their fees in.

use assay_types::ChainId;
use serde::Deserialize;

/// A chain's own coin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// Its symbol.
    pub symbol: String,
    /// Its base unit is 10^-decimals coins.
    pub decimals: u8,
}

/// A configured chain, with what the configuration says of its coin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainNative {
    /// The chain.
    pub id: ChainId,
    /// What `native` says, if anything.
    pub native: Option<Native>,
}

/// Chains whose coin needs no saying. Bitcoin's are named by their genesis block: main, testnet 3 and 4, signet, regtest.
const KNOWN: &[(&str, &str, u8)] = &[
    ("bip122:000000000019d6689c085ae165831e93", "BTC", 8),
    ("bip122:000000000933ea01ad0ee984209779ba", "BTC", 8),
    ("bip122:00000000da84f2bafbbc53dee25a72ae", "BTC", 8),
    ("bip122:00000008819873e925422c1ff0f99f7c", "BTC", 8),
    ("bip122:0f9188f13cb7b2c71f2a335e3a4fc328", "BTC", 8),
    ("eip155:1", "ETH", 18),
    ("eip155:10", "ETH", 18),
    ("eip155:56", "BNB", 18),
    ("eip155:137", "POL", 18),
    ("eip155:8453", "ETH", 18),
    ("eip155:31337", "ETH", 18),
    ("eip155:42161", "ETH", 18),
    ("eip155:43114", "AVAX", 18),
];

/// The coin of a chain that is what it is for everyone; a development chain is what its operator makes of it.
pub(crate) fn of_main_network(chain: &ChainId) -> Option<Native> {
    known(chain).filter(|_| chain.as_str() != "eip155:31337")
}

/// The coin of a known chain.
pub(crate) fn known(chain: &ChainId) -> Option<Native> {
    let (_, symbol, decimals) = KNOWN.iter().find(|(id, ..)| *id == chain.as_str())?;
    Some(Native { symbol: (*symbol).into(), decimals: *decimals })
}
