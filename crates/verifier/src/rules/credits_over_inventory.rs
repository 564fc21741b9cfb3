use assay_types::AssetReport;
use serde_json::json;

use crate::coins::{Coins, Wide, wide};
use crate::rules::{Previous, is_corrected_down};
use crate::{Finding, Policy, Severity};

const RULE: &str = "credits-over-inventory";

/// **`credits-over-inventory`** (watch, alert, halt): more was credited without a deposit or a trade (`flows.rewards` and
/// `flows.corrections`) than was funded for that (`inventory`).
///
/// Corrections that the statement before and the flows show to be taken from customers are no credits.
///
/// Catches rewards that were typed in the wrong unit, and coins that are credited out of nothing, also while holdings
/// would cover them.
///
/// Cannot see credits that the ledger reports as something else. Where the inventory is not reported it is unknown, not zero:
/// then the finding is a notice.
///
/// Policy: `credits_over_inventory`.
pub fn credits_over_inventory(report: &AssetReport, previous: Option<&Previous>, policy: &Policy) -> Option<Finding> {
    let flows = report.flows.as_ref()?;
    let taken = previous.is_some_and(|previous| is_corrected_down(report, previous));
    let corrections = flows.corrections.filter(|_| !taken);
    let credited: Wide = [flows.rewards, corrections].into_iter().flatten().map(wide).sum();
    if credited.is_zero() {
        return None;
    }
    let coins = |units: Wide| Coins::of(units, report.decimals);
    let Some(inventory) = report.inventory.map(wide) else {
        return Some(Finding {
            rule: RULE,
            severity: Severity::Notice,
            asset: Some(report.symbol.clone()),
            message: format!(
                "{} {} were credited without a deposit or a trade, and what was funded for that is not reported",
                coins(credited).grouped(),
                report.symbol
            ),
            evidence: facts!({ "credited": coins(credited), "inventory": null }),
        });
    };
    let message = |ratio: &str| {
        let (credited, inventory) = (coins(credited).grouped(), coins(inventory).grouped());
        format!(
            "{credited} {} were credited without a deposit or a trade: {ratio} times the {inventory} that were funded",
            report.symbol
        )
    };
    let evidence = || json!({ "credited": coins(credited), "inventory": coins(inventory) });
    policy.credits_over_inventory.finding(RULE, &report.symbol, (credited, inventory), message, evidence)
}
