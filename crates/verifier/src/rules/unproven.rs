use super::accounts;
use crate::{Finding, Line, Severity};

/// **`unproven`** (notice): the verdict rests in part on balances that a node said and nothing proves.
///
/// Catches how much of a line would become unknown under `require = "verified"`.
///
/// Cannot say whether these balances are right.
///
/// Policy: `require`; under `"verified"` such balances are unknown, and `not-covered` speaks of them.
pub fn unproven(line: &Line) -> Option<Finding> {
    let part = &line.accounts.unproven;
    if part.accounts == 0 {
        return None;
    }
    let (amount, asset) = (part.amount.grouped(), &line.asset);
    Some(Finding {
        rule: "unproven",
        severity: Severity::Notice,
        asset: Some(asset.clone()),
        message: format!("{amount} {asset} on {} count without a proof", accounts(part.accounts)),
        evidence: facts!({ "accounts": part.accounts, "amount": part.amount }),
    })
}
