//! The chain as the indexer sees it.

mod failover;
mod opening;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use assay_http::Endpoint;
use assay_types::{
    Account, AccountNo, Ancestors, Asset, Between, Block, BlockHash, BlockRef, Body, Chain, ChainId, Contract, Effect,
    Fault, Header, Height, NodeError, Notice, Pair, Payment, Pending, Reading, Reads, Remark, TakePayment, Timestamp,
    Tip, Told, TxId, Watch,
};
use parking_lot::Mutex;

use crate::block::StateAt;
use crate::block::body::Senders;
use crate::block::headers::{self, SealedHeader};
use crate::codec::Family;
use crate::movements::digest::{Digest, promised};
use crate::movements::fetch::{self, Fetched};
use crate::movements::{extract, repeated, told};
use crate::node::Node;
use crate::state::remarks::{self, Exposed};
use crate::state::slots::Slots;
use crate::state::{self, Answer, Prove, Question, horizon};
use crate::wanted::{Wanted, addresses};
use crate::{Finality, check, finality, transactions};

/// How many blocks are asked for side by side of a node that is near, and of one whose round trip takes [`FAR`]; that is measured where at least
/// [`MANY_BLOCKS`] are to come.
const NEAR_AT_ONCE: usize = 4;
const FAR_AT_ONCE: usize = 16;
const FAR: Duration = Duration::from_millis(5);
const MANY_BLOCKS: u64 = 100;
/// At most so many accounts are looked at to ask which of them a token has frozen.
const MOST_REMARKED: usize = 5_000;

/// How a chain is followed.
#[derive(Clone)]
pub struct EvmConfig {
    /// Its CAIP-2 id, `eip155:N`.
    pub id: ChainId,
    /// Its nodes, in the order in which they are asked: the next one answers when one does not.
    pub nodes: Vec<Endpoint>,
    /// Where coverage begins: every account is opened with its balance after this block.
    pub start: Height,
    /// When a block may be relied upon.
    pub finality: Finality,
    /// The tokens that are assets, by contract. No other contract's events count, whatever they say.
    pub tokens: Vec<[u8; 20]>,
    /// Its headers are hashed otherwise than Ethereum's: nothing is held against them, and nothing is proven.
    pub foreign_headers: bool,
}

/// An EVM chain through its nodes.
pub struct EvmChain {
    id: ChainId,
    nodes: Vec<Node>,
    /// The node that answered last, by its place in `nodes`.
    current: AtomicUsize,
    /// When each is looked at next, beside the one that answers.
    looks: Vec<Mutex<Option<Instant>>>,
    start: Height,
    finality: Finality,
    tokens: Vec<Address>,
    is_token: Arc<HashSet<Address>>,
    /// Where the tokens keep their balances.
    slots: Slots,
    /// How they say whom they stop.
    exposed: Exposed,
    /// The balances of tokens that none of the nodes knew, and when that was.
    nobody_knows: Mutex<HashMap<Pair, Instant>>,
    /// Set once a header did not hash to its hash where its parent did: such headers are refused from then on.
    is_sealed: AtomicBool,
}

impl EvmChain {
    /// A chain to follow. No node is contacted yet.
    ///
    /// # Errors
    /// [`NodeError::Unsupported`] when the id is none of an EVM chain, or there is no node.
    pub fn connect(config: EvmConfig) -> Result<EvmChain, NodeError> {
        let number = number_of(&config.id)
            .ok_or_else(|| NodeError::Unsupported(format!("{} is not an EVM chain's id: eip155:N", config.id)))?;
        if config.nodes.is_empty() {
            return Err(NodeError::Unsupported(format!("{} has no node", config.id)));
        }
        let mut tokens: Vec<Address> = config.tokens.into_iter().map(Address::from).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Ok(EvmChain {
            id: config.id,
            looks: config.nodes.iter().map(|_| Mutex::default()).collect(),
            nodes: config
                .nodes
                .into_iter()
                .map(|endpoint| Node::new(endpoint, number, config.foreign_headers))
                .collect(),
            current: AtomicUsize::new(0),
            start: config.start,
            finality: config.finality,
            is_token: Arc::new(tokens.iter().copied().collect()),
            tokens,
            slots: Slots::default(),
            exposed: Exposed::default(),
            nobody_knows: Mutex::default(),
            is_sealed: AtomicBool::new(false),
        })
    }

    async fn tip_of(&self, node: &Node) -> Result<Tip, NodeError> {
        Ok(match self.finality {
            Finality::Confirmations(n) => {
                let head = headers::head(node).await?.at();
                let final_height = (head.height.0 + 1).checked_sub(n.max(1)).map(Height);
                Tip { head, final_height, final_hash: None }
            }
            Finality::Tag(tag) => {
                let (latest, tagged) = tokio::join!(headers::head(node), finality::tagged(node, tag));
                let latest = latest?;
                let last = finality::final_block(node, tag, &latest, tagged).await?;
                Tip {
                    head: latest.at(),
                    final_height: last.map(|last| last.height),
                    final_hash: last.map(|last| last.hash),
                }
            }
        })
    }

    async fn block_of(&self, node: &Node, at: BlockRef, watch: &Watch, reads: &Reads) -> Result<Block, NodeError> {
        if at.height == self.start {
            let fetched = fetch::block_without_movements(node, at).await?;
            let (readings, blank) = self.open(node, StateAt::after(&fetched.sealed), watch, reads.keep).await?;
            let all = addresses(watch.by_number().take(MOST_REMARKED));
            let remarks = self.remarks(node, &fetched, &all, &readings).await?;
            let sealed = sealed(&fetched, reads);
            return Ok(Block { blank, opening: true, remarks, sealed, ..self.whole(fetched, vec![], readings) });
        }
        let senders = if reads.signed { Senders::All } else { Senders::Of(watch) };
        let mut fetched = fetch::block(node, at, senders).await?;
        if fetched.sealed.is_foreign && self.is_sealed.load(Ordering::Relaxed) {
            return Err(not_sealed(node.name.clone(), at.height));
        }
        repeated::settle(node, at, &mut fetched, watch).await?;
        let mut effects = extract::effects(&fetched.digest, watch, &self.is_token);
        if told::hold_against_state(node, at, &mut fetched, &effects, watch).await? {
            effects = extract::effects(&fetched.digest, watch, &self.is_token);
        }
        let is_stored = |token| self.slots.is_found(token);
        let wanted = Wanted::new(reads, &effects, &fetched.digest, watch, &self.is_token, is_stored);
        let (accounts, tokens) = (wanted.accounts(watch), wanted.tokens(&self.tokens));
        let (after, slots) = (StateAt::after(&fetched.sealed), &self.slots);
        let prove = if fetched.is_checked { wanted.prove() } else { Prove::nothing() };
        let keep = reads.keep;
        let question = Question { at: after, accounts: &accounts, tokens: &tokens, prove, keep, slots };
        let mut readings = state::read(node, &question).await?.readings();
        readings.retain(|reading| wanted.has(reading.pair()));
        leave_out_sent(&fetched.digest, watch, &mut readings);
        let are_all_read = reads.read.start <= reads.remark.start && reads.remark.end <= reads.read.end;
        let remarks = if reads.remark.is_empty() {
            Vec::new()
        } else if !are_all_read {
            // Not everyone's balance was read who is asked about.
            let accounts = addresses(watch.among(reads.remark.clone()).take(MOST_REMARKED));
            let question = Question { accounts: &accounts, tokens: &self.tokens, prove: Prove::nothing(), ..question };
            let readings = state::read(node, &question).await?.readings();
            self.remarks(node, &fetched, &accounts, &readings).await?
        } else {
            let is_asked = |number: AccountNo| reads.remark.contains(&number.0) || wanted.is_moved(number);
            let asked: Vec<_> = accounts.iter().filter(|(number, _)| is_asked(*number)).copied().collect();
            self.remarks(node, &fetched, &asked, &readings).await?
        };
        let sealed = sealed(&fetched, reads);
        Ok(Block { remarks, sealed, ..self.whole(fetched, effects, readings) })
    }

    /// What is there to remark of every token, where these accounts were read.
    async fn remarks(
        &self,
        node: &Node,
        fetched: &Fetched,
        accounts: &[(AccountNo, Address)],
        readings: &[Reading],
    ) -> Result<Vec<Remark>, NodeError> {
        let at = fetched.state();
        let (tokens, prove, slots) = (&self.tokens, Prove::nothing(), &self.slots);
        let question = Question { at, accounts, tokens, prove, keep: false, slots };
        remarks::remarks(node, &self.exposed, &question, fetched.sealed.header.timestamp, readings).await
    }

    fn holdings(
        &self,
        at: &Header,
        accounts: &[(AccountNo, Account)],
        prove: Prove<'_>,
    ) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        let at = StateAt::kept(at)?;
        let accounts = addresses(accounts.iter().map(|(number, account)| (*number, &*account.0)));
        self.with_a_node(async |node| {
            let (tokens, slots, prove) = (&self.tokens, &self.slots, prove.clone());
            let question = Question { at, accounts: &accounts, tokens, prove, keep: false, slots };
            match headers::of_block(node, at.block, async || state::read(node, &question).await).await? {
                Answer::Read(readings) => Ok((at.block, readings)),
                Answer::NoState { why, .. } => {
                    Err(node.missing(&format!("the state of block {}", at.block.height), None, why))
                }
            }
        })
    }

    fn whole(&self, fetched: Fetched, effects: Vec<Effect>, readings: Vec<Reading>) -> Block {
        Block {
            header: header_of(&fetched.sealed),
            txids: fetched.txids.iter().map(|id| TxId(id.0)).collect(),
            effects,
            spends: vec![],
            overwritten: None,
            readings,
            blank: vec![],
            remarks: vec![],
            sealed: None,
            checked: fetched.is_checked,
            opening: false,
            body: Box::new(EvmBody {
                digest: fetched.digest,
                is_denied: fetched.is_denied,
                is_token: self.is_token.clone(),
            }),
        }
    }
}

impl Chain for EvmChain {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn first(&self) -> Height {
        self.start
    }

    fn assets(&self) -> BTreeSet<Asset> {
        let tokens = self.tokens.iter().map(|token| Asset::Token((*token).into()));
        std::iter::once(Asset::Native).chain(tokens).collect()
    }

    fn prepare(&self, blocks: u64, processors: usize) -> usize {
        let node = &self.nodes[self.current.load(Ordering::Relaxed)];
        let is_far = || assay_http::wait(node.round_trip()).is_ok_and(|round_trip| round_trip >= FAR);
        processors.max(if blocks >= MANY_BLOCKS && is_far() { FAR_AT_ONCE } else { NEAR_AT_ONCE })
    }

    fn is_refused(&self) -> bool {
        self.nodes.iter().all(Node::is_refusing)
    }

    fn source(&self) -> Option<String> {
        self.nodes.get(self.current.load(Ordering::Relaxed)).map(|node| node.name.clone())
    }

    fn doubt(&self) -> Option<NodeError> {
        self.nodes.iter().find_map(Node::take_doubt)
    }

    fn identify(&self) -> Result<(), NodeError> {
        self.nodes.iter().for_each(Node::forget_chain);
        self.with_a_node(async |_| Ok(()))
    }

    fn tip(&self) -> Result<Tip, NodeError> {
        let tip = self.with_a_node(async |node| self.tip_of(node).await)?;
        match self.leaves_who_stands_still(tip.head) {
            true => self.with_a_node(async |node| self.tip_of(node).await),
            false => Ok(tip),
        }
    }

    fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError> {
        self.with_a_node(async |node| headers::hash_at(node, height).await)
    }

    fn hashes(&self, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
        self.with_a_node(async |node| headers::hashes(node, from, count).await)
    }

    fn block(&self, at: BlockRef, watch: &Watch, reads: &Reads) -> Result<Block, NodeError> {
        self.with_who_knows(at, async |node| self.block_of(node, at, watch, reads).await, |block| &block.readings)
    }

    /// A family whose headers could be checked stays one: from then on a node that gives others is not listened to. Where nothing commits to its time,
    /// that does not run backwards.
    fn check_header(&self, header: &Header, ancestors: &dyn Ancestors) -> Result<(), NodeError> {
        let Some(parent) = header.height.previous().and_then(|height| ancestors.header(height)) else { return Ok(()) };
        let node = || self.nodes[self.current.load(Ordering::Relaxed)].name.clone();
        let was_checked = |header: &Header| StateAt::kept(header).is_ok_and(|state| state.is_provable());
        if !was_checked(header) && header.time < parent.time {
            let why = format!("{} is before {}", header.time, parent.time);
            return Err(against_its_parent(node(), "time", header.height, why));
        }
        if was_checked(&parent) && !was_checked(header) {
            self.is_sealed.store(true, Ordering::Relaxed);
            return Err(not_sealed(node(), header.height));
        }
        Ok(())
    }

    /// Where the node gives no proof, the balance is read and not proven, or unknown with the reason.
    fn read_again(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        let at = StateAt::kept(at)?;
        let holders = |asset: Asset| {
            let holding = pairs.iter().filter(move |pair| pair.2 == asset);
            addresses(holding.map(|(number, account, _)| (*number, &*account.0)))
        };
        let assets: BTreeSet<Asset> = pairs.iter().map(|pair| pair.2).collect();
        let read = async |node: &Node| {
            let mut readings = Vec::with_capacity(pairs.len());
            for asset in &assets {
                let (accounts, prove, slots) = (&holders(*asset)[..], Prove::all(), &self.slots);
                // It may take the place of what was read first at a block whose proofs are kept.
                let natives = Question { at, accounts, tokens: &[], prove, keep: true, slots };
                readings.extend(match asset {
                    Asset::Token(token) => {
                        state::read_tokens(node, &Question { tokens: &[(*token).into()], ..natives }).await?
                    }
                    _ => state::read(node, &natives).await?.readings(),
                });
            }
            Ok(readings)
        };
        self.with_who_knows(at.block, read, Vec::as_slice)
    }

    fn proves(&self, at: &Header) -> Result<bool, NodeError> {
        let at = StateAt::kept(at)?;
        if !at.is_provable() {
            return Ok(false);
        }
        self.with_a_node(async |node| Ok(node.can.proofs.is_there() && horizon::proves(node, at.block).await))
    }

    fn look(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<Vec<Reading>, NodeError> {
        self.holdings(at, accounts, Prove::nothing()).map(|(_, readings)| readings)
    }

    fn balances(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        let at = StateAt::kept(at)?;
        let wanted: HashSet<Pair> = pairs.iter().map(|pair| (pair.0, pair.2)).collect();
        let holders: BTreeMap<AccountNo, &[u8]> = pairs.iter().map(|pair| (pair.0, &*pair.1.0)).collect();
        let accounts = addresses(holders.into_iter());
        let assets: HashSet<Asset> = pairs.iter().map(|pair| pair.2).collect();
        let is_asked = |token: &&Address| assets.contains(&Asset::Token((**token).into()));
        let tokens: Vec<Address> = self.tokens.iter().filter(is_asked).copied().collect();
        let (prove, accounts, tokens, slots) = (Prove::nothing(), &accounts[..], &tokens[..], &self.slots);
        let read = async |node: &Node| {
            let question = Question { at, accounts, tokens, prove: prove.clone(), keep: false, slots };
            let mut readings = state::read(node, &question).await?.readings();
            readings.retain(|reading| wanted.contains(&reading.pair()));
            Ok(readings)
        };
        self.with_who_knows(at.block, read, Vec::as_slice)
    }

    fn held(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError> {
        self.holdings(at, accounts, Prove::all())
    }

    fn pending(&self, txid: TxId, after: &Header) -> Result<Option<Pending>, NodeError> {
        let after = StateAt::kept(after)?;
        let found = self.with_whoever_has(async |node| transactions::pending(node, B256::from(txid.0), after).await)?;
        let payments = |tx| promised(&tx, |token| self.is_token.contains(token));
        Ok(found.map(|tx| Pending { payments: payments(tx), spends: vec![] }))
    }

    fn mined(&self, txid: TxId, among: &dyn Fn(BlockRef) -> bool) -> Result<Option<BlockRef>, NodeError> {
        self.with_whoever_has(async |node| transactions::mined(node, B256::from(txid.0), among).await)
    }

    fn contract(&self, token: [u8; 20]) -> Result<Contract, NodeError> {
        self.with_a_node(async |node| check::contract(node, token.into()).await)
    }

    fn check(&self) -> Result<Vec<Notice>, NodeError> {
        let mut notices = Vec::new();
        for node in &self.nodes {
            let found = assay_http::wait(async {
                node.make_sure_of_chain().await?;
                check::node(node, self.start, self.finality).await
            });
            match found {
                Ok(found) => notices.extend(found),
                // another may be there, and then this one is only missed
                Err(NodeError::Unreachable { node, why }) if self.nodes.len() > 1 => {
                    notices.push(Notice { subject: "node".into(), finding: format!("{node}: {why}"), limits: true });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(notices)
    }
}

/// Can every block of this chain be rebuilt here, so that one that cannot be is a lie, or newer than we are?
pub fn knows(id: &ChainId) -> bool {
    number_of(id).is_some_and(|number| Family(number).knows())
}

fn number_of(id: &ChainId) -> Option<u64> {
    (id.namespace() == "eip155").then(|| id.reference().parse().ok())?
}

fn not_sealed(node: String, at: Height) -> NodeError {
    let why = "its fields do not hash to its hash, as the parent's did: an upgrade, for which you need a newer version, or a lie";
    against_its_parent(node, "header", at, why.into())
}

fn against_its_parent(node: String, subject: &str, at: Height, why: String) -> NodeError {
    let subject = format!("the {subject} of block {at}");
    NodeError::Contradiction { node, subject, against: "its parent's".into(), why, fault: Fault::Forged }
}

/// Takes off what the block's own transactions raised nonces by: the block tells of that itself.
fn leave_out_sent(digest: &Digest, watch: &Watch, readings: &mut [Reading]) {
    let mut sent: HashMap<AccountNo, u64> = HashMap::new();
    for sender in digest.transactions.iter().filter_map(|tx| watch.number(tx.sender.as_slice())) {
        *sent.entry(sender).or_default() += 1;
    }
    for reading in readings {
        if let (Between::Sent { before, .. }, Some(sent)) = (&mut reading.between, sent.get(&reading.account)) {
            *before = before.saturating_sub(*sent);
        }
    }
}

/// The header, where proofs are to be kept with it.
fn sealed(fetched: &Fetched, reads: &Reads) -> Option<Vec<u8>> {
    reads.keep.then(|| alloy::rlp::encode(&fetched.sealed.header))
}

fn header_of(sealed: &SealedHeader) -> Header {
    Header {
        height: Height(sealed.header.number),
        hash: BlockHash(sealed.hash.0),
        parent: BlockHash(sealed.header.parent_hash.0),
        time: Timestamp::from_unix_s(i64::try_from(sealed.header.timestamp).unwrap_or(i64::MAX)),
        seal: StateAt::after(sealed).root.to_vec(),
    }
}

/// The rest of a block: what its transactions paid to others.
struct EvmBody {
    digest: Digest,
    /// Does its header commit to what could not be held against it?
    is_denied: bool,
    is_token: Arc<HashSet<Address>>,
}

impl Body for EvmBody {
    fn each_payment(&self, tx: u32, take: &mut TakePayment<'_>) {
        let Some(tx) = usize::try_from(tx).ok().and_then(|tx| self.digest.transactions.get(tx)) else { return };
        for Payment { index, to, asset, amount } in tx.payments(|token| self.is_token.contains(token)) {
            take(index, &to.0, asset, amount);
        }
    }

    fn deny(&mut self, account: &[u8]) {
        for tx in &mut self.digest.transactions {
            tx.frames.retain(|frame| frame.from != *account && frame.to != *account);
        }
    }

    fn told(&self, tx: u32) -> Told {
        match usize::try_from(tx).ok().and_then(|tx| self.digest.transactions.get(tx)) {
            _ if self.is_denied => Told::Nothing,
            Some(tx) if tx.is_told && tx.unproven.is_empty() => Told::All,
            _ => Told::NotCalls,
        }
    }

    fn is_explained(&self, tx: u32) -> bool {
        let tx = usize::try_from(tx).ok().and_then(|tx| self.digest.transactions.get(tx));
        !self.is_denied && tx.is_some_and(|tx| tx.is_told)
    }
}
