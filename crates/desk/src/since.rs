//! What an exchange holds at most on the last indexed blocks: what left since its statement is the difference.

use std::collections::{BTreeMap, BTreeSet};

use assay_registry::Exchange;
use assay_types::{Asset, BlockRef, Height, Statement};
use assay_verifier::rules::RangeUse;
use assay_verifier::{Balance, Wide};

use crate::evidence::balances;
use crate::question::Question;
use crate::{DeskError, World};

/// The last indexed block of each chain, by alias; none where it cannot be read.
pub(crate) fn tips(world: &World) -> Vec<(String, Option<BlockRef>)> {
    let tip = |source: &crate::Source| source.store().ok()?.tip().ok().flatten().map(|tip| tip.at());
    world.sources.iter().map(|source| (source.name.clone(), tip(source))).collect()
}

/// How far an exchange's ranges are used up, as far as the indexes tell.
///
/// # Errors
/// When a database fails.
pub(crate) fn ranges(world: &World, exchange: &Exchange) -> Result<Vec<RangeUse>, DeskError> {
    let mut used = Vec::new();
    for range in &exchange.ranges {
        let Some(source) = world.sources.iter().find(|source| source.id == range.chain) else { continue };
        let Ok(store) = source.store() else { continue };
        let mut highest_used = None;
        for (index, account) in &range.end {
            let Some((number, _)) = store.number(account)? else { continue };
            let mut movements = store.movements(number, Asset::Native, Height(0), Height(u64::MAX))?;
            if movements.next().transpose()?.is_some() {
                highest_used = highest_used.max(Some(*index));
            }
        }
        let (declared_at, chain) = (range.origin.to_string(), source.name.clone());
        used.push(RangeUse { declared_at, chain, last: range.last, highest_used });
    }
    Ok(used)
}

/// By symbol, in base units of the finest deployment, over the accounts declared for the statement's instant. An asset of which
/// anything is unknown is not among them.
///
/// # Errors
/// When a database fails.
pub(crate) fn at_most_now(
    world: &World,
    exchange: &Exchange,
    statement: &Statement,
) -> Result<BTreeMap<String, Wide>, DeskError> {
    let as_of = statement.as_of;
    let question = Question { exchange, as_of, latest: true, named: &[], ignore_named_after_s: 0, now: as_of };
    let (evidence, _) = balances(world, &question)?;
    let mut held: BTreeMap<String, Wide> = BTreeMap::new();
    for sum in &evidence.sums {
        *held.entry(sum.symbol.clone()).or_default() += sum.amount;
    }
    let mut unknown: BTreeSet<&str> = BTreeSet::new();
    for one in evidence.accounts.iter().filter(|one| one.counted && !one.summed) {
        match &one.balance {
            Balance::Known { amount, .. } => *held.entry(one.symbol.clone()).or_default() += Wide::from(amount.0),
            Balance::Unknown { .. } => drop(unknown.insert(&one.symbol)),
        }
    }
    held.retain(|symbol, _| !unknown.contains(symbol.as_str()));
    Ok(held)
}
