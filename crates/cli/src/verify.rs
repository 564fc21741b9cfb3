//! `assay verify`: reconciles one statement with what is on chain.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use assay_desk::{Question, World, clock, evidence, items, proofs};
use assay_types::{InputError, Timestamp};
use assay_verifier::{ProvenLine, Reconciliation, exit_code, reconcile};
use serde_json::json;

use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::setup::{self, PROGRAM, Setup};
use crate::{balance, output, place};

/// No statement is longer: 100,000 items in flight fit.
pub const LONGEST_STATEMENT_BYTES: u64 = 64 << 20;

pub fn run(setup: &Arc<Setup>, question: &VerifyArgs, json: bool) -> Result<u8, Failure> {
    let now = question.now.as_deref().map_or_else(|| Ok(clock::now()), |now| place::time("--now", now))?;
    let (reconciliation, world) = judge(setup, &question.exchange, &question.statement, now)?;
    if let Some(file) = &question.proofs {
        write_proofs(&world, &reconciliation, file)?;
    }
    if json {
        output::document(&reconciliation);
    } else {
        output::data(report(&reconciliation));
    }
    Ok(exit_code(&reconciliation))
}

/// Reads the statement, gathers what the chains say, and compares. `now`: when the statement's age is judged.
pub fn verify(setup: &Arc<Setup>, exchange: &str, file: &Path, now: Timestamp) -> Result<Reconciliation, Failure> {
    judge(setup, exchange, file, now).map(|(reconciliation, _)| reconciliation)
}

/// The same, with what it was judged with.
fn judge(setup: &Arc<Setup>, exchange: &str, file: &Path, now: Timestamp) -> Result<(Reconciliation, World), Failure> {
    let world = setup.world_to_read()?;
    let exchange = setup::exchange(&world.declarations, exchange)?;
    let statement =
        assay_ledger::parse(file, &assay_registry::read_bytes(file, LONGEST_STATEMENT_BYTES)?, &setup.directory)?;
    if statement.exchange != exchange.id {
        let why = format!("is `{}`, but `{}` is asked for", statement.exchange, exchange.id);
        return Err(InputError::new(file, why).field("exchange").into());
    }
    for source in world.sources.iter().filter(|source| items::asks_what_waits(&statement, &source.id)) {
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
    let reconciliation = reconcile(&statement, &evidence, policy, now, PROGRAM);
    Ok((reconciliation, world))
}

/// Writes the proofs that back a verdict, one a line within one JSON document: thousands of them are large.
fn write_proofs(world: &World, verdict: &Reconciliation, file: &Path) -> Result<(), Failure> {
    let exchange = setup::exchange(&world.declarations, &verdict.exchange)?;
    let failed = |error: std::io::Error| Failure::from(InputError::new(file, format!("cannot be written: {error}")));
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    let (statement, blocks) = (json!(verdict.statement), json!(verdict.blocks));
    write!(out, "{{\"exchange\":{},\"statement\":{statement},\"blocks\":{blocks},\"proofs\":[", json!(exchange.id))
        .map_err(failed)?;
    let mut between = "\n";
    let backed = proofs(world, exchange, verdict.statement.as_of, &verdict.blocks, |proof| {
        let written = write!(out, "{between}{proof}").map_err(failed);
        between = ",\n";
        written
    })?;
    write!(out, "\n],\"backed\":{}}}\n", json!(backed)).and_then(|()| out.flush()).map_err(failed)?;
    for one in backed {
        let (chain, proofs, balances) = (one.chain, one.proofs, one.balances);
        output::message(format!(
            "{chain}: {proofs} of {balances} balances above zero have a proof in {}",
            file.display()
        ));
    }
    Ok(())
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
    for line in result.lines.iter() {
        text += &line.accounts.proven.as_ref().map_or_else(String::new, |proven| rests(&line.asset, proven));
    }
    if !result.findings.is_empty() {
        text += "\n";
    }
    for finding in result.findings.iter() {
        text += &format!("{} {}: {}\n", word(&finding.severity), finding.rule, finding.message);
    }
    text += &format!("\nstatement {}\npolicy    {}\n", result.statement.digest, result.policy.digest);
    text
}

/// On which proofs a line rests: nothing where it rests on none.
fn rests(asset: &str, proven: &ProvenLine) -> String {
    let ProvenLine { at_block, around, earlier } = proven;
    let lowest = earlier.lowest.iter().map(|lowest| format!("{} block {}", lowest.chain, lowest.height));
    let since = lowest.collect::<Vec<_>>().join(", ");
    let parts = [
        (at_block.accounts, &at_block.amount, "at the block".to_owned()),
        (around.accounts, &around.amount, "around it".to_owned()),
        (earlier.accounts, &earlier.amount, format!("earlier and unmoved since, down to {since}")),
    ];
    let told = parts.into_iter().filter(|(accounts, ..)| *accounts > 0);
    let told: Vec<String> = told.map(|(accounts, amount, when)| format!("{amount} on {accounts} {when}")).collect();
    if told.is_empty() { String::new() } else { format!("{asset} proven: {}\n", told.join("; ")) }
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
