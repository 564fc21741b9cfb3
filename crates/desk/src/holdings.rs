//! What an exchange holds on its declared accounts, asset by asset, as intervals where something is not known: the document
//! that `assay holdings --json` and the API give.

use std::collections::BTreeMap;

use assay_registry::Exchange;
use assay_types::{AssetEntry, ChainId, Header, Timestamp};
use assay_verifier::{At, Balance, Coins, Evidence, Wide};
use serde_json::{Value, json};

use crate::evidence::balances;
use crate::question::Question;
use crate::{DeskError, World};

/// `[low, high]` in base units of the finest deployment; `high` is `None` when nothing bounds it.
#[derive(Clone, Copy)]
struct Interval {
    low: Wide,
    high: Option<Wide>,
}

const NOTHING: Interval = Interval { low: Wide::ZERO, high: Some(Wide::ZERO) };

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
        rows.extend(row(world, entry, &evidence, &headers));
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
fn row(world: &World, entry: &AssetEntry, evidence: &Evidence, headers: &[(String, Header)]) -> Option<Value> {
    let accounts = evidence.accounts.iter().filter(|one| one.symbol == entry.symbol && one.counted && !one.summed);
    let one_by_one = accounts.map(|one| (&one.chain, interval(&one.balance, &one.shared_with)));
    let sums = evidence.sums.iter().filter(|sum| sum.symbol == entry.symbol);
    let together = sums.map(|sum| (&sum.chain, Interval { low: sum.amount, high: Some(sum.amount) }));
    let mut by_chain: BTreeMap<&str, Interval> = BTreeMap::new();
    for (chain, part) in one_by_one.chain(together) {
        let block = evidence.blocks.iter().find(|block| block.chain == *chain);
        let name = block.map_or(chain.as_str(), |block| block.name.as_str());
        let sum = by_chain.entry(name).or_insert(NOTHING);
        *sum = add(*sum, part);
    }
    if by_chain.is_empty() {
        return None;
    }
    let total = by_chain.values().fold(NOTHING, |sum, part| add(sum, *part));
    let coins = |units: Wide| Coins::of(units, entry.decimals());
    let chains = by_chain.iter().map(|(name, part)| {
        let header = headers.iter().find(|(chain, _)| chain == name).map(|(_, header)| header);
        let chain = world.sources.iter().find(|chain| chain.name == *name);
        let at = chain.zip(header).map(|(chain, header)| self::at(&chain.id, header));
        let amount = (part.high == Some(part.low)).then(|| coins(part.low));
        json!({ "chain": name, "amount": amount, "at": at })
    });
    let is_exact = total.high == Some(total.low);
    Some(json!({
        "asset": entry.symbol,
        "low": coins(total.low),
        "high": total.high.map(coins),
        "units": is_exact.then(|| total.low.to_string()),
        "chains": chains.collect::<Vec<_>>(),
    }))
}

/// An account that another exchange claims too counts zero in low; without a statement nothing bounds an unknown one.
fn interval(balance: &Balance, shared_with: &[String]) -> Interval {
    match balance {
        Balance::Known { amount, .. } => {
            let amount = Wide::from(amount.0);
            Interval { low: if shared_with.is_empty() { amount } else { Wide::ZERO }, high: Some(amount) }
        }
        Balance::Unknown { .. } => Interval { low: Wide::ZERO, high: None },
    }
}

fn add(one: Interval, other: Interval) -> Interval {
    Interval { low: one.low + other.low, high: one.high.zip(other.high).map(|(one, other)| one + other) }
}
