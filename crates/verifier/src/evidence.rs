//! What the chains say, as of the statement's blocks: the verifier's input beside the statement and the policy.
//!
//! Whoever gathers it vouches that it was read from blocks that were checked; the verifier vouches for the arithmetic.

use assay_types::{Account, Amount, Asset, BlockRef, ChainId, Height, Timestamp, TxId};

use crate::Finding;
use crate::coins::Wide;

/// Everything that was gathered for one statement of one exchange.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// One for each chain on which the exchange has accounts, or that the statement's items name. Without any, nothing
    /// is known of the chains and no line is more than `indeterminate`.
    pub blocks: Vec<BlockUsed>,
    /// One for each declared account and each asset deployed on its chain. A second one for the same chain, account and
    /// asset is ignored: coins count once.
    pub accounts: Vec<AccountEvidence>,
    /// What other accounts hold together. It comes to the same whether accounts are given one by one or in sums.
    pub sums: Vec<SumEvidence>,
    /// When these balances were proven, one for each chain of which that was looked at: where there are very many it is not.
    pub proven: Vec<ProvenEvidence>,
    /// One for each transaction that the statement's items name; one without counts as not looked up. Beside them those in the
    /// mempool that pay withdrawals which name none.
    pub items: Vec<ItemEvidence>,
    /// One for each block of these transactions in which more moved than transactions are known to have moved.
    pub unattributed: Vec<Unattributed>,
    /// What the gatherer itself has to report, such as a named block that was ignored.
    pub notices: Vec<Finding>,
}

/// The block B of one chain: where its accounts' balances were read.
#[derive(Debug, Clone)]
pub struct BlockUsed {
    /// The chain.
    pub chain: ChainId,
    /// Its alias, for people.
    pub name: String,
    /// Does the statement name it?
    pub named: bool,
    /// Which one it is.
    pub at: At,
}

/// A chain's block B, or why there is none.
#[derive(Debug, Clone)]
pub enum At {
    /// It is known.
    Block {
        /// Height and hash.
        at: BlockRef,
        /// Its header's time.
        time: Timestamp,
        /// The header time of the block after it, if there is one.
        after: Option<Timestamp>,
        /// May it be relied upon, by the chain's finality policy?
        is_final: bool,
    },
    /// It could not be had. Every account of the chain is unknown, whatever balance is given for it.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

/// One declared account's balance in one asset at its chain's block B.
#[derive(Debug, Clone, Hash)]
pub struct AccountEvidence {
    /// The chain.
    pub chain: ChainId,
    /// The account.
    pub account: Account,
    /// Its display form.
    pub address: String,
    /// `cold`, `hot` or `deposit`.
    pub role: String,
    /// Whose coins it holds: `customers` or `house`.
    pub owner: &'static str,
    /// The asset on that chain.
    pub asset: Asset,
    /// The symbol under which the asset's deployments are summed.
    pub symbol: String,
    /// What it holds.
    pub balance: Balance,
    /// The other exchanges that declare the same account. If there are any, it counts zero in low and its balance in high.
    pub shared_with: Vec<String>,
    /// Is it among the [`SumEvidence`] already? Then it is here to be spoken of, and does not count again.
    pub summed: bool,
    /// Does it count in the holdings? An account outside its `since` and `until` does not, nor one that was announced, in blocks up
    /// to that at which it was empty; who owns it does not matter.
    pub counted: bool,
    /// Is what is paid to it after B the exchange's? So it is with accounts that count, and with announced ones always.
    pub theirs: bool,
}

/// What many declared accounts hold together in one asset at their chain's block B: accounts that count, whose balance is
/// known, and that no other exchange declares.
#[derive(Debug, Clone, Hash)]
pub struct SumEvidence {
    /// The chain.
    pub chain: ChainId,
    /// The symbol under which the asset's deployments are summed.
    pub symbol: String,
    /// Whose coins they are: `customers` or `house`.
    pub owner: &'static str,
    /// Are they on accounts whose role is `cold`?
    pub cold: bool,
    /// Are these balances `verified`, or only `unproven`?
    pub proven: bool,
    /// How many accounts.
    pub accounts: u64,
    /// Their sum, in base units of the asset's finest deployment.
    pub amount: Wide,
}

/// When an exchange's balances on one chain were proven.
#[derive(Debug, Clone, Hash)]
pub struct ProvenEvidence {
    /// The chain.
    pub chain: ChainId,
    /// When.
    pub when: When,
}

/// By which blocks.
#[derive(Debug, Clone, Hash)]
pub enum When {
    /// Whatever is verified is so by every block up to B (Bitcoin).
    Walked,
    /// As was looked up, one for each asset on the chain.
    Looked(Vec<ProvenPart>),
}

/// When the balances in one asset were proven: how many accounts, and their sum in base units of the asset's finest deployment.
#[derive(Debug, Clone, Hash)]
pub struct ProvenPart {
    /// The symbol under which the asset's deployments are summed.
    pub symbol: String,
    /// Of those that are `verified`: at B itself.
    pub at_block: (u64, Wide),
    /// Of those that are `unproven`: at a block below, since when they did not move.
    pub earlier: (u64, Wide),
    /// The lowest of these blocks; nothing where there are none.
    pub lowest: Option<Height>,
}

impl ProvenPart {
    /// Of no account at all.
    pub fn none(symbol: &str) -> ProvenPart {
        ProvenPart { symbol: symbol.into(), at_block: (0, Wide::ZERO), earlier: (0, Wide::ZERO), lowest: None }
    }
}

/// What is known of a balance.
#[derive(Debug, Clone, Hash)]
pub enum Balance {
    /// It is known.
    Known {
        /// How much, in base units of the asset's finest deployment.
        amount: Amount,
        /// Is its coverage `verified`, or only `unproven`?
        proven: bool,
    },
    /// It is not known.
    Unknown {
        /// Why: the same words for the same cause, so that accounts can be grouped by it.
        reason: String,
        /// The last balance that was verified, in base units of the asset's finest deployment, and its height.
        last_verified: Option<(Amount, Height)>,
        /// What it holds at most, in those units, where that is known whatever the exchange claims: of nodes that disagree, each
        /// was asked.
        at_most: Option<Amount>,
    },
}

/// What was found about a transaction.
#[derive(Debug, Clone)]
pub struct ItemEvidence {
    /// The chain.
    pub chain: ChainId,
    /// The transaction.
    pub txid: TxId,
    /// What was found.
    pub found: Found,
}

/// Where a transaction is.
#[derive(Debug, Clone)]
pub enum Found {
    /// In no block that was looked at, and not in the mempool.
    Nowhere {
        /// Why the mempool could not be asked, if so. Then the item is not proven, and nobody is accused.
        unasked: Option<String>,
    },
    /// In the node's mempool.
    Mempool {
        /// What it would pay to anyone.
        payments: Vec<Paid>,
        /// Are these all of its payments (Bitcoin), or only what can be told before it runs (EVM)?
        complete: bool,
    },
    /// In a block.
    Block {
        /// Which block, on the same chain as B.
        at: BlockRef,
        /// Everything that it paid, to anyone.
        paid: Vec<Paid>,
        /// What accounts that the exchange declares put into it. Several of an asset are summed.
        spent: Vec<Spent>,
        /// The assets of which it is not told what else it paid: a call that was not traced, or nothing that could be held against the header.
        untold: Vec<String>,
        /// The assets of which nothing is known of this block: it was not read for them, or not for all of the exchange's accounts.
        unread: Vec<String>,
        /// What of it the chain's state may deny.
        doubted: Vec<Doubted>,
    },
}

/// What a transaction is said to have moved, and the state of the exchange's own accounts after its block does not bear out, or is not known: so much
/// of it at most did not move, or not to stay. Something else may have moved as much the other way, as where a token rebases in that block.
#[derive(Debug, Clone)]
pub struct Doubted {
    /// The asset's symbol.
    pub symbol: String,
    /// Of what came to these accounts together, in base units of the asset's finest deployment.
    pub came: Wide,
    /// Of what went from them.
    pub went: Wide,
}

/// What moved in a block, by the chain's state, and no transaction is known to have moved.
#[derive(Debug, Clone)]
pub struct Unattributed {
    /// The chain.
    pub chain: ChainId,
    /// Which block, on the same chain as B.
    pub at: BlockRef,
    /// The asset's symbol.
    pub symbol: String,
    /// What came to the exchange's own accounts together, in base units of the asset's finest deployment.
    pub came: Wide,
    /// What went from them.
    pub went: Wide,
}

/// One payment of a transaction.
#[derive(Debug, Clone)]
pub struct Paid {
    /// Bitcoin output, EVM log; `None` for native coins on EVM chains.
    pub index: Option<u32>,
    /// To whom.
    pub to: Account,
    /// The asset's symbol.
    pub symbol: String,
    /// How much, in base units of the asset's finest deployment.
    pub amount: Amount,
}

/// What the exchange's own accounts put into a transaction.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The asset's symbol.
    pub symbol: String,
    /// How much, in base units of the asset's finest deployment.
    pub amount: Amount,
}
