//! A Bitcoin chain as the indexer knows it: [`Chain`] over one or several nodes.

use std::sync::atomic::{AtomicUsize, Ordering};

use assay_types::{
    Account, AccountNo, Ancestors, Asset, Block, BlockHash, BlockRef, Chain, ChainId, Fault, Header, Height, NodeError,
    Notice, Pending, Reading, Reads, Tip, TxId, Watch,
};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::block::{self, BlockFault};
use crate::filter;
use crate::mempool;
use crate::network::Network;
use crate::node::{Node, NodeConfig};
use crate::pow::{self, HeaderFault};
use crate::scan;

/// One Bitcoin chain through its nodes. They are asked in the order of the configuration: the one that answered last, and
/// when it cannot, the next.
pub struct BitcoinChain {
    id: ChainId,
    network: &'static Network,
    nodes: Vec<Node>,
    /// The place in `nodes` of the one that answered last.
    current: AtomicUsize,
    /// The tip as it was last asked for.
    tip: Mutex<Option<BlockRef>>,
    /// N: the block at tip - N + 1 is final.
    confirmations: u64,
}

/// How many blocks are asked for at once over a network.
const FETCHERS: usize = 4;

/// So few blocks are read as soon as their filters.
const FEW_BLOCKS: u64 = 100;
/// Out of files they come faster.
const FEW_BLOCKS_IN_FILES: u64 = 1_000;
/// For more scripts than this filters are not worth while. Each script makes one block in 784,931 seem to be touched that is not, so many of them 6% of
/// all blocks; and it costs some 50 ns for each block, so many of them 2 to 3 ms, a good part of what it costs to read a block.
const MANY_SCRIPTS: usize = 50_000;

/// The part of `getblockchaininfo` that is used.
#[derive(Deserialize)]
struct ChainState {
    blocks: u64,
    headers: u64,
    bestblockhash: String,
    pruned: bool,
    pruneheight: Option<u64>,
}

/// The part of `getnetworkinfo` that is used.
#[derive(Deserialize)]
struct Software {
    version: u64,
    subversion: String,
}

/// The part of `getchainstates` that is used; nodes before version 26 do not have it.
#[derive(Deserialize)]
struct ChainStates {
    chainstates: Vec<ChainStateKind>,
}

#[derive(Deserialize)]
struct ChainStateKind {
    validated: bool,
}

impl BitcoinChain {
    /// The chain with this id, through these nodes; `confirmations` make a block final, where 0 means 1. No node is
    /// contacted yet.
    ///
    /// # Errors
    /// [`NodeError::Unsupported`] for an id that is no Bitcoin network's, no nodes, or a URL that cannot be used.
    pub fn connect(id: ChainId, nodes: Vec<NodeConfig>, confirmations: u64) -> Result<BitcoinChain, NodeError> {
        let network = Network::of(&id).map_err(NodeError::Unsupported)?;
        if nodes.is_empty() {
            return Err(NodeError::Unsupported(format!("{id} has no node")));
        }
        let nodes = nodes.into_iter().map(|config| Node::new(network, config)).collect::<Result<_, _>>()?;
        let (current, tip, confirmations) = (AtomicUsize::new(0), Mutex::default(), confirmations.max(1));
        Ok(BitcoinChain { id, network, nodes, current, tip, confirmations })
    }

    /// Asks the nodes one after the other, the one that answered last first, until one can answer.
    fn ask<T>(&self, question: impl Fn(&Node) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut failed: Option<NodeError> = None;
        for turn in 0..self.nodes.len() {
            let place = (start + turn) % self.nodes.len();
            match question(&self.nodes[place]) {
                Ok(answer) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) if error.another_may_know() => failed = Some(NodeError::or_worse(failed, error)),
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or_else(|| NodeError::Unsupported(format!("{} has no node", self.id))))
    }

    fn last_tip(&self) -> Option<BlockRef> {
        *self.tip.lock()
    }

    fn final_height(&self, head: u64) -> Option<Height> {
        (head + 1).checked_sub(self.confirmations).map(Height)
    }

    fn parse_hash(&self, node: &Node, subject: &str, text: &str) -> Result<BlockHash, NodeError> {
        self.id.parse_hash(text).map(BlockHash).map_err(|error| node.unreadable(subject, error.to_string()))
    }
}

/// Reads a block whose bytes are at hand, with every check that needs no other block.
///
/// # Errors
/// As [`Chain::block`]; a chain that is not known is [`NodeError::Unsupported`].
pub fn read_block(id: &ChainId, bytes: Vec<u8>, at: BlockRef, watch: &Watch) -> Result<Block, NodeError> {
    let network = Network::of(id).map_err(NodeError::Unsupported)?;
    let (node, subject) = (String::from("the bytes at hand"), format!("block {} ({})", at.height, at.hash));
    block::extract(network, bytes, at, watch).map_err(|fault| match fault {
        BlockFault::Unreadable(fault, why) => NodeError::Unreadable { node, subject, why, fault },
        BlockFault::Contradicts { against, why } => {
            NodeError::Contradiction { node, subject, against: against.into(), why, fault: Fault::Forged }
        }
    })
}

impl Chain for BitcoinChain {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn first(&self) -> Height {
        Height(0)
    }

    fn proves_by_walking(&self) -> bool {
        true
    }

    fn source(&self) -> Option<String> {
        self.nodes.get(self.current.load(Ordering::Relaxed)).map(|node| node.shown().to_owned())
    }

    fn tip(&self) -> Result<Tip, NodeError> {
        self.ask(|node| {
            let state: ChainState = node.call("the tip", "getblockchaininfo", &[])?;
            if state.blocks > Height::HIGHEST.0 {
                return Err(node.unreadable("the tip", format!("it is of height {}", state.blocks)));
            }
            let hash = self.parse_hash(node, "the tip", &state.bestblockhash)?;
            let head = BlockRef { height: Height(state.blocks), hash };
            *self.tip.lock() = Some(head);
            Ok(Tip { head, final_height: self.final_height(state.blocks), final_hash: None })
        })
    }

    fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError> {
        self.ask(|node| {
            let subject = format!("the hash of block {height}");
            let hash: Option<String> = node.call_if_known(&subject, "getblockhash", &[height.0.into()])?;
            hash.map(|hash| self.parse_hash(node, &subject, &hash)).transpose()
        })
    }

    fn prepare(&self, blocks: u64, processors: usize) -> usize {
        let node = &self.nodes[self.current.load(Ordering::Relaxed)];
        if node.choose_source(self.last_tip(), blocks) { processors } else { processors.max(FETCHERS) }
    }

    fn prefers_filters(&self, blocks: u64, watch: &Watch) -> bool {
        let node = &self.nodes[self.current.load(Ordering::Relaxed)];
        let (shown, accounts) = (node.shown(), watch.len());
        match filters_pay(node, blocks, watch) {
            Ok(()) => {
                tracing::info!("{shown}: {blocks} blocks are looked at by their filters for {accounts} accounts");
                true
            }
            Err(why) => {
                tracing::info!("{shown}: {blocks} blocks are read for {accounts} accounts, not their filters: {why}");
                false
            }
        }
    }

    fn may_move(&self, at: BlockRef, watch: &Watch) -> Result<bool, NodeError> {
        self.ask(|node| {
            let scripts = watch.by_number().map(|(_, script)| script);
            let found = filter::matches(&node.filter(at.hash)?, at.hash, scripts);
            found.map_err(|why| node.unreadable(&format!("the filter of block {} ({})", at.height, at.hash), why))
        })
    }

    fn hashes(&self, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
        let tip = match self.last_tip() {
            Some(tip) => tip,
            None => self.tip()?.head,
        };
        self.ask(|node| node.hashes(tip, from, count))
    }

    fn block(&self, at: BlockRef, watch: &Watch, _: &Reads) -> Result<Block, NodeError> {
        self.ask(|node| {
            let subject = || format!("block {} ({})", at.height, at.hash);
            let fault = |fault| match fault {
                BlockFault::Unreadable(fault, why) => node.broken(&subject(), fault, why),
                BlockFault::Contradicts { against, why } => node.contradiction(&subject(), against, why),
            };
            // What stands in a file may be half written, or damaged.
            if let Some(bytes) = node.block_in_files(at.hash) {
                match block::extract(self.network, bytes, at, watch) {
                    Ok(block) => return Ok(block),
                    Err(other) => tracing::warn!("in the block files: {}; asking the node for it", fault(other)),
                }
            }
            block::extract(self.network, node.block_bytes(at.hash)?, at, watch).map_err(fault)
        })
    }

    fn check_header(&self, header: &Header, ancestors: &dyn Ancestors) -> Result<(), NodeError> {
        let node = &self.nodes[self.current.load(Ordering::Relaxed)];
        let subject = format!("header {} ({})", header.height, header.hash);
        pow::check_header(self.network, header, ancestors).map_err(|fault| match fault {
            HeaderFault::Breaks { rule, why } => node.contradiction(&subject, rule, why),
            HeaderFault::Unknown(height) => {
                node.missing(&subject, format!("header {height}, which its check needs, was not kept"))
            }
        })
    }

    fn read_again(&self, _: &Header, _: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        Ok(vec![])
    }

    fn held(&self, _: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        self.ask(|node| scan::held(node, &self.id, accounts))
    }

    fn pending(&self, txid: TxId, _: &Header) -> Result<Option<Pending>, NodeError> {
        self.ask(|node| mempool::pending(node, txid))
    }

    fn mempool(&self) -> Result<Option<Vec<TxId>>, NodeError> {
        self.ask(mempool::list).map(Some)
    }

    fn waiting(&self, txids: &[TxId]) -> Result<Vec<(TxId, Pending)>, NodeError> {
        self.ask(|node| mempool::transactions(node, txids))
    }

    fn check(&self) -> Result<Vec<Notice>, NodeError> {
        let mut notices = vec![];
        let mut first_error = None;
        for node in &self.nodes {
            match check_node(node) {
                Ok(found) => notices.extend(found),
                Err(error) if error.may_heal() => {
                    notices.push(notice(node, "connection", error.to_string(), true));
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first_error {
            Some(error) if notices.len() == self.nodes.len() => Err(error),
            _ => Ok(notices),
        }
    }
}

/// Is it quicker to look at the filters of so many blocks than to read them? If not, why.
fn filters_pay(node: &Node, blocks: u64, watch: &Watch) -> Result<(), String> {
    let few = if node.has_files() { FEW_BLOCKS_IN_FILES } else { FEW_BLOCKS };
    if blocks < few {
        return Err("they are few".into());
    }
    if watch.len() > MANY_SCRIPTS {
        return Err(format!("for more than {MANY_SCRIPTS} too many blocks seem to be touched"));
    }
    if watch.by_number().any(|(_, script)| !filter::has(script)) {
        return Err("payments to one of these scripts are in no filter".into());
    }
    node.has_filters().map_err(|error| error.to_string())?
}

fn check_node(node: &Node) -> Result<Vec<Notice>, NodeError> {
    let software: Software = node.call("its version", "getnetworkinfo", &[])?;
    let state: ChainState = node.call("its state", "getblockchaininfo", &[])?;
    // Older nodes do not know the method; they cannot have loaded a snapshot either.
    let states: Option<ChainStates> = node.call("its chain states", "getchainstates", &[]).ok();
    let rest = node.has_rest()?;
    let behind = state.headers.saturating_sub(state.blocks);
    let sync = match behind {
        0 => format!("synchronised, {} blocks", state.blocks),
        _ => format!("at block {} of {}: {behind} blocks behind", state.blocks, state.headers),
    };
    let (history, limited) = history(&state, states.as_ref());
    let source = if rest {
        "blocks come over REST"
    } else {
        "blocks come over RPC; start bitcoind with `rest=1` to fetch them faster"
    };
    Ok(vec![
        notice(node, "version", format!("{} ({})", software.subversion, software.version), false),
        notice(node, "chain", sync, behind > 0),
        notice(node, "history", history, limited),
        notice(node, "source", source.into(), false),
    ])
}

/// Which blocks the node has, and whether some are missing.
fn history(state: &ChainState, states: Option<&ChainStates>) -> (String, bool) {
    let assumed = states.is_some_and(|states| states.chainstates.iter().any(|state| !state.validated));
    match (state.pruned, state.pruneheight) {
        (true, Some(lowest)) if lowest > 0 => {
            (format!("pruned: blocks below {lowest} are not there, so that nothing is known of them"), true)
        }
        _ if assumed => {
            ("loaded from a snapshot whose history is not checked yet: early blocks may be missing".into(), true)
        }
        (true, _) => ("complete so far, but the node is set to prune it".into(), false),
        (false, _) => ("complete".into(), false),
    }
}

fn notice(node: &Node, subject: &str, finding: String, limits: bool) -> Notice {
    Notice { subject: format!("{} {subject}", node.shown()), finding, limits }
}
