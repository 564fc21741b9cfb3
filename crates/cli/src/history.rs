//! `assay history`: how an account came to hold what it holds, movement by movement, oldest first.

use assay_desk::{MOVEMENT_FIELDS, Movements, cell};
use assay_store::{Coverage, Mode};
use assay_types::Height;
use serde_json::{Value, json};

use crate::args::{Format, HistoryArgs};
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::setup::Setup;
use crate::{balance, output};

pub fn run(setup: &Setup, question: &HistoryArgs, json: bool) -> Result<u8, Failure> {
    let chain = setup.chain(&question.chain)?;
    let account = balance::account(setup, chain, &question.address)?;
    let (entry, deployment) = setup.asset(chain, question.asset.as_deref())?;
    let store = setup.store(chain, Mode::Read)?;
    let tip = crate::place::block(&store, None)?;
    let (from, to) = (Height(question.from.unwrap_or(0)), question.to.map_or(tip.height, Height).min(tip.height));
    if question.from.is_some_and(|from| Height(from) > question.to.map_or(Height(u64::MAX), Height)) {
        return Err(Failure::new(WRONG_INPUT, "--from is above --to"));
    }
    let format = if json { Format::Json } else { question.format };
    let (number, coverage) = balance::coverage(&store, &chain.id, &account, deployment.asset, &tip)?;
    let told =
        |number| Movements::new(&store, &chain.id, (number, deployment.asset), (&entry.symbol, deployment.decimals));
    let told = number.map(told).transpose()?;
    let unknown = told.as_ref().map(|told| told.unknown(from, to)).transpose()?.unwrap_or_default();
    let rows = told.as_ref().map(|told| told.within(from, to)).transpose()?;
    let mut each = rows.into_iter().flatten().map(|row| row.map_err(Failure::from));
    let shown = setup.addresses(&chain.id).map(|addresses| addresses.show(&account));
    match format {
        Format::Ndjson => each.try_for_each(|row| row.map(|row| output::data(row.to_string())))?,
        Format::Csv => print_csv(each)?,
        Format::Json => {
            let movements = each.collect::<Result<Vec<_>, _>>()?;
            let mut answer = json!({
                "chain": chain.name, "address": shown, "asset": entry.symbol, "decimals": deployment.decimals,
                "from": from, "to": to, "coverage": coverage.as_str(), "movements": movements,
            });
            if !unknown.is_empty() {
                answer["unknown"] = json!(unknown);
            }
            if let Coverage::Unknown(reason) = &coverage {
                answer["reason"] = json!(reason);
            }
            output::document(&answer);
        }
        Format::Table => print_table(each)?,
    }
    let mut code = 0;
    if let Coverage::Unknown(reason) = coverage {
        output::warning(format!("what this account holds now is unknown: {reason}"));
        code = UNKNOWN;
    }
    for stretch in unknown.iter().filter(|stretch| stretch["to"] != json!(tip.height)) {
        let (from, to) = (&stretch["from"], &stretch["to"]);
        output::warning(format!(
            "what it held after the blocks {from} to {to} is unknown: {}",
            cell(stretch, "reason")
        ));
        code = UNKNOWN;
    }
    if [question.from, question.to].iter().flatten().any(|height| Height(*height) > tip.height) {
        output::warning(format!("blocks above {}, the last indexed one, are not known", tip.height));
        code = UNKNOWN;
    }
    Ok(code)
}

fn print_csv(rows: impl Iterator<Item = Result<Value, Failure>>) -> Result<(), Failure> {
    output::data(csv_line(MOVEMENT_FIELDS)?);
    for row in rows {
        let row = row?;
        output::data(csv_line(MOVEMENT_FIELDS.map(|field| cell(&row, field)))?);
    }
    Ok(())
}

fn csv_line(cells: [impl AsRef<[u8]>; MOVEMENT_FIELDS.len()]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(WRONG_INPUT, error).during("CSV");
    let mut line = csv::Writer::from_writer(Vec::new());
    line.write_record(cells).map_err(|error| failed(&error))?;
    let bytes = line.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

fn print_table(rows: impl Iterator<Item = Result<Value, Failure>>) -> Result<(), Failure> {
    let headings = ["height", "time", "what", "amount", "balance", "transaction", "final"];
    let row = |row: Result<Value, Failure>| {
        let row = row?;
        let sign = if row["direction"] == "debit" { "-" } else { "+" };
        Ok(vec![
            cell(&row, "height"),
            cell(&row, "time"),
            cell(&row, "kind"),
            format!("{sign}{}", cell(&row, "amount")),
            cell(&row, "balance"),
            cell(&row, "txid"),
            if row["final"] == true { "yes" } else { "no" }.into(),
        ])
    };
    let rows = rows.map(row).collect::<Result<Vec<_>, Failure>>()?;
    let count = rows.len();
    output::data(output::table(&headings, &["height", "amount", "balance"], rows).to_string());
    output::message(format!("{count} movements"));
    Ok(())
}
