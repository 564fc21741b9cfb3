use crate::{Finding, Line, Policy, Severity, Wide};

/// **`unexplained-difference`**: ledger and chain part by more than the policy allows, to the unit.
///
/// Catches, as an error, a deficit: coins that the ledger has and the chain has not, also while what customers are owed
/// is still covered by the house's own. As a notice, a surplus: coins that the ledger does not know.
///
/// Cannot catch anything where holdings are not exact or the house's own is not reported, or errors that cancel out.
///
/// Policy: `difference_tolerance`, of owed + house.
pub fn unexplained_difference(line: &Line, policy: &Policy) -> Option<Finding> {
    let (difference, house) = (line.difference.as_ref()?, line.house.as_ref()?);
    let total: Wide = line.owed.units() + house.units();
    if !policy.difference_tolerance.is_exceeded_by(difference.magnitude.units(), total) {
        return None;
    }
    let (severity, than) = if difference.negative { (Severity::Error, "less") } else { (Severity::Notice, "more") };
    let amount = difference.magnitude.grouped();
    Some(Finding {
        rule: "unexplained-difference",
        severity,
        asset: Some(line.asset.clone()),
        message: format!("{amount} {asset} {than} on chain than the ledger accounts for", asset = line.asset),
        evidence: facts!({
            "difference": difference,
            "holdings": line.holdings,
            "deductions": line.deductions,
            "unconfirmed_in_mempool": line.unconfirmed_in_mempool,
            "negative": line.negative,
            "owed": line.owed,
            "house": house,
            "difference_tolerance": policy.difference_tolerance,
        }),
    })
}
