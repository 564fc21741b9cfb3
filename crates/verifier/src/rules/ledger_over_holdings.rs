use serde_json::json;

use crate::{Finding, Line, Policy};

/// **`ledger-over-holdings`** (watch, alert, halt): what is owed exceeds what can be there by a multiple.
///
/// Catches credits that nobody holds the coins for, at the first statement that reports them.
///
/// Cannot tell a shortage that was there for years from one of this minute; where nothing bounds the holdings it is silent.
///
/// Policy: `ledger_over_holdings`; what `shortage_tolerance` allows counts as there.
pub fn ledger_over_holdings(line: &Line, policy: &Policy) -> Option<Finding> {
    let high = line.holdings.high.as_ref()?;
    let there = high.units() + line.deductions.units() + line.tolerance.units();
    let message = |ratio: &str| format!("the ledger owes {ratio} times the {} that can be there", line.asset);
    let evidence = || {
        json!({ "owed": line.owed, "high": high, "deductions": line.deductions,
        "tolerance": line.tolerance })
    };
    policy.ledger_over_holdings.finding(
        "ledger-over-holdings",
        &line.asset,
        (line.owed.units(), there),
        message,
        evidence,
    )
}
