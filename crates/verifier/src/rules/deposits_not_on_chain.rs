use crate::coins::{Wide, wide};
use crate::rules::Before;
use crate::{Finding, Line, Policy, Severity};
use assay_types::AssetReport;

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
    let (house, house_before) = (line.house.as_ref()?.units(), before.house.as_ref()?.units());
    if before.owed.decimals() != line.owed.decimals() {
        return None; // the registry has another deployment by now: the units are others
    }
    let there = line.holdings.high.as_ref()?.units() + line.deductions.units() + line.unconfirmed_in_mempool.units();
    let in_flight = line.pending_withdrawals.units() + line.uncredited_deposits.units();
    // Both sides are sums, so that nothing is ever below zero: reported net > gained net.
    let reported = deposits + before.there.units() + before.in_mempool.units() + in_flight;
    let gained = withdrawals + there + before.in_flight.units() + house_before.saturating_sub(house);
    let gap = reported.checked_sub(gained)?;
    if !policy.difference_tolerance.is_exceeded_by(gap, line.owed.units() + house) {
        return None;
    }
    let coins = |units: Wide| line.owed.like(units);
    Some(Finding {
        rule: "deposits-not-on-chain",
        severity: Severity::Error,
        asset: Some(line.asset.clone()),
        message: format!(
            "the ledger reports {} {} more of deposits, less withdrawals, than the declared accounts gained",
            coins(gap).grouped(),
            line.asset
        ),
        evidence: facts!({
            "deposits": coins(deposits), "withdrawals": coins(withdrawals),
            "before": { "there_at_least": before.there, "in_mempool": before.in_mempool,
                "in_flight": before.in_flight, "house": before.house },
            "now": { "there_at_most": coins(there), "in_flight": coins(in_flight), "house": coins(house) },
            "gap": coins(gap),
        }),
    })
}
