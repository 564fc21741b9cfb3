//! What a chain must do to be followed. `chains/*` implement it, the indexer uses it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::{
    Account, AccountNo, Amount, Asset, Block, BlockHash, BlockRef, ChainId, Fault, Header, Height, Outpoint, Payment,
    Reading, Timestamp, TxId, Watch,
};

/// What a kept proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// After this block.
    pub at: BlockRef,
    /// As that block's header has it.
    pub time: Timestamp,
    /// Base units.
    pub balance: Amount,
}

/// How a chain writes accounts, and what it proved of them. Pure.
pub trait Addresses: Send + Sync {
    /// The account that an address, or `script:HEX` where the chain has scripts, stands for.
    ///
    /// # Errors
    /// What is wrong with it, and for which chain it would be right, in words.
    fn parse(&self, address: &str) -> Result<Account, String>;

    /// The account's display form.
    fn show(&self, account: &Account) -> String;

    /// The accounts of an output descriptor, in order; `range` is inclusive, required with `*` and refused without.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn expand(&self, descriptor: &str, range: Option<(u32, u32)>) -> Result<Vec<Account>, String>;

    /// A kept proof as JSON for others to check; `sealed` is the header of its block ([`crate::Block::sealed`]). Whether it proves anything
    /// [`Addresses::check_proof`] says.
    ///
    /// # Errors
    /// In words, how these are no proof.
    fn show_proof(&self, sealed: &[u8], proof: &[u8]) -> Result<String, String> {
        let _ = (sealed, proof);
        Err("this chain keeps no proofs".into())
    }

    /// What such JSON shows of an account. It needs no node and no store: that the block with this hash is on the chain is all that it leaves to
    /// be known.
    ///
    /// # Errors
    /// In words, how it shows nothing.
    fn check_proof(&self, document: &str, account: &Account, asset: Asset) -> Result<Proven, String> {
        let _ = (document, account, asset);
        Err("this chain keeps no proofs".into())
    }
}

/// Where a chain stands, as its node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The active chain's last block.
    pub head: BlockRef,
    /// The last height that may be relied upon, by the chain's finality policy; `None` when there is none yet.
    pub final_height: Option<Height>,
    /// Where the node names a final block, and not just a height: its hash. It holds for our chain only if it is on it.
    pub final_hash: Option<BlockHash>,
}

/// Whose balances [`Chain::block`] reads from state, by number, beside those that the block moved: these are always read, and proven where
/// that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// Of these accounts every balance is read.
    pub read: Range<u32>,
    /// Of these, which are among them, every balance is proven as well.
    pub prove: Range<u32>,
    /// Of these, where they hold any of a token, it is asked whether that lets them pay.
    pub remark: Range<u32>,
    /// What proves the balances is handed on, to be kept.
    pub keep: bool,
    /// Each transaction must be signed by its sender. Otherwise that is checked of those that are watched and of a few others: whom a wrong
    /// sender hides, state shows.
    pub signed: bool,
}

impl Reads {
    /// Nobody's but of those that moved.
    pub const MOVED: Reads = Reads { read: 0..0, prove: 0..0, remark: 0..0, keep: false, signed: true };
    /// Everyone's, and only of those that moved proven.
    pub const ALL: Reads = Reads { read: 0..u32::MAX, ..Reads::MOVED };
    /// Everyone's, proven.
    pub const ALL_PROVEN: Reads = Reads { prove: 0..u32::MAX, remark: 0..u32::MAX, ..Reads::ALL };
}

/// Headers below the one that is being checked.
pub trait Ancestors {
    /// The header at this height on the chain that is being followed.
    fn header(&self, height: Height) -> Option<Header>;
}

/// A transaction that waits for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What it would pay, as far as can be told before it runs.
    pub payments: Vec<Payment>,
    /// The outputs that it would spend; none on a chain without outputs.
    pub spends: Vec<Outpoint>,
}

/// How one of several nodes stood to the others when they were last asked where the chain stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// The node, without credentials.
    pub node: String,
    /// Its last block, if it said so.
    pub head: Option<Height>,
    /// [`Standing::AGREES`], [`Standing::BEHIND`], [`Standing::DISAGREES`], or what is wrong with its answers: [`NodeError::kind`].
    pub state: &'static str,
    /// That in words; nothing where it agrees.
    pub why: Option<String>,
}

impl Standing {
    /// It has the blocks that are followed.
    pub const AGREES: &str = "agrees";
    /// It has those that it has, and others have more.
    pub const BEHIND: &str = "behind";
    /// It has other blocks.
    pub const DISAGREES: &str = "disagrees";
}

/// Something that `assay check` reports of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What was looked at, such as `state`.
    pub subject: String,
    /// What was found, in words.
    pub finding: String,
    /// Does it limit what can be known?
    pub limits: bool,
}

/// What a token's contract says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// Is there a contract at all?
    pub has_code: bool,
    /// Its `decimals`, where it says any: they are no duty.
    pub decimals: Option<u64>,
}

/// Why a node's answer is not there, or is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No connection, time-out, server error, rate limit.
    #[error("{node}: {why}")]
    Unreachable {
        /// The node, without credentials.
        node: String,
        /// What happened.
        why: String,
    },
    /// The node answers no more for now, for it was asked too much.
    #[error("{node}: limits how much it is asked: {why}")]
    Limited {
        /// The node, without credentials.
        node: String,
        /// What it says.
        why: String,
    },
    /// Too few of the nodes have the same block there. Which of them is right is not known.
    #[error("nodes disagree about block {height}: {}", listed(.said))]
    Disagreement {
        /// The first height at which they do.
        height: Height,
        /// The nodes, without credentials, in the order of the configuration, and the hash that each has there.
        said: Vec<(String, BlockHash)>,
    },
    /// An answer that cannot be read or used: truncated, endless, of a node that is not of one mind.
    #[error("{node}: {subject} cannot be read: {why} {fault}")]
    Unreadable {
        /// The node, without credentials.
        node: String,
        /// What was asked for.
        subject: String,
        /// What is wrong with it.
        why: String,
        /// In one word.
        fault: Fault,
    },
    /// The node does not have it: pruned, no state so far back, not synchronised.
    #[error("{node}: {subject} is not there: {why}{}", fault.map(|fault| format!(" {fault}")).unwrap_or_default())]
    Missing {
        /// The node, without credentials.
        node: String,
        /// What was asked for.
        subject: String,
        /// What the node says.
        why: String,
        /// Where it should have it by its own words: what that is.
        fault: Option<Fault>,
    },
    /// The block is not on the node's active chain any more: a reorganisation, so start again from the fork.
    #[error("block {} is not on the active chain any more", .0.height)]
    Gone(BlockRef),
    /// An answer that contradicts its own header or proof.
    #[error("{node}: {subject} contradicts {against}: {why} {fault}")]
    Contradiction {
        /// The node, without credentials.
        node: String,
        /// What was asked for.
        subject: String,
        /// What it must agree with.
        against: String,
        /// How it does not.
        why: String,
        /// In one word.
        fault: Fault,
    },
    /// Wrong user, password, cookie or key.
    #[error("{node}: login refused: {why}")]
    LoginRefused {
        /// The node, without credentials.
        node: String,
        /// What the node says.
        why: String,
    },
    /// A node of another chain.
    #[error("{node}: is on chain {found}, not on {expected}")]
    WrongChain {
        /// The node, without credentials.
        node: String,
        /// As configured.
        expected: String,
        /// As the node says.
        found: String,
    },
    /// The configuration asks for what is not supported.
    #[error("{0}")]
    Unsupported(String),
}

fn listed(said: &[(String, BlockHash)]) -> String {
    let each: Vec<_> = said.iter().map(|(node, hash)| format!("{node} has {hash}")).collect();
    each.join(", ")
}

impl NodeError {
    /// Worth asking again at once?
    pub fn may_heal(&self) -> bool {
        use NodeError::{Contradiction, Limited, Missing, Unreachable, Unreadable};
        matches!(self, Unreachable { .. } | Limited { .. } | Unreadable { .. } | Missing { .. } | Contradiction { .. })
    }

    /// Its name, as people and metrics know it: where an answer came, what is wrong with that.
    pub fn kind(&self) -> &'static str {
        match self {
            NodeError::Unreachable { .. } => "unreachable",
            NodeError::Limited { .. } => "limited",
            NodeError::Disagreement { .. } => "disagreement",
            NodeError::Unreadable { fault, .. } | NodeError::Contradiction { fault, .. } => fault.as_str(),
            NodeError::Missing { fault, .. } => fault.map_or("missing", Fault::as_str),
            NodeError::Gone(_) => "reorganised",
            NodeError::LoginRefused { .. } => "login-refused",
            NodeError::WrongChain { .. } => "wrong-chain",
            NodeError::Unsupported(_) => "unsupported",
        }
    }

    /// Is it worth asking another node? What the chain itself did, all of them will say sooner or later.
    pub fn another_may_know(&self) -> bool {
        !matches!(self, NodeError::Gone(_))
    }

    /// What is to be told where several nodes failed one after the other: the first, unless a later one is proven to lie, or is away that
    /// might have what the first has not.
    pub fn or_worse(before: Option<NodeError>, now: NodeError) -> NodeError {
        let is_away = matches!(now, NodeError::Unreachable { .. } | NodeError::Limited { .. });
        match before {
            Some(NodeError::Missing { fault: None, .. }) if is_away => now,
            Some(before) if !matches!(now, NodeError::Contradiction { .. }) => before,
            _ => now,
        }
    }

    /// What is wrong with the answer, where one came.
    pub fn fault(&self) -> Option<Fault> {
        use NodeError::{Contradiction, Missing, Unreadable};
        match self {
            Unreadable { fault, .. } | Contradiction { fault, .. } => Some(*fault),
            Missing { fault, .. } => *fault,
            _ => None,
        }
    }
}

/// One chain, through its nodes. Blocking; called from several threads at once.
pub trait Chain: Send + Sync {
    /// Its CAIP-2 id.
    fn id(&self) -> &ChainId;

    /// The first height that is followed: 0, or where an EVM chain's coverage starts.
    fn first(&self) -> Height;

    /// The assets that its blocks are read for.
    fn assets(&self) -> BTreeSet<Asset> {
        BTreeSet::from([Asset::Native])
    }

    /// Does walking every block prove every balance? So it is with unspent outputs; where balances are state, state must
    /// be read.
    fn proves_by_walking(&self) -> bool {
        false
    }

    /// Where the chain stands.
    ///
    /// # Errors
    /// See [`NodeError`]; the first call also makes sure that the node is of this chain and lets us in.
    fn tip(&self) -> Result<Tip, NodeError>;

    /// The hash at this height of the node's active chain; `None` above its tip.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError>;

    /// The hashes from this height on, at most so many; fewer where the node's active chain ends.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn hashes(&self, from: Height, count: u64) -> Result<Vec<BlockHash>, NodeError> {
        let heights = from.0..from.0.saturating_add(count);
        heights.map_while(|height| self.hash_at(Height(height)).transpose()).collect()
    }

    /// Gets ready for so many blocks to be asked for, and says on how many threads to do that on a machine with so many
    /// processors: where it means waiting for a node, on more.
    fn prepare(&self, blocks: u64, processors: usize) -> usize {
        let _ = blocks;
        processors.max(4)
    }

    /// Is it quicker to look at filters of so many blocks for these accounts than to read the blocks? Says so in the log, and why not. What filters
    /// hide nobody proves, as no header commits to them (BIP158).
    fn prefers_filters(&self, blocks: u64, watch: &Watch) -> bool {
        let _ = (blocks, watch);
        false
    }

    /// May this block have moved a watched account, as its filter has it? It may seem so where none was.
    ///
    /// # Errors
    /// When there is no filter that can be read: the block is to be read then.
    fn may_move(&self, at: BlockRef, watch: &Watch) -> Result<bool, NodeError> {
        let _ = (at, watch);
        Ok(true)
    }

    /// Fetches a block by its hash, checks it against its own header, and says what it does to the watched accounts.
    ///
    /// # Errors
    /// See [`NodeError`]. A block is given whole or not at all.
    fn block(&self, at: BlockRef, watch: &Watch, reads: &Reads) -> Result<Block, NodeError>;

    /// The checks of a header that need those below it. That it links to its parent is checked by the caller.
    ///
    /// # Errors
    /// [`NodeError::Contradiction`] when the header breaks the chain's rules.
    fn check_header(&self, header: &Header, ancestors: &dyn Ancestors) -> Result<(), NodeError>;

    /// These balances after this block, each asked for by itself, and proven against the block's state root where that can
    /// be done. Empty on chains without state.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn read_again(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError>;

    /// Does the node prove anything of the state after this block? Then it leaves out what it does not prove.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn proves(&self, at: &Header) -> Result<bool, NodeError> {
        let _ = at;
        Ok(false)
    }

    /// What these accounts hold in every asset that is followed after this block, read and not proven. Empty on chains without state.
    ///
    /// # Errors
    /// See [`NodeError`]. Where a single balance cannot be read, its reading says so.
    fn look(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<Vec<Reading>, NodeError> {
        let _ = (at, accounts);
        Ok(vec![])
    }

    /// These balances after this block as the node says them, nothing proven, as quickly as that can be had: to hold another
    /// node's answers against. Empty on chains without state.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn balances(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<Vec<Reading>, NodeError> {
        self.read_again(at, pairs)
    }

    /// What these accounts, which nobody follows yet, hold in every asset that is followed: after this block or, where a node
    /// can tell it of its last block alone, after that one. Which block it was comes first; it may be one that the caller does
    /// not know yet, or not any more. The numbers are the caller's, and come back in the readings. May take minutes: a Bitcoin node
    /// reads through every unspent output there is.
    ///
    /// # Errors
    /// See [`NodeError`]. Where a single balance cannot be read, its reading says so.
    fn held(&self, at: &Header, accounts: &[(AccountNo, Account)]) -> Result<(BlockRef, Vec<Reading>), NodeError>;

    /// The transaction, if the node knows it and it is in no block up to this one, which is the last.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn pending(&self, txid: TxId, after: &Header) -> Result<Option<Pending>, NodeError>;

    /// In which block a transaction is that moved no watched account as far as blocks tell, where more than they tell may move them. That is the
    /// node's word, but for the blocks `among` those that matter: these have it.
    ///
    /// # Errors
    /// As of the others.
    fn mined(&self, txid: TxId, among: &dyn Fn(BlockRef) -> bool) -> Result<Option<BlockRef>, NodeError> {
        let _ = (txid, among);
        Ok(None)
    }

    /// The transactions that wait in the node's mempool now; `None` where a chain has no such view. Nothing proves any of it.
    ///
    /// # Errors
    /// See [`NodeError`]. A list is given whole or not at all.
    fn mempool(&self) -> Result<Option<Vec<TxId>>, NodeError> {
        Ok(None)
    }

    /// What these of them do, in their order; one that the node does not have any more is left out.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn waiting(&self, txids: &[TxId]) -> Result<Vec<(TxId, Pending)>, NodeError> {
        let _ = txids;
        Ok(vec![])
    }

    /// Does its node refuse whatever it is asked now, as too much? It is asked again meanwhile.
    fn is_refused(&self) -> bool {
        false
    }

    /// The node that answered last, by host and port; nothing where that is not known.
    fn source(&self) -> Option<String> {
        None
    }

    /// How each of several nodes stood to the others as of the last [`Chain::tip`]; nothing where they are not compared.
    fn standings(&self) -> Vec<Standing> {
        vec![]
    }

    /// What a node said since this was asked last and was not believed, though the rest of what it said counts.
    fn doubt(&self) -> Option<NodeError> {
        None
    }

    /// Makes sure once more that the nodes are of this chain: before it is said that the chain itself did what it must not.
    ///
    /// # Errors
    /// Where one is of another chain.
    fn identify(&self) -> Result<(), NodeError> {
        Ok(())
    }

    /// What the nodes do not agree on above the last [`Chain::tip`], so that the chain cannot go on:
    /// [`NodeError::Disagreement`].
    fn disagreement(&self) -> Option<NodeError> {
        None
    }

    /// What a token's contract says of itself after the node's last block. Proven where that can be done, else the node's word.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn contract(&self, token: [u8; 20]) -> Result<Contract, NodeError> {
        let _ = token;
        Err(NodeError::Unsupported("this chain has no tokens".into()))
    }

    /// What the node can and cannot do, for people.
    ///
    /// # Errors
    /// See [`NodeError`].
    fn check(&self) -> Result<Vec<Notice>, NodeError>;
}
