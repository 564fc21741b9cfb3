//! `assay holdings`: what an exchange holds on its declared accounts.

use std::sync::Arc;

use serde_json::Value;

use crate::failure::{Failure, UNKNOWN};
use crate::setup::{self, Setup};
use crate::{output, place};
use assay_desk::clock;

pub fn run(setup: &Arc<Setup>, exchange: &str, at: Option<&str>, json: bool) -> Result<u8, Failure> {
    let at = at.map(|at| place::time("--at", at)).transpose()?;
    let world = setup.world_to_read()?;
    let exchange = setup::exchange(&world.declarations, exchange)?;
    let (answer, exact) = assay_desk::holdings(&world, exchange, at, clock::now())?;
    let each = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
    if json {
        output::document(&answer);
    } else {
        print(&each("holdings"));
    }
    for reason in each("unknown") {
        output::warning(reason.as_str().unwrap_or_default());
    }
    Ok(if exact { 0 } else { UNKNOWN })
}

fn print(rows: &[Value]) {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let each = rows.iter().filter(|row| row["units"] != "0").map(|row| {
        let (low, high) = (text(&row["low"]), text(&row["high"]));
        let amount = if low == high { low } else { format!("{low} to {high}") };
        let chains = row["chains"].as_array().map_or(&[][..], Vec::as_slice);
        let at =
            |part: &Value| format!("{} {} at {}", text(&part["chain"]), text(&part["amount"]), part["at"]["height"]);
        vec![text(&row["asset"]), amount, chains.iter().map(at).collect::<Vec<_>>().join(", ")]
    });
    output::data(output::table(&["asset", "holdings", "chains, at block"], &["holdings"], each).to_string());
}
