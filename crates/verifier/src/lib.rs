//! Pure: a statement, what the chains say, and a policy become a reconciliation. No I/O, no async, no clock.
//!
//! [`reconcile`] is the whole of it. Per asset it computes what is owed and, as an interval, what is held; compares the
//! two exactly; and reports what is wrong as findings of the [`rules`], with the evidence to recompute each. Unknown is
//! never zero and never an excuse: what raises the debt counts until disproved, what lowers it only when proven.
//!
//! It knows no node, no store and no file: what they say arrives as [`Evidence`].

/// A finding's evidence, from a literal.
macro_rules! facts {
    ($($json:tt)+) => { crate::Facts::from(serde_json::json!($($json)+)) };
}

mod again;
mod allotment;
mod canonical;
mod coins;
mod evidence;
mod first_steps;
mod holdings;
mod in_flight;
mod item;
mod judged;
mod line;
mod ordinary;
mod policy;
mod proven;
mod reconciliation;
pub mod rules;
mod unnamed;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use assay_types::{Digest, Statement, Timestamp};

use holdings::Held;
use item::Place;

pub use again::again;
pub use coins::{Balanced, Coins, SignedCoins, Wide};
pub use evidence::{
    AccountEvidence, At, Balance, BlockUsed, Doubted, Evidence, Found, ItemEvidence, Paid, ProvenEvidence, ProvenPart,
    Spent, SumEvidence, Unattributed, When,
};
pub use first_steps::{FIRST_STEPS, first_steps};
pub use holdings::{Example, Unknown};
pub use item::{Effect, InFlightLine, List, Standing};
pub use line::{Accounts, Interval, Line};
pub use ordinary::{Ordinary, Traded};
pub use policy::{Age, Decimal, Policy, PolicyError, Require, TimeOfDay};
pub use proven::{Earlier, Lowest, Part, ProvenLine};
pub use reconciliation::{
    BlockLine, Facts, Finding, PolicyLine, Reconciliation, Severity, Stage, StatementLine, Verdict, exit_code,
};

pub use watch::{Surroundings, watch, watch_chains};

/// Compares what the exchange's ledger says with what the chains say, under a policy.
///
/// `evaluated_at` is when the statement's age is judged; `program` is the name and version that the result carries. The
/// result depends on nothing else, and on no order: neither of accounts, nor of items.
pub fn reconcile(
    statement: &Statement,
    evidence: &Evidence,
    policy: &Policy,
    evaluated_at: Timestamp,
    program: &str,
) -> Reconciliation {
    let by_chain = holdings::blocks(evidence);
    let judged = in_flight::judge(statement, evidence, &by_chain);
    let mut held = holdings::by_asset(statement, evidence, policy);
    let unreported = rules::not_reported(statement, &held);
    let lines: Vec<Line> = (0..)
        .zip(&statement.assets)
        .map(|(number, report)| {
            // Taken out, so that a coin counts once even if a statement reports an asset twice.
            let found = held.remove(report.symbol.as_str());
            let holdings = found.unwrap_or_else(|| Held::none(report.decimals));
            let items: Vec<_> = judged.iter().filter(|item| item.report == number).collect();
            line::line(report, holdings, &items, (&by_chain, &evidence.proven), policy)
        })
        .collect();
    let blocks: Vec<BlockLine> = evidence.blocks.iter().map(BlockLine::new).collect();

    let digest = policy.digest();
    let mut findings = evidence.notices.clone();
    findings.extend(lines.iter().flat_map(|line| of_line(statement, digest, &blocks, line, policy)));
    findings.extend(judged.iter().filter_map(|item| rules::unsettled_item(statement, &by_chain, item)));
    findings.extend(statement.assets.iter().flat_map(|report| rules::elsewhere_not_accepted(report, policy)));
    findings.extend(rules::wallet_shortfall(statement, evidence, policy));
    findings.extend(rules::stale_statement(statement, &evidence.blocks, policy, evaluated_at));
    findings.extend(rules::shared_account(evidence));
    findings.extend(unreported);
    findings.sort_by(|a, b| (a.severity, &a.asset, a.rule).cmp(&(b.severity, &b.asset, b.rule)));

    let worst = lines.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Indeterminate);
    let verdict = if evidence.blocks.is_empty() { worst.max(Verdict::Indeterminate) } else { worst };
    // An item that no node was asked about may be told otherwise once one is.
    let all_asked = !judged.iter().any(|item| matches!(item.place, Place::Nowhere { unasked: Some(_) }));
    Reconciliation {
        exchange: statement.exchange.clone(),
        verdict,
        stage: if all_asked { Stage::of(&blocks) } else { Stage::Provisional },
        evaluated_at,
        statement: StatementLine { digest: statement.digest, as_of: statement.as_of },
        policy: PolicyLine { digest },
        program: program.to_owned(),
        blocks,
        lines: lines.into(),
        findings: Arc::new(findings.into_iter().map(Arc::new).collect()),
    }
}

fn of_line(
    statement: &Statement,
    policy_digest: Digest,
    blocks: &[BlockLine],
    line: &Line,
    policy: &Policy,
) -> impl Iterator<Item = Finding> + use<> {
    let phantom_assets = rules::phantom_assets(statement, policy_digest, blocks, line);
    let rest = [rules::unexplained_difference(line, policy), rules::not_covered(line), rules::unproven(line)];
    phantom_assets.into_iter().chain(rest.into_iter().flatten())
}

/// The symbols that a statement reports.
pub(crate) fn reported(statement: &Statement) -> BTreeSet<&str> {
    statement.assets.iter().map(|report| report.symbol.as_str()).collect()
}
