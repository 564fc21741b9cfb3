//! What is asked about: whose holdings, as of when, and on which chains.

use std::collections::BTreeSet;

use assay_registry::Exchange;
use assay_types::{AssetEntry, AssetReport, BlockRef, ChainId, Deployment, InFlight, Statement, Timestamp};
use assay_verifier::Wide;

use crate::{Source, World};

/// What is asked about: an exchange as of an instant, at the blocks that a statement names or those found by time.
pub struct Question<'a> {
    /// Whose.
    pub exchange: &'a Exchange,
    /// Whose declarations hold at this instant, at the last block in time for it.
    pub as_of: Timestamp,
    /// Not that block, but the last one that is indexed.
    pub latest: bool,
    /// The blocks that the statement names.
    pub named: &'a [(ChainId, BlockRef)],
    /// A named block that is not on the indexed chain is ignored once the statement is this old.
    pub ignore_named_after_s: i64,
    /// When the statement's age is judged.
    pub now: Timestamp,
}

/// The chains on which the exchange has accounts, or that the statement names, in the configuration's order.
pub(crate) fn concerned<'a>(
    world: &'a World,
    exchange: &Exchange,
    statement: Option<&Statement>,
) -> impl Iterator<Item = &'a Source> {
    let mut ids: BTreeSet<&ChainId> = exchange.accounts.chains().collect();
    if let Some(statement) = statement {
        ids.extend(statement.blocks.iter().map(|(chain, _)| chain));
        ids.extend(statement.assets.iter().flat_map(flights).map(|item| &item.chain));
    }
    let ids: BTreeSet<ChainId> = ids.into_iter().cloned().collect();
    world.sources.iter().filter(move |chain| ids.contains(&chain.id))
}

pub(crate) fn flights(report: &AssetReport) -> impl Iterator<Item = &InFlight> {
    report.pending_withdrawals.iter().chain(&report.uncredited_deposits).chain(&report.unconfirmed_credits)
}

/// How many base units of the asset's finest deployment one of this deployment is.
pub(crate) fn finer(entry: &AssetEntry, deployment: &Deployment) -> Wide {
    Wide::from(10).pow(Wide::from(entry.decimals() - deployment.decimals))
}
