//! `assay statement check`: is this a statement, and what does it say?

use std::path::Path;

use assay_types::{InputErrors, Statement};
use assay_verifier::Coins;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::setup::Setup;
use crate::verify::LONGEST_STATEMENT_BYTES;

/// A statement with its bytes, which are what is signed.
pub fn read(setup: &Setup, file: &Path) -> Result<(Statement, Vec<u8>), Failure> {
    let bytes = assay_registry::read_bytes(file, LONGEST_STATEMENT_BYTES)?;
    let statement = parse(setup, file, &bytes)?;
    setup.exchange(&statement.exchange)?;
    Ok((statement, bytes))
}

/// Whatever is sent went through this, wherever it comes from; errors name it by `file`.
pub fn parse(setup: &Setup, file: &Path, bytes: &[u8]) -> Result<Statement, InputErrors> {
    assay_ledger::parse(file, bytes, &setup.directory)
}

pub fn check(setup: &Setup, file: &Path, as_json: bool) -> Result<u8, Failure> {
    let (statement, bytes) = read(setup, file)?;
    let each = statement.assets.iter().map(|report| {
        let coins = |amount| Coins::new(amount, report.decimals).to_string();
        let in_flight =
            report.pending_withdrawals.len() + report.uncredited_deposits.len() + report.unconfirmed_credits.len();
        (report.symbol.clone(), coins(report.customers), report.house.map(coins), in_flight)
    });
    if as_json {
        let assets = each.map(|(asset, customers, house, in_flight)| {
            json!({ "asset": asset, "customers": customers, "house": house, "in_flight": in_flight })
        });
        output::document(&json!({
            "exchange": statement.exchange, "sequence": statement.sequence, "as_of": statement.as_of,
            "digest": statement.digest, "bytes": bytes.len(), "assets": assets.collect::<Vec<_>>(),
            "wallets": statement.wallets.len(),
        }));
        return Ok(0);
    }
    let number = statement.sequence.map_or_else(|| "without a number".into(), |number| format!("number {number}"));
    output::data(format!(
        "{}, {number}, as of {}\n{} bytes, {}",
        statement.exchange,
        statement.as_of,
        bytes.len(),
        statement.digest
    ));
    let rows = each.map(|(asset, customers, house, in_flight)| {
        vec![asset, customers, house.unwrap_or_else(|| "?".into()), in_flight.to_string()]
    });
    let headings = ["asset", "customers", "house", "in flight"];
    output::data(output::table(&headings, &headings[1..], rows).to_string());
    Ok(0)
}
