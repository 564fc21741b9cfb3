use super::accounts;
use crate::{Finding, Line, Severity, Unknown};

/// **`not-covered`** (warning): the balance of some accounts is unknown at the statement's block.
///
/// Catches what we do not know: a range that was not scanned, a node that is silent, a block that cannot be had, a
/// balance that is not proven where the policy requires that. It says so also when the verdict does not hang on it.
///
/// Cannot say anything of accounts that are not declared.
///
/// Policy: `require`.
pub fn not_covered(line: &Line) -> Option<Finding> {
    let unknown: Vec<&Unknown> = line.unknown.iter().filter(|unknown| unknown.balance_unknown).collect();
    let first = unknown.first()?;
    let more = match unknown.len() {
        1 => String::new(),
        reasons => format!(" (and {} more reasons)", reasons - 1),
    };
    let message = match line.accounts.unknown {
        0 => format!("{} holdings are unknown: {}{more}", line.asset, first.reason),
        count => format!("the {} balance of {} is unknown: {}{more}", line.asset, accounts(count), first.reason),
    };
    Some(Finding {
        rule: "not-covered",
        severity: Severity::Warning,
        asset: Some(line.asset.clone()),
        message,
        evidence: facts!({ "accounts": line.accounts, "holdings": line.holdings, "unknown": unknown }),
    })
}
