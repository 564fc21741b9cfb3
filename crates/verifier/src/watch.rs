//! What continuous watching adds to one reconciliation: the rules that look at the statements before it, at levels, and at
//! ourselves. Pure, like all of the verifier.

use assay_types::{Statement, Timestamp};

use crate::rules::{self, Following, Rewritten};
use crate::{Finding, Policy, Reconciliation};

/// What is known beside one reconciliation.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The statement that was reconciled.
    pub statement: &'a Statement,
    /// What it came to.
    pub reconciliation: &'a Reconciliation,
    /// The statement before it, if there is one.
    pub previous: Option<&'a Statement>,
    /// Statements before it, in any order: what is ordinary.
    pub earlier: &'a [&'a Statement],
    /// What the exchange tried to replace.
    pub rewritten: &'a [Rewritten],
    /// The chains on which the exchange has accounts.
    pub following: &'a [Following],
}

/// Every finding of the watching rules, the worst first.
pub fn watch(around: &Surroundings<'_>, policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for report in &around.statement.assets {
        findings.extend(rules::credits_over_inventory(report, policy));
        if let Some(line) = around.reconciliation.lines.iter().find(|line| line.asset == report.symbol) {
            findings.extend(rules::ledger_over_holdings(line, policy));
            findings.extend(rules::turnover_over_holdings(report, line, around.earlier, policy));
        }
    }
    if let Some(previous) = around.previous {
        findings.extend(rules::roll_forward_broken(around.statement, previous));
        findings.extend(rules::dropped_asset(around.statement, previous));
    }
    findings.extend(rules::rewritten_history(around.statement, around.previous, around.rewritten));
    findings.extend(rules::stale_index(around.following, policy, now));
    findings.sort_by(|a, b| (a.severity, &a.asset, a.rule).cmp(&(b.severity, &b.asset, b.rule)));
    findings
}
