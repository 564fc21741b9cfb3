//! What a command works with: the configuration, what it knows by name, and what the exchanges declare.

use std::path::Path;
use std::sync::Arc;

use assay_bitcoin::{BitcoinAddresses, BitcoinChain};
use assay_desk::{DeskError, Priced, Source, Sums, World};
use assay_evm::{EvmAddresses, EvmChain, EvmConfig, Finality};
use assay_http::{Endpoint, Login};
use assay_indexer::Quorum;
use assay_registry::{Declarations, Exchange};
use assay_store::{Mode, Records, Store};
use assay_types::{
    Addresses, Asset, AssetEntry, Chain, ChainEntry, ChainId, Deployment, Directory, NodeError, NotDeployed, suggestion,
};

use crate::config::{self, Address, ChainConfig, Config, DESK};
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::memory;

/// What every result names as its maker.
pub const PROGRAM: &str = concat!("assay ", env!("CARGO_PKG_VERSION"));

/// Everything that the files say.
pub struct Setup {
    pub config: Config,
    pub directory: Directory,
    pub declarations: Declarations,
}

impl Setup {
    /// Reads the configuration and the declarations that it names.
    pub fn load(config_file: &Path) -> Result<Arc<Setup>, Failure> {
        let config = config::load(config_file)?;
        let chains = config.chains.iter().map(chain_entry).collect::<Result<Vec<_>, _>>()?;
        let source = assay_registry::Source::new(&config.file, &config.text);
        let assets = assay_registry::assets(&chains, &config.natives(), &source, &config.assets)?;
        let directory = Directory { chains, assets };
        let declarations = assay_registry::load(&config.exchanges, &directory, &config.timezone)?;
        // The files' text, mostly: for a million accounts a hundred megabytes.
        memory::give_back_what_was_freed();
        Ok(Arc::new(Setup { config, directory, declarations }))
    }

    /// A chain by alias or CAIP-2 id.
    pub fn chain(&self, name: &str) -> Result<&ChainConfig, Failure> {
        let found = self.config.chains.iter().find(|chain| chain.name == name || chain.id.as_str() == name);
        found.ok_or_else(|| {
            let known = self.config.chains.iter().map(|chain| chain.name.as_str());
            Failure::new(WRONG_INPUT, format!("no chain `{name}` is configured")).hint(suggestion(name, known))
        })
    }

    /// A chain's address syntax.
    pub fn addresses(&self, chain: &ChainId) -> Option<&dyn Addresses> {
        self.directory.chain(chain.as_str()).map(|entry| &*entry.addresses)
    }

    /// An exchange by its id.
    pub fn exchange(&self, id: &str) -> Result<&Exchange, Failure> {
        exchange(&self.declarations, id)
    }

    /// An asset on a chain, by symbol or CAIP-19 id; by default the chain's native coin.
    pub fn asset(&self, chain: &ChainConfig, name: Option<&str>) -> Result<(&AssetEntry, &Deployment), Failure> {
        let entry = self.directory.chain(chain.id.as_str());
        let entry = entry.ok_or_else(|| Failure::new(WRONG_INPUT, format!("no chain `{}`", chain.name)))?;
        self.directory.named(entry, name).map_err(|why| {
            let known: Vec<String> = self.directory.names_on(&chain.id).collect();
            let hint = match &why {
                NotDeployed::Several { names, .. } => format!("say which, for example: --asset {}", names[0]),
                _ => suggestion(name.unwrap_or_default(), known.iter().map(String::as_str)),
            };
            Failure::new(WRONG_INPUT, why).hint(hint)
        })
    }

    /// What the desk judges with, and what exchanges have announced to it. The stores are those that are there, opened for
    /// reading; one that is not there is unknown.
    pub fn world_to_read(self: &Arc<Self>) -> Result<World, Failure> {
        let mut world = self.world(PROGRAM);
        if let Some(records) = Records::open_to_read(&self.config.data_dir.join(DESK)).map_err(DeskError::from)? {
            world.declarations = Arc::new(assay_desk::with_announced(&records, &world.directory, &world.declarations)?);
        }
        for (source, chain) in world.sources.iter().zip(&self.config.chains) {
            source.set_store(self.store_to_read(chain)?.map(Arc::new));
        }
        Ok(world)
    }

    /// The store for reading, or why it is not there; a damaged one is a failure.
    pub fn store_to_read(&self, chain: &ChainConfig) -> Result<Result<Store, String>, Failure> {
        match self.store(chain, Mode::Read) {
            Ok(store) => Ok(Ok(store)),
            Err(failure) if failure.code == UNKNOWN => Ok(Err(failure.first())),
            Err(failure) => Err(failure),
        }
    }

    /// What the desk judges with, its stores still to be given.
    pub fn world(self: &Arc<Self>, program: &'static str) -> World {
        let source = |chain: &ChainConfig| {
            let (setup, name) = (self.clone(), chain.name.clone());
            let connect = move || {
                let first = |failure: Failure| failure.first();
                setup.connect(setup.chain(&name).map_err(first)?).map_err(first)
            };
            Source::new(chain.name.clone(), chain.id.clone(), Arc::new(connect))
        };
        World {
            directory: Arc::new(self.directory.clone()),
            declarations: Arc::new(self.declarations.clone()),
            policy: self.config.policy.clone(),
            timezone: self.config.timezone.clone(),
            prices: Priced::NotYet,
            sources: Arc::new(self.config.chains.iter().map(source).collect()),
            program,
            sums: Sums::Stored,
        }
    }

    /// A chain's store.
    pub fn store(&self, chain: &ChainConfig, mode: Mode) -> Result<Store, Failure> {
        Ok(Store::open(&self.config.data_dir.join(&chain.name), &chain.id, mode)?)
    }

    /// A chain through its nodes. None is contacted yet.
    pub fn connect(&self, chain: &ChainConfig) -> Result<Box<dyn Chain>, Failure> {
        if chain.quorum == 1 {
            return self.connect_to(chain, &chain.nodes);
        }
        let each = chain.nodes.chunks(1).map(|node| self.connect_to(chain, node).map(Arc::from));
        Ok(Box::new(Quorum::new(each.collect::<Result<_, _>>()?, chain.quorum)?))
    }

    /// The same through these of its nodes alone: the first that answers is believed.
    pub fn connect_to(&self, chain: &ChainConfig, nodes: &[config::NodeConfig]) -> Result<Box<dyn Chain>, Failure> {
        match chain.id.namespace() {
            "bip122" => connect_bitcoin(chain, nodes).map(|chain| Box::new(chain) as Box<dyn Chain>),
            _ => self.connect_evm(chain, nodes).map(|chain| Box::new(chain) as Box<dyn Chain>),
        }
    }

    fn connect_evm(&self, chain: &ChainConfig, nodes: &[config::NodeConfig]) -> Result<EvmChain, Failure> {
        let endpoint = |node: &config::NodeConfig| -> Result<_, Failure> {
            let url = url(&node.address)?;
            let endpoint = Endpoint::new(&url, Login::None).map_err(|error| Failure::new(WRONG_INPUT, error))?;
            Ok(endpoint.paced(node.pace.clone()))
        };
        let nodes = nodes.iter().map(endpoint).collect::<Result<_, _>>()?;
        let deployments = self.directory.assets.iter().flat_map(|entry| &entry.on);
        let tokens = deployments.filter(|on| on.chain == chain.id).filter_map(|on| match on.asset {
            Asset::Token(contract) => Some(contract),
            Asset::Native => None,
        });
        let (id, tokens) = (chain.id.clone(), tokens.collect());
        let ChainConfig { start, finality, foreign_headers, .. } = *chain;
        Ok(EvmChain::connect(EvmConfig { id, nodes, start, finality, tokens, foreign_headers })?)
    }
}

/// An exchange by its id, as these declarations have it.
pub fn exchange<'a>(declarations: &'a Declarations, id: &str) -> Result<&'a Exchange, Failure> {
    declarations.exchange(id).ok_or_else(|| {
        let known = declarations.exchanges.iter().map(|exchange| exchange.id.as_str());
        Failure::new(WRONG_INPUT, format!("no exchange `{id}` is declared")).hint(suggestion(id, known))
    })
}

fn connect_bitcoin(chain: &ChainConfig, nodes: &[config::NodeConfig]) -> Result<BitcoinChain, Failure> {
    let node = |node: &config::NodeConfig| -> Result<_, Failure> {
        let (login, blocks_dir, pace) = (node.login.clone(), node.blocks_dir.clone(), node.pace.clone());
        Ok(assay_bitcoin::NodeConfig { rpc: url(&node.address)?, login, blocks_dir, pace })
    };
    let nodes = nodes.iter().map(node).collect::<Result<_, _>>()?;
    let Finality::Confirmations(confirmations) = chain.finality else {
        return Err(Failure::new(WRONG_INPUT, "Bitcoin has no finality tags"));
    };
    Ok(BitcoinChain::connect(chain.id.clone(), nodes, confirmations)?)
}

fn chain_entry(chain: &ChainConfig) -> Result<ChainEntry, Failure> {
    let addresses: Arc<dyn Addresses> = match chain.id.namespace() {
        "bip122" => {
            let addresses = BitcoinAddresses::new(&chain.id);
            Arc::new(addresses.map_err(NodeError::Unsupported)?)
        }
        _ => Arc::new(EvmAddresses),
    };
    Ok(ChainEntry { name: chain.name.clone(), id: chain.id.clone(), addresses })
}

/// A URL that carries a key stays in a file; its newline is no part of it.
pub fn url(address: &Address) -> Result<String, Failure> {
    match address {
        Address::Url(url) => Ok(url.clone()),
        Address::File(file) => {
            const LONGEST_URL_BYTES: u64 = 1 << 16;
            let url = assay_registry::read_text(file, LONGEST_URL_BYTES)?.trim().to_owned();
            let unusable = |error| {
                let failure = Failure::new(WRONG_INPUT, format!("{}: {error}", file.display()));
                failure.hint("the file that url_file names holds the node's URL, and nothing else")
            };
            assay_http::check_url(&url).map_err(unusable)?;
            Ok(url)
        }
    }
}
