use assay_types::AssetReport;
use serde_json::json;

use crate::coins::{Coins, Wide, wide};
use crate::rules::Before;
use crate::{Finding, Line, Policy, Severity};

/// **`deposits-not-on-chain`** (error): since the previous statement the ledger reports more deposits, less withdrawals, than the
/// declared accounts gained.
///
/// What the accounts gained is the change of holdings, deductions and credits in the mempool, less that of pending withdrawals and of
/// uncredited deposits, which are on chain and not in the ledger, or the other way round. What the house says it has less of
/// may have gone by chain, and counts for the exchange.
///
/// Catches deposits that were booked and never came, also while a surplus covers them, and withdrawals that were paid and not
/// booked.
///
/// Cannot judge where the flows or the house are not reported, a statement between is missing, or holdings were or are not known. It
/// goes by net amounts: an invented deposit beside an invented withdrawal of the same size cancels.
///
/// Policy: `difference_tolerance`, of the ledger's total.
pub fn deposits_not_on_chain(report: &AssetReport, line: &Line, before: &Before, policy: &Policy) -> Option<Finding> {
    let flows = report.flows.as_ref()?;
    let (deposits, withdrawals) = (wide(flows.deposits?), wide(flows.withdrawals?));
    let (house, house_before) = (line.house?.units, before.house?);
    if before.decimals != line.owed.decimals {
        return None; // the registry has another deployment by now: the units are others
    }
    let there = line.holdings.high?.units + line.deductions.units + line.unconfirmed_in_mempool.units;
    let in_flight = line.pending_withdrawals.units + line.uncredited_deposits.units;
    // Both sides are sums, so that nothing is ever below zero: reported net > gained net.
    let reported = deposits + before.there + before.in_mempool + in_flight;
    let gained = withdrawals + there + before.in_flight + house_before.saturating_sub(house);
    let gap = reported.checked_sub(gained)?;
    if !policy.difference_tolerance.is_exceeded_by(gap, line.owed.units + house) {
        return None;
    }
    let coins = |units: Wide| Coins { units, ..line.owed };
    Some(Finding {
        rule: "deposits-not-on-chain",
        severity: Severity::Error,
        asset: Some(line.asset.clone()),
        message: format!(
            "the ledger reports {} {} more of deposits, less withdrawals, than the declared accounts gained",
            coins(gap).grouped(),
            line.asset
        ),
        evidence: json!({
            "deposits": coins(deposits), "withdrawals": coins(withdrawals),
            "before": { "there_at_least": coins(before.there), "in_mempool": coins(before.in_mempool),
                "in_flight": coins(before.in_flight), "house": coins(house_before) },
            "now": { "there_at_most": coins(there), "in_flight": coins(in_flight), "house": coins(house) },
            "gap": coins(gap),
        }),
    })
}
