//! What the configuration knows by name: chains with their addresses, assets with their deployments.

use std::sync::Arc;

use crate::{Account, Addresses, Asset, ChainId};

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

    /// Its deployments on one chain.
    pub fn deployed_on(&self, chain: &ChainId) -> impl Iterator<Item = &Deployment> {
        self.on.iter().filter(move |deployment| deployment.chain == *chain)
    }

    /// What names one of its deployments, and no other on that chain: the symbol, or the CAIP-19 id where it has several there.
    pub fn name_of(&self, deployment: &Deployment) -> String {
        let is_only = self.deployed_on(&deployment.chain).nth(1).is_none();
        if is_only { self.symbol.clone() } else { deployment.caip19() }
    }
}

/// Why a name is that of no deployment on a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDeployed {
    /// The chain's own coin is not configured.
    #[error("{0} has no native coin here")]
    NoNative(String),
    /// No asset has this name.
    #[error("no asset `{0}` is known")]
    Unknown(String),
    /// The asset is on other chains alone.
    #[error("{0} does not live on {1}")]
    Elsewhere(String, String),
    /// The symbol does not say which.
    #[error("`{symbol}` stands for several tokens on {chain}: {}", names.join(", "))]
    Several {
        /// The symbol.
        symbol: String,
        /// The chain's alias.
        chain: String,
        /// The CAIP-19 ids of which one is to be said.
        names: Vec<String>,
    },
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

    /// How people write an account: in its chain's way, or as plain bytes where the chain is not configured.
    pub fn address(&self, chain: &ChainId, account: &Account) -> String {
        let entry = self.chains.iter().find(|entry| entry.id == *chain);
        entry.map_or_else(|| const_hex::encode(&account.0), |entry| entry.addresses.show(account))
    }

    /// An asset by symbol, or by the CAIP-19 id of one of its deployments.
    pub fn asset(&self, name: &str) -> Option<&AssetEntry> {
        self.assets.iter().find(|asset| asset.symbol == name).or_else(|| {
            let (chain, asset) = Asset::parse_caip19(name).ok()?;
            self.deployed(&chain, asset).map(|(entry, _)| entry)
        })
    }

    /// The asset that is deployed there, with that deployment.
    pub fn deployed(&self, chain: &ChainId, asset: Asset) -> Option<(&AssetEntry, &Deployment)> {
        self.assets.iter().find_map(|entry| {
            entry.on.iter().find(|on| on.chain == *chain && on.asset == asset).map(|deployment| (entry, deployment))
        })
    }

    /// What names each deployment on a chain.
    pub fn names_on(&self, chain: &ChainId) -> impl Iterator<Item = String> {
        self.assets.iter().flat_map(move |entry| entry.deployed_on(chain).map(|on| entry.name_of(on)))
    }

    /// What a question about one balance means: a CAIP-19 id that deployment, a symbol the only one on the chain, nothing the chain's coin.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn named(&self, chain: &ChainEntry, name: Option<&str>) -> Result<(&AssetEntry, &Deployment), NotDeployed> {
        let Some(name) = name else {
            return self.deployed(&chain.id, Asset::Native).ok_or_else(|| NotDeployed::NoNative(chain.name.clone()));
        };
        let elsewhere = || NotDeployed::Elsewhere(name.to_owned(), chain.name.clone());
        if let Some(entry) = self.assets.iter().find(|entry| entry.symbol == name) {
            let mut here = entry.deployed_on(&chain.id);
            let deployment = here.next().ok_or_else(elsewhere)?;
            if here.next().is_some() {
                let names = entry.deployed_on(&chain.id).map(Deployment::caip19).collect();
                return Err(NotDeployed::Several { symbol: name.to_owned(), chain: chain.name.clone(), names });
            }
            return Ok((entry, deployment));
        }
        let (on, asset) = Asset::parse_caip19(name).map_err(|_| NotDeployed::Unknown(name.to_owned()))?;
        let found = self.deployed(&on, asset).ok_or_else(|| NotDeployed::Unknown(name.to_owned()))?;
        if on == chain.id { Ok(found) } else { Err(elsewhere()) }
    }
}

impl Deployment {
    /// Its CAIP-19 id: `bip122:…/slip44:0`, `eip155:1/slip44:60`, `eip155:1/erc20:0x…`. A native coin's SLIP-44 number
    /// is 0 on Bitcoin chains and 60 on EVM chains.
    pub fn caip19(&self) -> String {
        match self.asset {
            Asset::Token(contract) => format!("{}/erc20:{}", self.chain, const_hex::encode_prefixed(contract)),
            Asset::Native if self.chain.namespace() == "bip122" => format!("{}/slip44:0", self.chain),
            Asset::Native => format!("{}/slip44:60", self.chain),
        }
    }
}
