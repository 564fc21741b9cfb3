//! Alerts as operations people know them. Pure: observations and the clock's reading go in, transitions come out.

use assay_types::Timestamp;
use assay_verifier::Severity;
use serde::{Deserialize, Serialize};

/// One discrepancy, for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same discrepancy, also across restarts.
    pub id: String,
    /// The rule that observes it.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The exchange, where it is about one.
    pub exchange: Option<String>,
    /// The asset's symbol, where it is about one.
    pub asset: Option<String>,
    /// Where it stands.
    pub state: State,
    /// When it was first observed.
    pub since: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// For people on duty.
    pub message: String,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Observed, and not yet for as long as its rule demands.
    Pending,
    /// Observed for long enough.
    Firing,
    /// No longer observed.
    Resolved,
}
