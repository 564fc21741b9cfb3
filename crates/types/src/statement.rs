//! The exchange's report of its internal ledger, resolved: names are ids, amounts are base units.

use crate::{Account, Amount, BlockRef, ChainId, Digest, Timestamp, TxId};

/// One exchange's internal ledger as of an instant. `ledger` parses it from `assay.statement/1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// SHA-256 of its bytes as received.
    pub digest: Digest,
    /// The exchange's id.
    pub exchange: String,
    /// Its number, where given.
    pub sequence: Option<u64>,
    /// The digest of the statement before it, as written.
    pub previous: Option<String>,
    /// The instant.
    pub as_of: Timestamp,
    /// The blocks that it names.
    pub blocks: Vec<(ChainId, BlockRef)>,
    /// One report for each asset.
    pub assets: Vec<AssetReport>,
    /// Balances that it claims of wallets.
    pub wallets: Vec<WalletClaim>,
}

/// What the ledger says of one asset. Amounts are in base units of the asset's finest deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetReport {
    /// The asset's symbol.
    pub symbol: String,
    /// The finest deployment's decimals.
    pub decimals: u8,
    /// The gross sum of positive balances, with open orders, holds and staking.
    pub customers: Amount,
    /// The exchange's own; `None` is unknown, not zero.
    pub house: Option<Amount>,
    /// The sum of negative balances, as a magnitude.
    pub negative: Amount,
    /// Withdrawn from the ledger, and perhaps still on chain.
    pub pending_withdrawals: Vec<InFlight>,
    /// On chain, and not yet in the ledger.
    pub uncredited_deposits: Vec<InFlight>,
    /// In the ledger, and not yet on chain.
    pub unconfirmed_credits: Vec<InFlight>,
    /// Coins that are not on a declared account.
    pub elsewhere: Vec<Elsewhere>,
    /// What changed the ledger since the statement before.
    pub flows: Option<Flows>,
    /// What was funded for rewards.
    pub inventory: Option<Amount>,
    /// What was traded, by window.
    pub volume: Vec<Volume>,
}

/// Something between ledger and chain.
#[derive(Debug, Clone, PartialEq)]
pub struct InFlight {
    /// Its field in the statement, such as `assets[0].pending_withdrawals[2]`: how findings point at it.
    pub field: String,
    /// The chain.
    pub chain: ChainId,
    /// To whom, with its text as written; withdrawals have it.
    pub to: Option<(Account, String)>,
    /// The transaction, where there is one already.
    pub txid: Option<TxId>,
    /// Where in it.
    pub placement: Placement,
    /// How much, in the report's units.
    pub amount: Amount,
}

/// Which part of a transaction an item in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placement {
    /// The transaction as a whole (native coins on EVM chains, withdrawals).
    Whole,
    /// An output (Bitcoin `vout`) or log (EVM `log_index`).
    Index(u32),
}

/// Coins that are not on a declared account.
#[derive(Debug, Clone, PartialEq)]
pub struct Elsewhere {
    /// What kind of place.
    pub kind: ElsewhereKind,
    /// Who or what.
    pub name: Option<String>,
    /// How much, in the report's units.
    pub amount: Amount,
    /// Where that is attested.
    pub attestation: Option<String>,
}

/// Kinds of places where coins can be that are not a declared account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ElsewhereKind {
    /// With a custodian.
    Custodian,
    /// Staked.
    Staked,
    /// Lent out.
    Lent,
    /// On a chain that is not followed.
    OtherChain,
    /// Between places.
    InTransit,
}

/// What changed the ledger since the statement before; each `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flows {
    /// Customers' deposits.
    pub deposits: Option<Amount>,
    /// Customers' withdrawals.
    pub withdrawals: Option<Amount>,
    /// Credited without a deposit or a trade.
    pub rewards: Option<Amount>,
    /// Fees charged.
    pub fees: Option<Amount>,
    /// Corrections by hand.
    pub corrections: Option<Amount>,
}

/// What was traded in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// The window as written, such as `1h`.
    pub window: String,
    /// How much, in the report's units.
    pub traded: Amount,
}

/// A balance that the exchange claims of one wallet.
#[derive(Debug, Clone, PartialEq)]
pub struct WalletClaim {
    /// Its field in the statement, such as `wallets[3]`.
    pub field: String,
    /// The chain.
    pub chain: ChainId,
    /// The account.
    pub account: Account,
    /// The account as written.
    pub address: String,
    /// The asset's symbol.
    pub symbol: String,
    /// How much, in base units of the asset's finest deployment.
    pub claimed: Amount,
}
