use crate::{At, BlockUsed, Finding, Policy, Severity};
use assay_types::{Statement, Timestamp};

pub(crate) const STALE_STATEMENT: &str = "stale-statement";

/// **`stale-statement`** (warning): the statement speaks of an instant too long before, or after, that of evaluation.
///
/// Its age counts from `as_of.time` or, if that is earlier, from the time of the block after one that it names: who names
/// an old block cannot make it young.
///
/// Catches reports that stopped, and clocks that are wrong by more than the allowed age.
///
/// Cannot tell whether the ledger was read at the instant that the statement names.
///
/// Policy: `max_statement_age`.
pub fn stale_statement(
    statement: &Statement,
    blocks: &[BlockUsed],
    policy: &Policy,
    evaluated_at: Timestamp,
) -> Option<Finding> {
    let after_named = blocks.iter().filter(|block| block.named).filter_map(|block| match &block.at {
        At::Block { after, .. } => *after,
        At::Unknown { .. } => None,
    });
    let since = after_named.fold(statement.as_of, Timestamp::min);
    let age_s = evaluated_at.seconds_since(since);
    let allowed_s = i64::try_from(policy.max_statement_age.seconds).unwrap_or(i64::MAX);
    let ahead_s = statement.as_of.seconds_since(evaluated_at);
    let message = if age_s > allowed_s {
        format!("the statement is {age_s}s old, and {allowed_s}s are allowed")
    } else if ahead_s > allowed_s {
        format!("the statement is dated {ahead_s}s in the future: its age cannot be judged")
    } else {
        return None;
    };
    Some(Finding {
        rule: STALE_STATEMENT,
        severity: Severity::Warning,
        asset: None,
        message,
        evidence: facts!({
            "as_of": statement.as_of,
            "counted_from": since,
            "evaluated_at": evaluated_at,
            "age_seconds": age_s,
            "max_statement_age": policy.max_statement_age,
        }),
    })
}
