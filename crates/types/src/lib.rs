//! The vocabulary of Assay: amounts, chains, accounts, blocks, statements, and the trait that a chain implements.
//!
//! No I/O, no async runtime, no clock: everything here is a value, or a promise that another crate keeps.

mod amount;
mod block;
mod chain;
mod digest;
mod directory;
mod fault;
mod fingerprint;
mod id;
mod input;
mod statement;
mod time;
mod watch;

pub use amount::{Amount, AmountError, Wide};
pub use block::{
    Between, Block, Body, Direction, Effect, Input, Kind, Leg, Pair, Payment, Proof, Reading, Remark, Spend,
    TakePayment, Told,
};
pub use chain::{Addresses, Ancestors, Chain, Contract, NodeError, Notice, Pending, Proven, Reads, Standing, Tip};
pub use digest::Digest;
pub use directory::{AssetEntry, ChainEntry, Deployment, Directory, NotDeployed};
pub use fault::Fault;
pub use fingerprint::Fingerprint;
pub use id::{Account, AccountNo, Asset, BlockHash, BlockRef, ChainId, Header, Height, IdError, Outpoint, TxId};
pub use input::{InputError, InputErrors, nearest, suggestion};
pub use statement::{
    AssetReport, Elsewhere, ElsewhereKind, Flows, InFlight, Placement, Statement, Volume, WalletClaim,
};
pub use time::{TimeError, Timestamp};
pub use watch::Watch;
