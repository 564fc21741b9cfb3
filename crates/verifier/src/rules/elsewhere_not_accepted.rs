use assay_types::AssetReport;
use serde_json::json;

use crate::{Coins, Finding, Policy, Severity};

/// **`elsewhere-not-accepted`** (notice): the ledger counts on coins that are not on a declared account, of a kind that the
/// policy does not accept.
///
/// Catches, for people, the difference that a custodian, staking or a loan makes to a line.
///
/// Cannot tell whether these coins are there: nothing on a followed chain says so.
///
/// Policy: `accept_elsewhere`.
pub fn elsewhere_not_accepted(report: &AssetReport, policy: &Policy) -> Vec<Finding> {
    let refused = report.elsewhere.iter().filter(|one| !policy.accept_elsewhere.contains(&one.kind));
    let finding = |one: &assay_types::Elsewhere| {
        let (amount, kind) = (Coins::new(one.amount, report.decimals), json!(one.kind));
        let (asset, kind_text) = (&report.symbol, kind.as_str().unwrap_or_default());
        let place = one.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let message = format!(
            "{} {asset} elsewhere are not counted: the policy does not accept `{kind_text}`{place}",
            amount.grouped(),
        );
        Finding {
            rule: "elsewhere-not-accepted",
            severity: Severity::Notice,
            asset: Some(asset.clone()),
            message,
            evidence: facts!({ "kind": kind, "name": one.name, "amount": amount, "attestation": one.attestation }),
        }
    };
    refused.map(finding).collect()
}
