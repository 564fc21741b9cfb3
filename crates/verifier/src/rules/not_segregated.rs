use crate::{Finding, Line, Severity, Verdict};

/// **`not-segregated`** (error): the accounts declared as the customers' do not cover what customers are owed, though with the
/// exchange's own they do.
///
/// Catches customers' coins that were moved to the exchange's own wallets, and a shortage that the house stands in for: what
/// is missing is missing as soon as the house takes back its own.
///
/// Cannot tell whose coins an account really holds: it goes by `owner` in the declarations. What is not known of a balance
/// counts for the exchange.
///
/// Policy: `shortage_tolerance`.
pub fn not_segregated(line: &Line) -> Option<Finding> {
    let customers = line.holdings.high.as_ref()?.units().saturating_sub(line.house_holdings.units());
    let there = customers + line.deductions.units();
    if line.verdict == Verdict::Short || line.house_holdings.is_zero() {
        return None;
    }
    let missing = line.owed.units().checked_sub(there + line.tolerance.units()).filter(|missing| !missing.is_zero())?;
    let coins = |units| line.owed.like(units);
    let (owed, there) = (&line.owed, coins(there));
    Some(Finding {
        rule: "not-segregated",
        severity: Severity::Error,
        asset: Some(line.asset.clone()),
        message: format!(
            "customers are owed {} {}, and their own wallets hold {} at most: the exchange's own stand in for the rest",
            owed.grouped(),
            line.asset,
            there.grouped()
        ),
        evidence: facts!({ "owed": owed, "customers_at_most": there, "house_holdings": line.house_holdings,
            "missing": coins(missing), "tolerance": line.tolerance }),
    })
}
