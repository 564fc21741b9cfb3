use serde_json::json;

use crate::{Finding, Line, Severity, Verdict};

/// **`same-kind`** (error): customers are owed more of an asset than is there of it, while another asset has a surplus: a total in
/// money would hide the shortfall, and covers none of it.
///
/// Catches an exchange that is whole in dollars and not in coins. Customers are owed the same kind in the same quantity. A notice,
/// which raises no alert, where only the policy's tolerance, or coins that are said to be elsewhere, keep the line from `short`.
///
/// Cannot tell what the surplus is worth: it asks for no prices, and any surplus counts. A shortage without one is `phantom-assets`
/// alone.
///
/// Policy: `shortage_tolerance` and `accept_elsewhere` make an error a notice.
pub fn same_kind(lines: &[Line]) -> Vec<Finding> {
    let surplus = |line: &Line| line.holdings.low.units().checked_sub(line.owed.units()).filter(|more| !more.is_zero());
    let surpluses = || lines.iter().filter_map(|line| surplus(line).map(|units| (line, line.owed.like(units))));
    let judge = |line: &Line| -> Option<Finding> {
        let there = line.holdings.high.as_ref()?.units() + line.unconfirmed_credits.units();
        let missing = line.owed.units().checked_sub(there).filter(|missing| !missing.is_zero())?;
        let severity = match line.verdict {
            Verdict::Short if surpluses().next().is_none() => return None,
            Verdict::Short => Severity::Error,
            Verdict::Backed | Verdict::Indeterminate => Severity::Notice,
        };
        let coins = |units| line.owed.like(units);
        let (missing, there) = (coins(missing), coins(there));
        let others = surpluses().map(|(other, more)| json!({ "asset": other.asset, "surplus": more }));
        Some(Finding {
            rule: "same-kind",
            severity,
            asset: Some(line.asset.clone()),
            message: format!(
                "customers are owed {} {}, and of the same kind {} at most is there: {} less, which no other asset covers",
                line.owed.grouped(),
                line.asset,
                there.grouped(),
                missing.grouped()
            ),
            evidence: facts!({ "owed": line.owed, "there_at_most": there, "missing": missing, "tolerance": line.tolerance,
                "elsewhere": line.elsewhere, "surpluses": others.collect::<Vec<_>>() }),
        })
    };
    lines.iter().filter_map(judge).collect()
}
