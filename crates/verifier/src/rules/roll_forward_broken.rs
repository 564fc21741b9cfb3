use std::collections::HashMap;

use crate::coins::{Coins, Wide, wide};
use crate::{Finding, Severity};
use assay_types::{AssetReport, Digest, Statement};

/// What is remembered of the statement before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its number, where it has one.
    pub sequence: Option<u64>,
    /// Its digest.
    pub digest: Digest,
    /// By asset: what customers were owed, and the sum of negative balances.
    ledger: Vec<(String, Coins, Coins)>,
}

impl Previous {
    /// Of that statement.
    pub fn of(statement: &Statement) -> Previous {
        let line = |report: &AssetReport| {
            let coins = |amount| Coins::new(amount, report.decimals);
            (report.symbol.clone(), coins(report.customers), coins(report.negative))
        };
        let ledger = statement.assets.iter().map(line).collect();
        Previous { sequence: statement.sequence, digest: statement.digest, ledger }
    }
}

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
pub fn roll_forward_broken(statement: &Statement, previous: &Previous) -> Vec<Finding> {
    let before: HashMap<&String, _> = previous.ledger.iter().map(|line| (&line.0, line)).collect();
    let judge = |report: &AssetReport| judge(report, before.get(&report.symbol)?);
    if next_to_it(statement, previous) { statement.assets.iter().filter_map(judge).collect() } else { Vec::new() }
}

/// Does one follow the other, with none between?
pub(crate) fn next_to_it(statement: &Statement, previous: &Previous) -> bool {
    match (statement.sequence, previous.sequence, &statement.previous) {
        (_, _, Some(digest)) => *digest == previous.digest.to_string(),
        (Some(number), Some(before), None) => before.checked_add(1) == Some(number),
        _ => false,
    }
}

fn judge(report: &AssetReport, (_, customers, negative): &(String, Coins, Coins)) -> Option<Finding> {
    let flows = report.flows.as_ref()?;
    let (deposits, withdrawals) = (wide(flows.deposits?), wide(flows.withdrawals?));
    let (rewards, fees, corrections) = (wide(flows.rewards?), wide(flows.fees?), wide(flows.corrections?));
    // Both sides are sums, so that nothing is ever below zero.
    let expected = customers.units() + deposits + rewards + wide(report.negative);
    let found = wide(report.customers) + withdrawals + fees + negative.units();
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
            "before": { "customers": customers, "negative": negative },
            "now": { "customers": coins(wide(report.customers)), "negative": coins(wide(report.negative)) },
            "deposits": coins(deposits), "withdrawals": coins(withdrawals), "rewards": coins(rewards),
            "fees": coins(fees), "corrections": coins(corrections), "gap": coins(gap),
        }),
    })
}
