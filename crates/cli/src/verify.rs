//! `assay verify`: reconciles one statement with what is on chain.

use std::path::Path;
use std::sync::Arc;

use assay_desk::clock;
use assay_desk::evidence::{self, Question};
use assay_types::{InputError, Timestamp};
use assay_verifier::{Reconciliation, exit_code, reconcile};

use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::setup::{self, PROGRAM, Setup};
use crate::{balance, output, place};

/// No statement is longer: 100,000 items in flight fit.
pub const LONGEST_STATEMENT_BYTES: u64 = 64 << 20;

pub fn run(setup: &Arc<Setup>, question: &VerifyArgs, json: bool) -> Result<u8, Failure> {
    let now = question.now.as_deref().map_or_else(|| Ok(clock::now()), |now| place::time("--now", now))?;
    let reconciliation = verify(setup, &question.exchange, &question.statement, now)?;
    if json {
        output::document(&reconciliation);
    } else {
        output::data(report(&reconciliation));
    }
    Ok(exit_code(&reconciliation))
}

/// Reads the statement, gathers what the chains say, and compares. `now`: when the statement's age is judged.
pub fn verify(setup: &Arc<Setup>, exchange: &str, file: &Path, now: Timestamp) -> Result<Reconciliation, Failure> {
    let world = setup.world_to_read()?;
    let exchange = setup::exchange(&world.declarations, exchange)?;
    let statement =
        assay_ledger::parse(file, &assay_registry::read_bytes(file, LONGEST_STATEMENT_BYTES)?, &setup.directory)?;
    if statement.exchange != exchange.id {
        let why = format!("is `{}`, but `{}` is asked for", statement.exchange, exchange.id);
        return Err(InputError::new(file, why).field("exchange").into());
    }
    for source in world.sources.iter().filter(|source| evidence::asks_what_waits(&statement, &source.id)) {
        let chain = setup.chain(&source.name)?;
        source.set_waiting(source.store().and_then(|store| balance::waiting(setup, chain, &store)));
    }
    let policy = &setup.config.policy;
    let question = Question {
        exchange,
        as_of: statement.as_of,
        latest: false,
        named: &statement.blocks,
        ignore_named_after_s: i64::try_from(policy.max_statement_age.seconds).unwrap_or(i64::MAX),
        now,
    };
    let evidence = evidence::gather(&world, &question, &statement)?;
    Ok(reconcile(&statement, &evidence, policy, now, PROGRAM))
}

/// For people: verdict, arithmetic, findings.
pub fn report(result: &Reconciliation) -> String {
    let word = |value: &dyn erased::Text| value.text();
    let mut text = format!(
        "{} is {} ({}), as of {}\n",
        result.exchange,
        word(&result.verdict),
        word(&result.stage),
        result.statement.as_of
    );
    for block in &result.blocks {
        let at = match (&block.height, &block.hash, &block.unknown) {
            (Some(height), Some(hash), _) => {
                format!("block {height} {hash}{}", if block.is_final { ", final" } else { "" })
            }
            (_, _, Some(reason)) => format!("unknown: {reason}"),
            _ => "unknown".into(),
        };
        text += &format!("{}: {at}\n", block.chain);
    }
    text += "\n";
    let headings = ["asset", "verdict", "holdings", "deductions", "owed", "missing", "difference", "ratio"];
    let numbers = ["holdings", "deductions", "owed", "missing", "difference", "ratio"];
    let rows = result.lines.iter().map(|line| {
        let value = serde_json::to_value(line).unwrap_or_default();
        let cell = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
        let (low, high) = (cell(&value["holdings"]["low"]), cell(&value["holdings"]["high"]));
        let holdings = if low == high { low } else { format!("{low} to {high}") };
        let rest = ["deductions", "owed", "missing", "difference", "coverage_ratio"].map(|field| cell(&value[field]));
        [vec![line.asset.clone(), cell(&value["verdict"]), holdings], rest.to_vec()].concat()
    });
    text += &output::table(&headings, &numbers, rows).to_string();
    text += "\n";
    if !result.findings.is_empty() {
        text += "\n";
    }
    for finding in result.findings.iter() {
        text += &format!("{} {}: {}\n", word(&finding.severity), finding.rule, finding.message);
    }
    text += &format!("\nstatement {}\npolicy    {}\n", result.statement.digest, result.policy.digest);
    text
}

/// The word by which a value goes in JSON.
mod erased {
    pub trait Text {
        fn text(&self) -> String;
    }

    impl<T: serde::Serialize> Text for T {
        fn text(&self) -> String {
            serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        }
    }
}
