//! What Assay answers to a statement, and whether that is what the play knows to be true.

use std::sync::Arc;

use assay_indexer::Stop;
use assay_types::Amount;
use assay_verifier::{Line, Reconciliation, Severity, Stage, Verdict};

use super::exchange::{Issued, Truth};
use super::stage::both;
use super::{bitcoin, ethereum};
use crate::failure::Failure;
use crate::setup::Setup;
use crate::{index, verify};

/// Follows both chains to their tips; says how many blocks were new.
pub fn catch_up(setup: &Setup, stop: &Stop) -> Result<(u64, u64), Failure> {
    let follow = |chain: &str| index::catch_up(setup, chain, stop, &|_| ()).map(|reached| reached.applied);
    both(|| follow(bitcoin::CHAIN), || follow(ethereum::CHAIN))
}

/// Catches up, and reconciles the statement as of its arrival.
pub fn verdict(setup: &Arc<Setup>, issued: &Issued, stop: &Stop) -> Result<Reconciliation, Failure> {
    catch_up(setup, stop)?;
    verify::verify(setup, "acme", &issued.file, issued.arrives)
}

/// What the play knows that the verifier must find.
#[derive(Clone)]
pub struct Expected {
    /// The exchange's verdict.
    pub verdict: Verdict,
    /// Its stage.
    pub stage: Stage,
    /// Unconfirmed credits in bitcoin that turn out to be true.
    pub deducted: Amount,
    /// Unconfirmed credits that wait in the mempool.
    pub waiting: Amount,
    /// Bitcoin that the ledger has, and that nobody holds.
    pub phantom: Amount,
    /// Of these, what is said to be on its way, and is not.
    pub invented: Amount,
    /// Every finding that is more than a notice: its rule and severity.
    pub alarms: Vec<(&'static str, Severity)>,
}

impl Expected {
    /// All is well.
    pub fn backed(stage: Stage) -> Expected {
        Expected {
            verdict: Verdict::Backed,
            stage,
            deducted: Amount::ZERO,
            waiting: Amount::ZERO,
            phantom: Amount::ZERO,
            invented: Amount::ZERO,
            alarms: vec![],
        }
    }
}

/// Everything in which the answer is not what it must be, in words.
pub fn differences(expected: &Expected, issued: &Issued, found: &Reconciliation) -> Vec<String> {
    let mut wrong = vec![];
    let mut compare = |what: String, expected: String, found: String| {
        if expected != found {
            wrong.push(format!("statement {}: {what}: {expected} expected, {found} found", issued.number));
        }
    };
    compare("verdict".into(), format!("{:?}", expected.verdict), format!("{:?}", found.verdict));
    compare("stage".into(), format!("{:?}", expected.stage), format!("{:?}", found.stage));
    let alarms = found.findings.iter().filter(|finding| finding.severity <= Severity::Warning);
    let mut alarms: Vec<_> = alarms.map(|finding| format!("{} ({:?})", finding.rule, finding.severity)).collect();
    let mut expected_alarms: Vec<_> =
        expected.alarms.iter().map(|(rule, severity)| format!("{rule} ({severity:?})")).collect();
    alarms.sort();
    expected_alarms.sort();
    compare("findings".into(), expected_alarms.join(", "), alarms.join(", "));
    compare("lines".into(), issued.truth.len().to_string(), found.lines.len().to_string());
    for (truth, line) in issued.truth.iter().zip(found.lines.iter()) {
        for (what, expected, found) in amounts(expected, truth, line) {
            compare(format!("{} {what}", truth.symbol), expected, found);
        }
    }
    wrong
}

/// What is compared of a line: name, expected, found.
fn amounts(expected: &Expected, truth: &Truth, line: &Line) -> Vec<(&'static str, String, String)> {
    let Expected { deducted, waiting, phantom, invented, .. } = match truth.symbol {
        "BTC" => expected.clone(),
        _ => Expected::backed(expected.stage),
    };
    let show = |amount: Option<Amount>| amount.map_or("impossible".into(), |amount| amount.to_coins(truth.decimals));
    // An invented credit has lowered what the ledger expects already.
    let holdings = truth.holdings.checked_add(invented).and_then(|sum| sum.checked_sub(phantom));
    let there = holdings.and_then(|holdings| holdings.checked_add(deducted));
    let missing = there.map(|there| truth.owed.checked_sub(there).unwrap_or_default());
    let difference = if phantom.is_zero() { String::from("0") } else { format!("-{}", show(Some(phantom))) };
    let found = |coins: Option<String>| coins.unwrap_or_else(|| "unknown".into());
    vec![
        ("asset", truth.symbol.into(), line.asset.clone()),
        ("customers", show(Some(truth.customers)), line.customers.to_string()),
        ("house", show(Some(truth.house)), found(line.house.as_ref().map(|house| house.to_string()))),
        ("owed", show(Some(truth.owed)), line.owed.to_string()),
        ("holdings, at least", show(holdings), line.holdings.low.to_string()),
        ("holdings, at most", show(holdings), found(line.holdings.high.as_ref().map(|high| high.to_string()))),
        ("deductions", show(Some(deducted)), line.deductions.to_string()),
        ("credits in the mempool", show(Some(waiting)), line.unconfirmed_in_mempool.to_string()),
        ("missing", show(missing), line.missing.to_string()),
        ("difference", difference, found(line.difference.as_ref().map(|difference| difference.to_string()))),
    ]
}
