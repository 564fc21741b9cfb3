//! What an exchange holds on its declared accounts, asset by asset, as intervals where something is not known: the document
//! that `assay holdings --json` and the API give.

use std::collections::BTreeMap;

use assay_registry::Exchange;
use assay_types::{Amount, AssetEntry, ChainId, Header, Timestamp};
use assay_verifier::{At, Balance, Evidence};
use serde_json::{Value, json};

use crate::evidence::{Question, balances};
use crate::{DeskError, World};

/// `[low, high]` in base units of the finest deployment; `high` is `None` when nothing bounds it.
#[derive(Clone, Copy)]
struct Interval {
    low: Amount,
    high: Option<Amount>,
}

/// The document, and whether everything in it is known to the unit. `at`: as of this instant; else the last indexed blocks.
///
/// # Errors
/// When a database fails.
pub fn holdings(
    world: &World,
    exchange: &Exchange,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Value, bool), DeskError> {
    let as_of = at.unwrap_or(now);
    let question = Question { exchange, as_of, latest: at.is_none(), named: &[], ignore_named_after_s: 0, now: as_of };
    let (evidence, headers) = balances(world, &question)?;
    let mut rows = Vec::new();
    for entry in &world.directory.assets {
        rows.extend(row(world, entry, &evidence, &headers)?);
    }
    let unknown: Vec<String> = evidence
        .blocks
        .iter()
        .filter_map(|block| match &block.at {
            At::Unknown { reason } => Some(format!("{}: {reason}", block.name)),
            At::Block { .. } => None,
        })
        .collect();
    let exact = rows.iter().all(|row| !row["units"].is_null()) && unknown.is_empty();
    Ok((json!({ "exchange": exchange.id, "holdings": rows, "as_of": as_of, "unknown": unknown }), exact))
}

/// A block as answers name it.
pub fn at(chain: &ChainId, header: &Header) -> Value {
    json!({ "height": header.height, "hash": chain.show_hash(&header.hash.0), "time": header.time })
}

/// One asset; none where the exchange has no account on any of its chains.
fn row(
    world: &World,
    entry: &AssetEntry,
    evidence: &Evidence,
    headers: &[(String, Header)],
) -> Result<Option<Value>, DeskError> {
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
        let chain = world.sources.iter().find(|chain| chain.name == *name);
        let at = chain.zip(header).map(|(chain, header)| self::at(&chain.id, header));
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

fn add(one: Interval, other: Interval) -> Result<Interval, DeskError> {
    let above = || DeskError::TooLarge("the sum is above 2^256 - 1 units".into());
    let low = one.low.checked_add(other.low).ok_or_else(above)?;
    let high = match (one.high, other.high) {
        (Some(one), Some(other)) => Some(one.checked_add(other).ok_or_else(above)?),
        _ => None,
    };
    Ok(Interval { low, high })
}
