//! What continuous watching adds to one reconciliation: the rules that look at the statements before it, at levels, and at
//! ourselves. Pure, like all of the verifier.

use std::collections::BTreeMap;

use assay_types::{Statement, Timestamp};
use foldhash::HashMap;

use crate::rules::{self, Before, Dropped, Following, Previous, RangeUse, Rewritten, Unreported};
use crate::{Finding, Line, Ordinary, Policy, Reconciliation, Wide};

/// What is known beside one reconciliation.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The statement that was reconciled.
    pub statement: &'a Statement,
    /// What it came to.
    pub reconciliation: &'a Reconciliation,
    /// The statement before it, if there is one.
    pub previous: Option<&'a Previous>,
    /// What the statement before it came to, by symbol.
    pub before: &'a BTreeMap<String, Before>,
    /// What was owed when it was last reported, and is not reported any more, by symbol.
    pub unreported: &'a BTreeMap<String, Unreported>,
    /// What the statements of the last 30 days traded.
    pub ordinary: &'a Ordinary,
    /// What is held at most on the last indexed blocks, by symbol, in base units of the finest deployment; no asset of which
    /// anything is unknown there.
    pub at_most_now: &'a BTreeMap<String, Wide>,
    /// What the exchange tried to replace.
    pub rewritten: &'a [Rewritten],
    /// What accounts hold that it declared once and declares no longer.
    pub dropped: &'a [Dropped],
    /// How far its descriptors' ranges are used up.
    pub ranges: &'a [RangeUse],
    /// The chains on which the exchange has accounts.
    pub following: &'a [Following],
}

/// Every finding of the watching rules, the worst first, but for [`rules::cold_ratio`]: it asks once a day, and not at each block.
pub fn watch(around: &Surroundings<'_>, policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let next_to_it = around.previous.filter(|previous| rules::next_to_it(around.statement, previous));
    let lines: HashMap<&str, &Line> =
        around.reconciliation.lines.iter().map(|line| (line.asset.as_str(), line)).collect();
    for report in &around.statement.assets {
        findings.extend(rules::credits_over_inventory(report, next_to_it, policy));
        if let Some(line) = lines.get(report.symbol.as_str()) {
            findings.extend(rules::ledger_over_holdings(line, policy));
            findings.extend(rules::not_segregated(line));
            let before = around.before.get(report.symbol.as_str());
            findings.extend(before.and_then(|before| rules::ledger_jump(line, before, policy)));
            let flowed = before
                .filter(|_| next_to_it.is_some())
                .and_then(|before| rules::deposits_not_on_chain(report, line, before, policy));
            findings.extend(flowed);
            findings.extend(rules::outflow_since_statement(line, around.at_most_now, policy));
            findings.extend(rules::turnover_over_holdings(report, line, around.ordinary, policy));
        }
    }
    if let Some(previous) = around.previous {
        findings.extend(rules::roll_forward_broken(around.statement, previous));
    }
    findings.extend(rules::same_kind(&around.reconciliation.lines));
    findings.extend(rules::dropped_asset(around.statement, around.unreported));
    findings.extend(rules::rewritten_history(around.statement, around.previous, around.rewritten));
    findings.extend(rules::dropped_account(around.dropped));
    findings.extend(rules::range_exhausting(around.ranges));
    // Where it happened before the verdict was given, that says so already.
    let told = |finding: &Finding| {
        let mut said = around.reconciliation.findings.iter();
        said.any(|one| one.rule == finding.rule && one.message == finding.message)
    };
    findings.extend(watch_chains(around.following, policy, now).into_iter().filter(|finding| !told(finding)));
    findings.sort_by(|a, b| (a.severity, &a.asset, a.rule).cmp(&(b.severity, &b.asset, b.rule)));
    findings
}

/// What is found of the chains alone, the worst first: also for an exchange that has sent no statement yet.
pub fn watch_chains(following: &[Following], policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let left = following.iter().filter_map(|one| one.left.as_ref());
    let mut findings: Vec<Finding> = left.map(rules::beyond_finality).collect();
    findings.extend(rules::nodes_disagree(following));
    findings.extend(rules::stale_index(following, policy, now));
    findings
}
