//! What the desk's thread (`run`) is given to do, by whoever has a handle (`desk`), and what it answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

use assay_registry::{Declarations, SignatureError, StatementKey};
use assay_store::Records;
use assay_types::{Digest, Statement, Timestamp};
use assay_verifier::Reconciliation;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::alert::AlertSettings;
use crate::announced::{AnnounceError, Announced};
use crate::gate::GateSettings;
use crate::handling::{Handling, HandlingError};
use crate::{DeskError, Priced, View, World};

/// The desk, as everyone else has it.
#[derive(Clone)]
pub struct Desk(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) records: Records,
    pub(crate) world: RwLock<Arc<World>>,
    pub(crate) view: RwLock<Arc<View>>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    /// Is the thread told to look already?
    pub(crate) told_to_look: AtomicBool,
    pub(crate) work: SyncSender<Work>,
}

/// Something that happened, for those who listen.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Counted from the start of the process.
    pub id: u64,
    /// `statement`, `verdict`, `alert`, `gate` or `block`.
    pub kind: &'static str,
    /// Whom it is about; nobody in particular: everyone.
    pub exchange: Option<String>,
    /// What happened.
    pub json: serde_json::Value,
}

/// What the desk's thread is given to do.
pub(crate) enum Work {
    Statement {
        exchange: String,
        statement: Arc<Statement>,
        bytes: Vec<u8>,
        signature: Option<String>,
        reply: Reply,
    },
    /// Something may have changed: a block, a trouble.
    Look,
    World(Box<World>, Settings),
    Prices(Priced),
    Handle(Handling, SyncSender<Result<serde_json::Value, HandlingError>>),
    /// Accounts of one exchange, followed already and not declared in what the files said when they were looked at.
    Announce(Vec<Announced>, Arc<Declarations>, SyncSender<Result<Vec<Announced>, AnnounceError>>),
    Stop,
}

pub(crate) type Reply = SyncSender<Result<Receipt, SubmitError>>;

/// What is answered to a statement.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The instant that it speaks of.
    pub as_of: Timestamp,
    /// When it came in, for the first time.
    pub received_at: Timestamp,
    /// Was it there already?
    pub repeated: bool,
    /// What it comes to now.
    pub verdict: Option<Arc<Reconciliation>>,
}

/// Why a statement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nobody of that name.
    #[error("no exchange `{0}` is declared")]
    UnknownExchange(String),
    /// It is wrong, and where.
    #[error("the statement is refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// Another statement has that number.
    #[error("statement {sequence} is there already, with digest {kept}")]
    Conflict {
        /// The number.
        sequence: u64,
        /// What was kept.
        kept: Digest,
    },
    /// It is not signed by a key of the exchange.
    #[error("the signature is refused: {0}")]
    Signature(String),
    /// It could not be kept.
    #[error("the statement could not be kept: {0}")]
    Failed(String),
}

/// The operator's choices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// When to halt, and when to allow again.
    pub gates: GateSettings,
    /// When to raise, and when to clear.
    pub alerts: AlertSettings,
    /// The names of those to whom alerts are told.
    pub receivers: Vec<String>,
}

impl Inner {
    /// Gives the desk's thread something to do.
    pub(crate) fn give(&self, work: Work) -> Result<(), DeskError> {
        self.work.send(work).map_err(|_| DeskError::Stopped)
    }
}

/// The declared key that signed the bytes. Where none is declared, nobody can say whose a signature is.
pub(crate) fn signed_by(
    world: &World,
    exchange: &str,
    digest: Digest,
    signature: Option<&str>,
) -> Result<Option<String>, SubmitError> {
    let keys = world.exchange(exchange).map_or(&[][..], |exchange| &exchange.statement_keys);
    let refuse = |error: SignatureError| SubmitError::Signature(error.to_string());
    match (keys, signature) {
        ([], _) => Ok(None),
        (_, None) => Err(refuse(SignatureError::Missing)),
        (keys, Some(signature)) => {
            let key = StatementKey::check(keys, exchange, digest, signature).map_err(refuse)?;
            Ok(Some(key.to_string()))
        }
    }
}
