use serde_json::json;

use crate::coins::Coins;
use crate::{Finding, Line, Severity, Verdict};

/// **`same-kind`** (error): of an asset the declared accounts hold less than customers are owed of it, and only the policy's
/// tolerance, or coins that are said to be elsewhere, keep the line from `short`.
///
/// Catches what a total in dollars, a rounding or a promise hides: customers are owed the same kind in the same quantity, and
/// what is held of another asset, or by somebody else, covers none of it.
///
/// Cannot tell a custodian's coins from a promise of them. A line that is `short` anyhow is `phantom-assets`, and not told twice.
///
/// Policy: `shortage_tolerance` and `accept_elsewhere`, which it disregards.
pub fn same_kind(line: &Line) -> Option<Finding> {
    if line.verdict == Verdict::Short {
        return None;
    }
    let there = line.holdings.high?.units + line.unconfirmed_credits.units;
    let missing = line.owed.units.checked_sub(there).filter(|missing| !missing.is_zero())?;
    let coins = |units| Coins { units, ..line.owed };
    let (missing, there) = (coins(missing), coins(there));
    Some(Finding {
        rule: "same-kind",
        severity: Severity::Error,
        asset: Some(line.asset.clone()),
        message: format!(
            "customers are owed {} {}, and of the same kind {} at most is there: {} less",
            line.owed.grouped(),
            line.asset,
            there.grouped(),
            missing.grouped()
        ),
        evidence: json!({ "owed": line.owed, "there_at_most": there, "missing": missing, "tolerance": line.tolerance,
            "elsewhere": line.elsewhere }),
    })
}
