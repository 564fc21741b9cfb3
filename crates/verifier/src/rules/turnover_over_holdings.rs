use assay_types::AssetReport;
use serde_json::json;

use crate::coins::{Coins, Wide, wide};
use crate::{Finding, Line, Ordinary, Policy};

const RULE: &str = "turnover-over-holdings";
/// With fewer earlier reports of the same window a mean says nothing.
const FEWEST_REPORTS: u64 = 24;

/// **`turnover-over-holdings`** (watch, alert, halt): in one window more was traded than a multiple of what is held, or than a
/// multiple of the mean of the same window in the statements of that day and the 30 days before.
///
/// Catches a ledger on which coins change hands that could not be delivered.
///
/// Cannot catch phantom coins of which little is sold: in February 2026 some 1,788 of 42,794 BTC were traded, which is a
/// twenty-fourth, and no level that ordinary days stay below would have been reached.
///
/// Policy: `turnover_over_holdings`, `turnover_over_mean`.
pub fn turnover_over_holdings(report: &AssetReport, line: &Line, ordinary: &Ordinary, policy: &Policy) -> Vec<Finding> {
    let coins = |units: Wide| Coins::of(units, report.decimals);
    let mut findings = Vec::new();
    for volume in &report.volume {
        let traded = wide(volume.traded);
        let said = |what: &'static str| {
            let (report, window) = (&report.symbol, &volume.window);
            move |ratio: &str| {
                format!("{} {report} were traded in {window}: {ratio} times {what}", coins(traded).grouped())
            }
        };
        if let Some(high) = &line.holdings.high {
            let evidence = || json!({ "window": volume.window, "traded": coins(traded), "holdings": high });
            let pair = (traded, high.units());
            findings.extend(policy.turnover_over_holdings.finding(
                RULE,
                &report.symbol,
                pair,
                said("what is held"),
                evidence,
            ));
        }
        let before = ordinary.of(&report.symbol, &volume.window);
        if before.reports >= FEWEST_REPORTS {
            let evidence = || {
                json!({ "window": volume.window, "traded": coins(traded), "reports": before.reports,
                "sum_of_earlier": coins(before.sum) })
            };
            let pair = (traded * Wide::from(before.reports), before.sum);
            findings.extend(policy.turnover_over_mean.finding(RULE, &report.symbol, pair, said("the mean"), evidence));
        }
    }
    findings
}
