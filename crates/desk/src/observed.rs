//! What of an exchange's findings is told: what raises an alert, and what keeps up one that fires.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verifier::rules::{HELD, OF_HOLDINGS};
use assay_verifier::{Finding, List, Severity, Verdict};
use serde_json::json;

use crate::ExchangeView;
use crate::alert::{Alert, Observation, State};
use crate::case::Case;

/// The rule that is about the last block, and not about the statement's.
const OUTFLOW: &str = "outflow-since-statement";

/// What is bad enough to be told; and what is not, and keeps up what was told before.
pub(crate) fn observations(exchange: &ExchangeView) -> impl Iterator<Item = Observation> {
    let held = |finding: &Finding| finding.evidence.at("level") == HELD;
    let told = exchange.findings.iter().filter(move |finding| finding.severity <= Severity::Warning || held(finding));
    told.map(move |finding| Observation {
        rule: finding.rule,
        severity: finding.severity,
        exchange: exchange.id.clone(),
        asset: finding.asset.clone(),
        message: finding.message.clone(),
        subject: subject(finding),
        patient: is_patient(finding),
        holds: held(finding),
    })
}

/// What keeps up alerts that fire: they are about an asset's holdings, and these are not known at the moment, or the ledger
/// does not speak of the asset any more.
pub(crate) fn held(
    alerts: &BTreeMap<String, Alert>,
    cases: &BTreeMap<String, Case>,
    exchanges: &[Arc<ExchangeView>],
) -> Vec<Observation> {
    let mut held = Vec::new();
    for alert in alerts.values().filter(|alert| alert.state == State::Firing) {
        let rule = OF_HOLDINGS.iter().find(|rule| **rule == alert.rule);
        let (Some(rule), Some(asset)) = (rule, &alert.asset) else { continue };
        let exchange = exchanges.binary_search_by(|exchange| exchange.id.cmp(&alert.exchange));
        let Some(verdict) = exchange.ok().and_then(|place| exchanges[place].verdict.as_ref()) else { continue };
        let line = verdict.lines.iter().find(|line| line.asset == *asset);
        let unknown_now = || cases.get(&alert.exchange).is_some_and(|case| case.is_unknown_now(asset));
        let unknown = match line {
            None => true,
            Some(line) => line.verdict == Verdict::Indeterminate || (*rule == OUTFLOW && unknown_now()),
        };
        if unknown {
            let (exchange, asset) = (alert.exchange.clone(), Some(asset.clone()));
            let (severity, message) = (alert.severity, alert.message.clone());
            let (subject, patient) = (String::new(), false);
            held.push(Observation { rule, severity, exchange, asset, message, subject, patient, holds: true });
        }
    }
    held
}

/// What a finding is about, where one rule may find several things at one exchange at a time.
fn subject(finding: &Finding) -> String {
    let keys: &[&str] = match finding.rule {
        "rewritten-history" => &["sequence"],
        "nodes-disagree" => &["chain", "node"],
        "stale-index" | "token-code-changed" | "frozen-account" | "beyond-finality" => &["chain"],
        "range-exhausting" => &["declared_at", "chain"],
        _ => &[],
    };
    keys.iter().map(|key| finding.evidence.at(key).to_string()).collect::<Vec<_>>().join(" ")
}

/// May it be of a moment, and nobody's fault? A block that is named is still on its way, or has left the chain; a fee is bumped, so
/// that a withdrawal has another transaction by now; a statement comes late.
fn is_patient(finding: &Finding) -> bool {
    match finding.rule {
        "not-covered" => true,
        // A number that is missing may still come.
        "roll-forward-broken" => finding.severity == Severity::Warning,
        "unsettled-item" => {
            finding.severity == Severity::Warning || finding.evidence.at("list") == json!(List::PendingWithdrawals)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_that_has_another_transaction_by_now_is_waited_for_and_an_invented_deposit_is_not() {
        let found = |list: List, severity| Finding {
            rule: "unsettled-item",
            severity,
            asset: None,
            message: String::new(),
            evidence: json!({ "list": list }).into(),
        };
        assert!(is_patient(&found(List::PendingWithdrawals, Severity::Error)));
        assert!(is_patient(&found(List::UncreditedDeposits, Severity::Warning)));
        assert!(!is_patient(&found(List::UncreditedDeposits, Severity::Error)));
        assert!(!is_patient(&found(List::UnconfirmedCredits, Severity::Error)));
    }
}
