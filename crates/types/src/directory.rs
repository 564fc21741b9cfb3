//! What the configuration knows by name: chains with their addresses, assets with their deployments.

use std::sync::Arc;

use crate::{Addresses, Asset, ChainId};

/// One configured chain.
#[derive(Clone)]
pub struct ChainEntry {
    /// The short alias that people use.
    pub name: String,
    /// Its CAIP-2 id.
    pub id: ChainId,
    /// Its address syntax.
    pub addresses: Arc<dyn Addresses>,
}

/// An asset on one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The chain.
    pub chain: ChainId,
    /// Which asset there.
    pub asset: Asset,
    /// Its base unit is 10^-decimals coins.
    pub decimals: u8,
}

/// An asset, wherever it lives among the configured chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetEntry {
    /// Its symbol, unique in the directory.
    pub symbol: String,
    /// Where it lives; at least one.
    pub on: Vec<Deployment>,
}

impl AssetEntry {
    /// The decimals of its finest deployment: amounts of several deployments are summed in that unit.
    pub fn decimals(&self) -> u8 {
        self.on.iter().map(|deployment| deployment.decimals).max().unwrap_or(0)
    }
}

/// Chains and assets by name.
#[derive(Clone, Default)]
pub struct Directory {
    /// In the order of the configuration.
    pub chains: Vec<ChainEntry>,
    /// By symbol.
    pub assets: Vec<AssetEntry>,
}

impl Directory {
    /// A chain by alias or CAIP-2 id.
    pub fn chain(&self, name: &str) -> Option<&ChainEntry> {
        self.chains.iter().find(|chain| chain.name == name || chain.id.as_str() == name)
    }

    /// An asset by symbol, or by the CAIP-19 id of one of its deployments.
    pub fn asset(&self, name: &str) -> Option<&AssetEntry> {
        let by_id = |entry: &&AssetEntry| entry.on.iter().any(|deployment| deployment.is_called(name));
        self.assets.iter().find(|asset| asset.symbol == name).or_else(|| self.assets.iter().find(by_id))
    }

    /// The asset that is deployed there, with that deployment.
    pub fn deployed(&self, chain: &ChainId, asset: Asset) -> Option<(&AssetEntry, &Deployment)> {
        self.assets.iter().find_map(|entry| {
            entry.on.iter().find(|on| on.chain == *chain && on.asset == asset).map(|deployment| (entry, deployment))
        })
    }
}

impl Deployment {
    /// Is this its CAIP-19 id? Native coins go by their SLIP-44 number, tokens by their contract:
    /// `bip122:…/slip44:0`, `eip155:1/erc20:0x…`. A chain has one native coin, whatever its number.
    fn is_called(&self, caip19: &str) -> bool {
        let Some((chain, asset)) = caip19.split_once('/') else { return false };
        chain == self.chain.as_str()
            && match self.asset {
                Asset::Native => asset.starts_with("slip44:"),
                Asset::Token(contract) => asset
                    .strip_prefix("erc20:")
                    .is_some_and(|text| text.eq_ignore_ascii_case(&const_hex::encode_prefixed(contract))),
            }
    }
}
