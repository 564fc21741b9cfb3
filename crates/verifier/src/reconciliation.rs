//! The result: what `assay verify --json` prints.

use std::fmt;
use std::sync::Arc;

use assay_types::{BlockRef, ChainId, Digest, Height, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{At, BlockUsed, Line};

/// One statement against the chains, under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reconciliation {
    /// The exchange's id.
    pub exchange: String,
    /// The worst line's.
    pub verdict: Verdict,
    /// May it still change with the blocks?
    pub stage: Stage,
    /// When the statement's age was judged.
    pub evaluated_at: Timestamp,
    /// Which statement.
    pub statement: StatementLine,
    /// Which policy.
    pub policy: PolicyLine,
    /// Which program, with its version.
    pub program: String,
    /// The block of each chain.
    pub blocks: Vec<BlockLine>,
    /// One for each asset that the statement reports, in its order.
    pub lines: Arc<Vec<Line>>,
    /// What is wrong, the worst first.
    pub findings: Arc<Vec<Arc<Finding>>>,
}

impl Reconciliation {
    /// Is it another one in nothing but when it was given, and how final its blocks were?
    pub fn is_repeated_by(&self, other: &Reconciliation) -> bool {
        (&self.exchange, self.verdict, self.statement, self.policy, &self.program)
            == (&other.exchange, other.verdict, other.statement, other.policy, &other.program)
            && same(&self.lines, &other.lines)
            && same(&self.findings, &other.findings)
    }

    /// Does it say the same as another one? When it was given does not matter, nor by how much a stale statement is too old.
    pub fn says_the_same_as(&self, other: &Reconciliation) -> bool {
        let stale = |finding: &Finding| finding.rule == crate::rules::STALE_STATEMENT;
        let alike = |(one, other): (&Arc<Finding>, &Arc<Finding>)| {
            if stale(one) { stale(other) && one.severity == other.severity } else { same(one, other) }
        };
        (&self.exchange, self.verdict, self.stage, self.statement, self.policy, &self.program)
            == (&other.exchange, other.verdict, other.stage, other.statement, other.policy, &other.program)
            && self.blocks == other.blocks
            && same(&self.lines, &other.lines)
            && self.findings.len() == other.findings.len()
            && self.findings.iter().zip(other.findings.iter()).all(alike)
    }
}

/// Are they equal? Mostly they are one.
fn same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// What is concluded. A later one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What is owed is there, whatever is unknown.
    Backed,
    /// It depends on what is unknown.
    Indeterminate,
    /// Phantom assets: what is owed is not there, whatever is unknown.
    Short,
}

/// How much a verdict can still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Some block is not final, or not known, or no node could be asked about an item.
    Provisional,
    /// Every block used is final, and every item was looked up.
    Final,
}

impl Stage {
    /// That of a verdict on these blocks, as far as they go.
    pub(crate) fn of(blocks: &[BlockLine]) -> Stage {
        let is_final = !blocks.is_empty() && blocks.iter().all(|block| block.is_final);
        if is_final { Stage::Final } else { Stage::Provisional }
    }
}

/// Which statement was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StatementLine {
    /// SHA-256 of its bytes as received.
    pub digest: Digest,
    /// The instant that it speaks of.
    pub as_of: Timestamp,
}

/// Which policy it was judged under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PolicyLine {
    /// As [`crate::Policy::digest`] takes it.
    pub digest: Digest,
}

/// One chain's block B.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockLine {
    /// The chain's alias.
    pub chain: String,
    /// `None` where it is not known.
    pub height: Option<Height>,
    /// As its chain writes it; `None` where it is not known.
    pub hash: Option<String>,
    /// May it be relied upon?
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl BlockLine {
    pub(crate) fn new(used: &BlockUsed) -> BlockLine {
        let chain = used.name.clone();
        match &used.at {
            At::Block { at, is_final, .. } => BlockLine {
                chain,
                height: Some(at.height),
                hash: Some(show_hash(&used.chain, *at)),
                is_final: *is_final,
                unknown: None,
            },
            At::Unknown { reason } => {
                BlockLine { chain, height: None, hash: None, is_final: false, unknown: Some(reason.clone()) }
            }
        }
    }
}

pub(crate) fn show_hash(chain: &ChainId, at: BlockRef) -> String {
    chain.show_hash(&at.hash.0)
}

/// One thing wrong, with the evidence from which anyone can recompute it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The rule's name, such as `phantom-assets`.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The asset's symbol, where it is about one.
    pub asset: Option<String>,
    /// For people on duty.
    pub message: String,
    /// For machines: amounts in coins as text, blocks, transactions, fields.
    pub evidence: Facts,
}

/// A JSON document, kept as its text: a desk has tens of thousands, and reads hardly one.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Facts(Box<RawValue>);

impl Facts {
    /// To be read.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }

    /// What stands under this key; `null` where nothing does.
    pub fn at(&self, key: &str) -> Value {
        let is_there = self.0.get().contains(key); // mostly it is not, and reading takes longer
        if is_there { self.json()[key].take() } else { Value::Null }
    }
}

impl From<Value> for Facts {
    fn from(value: Value) -> Facts {
        Facts(serde_json::value::to_raw_value(&value).unwrap_or_default())
    }
}

impl PartialEq for Facts {
    fn eq(&self, other: &Facts) -> bool {
        self.0.get() == other.0.get()
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

/// How bad a finding is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Coins are not there.
    Critical,
    /// A discrepancy.
    Error,
    /// Something that somebody should look at.
    Warning,
    /// Something to know.
    Notice,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        }
    }
}

/// The exit code of `assay verify`: 1 for a discrepancy, 3 for what is not known or too old to say, else 0.
pub fn exit_code(reconciliation: &Reconciliation) -> u8 {
    let findings = &reconciliation.findings;
    let stale = || findings.iter().any(|finding| finding.rule == crate::rules::STALE_STATEMENT);
    if findings.iter().any(|finding| finding.severity <= Severity::Error) {
        1
    } else if reconciliation.verdict == Verdict::Indeterminate || stale() {
        3
    } else {
        0
    }
}
