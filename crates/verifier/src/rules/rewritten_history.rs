use assay_types::{Statement, Timestamp};

use crate::rules::Previous;
use crate::{Finding, Severity};

/// Another statement came under a number that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The number.
    pub sequence: u64,
    /// The digest of the statement that was kept.
    pub kept: String,
    /// The digest of the one that came instead, and was refused.
    pub came: String,
    /// When.
    pub at: Timestamp,
}

/// **`rewritten-history`** (error): the exchange tried to replace a statement, or names another one as the one before than
/// it sent.
///
/// Catches a past that is changed after the fact.
///
/// Cannot tell intent from a mistake in numbering.
///
/// Policy: none.
pub fn rewritten_history(statement: &Statement, previous: Option<&Previous>, rewritten: &[Rewritten]) -> Vec<Finding> {
    let finding = |message: String, evidence| Finding {
        rule: "rewritten-history",
        severity: Severity::Error,
        asset: None,
        message,
        evidence,
    };
    let replaced = rewritten.iter().map(|one| {
        let message = format!("another statement came under number {}, which was taken", one.sequence);
        finding(message, facts!({ "sequence": one.sequence, "kept": one.kept, "came": one.came, "at": one.at }))
    });
    let adjacent = |previous: &&Previous| match (statement.sequence, previous.sequence) {
        (Some(number), Some(before)) => before.checked_add(1) == Some(number),
        _ => false,
    };
    let misnamed = previous.filter(adjacent).and_then(|previous| {
        let named = statement.previous.as_ref()?;
        let sent = previous.digest.to_string();
        (*named != sent).then(|| {
            let message = "the statement names another one as the one before it than was sent".to_owned();
            finding(message, facts!({ "named": named, "sent": sent }))
        })
    });
    replaced.chain(misnamed).collect()
}
