//! An item in flight: its list, where its transaction is, and what a result says of it.

use assay_types::BlockRef;
use serde::Serialize;

use crate::coins::Coins;

/// The list in which a statement reports an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// Withdrawn from the ledger, and perhaps still on chain.
    PendingWithdrawals,
    /// On chain, and not yet in the ledger.
    UncreditedDeposits,
    /// In the ledger, and not yet on chain.
    UnconfirmedCredits,
}

/// Where an item's transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The item names none.
    NoTransaction,
    /// Nowhere that was looked at.
    NotFound,
    /// In the mempool.
    Mempool,
    /// In B or a block before it.
    UpToBlock,
    /// In a block after B.
    AfterBlock,
    /// That cannot be told, as B is not known on its chain.
    Unknown,
}

/// What follows for the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It is owed.
    Counts,
    /// It is not owed.
    DoesNotCount,
    /// It is deducted.
    Deducts,
    /// It is not deducted.
    DoesNotDeduct,
}

/// One item in flight, as judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InFlightLine {
    /// Its field in the statement.
    pub field: String,
    /// Its list.
    pub list: List,
    /// The chain's alias.
    pub chain: String,
    /// The transaction, as its chain writes it.
    pub txid: Option<String>,
    /// What the statement says.
    pub amount: Coins,
    /// Where its transaction is.
    pub standing: Standing,
    /// The height of the block that it is in.
    pub height: Option<u64>,
    /// That block's hash, as its chain writes it.
    pub hash: Option<String>,
    /// What follows.
    pub effect: Effect,
    /// How much is owed or deducted because of it.
    pub counted: Coins,
}

/// Where an item's transaction is, with what a finding says about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    NoTransaction,
    Nowhere { unasked: Option<&'a str> },
    Mempool,
    UpTo(BlockRef),
    After(BlockRef),
    Unknown { why: &'a str },
}

impl Place<'_> {
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Place::NoTransaction => Standing::NoTransaction,
            Place::Nowhere { .. } => Standing::NotFound,
            Place::Mempool => Standing::Mempool,
            Place::UpTo(_) => Standing::UpToBlock,
            Place::After(_) => Standing::AfterBlock,
            Place::Unknown { .. } => Standing::Unknown,
        }
    }
}
