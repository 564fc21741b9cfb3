//! `assay holdings`: what an exchange holds on its declared accounts, asset by asset, as intervals where something is
//! not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_desk::evidence::{self, Question};
use assay_types::{Amount, AssetEntry, Header};
use assay_verifier::{At, Balance, Evidence};
use serde_json::{Value, json};

use crate::failure::{Failure, UNKNOWN};
use crate::setup::Setup;
use crate::{balance, output, place};

/// `[low, high]` in base units of the finest deployment; `high` is `None` when nothing bounds it.
#[derive(Clone, Copy)]
struct Interval {
    low: Amount,
    high: Option<Amount>,
}

pub fn run(setup: &Arc<Setup>, exchange: &str, at: Option<&str>, json: bool) -> Result<u8, Failure> {
    let exchange = setup.exchange(exchange)?;
    let as_of = at.map_or_else(|| Ok(place::now()), |at| place::time("--at", at))?;
    let question = Question { exchange, as_of, latest: at.is_none(), named: &[], ignore_named_after_s: 0, now: as_of };
    let (evidence, headers) = evidence::balances(&setup.world_to_read()?, &question)?;
    let mut rows = Vec::new();
    for entry in &setup.directory.assets {
        rows.extend(row(setup, entry, &evidence, &headers)?);
    }
    let exact = rows.iter().all(|row| !row["units"].is_null());
    let unknown: Vec<String> = evidence
        .blocks
        .iter()
        .filter_map(|block| match &block.at {
            At::Unknown { reason } => Some(format!("{}: {reason}", block.name)),
            At::Block { .. } => None,
        })
        .collect();
    if json {
        let answer = json!({ "exchange": exchange.id, "holdings": rows, "as_of": as_of, "unknown": unknown });
        output::document(&answer);
    } else {
        print(&rows);
    }
    for reason in &unknown {
        output::warning(reason);
    }
    Ok(if exact && unknown.is_empty() { 0 } else { UNKNOWN })
}

/// One asset; none where the exchange has no account on any of its chains.
fn row(
    setup: &Setup,
    entry: &AssetEntry,
    evidence: &Evidence,
    headers: &[(String, Header)],
) -> Result<Option<Value>, Failure> {
    let mut by_chain: BTreeMap<&str, Interval> = BTreeMap::new();
    for account in evidence.accounts.iter().filter(|account| account.symbol == entry.symbol && account.counted) {
        let chain = evidence.blocks.iter().find(|block| block.chain == account.chain);
        let name = chain.map_or(account.chain.as_str(), |block| block.name.as_str());
        let sum = by_chain.entry(name).or_insert(Interval { low: Amount::ZERO, high: Some(Amount::ZERO) });
        *sum = add(*sum, interval(&account.balance, &account.shared_with))?;
    }
    if by_chain.is_empty() {
        return Ok(None);
    }
    let none = Interval { low: Amount::ZERO, high: Some(Amount::ZERO) };
    let total = by_chain.values().try_fold(none, |sum, part| add(sum, *part))?;
    let coins = |amount: Amount| amount.to_coins(entry.decimals());
    let chains = by_chain.iter().map(|(name, part)| {
        let header = headers.iter().find(|(chain, _)| chain == name).map(|(_, header)| header);
        let chain = setup.config.chains.iter().find(|chain| chain.name == *name);
        let at = chain.zip(header).map(|(chain, header)| balance::at(chain, header));
        let amount = (part.high == Some(part.low)).then(|| coins(part.low));
        json!({ "chain": name, "amount": amount, "at": at })
    });
    let is_exact = total.high == Some(total.low);
    Ok(Some(json!({
        "asset": entry.symbol,
        "low": coins(total.low),
        "high": total.high.map(coins),
        "units": is_exact.then(|| total.low.to_string()),
        "chains": chains.collect::<Vec<_>>(),
    })))
}

/// An account that another exchange claims too counts zero in low; without a statement nothing bounds an unknown one.
fn interval(balance: &Balance, shared_with: &[String]) -> Interval {
    match balance {
        Balance::Known { amount, .. } if shared_with.is_empty() => Interval { low: *amount, high: Some(*amount) },
        Balance::Known { amount, .. } => Interval { low: Amount::ZERO, high: Some(*amount) },
        Balance::Unknown { .. } => Interval { low: Amount::ZERO, high: None },
    }
}

fn add(one: Interval, other: Interval) -> Result<Interval, Failure> {
    let above = || Failure::new(UNKNOWN, "the sum is above 2^256 - 1 units");
    let low = one.low.checked_add(other.low).ok_or_else(above)?;
    let high = match (one.high, other.high) {
        (Some(one), Some(other)) => Some(one.checked_add(other).ok_or_else(above)?),
        _ => None,
    };
    Ok(Interval { low, high })
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
