//! The daemon's middle: it keeps statements, verdicts and alerts, evaluates what a block, a statement or the time changes,
//! and shows one picture of it.
//!
//! Knows no node protocol and no HTTP: chains come as [`Source`]s, and whoever serves the picture reads [`View`].

mod alert;
mod announce;
mod announced;
mod books;
mod case;
pub mod clock;
mod cohorts;
mod course;
mod daily;
mod desk;
mod dispute;
mod dropped;
pub mod evidence;
mod explain;
mod gate;
mod handling;
mod holdings;
pub mod items;
mod keep;
mod left;
mod line;
mod mempool;
mod moment;
mod movements;
mod observed;
mod opened;
mod outbox;
mod paint;
mod parts;
mod proofs;
mod question;
mod queue;
mod remarked;
mod rests;
mod run;
mod sheet;
mod since;
mod view;
mod work;
mod world;

pub use alert::{Alert, AlertSettings, Duty, Observation, RuleSettings, State, observe, to_tell};
pub use announce::{Wallet, Wallets};
pub use announced::{AnnounceError, Announced, KnownFrom, with_announced};
use assay_store::StoreError;
pub use assay_verifier::rules::Dissent;
pub use books::Books;
pub use course::{Point, ShortSince};
pub use dispute::Branch;
pub use explain::{Explanation, Named, explain, latest};
pub use gate::{Gate, GateSettings, Known, Purposes, Signal, gate};
pub use handling::{Acknowledged, Handling, HandlingError, Maintenance, Silence};
pub use holdings::{at, holdings};
pub use keep::{KeptStatement, KeptVerdict, LastFinal, Rewrite};
pub use left::left_at;
pub use mempool::{Mempool, MempoolError, Waiting, say_pending};
pub use moment::Moment;
pub use movements::{MOVEMENT_FIELDS, Movements, cell};
pub use outbox::{Message, sign};
pub use proofs::{Backed, Holder, kept_proof, proofs};
pub use question::Question;

pub use view::{BlockView, ChainView, ExchangeView, StatementView, Trouble, View};
pub use work::{Desk, Event, Receipt, Settings, SubmitError};
pub use world::{CatchingUp, Connect, Heard, Priced, Source, Sums, World};

/// Why the desk could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row of the desk's that is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// The desk has stopped.
    #[error("the desk has stopped")]
    Stopped,
}
