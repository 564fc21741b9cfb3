use crate::rules::{Departure, Dissent};
use crate::{Finding, Policy, Severity};
use assay_types::Timestamp;

/// How a chain is followed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// The chain's alias.
    pub chain: String,
    /// Since when it is not followed, and why; `None` while it is.
    pub trouble: Option<(Timestamp, String)>,
    /// Nodes that have another chain.
    pub dissent: Vec<Dissent>,
    /// Blocks that it left and that stay.
    pub left: Option<Departure>,
}

/// **`stale-index`** (warning): a chain on which the exchange has accounts is not followed, for longer than is allowed.
///
/// Catches our own blindness: the verdict is about blocks that were seen, and says nothing of those since.
///
/// Cannot tell whether anything happened meanwhile.
///
/// Policy: `max_index_silence`.
pub fn stale_index(following: &[Following], policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let allowed_s = i64::try_from(policy.max_index_silence.seconds).unwrap_or(i64::MAX);
    let silent = following.iter().filter_map(|one| one.trouble.as_ref().map(|(since, why)| (one, since, why)));
    silent
        .filter(|(_, since, _)| now.seconds_since(**since) > allowed_s)
        .map(|(one, since, why)| Finding {
            rule: "stale-index",
            severity: Severity::Warning,
            asset: None,
            message: format!("{} is not followed since {since}: {why}", one.chain),
            evidence: facts!({ "chain": one.chain, "since": since, "why": why }),
        })
        .collect()
}
