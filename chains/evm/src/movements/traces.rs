//! A block's traces from a node, held against its transactions. What each call means is for `trace` to say.
//!
//! Anyone can send a transaction whose trace no node comes to an end with, or nobody reads to its end: it stays unexplained, and holds up nothing.

use std::sync::atomic::Ordering;
use std::time::Instant;

use alloy::primitives::{B256, U64};
use assay_types::{BlockRef, Fault, Height, NodeError};
use futures_util::StreamExt;
use serde_json::json;

use crate::block::headers::hash_at;
use crate::codec::Place;
use crate::diagnose;
use crate::movements::digest::Digest;
use crate::movements::trace::{Calls, FlatTraces, Trace};
use crate::node::quicker::Quicker;
use crate::node::{Cause, Node, Refusal};
use crate::state::horizon::{Of, meant};

/// What a node gives of a block's traces. Where it gives none that costs explanations and no coins: state is read anyway.
pub(crate) enum Traces {
    All(Vec<Trace>),
    /// All together they come too late, or are too much.
    OneByOne,
    None,
}

/// Those of a block: each transaction's calls within each other (`debug_traceBlockByHash`), or where a node does not give them, or gives them later,
/// in one list (`trace_block`).
pub(crate) async fn of_block(node: &Node, at: BlockRef) -> Result<Traces, NodeError> {
    let quicker = &node.quicker_traces;
    let _turn = if node.can.whole_traces.is_there() { quicker.turn().await } else { None };
    let is_listed_first = quicker.is_listed() == Some(true);
    if is_listed_first && let Some(traces) = listed(node, at).await? {
        return Ok(Traces::All(traces));
    }
    let since = Instant::now();
    let nested = nested(node, at).await?;
    let took = since.elapsed();
    let Traces::All(traces) = &nested else {
        let listed = if is_listed_first { None } else { listed(node, at).await? };
        return Ok(listed.map_or(nested, Traces::All));
    };
    if took < Quicker::SOON {
        quicker.is_quick.fetch_or(!traces.is_empty(), Ordering::Relaxed);
    } else if quicker.is_listed().is_none() {
        let since = Instant::now();
        let is_listed = listed(node, at).await?.is_some() && since.elapsed() < took;
        quicker.is_listed.get_or_init(|| is_listed);
    }
    Ok(nested)
}

/// All in one list, where the node gives it.
async fn listed(node: &Node, at: BlockRef) -> Result<Option<Vec<Trace>>, NodeError> {
    if !node.can.listed_traces.is_there() {
        return Ok(None);
    }
    let subject = format!("the traces of block {}", at.height);
    let height = U64::from(at.height.0);
    let FlatTraces { traces, blocks, odd } = match node.ask_large("trace_block", json!([height]), &subject).await {
        Ok(traces) => traces,
        Err(Refusal::NoMethod(why)) => return node.can.listed_traces.refuse(node, &subject, &why).map(|()| None),
        Err(Refusal::Failed(error, Cause::Late)) => {
            node.can.listed_traces.lose_to(node, &error);
            return Ok(None);
        }
        Err(Refusal::Failed(error, Cause::Huge)) => {
            node.can.listed_traces.bear(node, &error);
            return Ok(None);
        }
        Err(refusal) => {
            let why = refusal.in_words()?;
            tracing::debug!(node = node.name, block = at.height.0, "no traces in one list: {why}");
            return Ok(None);
        }
    };
    node.can.listed_traces.show();
    let of_another = blocks.into_iter().find(|(hash, height)| hash.0 != at.hash.0 || *height != at.height);
    let Some((hash, height)) = of_another else {
        return match odd {
            None => Ok(Some(traces)),
            Some((fault, why)) => Err(node.contradiction(&subject, "its transactions", fault, why)),
        };
    };
    // It was asked for by its height.
    if hash_at(node, at.height).await?.is_some_and(|now| now != at.hash) {
        return Err(NodeError::Gone(at));
    }
    let fault = diagnose::of_another_block(at.height, height);
    let why = format!("they are of {hash} at height {height}");
    Err(node.contradiction(&subject, "what was asked for", fault, why))
}

/// Each transaction's calls within each other.
async fn nested(node: &Node, at: BlockRef) -> Result<Traces, NodeError> {
    if !node.can.whole_traces.is_there() {
        return Ok(Traces::OneByOne);
    }
    let subject = format!("the traces of block {}", at.height);
    match node
        .ask_large::<Vec<Trace>>("debug_traceBlockByHash", json!([B256::from(at.hash.0), tracer()]), &subject)
        .await
    {
        Ok(traces) if traces.iter().any(Trace::is_of_another_tracer) => {
            node.can.whole_traces.lose(node, OTHER_TRACER);
            Ok(Traces::OneByOne)
        }
        Ok(traces) => {
            node.can.whole_traces.show();
            Ok(Traces::All(traces))
        }
        // Some trace single transactions alone; who does not trace at all says so when asked for one.
        Err(Refusal::NoMethod(why)) => node.can.whole_traces.refuse(node, &subject, &why).map(|()| Traces::OneByOne),
        Err(Refusal::Failed(error, Cause::Huge)) => {
            node.can.whole_traces.bear(node, &error);
            Ok(Traces::OneByOne)
        }
        Err(Refusal::Failed(error, Cause::Late)) => {
            node.can.whole_traces.lose_to(node, &error);
            Ok(Traces::OneByOne)
        }
        Err(Refusal::TooMuch(why)) => {
            tracing::debug!(node = node.name, block = at.height.0, "traces are asked for another way: {why}");
            Ok(Traces::OneByOne)
        }
        Err(refusal) => {
            let why = meant(node, at, Of::Balances, refusal).await.in_words()?;
            tracing::debug!(node = node.name, block = at.height.0, "no traces: {why}");
            Ok(Traces::None)
        }
    }
}

/// Some nodes do not know `callTracer`, and give every instruction (Besu, before its issue 8326).
const OTHER_TRACER: &str = "it is told by another tracer than is asked for";

/// What is asked of `debug_traceBlockByHash`.
pub(crate) fn tracer() -> serde_json::Value {
    json!({ "tracer": "callTracer" })
}

/// Adds to each transaction what its trace says. One whose trace failed stays unexplained.
pub(crate) async fn explain(
    node: &Node,
    at: BlockRef,
    digest: &mut Digest,
    traces: Traces,
    burns: bool,
) -> Result<(), NodeError> {
    match traces {
        Traces::None => Ok(()),
        Traces::All(traces) => from_all(node, at, digest, traces, burns).await,
        Traces::OneByOne if !node.can.single_traces.is_there() => Ok(()),
        Traces::OneByOne => {
            let calling = digest.transactions.iter().enumerate().filter(|(_, tx)| !tx.is_told);
            let calling = calling.map(|(place, tx)| (place, tx.id)).collect();
            one_by_one(node, digest, calling, burns).await
        }
    }
}

/// Those of the whole block.
async fn from_all(
    node: &Node,
    at: BlockRef,
    digest: &mut Digest,
    traces: Vec<Trace>,
    burns: bool,
) -> Result<(), NodeError> {
    let subject = format!("the traces of block {}", at.height);
    let contradiction = |fault: Fault, why: String| node.contradiction(&subject, "its transactions", fault, why);
    let traced: Vec<_> = traces.iter().map(|trace| trace.tx_hash).collect();
    let mut ids: Vec<_> = digest.transactions.iter().map(|tx| tx.id).collect();
    if traced.len() + 1 == ids.len() && digest.transactions.last().is_some_and(|tx| tx.is_state_sync) {
        ids.pop();
    }
    // One that belongs elsewhere, or is too many.
    let odd = traced.iter().enumerate().find_map(|(place, traced)| {
        let (hash, id) = ((*traced)?, ids.get(place));
        (id != Some(&hash)).then_some((hash, id))
    });
    if let Some((hash, id)) = odd {
        let fault = match (ids.contains(&hash), block_of(node, hash).await) {
            (true, _) => diagnose::traces(&traced, &ids),
            (false, Some(height)) => diagnose::of_another_block(at.height, height),
            // Nowhere on its chain: what it tells of tells whether another name stands on ours.
            (false, None) => match traces.iter().zip(&digest.transactions).any(|(trace, tx)| trace.is_of(tx)) {
                true => Fault::Forged,
                false => Fault::MixedForks,
            },
        };
        let place = id.map_or("nothing".into(), B256::to_string);
        return Err(contradiction(fault, format!("{hash} stands where {place} belongs")));
    }
    if traced.len() != ids.len() {
        // They may have been asked for by its height.
        if hash_at(node, at.height).await? != Some(at.hash) {
            return Err(NodeError::Gone(at));
        }
        let why = format!("{} traces for {} transactions", traced.len(), ids.len());
        return Err(contradiction(diagnose::traces(&traced, &ids), why));
    }
    for (place, trace) in traces.into_iter().enumerate() {
        match (trace.calls, trace.error) {
            (Some(calls), None) => note(node, &subject, digest, place, &calls, burns)?,
            (_, error) => {
                let why = error.unwrap_or("neither result nor error".into());
                tracing::debug!(node = node.name, block = at.height.0, tx = %ids[place], "no trace: {why}");
            }
        }
    }
    Ok(())
}

/// Those of these transactions, by their places.
async fn one_by_one(node: &Node, digest: &mut Digest, open: Vec<(usize, B256)>, burns: bool) -> Result<(), NodeError> {
    /// Traces that are on their way.
    const AT_ONCE: usize = 4;
    let mut traces = futures_util::stream::iter(open)
        .map(async |(place, id)| {
            let subject = format!("the trace of transaction {id}");
            let asked = node.ask_large::<Calls>("debug_traceTransaction", json!([id, tracer()]), &subject).await;
            (place, asked, subject)
        })
        .buffered(AT_ONCE);
    while let Some((place, asked, subject)) = traces.next().await {
        match asked {
            Ok(calls) if calls.are_of_another_tracer() => {
                node.can.single_traces.lose(node, OTHER_TRACER);
                break;
            }
            Ok(calls) => {
                node.can.single_traces.show();
                note(node, &subject, digest, place, &calls, burns)?;
            }
            Err(Refusal::NoMethod(why)) => return node.can.single_traces.refuse(node, &subject, &why),
            Err(Refusal::Failed(error, Cause::Huge)) => {
                if !node.can.single_traces.bear(node, &error) {
                    break;
                }
            }
            // The next one may take as long.
            Err(Refusal::Failed(error, Cause::Late)) => {
                node.can.single_traces.lose_to(node, &error);
                break;
            }
            Err(refusal) => {
                let why = refusal.in_words()?;
                tracing::debug!(node = node.name, "{subject}: {why}");
            }
        }
    }
    Ok(())
}

/// Adds what the transaction at this place called.
fn note(
    node: &Node,
    subject: &str,
    digest: &mut Digest,
    place: usize,
    calls: &Calls,
    burns: bool,
) -> Result<(), NodeError> {
    let tx = &digest.transactions[place];
    let contradiction = |fault: Fault, why: String| Err(node.contradiction(subject, "its transactions", fault, why));
    // Of a deposit that could not even begin, nodes tell nothing.
    if !tx.succeeded && calls.are_blank() {
        return Ok(());
    }
    if !tx.is_state_sync && !calls.are_of(tx) {
        // What nothing commits to denies nothing.
        if tx.is_foreign {
            return Ok(());
        }
        let is_of_another = digest.transactions.iter().any(|other| calls.are_of(other));
        let fault = if is_of_another { Fault::Reordered } else { Fault::Forged };
        return contradiction(fault, format!("the trace of {} is not of its call", tx.id));
    }
    let (frames, repeated) = calls.frames(burns, (digest.beneficiary, tx.tip));
    // One that failed moved nothing.
    let is_contrary = if tx.succeeded { calls.failed() } else { !frames.is_empty() };
    if is_contrary {
        let said =
            if tx.succeeded { "failed, and its receipt not" } else { "moved coins, and its receipt that it failed" };
        return contradiction(Fault::Forged, format!("the trace of {} says that it {said}", tx.id));
    }
    let tx = &mut digest.transactions[place];
    (tx.is_told, tx.frames, tx.repeated) = (true, frames, repeated);
    tx.created = if tx.succeeded { calls.created() } else { Vec::new() };
    Ok(())
}

/// In which block the node has a transaction, if it says so.
async fn block_of(node: &Node, txid: B256) -> Option<Height> {
    let found = node.ask::<Option<Place>>("eth_getTransactionByHash", json!([txid]), "a transaction").await;
    Some(Height(found.ok()??.block_number?.to()))
}
