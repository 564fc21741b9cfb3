//! What the desk knows now, as everyone outside sees it: one immutable picture, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_types::{ChainId, Digest, Height, Standing, Timestamp};
use assay_verifier::{Finding, Reconciliation};
use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::course::ShortSince;
use crate::gate::Gate;
use crate::handling::{Maintenance, Silence};
use crate::keep::LastFinal;
use crate::moment::Moment;
use crate::{CatchingUp, Dissent};

/// Everything as of an instant.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// When it was made.
    pub at: Timestamp,
    /// In the order of the configuration.
    pub chains: Vec<ChainView>,
    /// By id.
    pub exchanges: Vec<Arc<ExchangeView>>,
    /// Every alert that is not inactive, the worst first.
    pub alerts: Vec<Alert>,
    /// What is kept quiet.
    pub silences: Vec<Silence>,
}

/// One chain's index.
#[derive(Debug, Clone, Serialize)]
pub struct ChainView {
    /// The alias.
    pub name: String,
    /// The CAIP-2 id.
    pub id: ChainId,
    /// The last block that the node told of; `None` before the first answer.
    pub head: Option<Height>,
    /// The node that told of it, by host and port: of several, the one in use.
    pub source: Option<String>,
    /// The last indexed block.
    pub indexed: Option<BlockView>,
    /// The last height that may be relied upon.
    pub final_height: Option<Height>,
    /// What is being indexed, while the index is not at the node's last block.
    pub catching_up: Option<CatchingUp>,
    /// How many times blocks were taken back since the start of the process.
    pub reorgs: u64,
    /// Answers of nodes that could not be used, by kind (`unreachable`, `unreadable`, `missing`, `contradiction`, ...).
    pub source_errors: BTreeMap<&'static str, u64>,
    /// Why it is not followed at the moment.
    pub trouble: Option<Trouble>,
    /// How many of its nodes have other final blocks than those that are followed.
    pub dissenting_nodes: usize,
    /// Which, and from where on.
    pub dissent: Vec<Dissent>,
    /// How its nodes stand to each other, in the order of the configuration; empty where one is enough.
    pub nodes: Vec<Standing>,
}

/// A block, for people and machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockView {
    /// Its height.
    pub height: Height,
    /// Its hash, as its chain writes it.
    pub hash: String,
    /// Its header's time.
    pub time: Timestamp,
    /// May it be relied upon?
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// Something that keeps us from knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: String,
    /// Does it need an operator? Otherwise it may pass by itself.
    pub lasting: bool,
}

/// One exchange.
#[derive(Debug, Clone, Serialize)]
pub struct ExchangeView {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its latest statement; `None` before the first.
    pub statement: Option<StatementView>,
    /// The latest statement's verdict, provisional or final; `None` before the first.
    pub verdict: Option<Arc<Reconciliation>>,
    /// Of each asset that is short, since when it is.
    pub short_since: Arc<BTreeMap<String, ShortSince>>,
    /// What its statements of the last day came to, the oldest first.
    #[serde(skip)]
    pub course: Arc<Vec<Moment>>,
    /// The last final verdict, of whichever statement.
    pub last_final: Option<LastFinal>,
    /// Why it cannot be judged at the moment, if so: the verdict above is then what was last known.
    pub trouble: Option<Trouble>,
    /// What is wrong now: of the latest verdict, and of what came after it.
    pub findings: Arc<Vec<Arc<Finding>>>,
    /// What the trading engine should do, by asset.
    pub gates: Arc<Vec<Gate>>,
    /// What the exchange has announced and is not over, the first first.
    pub maintenance: Vec<Maintenance>,
}

/// A statement that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementView {
    /// Its number: as given, or counted where it gives none.
    pub sequence: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The instant that it speaks of.
    pub as_of: Timestamp,
    /// When it came in.
    pub received_at: Timestamp,
    /// The signature that came with it, as it was sent.
    pub signature: Option<String>,
    /// The declared key that made the signature, as was checked when it came in; `None` where the exchange declared no key then,
    /// and the signature proves nothing.
    #[serde(default)]
    pub signed_by: Option<String>,
}
