use std::collections::HashMap;

use crate::coins::{Coins, Wide, wide};
use crate::{Finding, Severity};
use assay_types::{AssetReport, Statement};

/// **`roll-forward-broken`** (error): the previous statement plus this one's flows is not this statement. It is the control
/// by which banks close a day: opening balance, plus what came, less what went, is the closing balance.
///
/// `customers` less `negative`, then, must have changed by deposits + rewards - withdrawals - fees, give or take
/// `corrections`, whose sign the format does not tell.
///
/// Catches entries that bypass the ledger's own books.
///
/// Cannot judge where a flow is not reported, or a statement between the two is missing.
///
/// Policy: none.
pub fn roll_forward_broken(statement: &Statement, previous: &Statement) -> Vec<Finding> {
    let before: HashMap<&str, &AssetReport> =
        previous.assets.iter().map(|before| (before.symbol.as_str(), before)).collect();
    let judge = |report: &AssetReport| judge(report, before.get(report.symbol.as_str())?);
    if next_to_it(statement, previous) { statement.assets.iter().filter_map(judge).collect() } else { Vec::new() }
}

/// Does one follow the other, with none between?
pub(crate) fn next_to_it(statement: &Statement, previous: &Statement) -> bool {
    match (statement.sequence, previous.sequence, &statement.previous) {
        (_, _, Some(digest)) => *digest == previous.digest.to_string(),
        (Some(number), Some(before), None) => before.checked_add(1) == Some(number),
        _ => false,
    }
}

fn judge(report: &AssetReport, before: &AssetReport) -> Option<Finding> {
    let flows = report.flows.as_ref()?;
    let (deposits, withdrawals) = (wide(flows.deposits?), wide(flows.withdrawals?));
    let (rewards, fees, corrections) = (wide(flows.rewards?), wide(flows.fees?), wide(flows.corrections?));
    // Both sides are sums, so that nothing is ever below zero.
    let expected = wide(before.customers) + deposits + rewards + wide(report.negative);
    let found = wide(report.customers) + withdrawals + fees + wide(before.negative);
    let gap = expected.abs_diff(found);
    if gap <= corrections {
        return None;
    }
    let coins = |units: Wide| Coins::of(units, report.decimals);
    let more = if found > expected { "more" } else { "less" };
    Some(Finding {
        rule: "roll-forward-broken",
        severity: Severity::Error,
        asset: Some(report.symbol.clone()),
        message: format!(
            "the ledger owes {} {} {more} than the statement before and the flows since give",
            coins(gap).grouped(),
            report.symbol
        ),
        evidence: facts!({
            "before": { "customers": coins(wide(before.customers)), "negative": coins(wide(before.negative)) },
            "now": { "customers": coins(wide(report.customers)), "negative": coins(wide(report.negative)) },
            "deposits": coins(deposits), "withdrawals": coins(withdrawals), "rewards": coins(rewards),
            "fees": coins(fees), "corrections": coins(corrections), "gap": coins(gap),
        }),
    })
}
