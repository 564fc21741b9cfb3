//! A chain's store, opened, and its block B: the one that a statement names, or the last one in time for it.

use std::sync::Arc;

use assay_registry::Declared;
use assay_store::Store;
use assay_types::{BlockRef, Deployment, Header, Height};
use assay_verifier::rules::beyond_finality;
use assay_verifier::{At, BlockUsed, Finding, Severity};
use serde_json::json;

use crate::dispute::{Disputed, disputed};
use crate::left::departure;
use crate::question::Question;
use crate::{DeskError, Source};

/// One chain's store, opened once for all questions, or why it could not be.
pub(crate) struct Opened<'a> {
    pub(crate) chain: &'a Source,
    pub(crate) store: Result<Arc<Store>, String>,
    pub(crate) used: BlockUsed,
    pub(crate) header: Option<Header>,
    /// Where balances are looked up: the block B, or, where that is not known, the last one that is indexed.
    pub(crate) looked_at: Option<Header>,
    /// What nodes disagree about at that block.
    pub(crate) disputed: Disputed,
}

impl Opened<'_> {
    /// Is this account bounded by something of its own, be it a claim while the block is not known, or what other nodes say? Then
    /// it does not stay in a sum.
    pub(crate) fn stands_alone(&self, declared: &Declared, deployment: &Deployment) -> bool {
        self.header.is_none() || self.disputed.contains_key(&(declared.account.clone(), deployment.asset))
    }
}

/// Takes a chain's store and finds its block B. A damaged store is a failure; one that is not there is unknown.
pub(crate) fn open<'a>(
    source: &'a Source,
    question: &Question<'_>,
    notices: &mut Vec<Finding>,
) -> Result<Opened<'a>, DeskError> {
    let named = question.named.iter().find(|(id, _)| *id == source.id).map(|(_, at)| *at);
    let store = source.store();
    let found = match &store {
        Ok(store) => {
            let found = up_to_date(block(store, source, question, named, notices)?, source, question);
            settled(still_there(found, source, store, notices)?, store)?
        }
        Err(reason) => Block::unknown(reason.clone()),
    };
    let (found, disputed) = match &store {
        Ok(store) => contest(store, source, question, found)?,
        Err(_) => (found, Disputed::new()),
    };
    let tip = || store.as_ref().ok().map(|store| store.tip()).transpose();
    let looked_at = if found.header.is_some() { found.header.clone() } else { tip()?.flatten() };
    let used = BlockUsed { chain: source.id.clone(), name: source.name.clone(), named: found.named, at: found.at };
    Ok(Opened { chain: source, store, used, header: found.header, looked_at, disputed })
}

/// The last indexed block is B only if the node has no other since: that may be there, and not here.
fn up_to_date(found: Block, source: &Source, question: &Question<'_>) -> Block {
    match &found.at {
        At::Block { at, after: None, .. } if !found.named && !question.latest => {
            let behind = match source.is_followed() {
                true => source.behind(question.as_of, question.now),
                false => source.behind_its_node(*at, question.as_of),
            };
            match behind {
                Some(reason) => Block::unknown(format!("{reason}: the last known block is {}", at.height)),
                None => found,
            }
        }
        _ => found,
    }
}

/// Blocks that the chain left and that stay are no B; nor is the one below them, where it is the time of the next that makes it one.
fn still_there(found: Block, source: &Source, store: &Store, notices: &mut Vec<Finding>) -> Result<Block, DeskError> {
    let Some(departure) = departure(source, store)? else { return Ok(found) };
    notices.push(beyond_finality(&departure));
    let is_lost = |height: Height| height.0 + u64::from(!found.named) >= departure.height;
    Ok(match &found.header {
        Some(header) if is_lost(header.height) => Block::unknown(departure.why),
        _ => found,
    })
}

/// Above a block after which not everyone was looked at yet there is no B.
fn settled(found: Block, store: &Store) -> Result<Block, DeskError> {
    let why = found.header.as_ref().map(|header| store.unsettled(header.height)).transpose()?.flatten();
    Ok(why.map_or(found, Block::unknown))
}

/// What the chain's nodes disagree about at block B. While they do, it is final for nobody.
fn contest(
    store: &Store,
    source: &Source,
    question: &Question<'_>,
    found: Block,
) -> Result<(Block, Disputed), DeskError> {
    let branches = source.branches();
    let (Some(header), false) = (&found.header, branches.is_empty()) else { return Ok((found, Disputed::new())) };
    let theirs = |other: &Store| Ok(block(other, source, question, None, &mut Vec::new())?.header);
    match disputed(&branches, (store, header), theirs)? {
        Err(reason) => Ok((Block::unknown(reason), Disputed::new())),
        Ok(disputed) => {
            let contested = branches.iter().any(|branch| branch.dissent.from <= header.height.0);
            let at = match found.at {
                At::Block { at, time, after, is_final } => {
                    At::Block { at, time, after, is_final: is_final && !contested }
                }
                unknown => unknown,
            };
            Ok((Block { at, ..found }, disputed))
        }
    }
}

/// A chain's block B.
struct Block {
    at: At,
    header: Option<Header>,
    named: bool,
}

impl Block {
    fn unknown(reason: impl Into<String>) -> Block {
        Block { at: At::Unknown { reason: reason.into() }, header: None, named: false }
    }
}

/// The named block, else the last before the first whose time is later than the instant; until there is one, the tip.
fn block(
    store: &Store,
    chain: &Source,
    question: &Question<'_>,
    named: Option<BlockRef>,
    notices: &mut Vec<Finding>,
) -> Result<Block, DeskError> {
    let final_height = chain.final_height(store)?;
    let is_final = |height: Height| final_height.is_some_and(|final_height| height <= final_height);
    if let Some(named) = named {
        let header = store.header(named.height)?.filter(|header| header.hash == named.hash);
        if let Some(header) = header {
            return used(store, header, is_final(named.height), true);
        }
        let name = format!("{} block {} {}", chain.name, named.height, chain.id.show_hash(&named.hash.0));
        if question.now.seconds_since(question.as_of) <= question.ignore_named_after_s {
            return Ok(Block::unknown(format!("the statement names {name}, which is not on the indexed chain")));
        }
        notices.push(ignored(&name));
    }
    let Some(tip) = store.tip()? else { return Ok(Block::unknown("no block is indexed yet")) };
    if question.latest {
        let is_final = is_final(tip.height);
        return used(store, tip, is_final, false);
    }
    match store.first_later_than(question.as_of)? {
        None => used(store, tip, false, false),
        Some(later) => match later.height.previous().map(|height| store.header(height)).transpose()?.flatten() {
            // Only when the later block is final too can no other block come to be the last one in time.
            Some(header) => used(store, header, is_final(later.height), false),
            None => Ok(Block::unknown(format!("the instant is before the first indexed block, {}", later.height))),
        },
    }
}

fn used(store: &Store, header: Header, is_final: bool, named: bool) -> Result<Block, DeskError> {
    let after = store.header(header.height.next())?.map(|next| next.time);
    let at = At::Block { at: header.at(), time: header.time, after, is_final };
    Ok(Block { at, header: Some(header), named })
}

fn ignored(name: &str) -> Finding {
    let message = format!("the statement names {name}, which is not on the indexed chain: its block was found by time");
    Finding {
        rule: "stale-statement",
        severity: Severity::Warning,
        asset: None,
        message,
        evidence: json!({ "named": name }).into(),
    }
}
