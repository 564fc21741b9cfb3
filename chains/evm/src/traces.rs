//! A block's traces from a node, held against its transactions. What each call means is for `trace` to say.

use alloy::primitives::B256;
use alloy::rpc::json_rpc::ErrorPayload;
use assay_types::{BlockRef, Fault, Height, NodeError};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::codec::Place;
use crate::diagnose;
use crate::digest::Digest;
use crate::node::{Node, Refusal};
use crate::trace::{Call, Trace};

/// What a node gives of a block's traces. Where it gives none that costs explanations and no coins: state is read anyway.
pub(crate) enum Traces {
    All(Vec<Trace>),
    /// All together they come too late.
    OneByOne,
    None,
}

/// Those of a block.
pub(crate) async fn of_block(node: &Node, at: BlockRef) -> Result<Traces, NodeError> {
    if !node.traces.is_there() {
        return Ok(Traces::None);
    }
    if !node.whole_traces.is_there() {
        return Ok(Traces::OneByOne);
    }
    let subject = format!("the traces of block {}", at.height);
    match node.ask("debug_traceBlockByHash", json!([B256::from(at.hash.0), tracer()]), &subject).await {
        Ok(traces) => {
            node.traces.show();
            Ok(Traces::All(traces))
        }
        Err(Refusal::NoMethod(why)) => node.traces.refuse(node, &subject, &why).map(|()| Traces::None),
        Err(Refusal::Late(error)) => {
            node.whole_traces.lose(node, &format!("of block {}: {error}", at.height));
            Ok(Traces::OneByOne)
        }
        Err(refusal) => {
            let why = refusal.in_words()?;
            tracing::debug!(node = node.name, block = at.height.0, "no traces: {why}");
            Ok(Traces::None)
        }
    }
}

/// What is asked of `debug_traceBlockByHash`.
pub(crate) fn tracer() -> serde_json::Value {
    json!({ "tracer": "callTracer" })
}

/// Adds to each transaction what its trace says. A single trace that failed leaves its transaction unexplained.
pub(crate) async fn explain(
    node: &Node,
    at: BlockRef,
    digest: &mut Digest,
    traces: Vec<Trace>,
    burns: bool,
) -> Result<(), NodeError> {
    let subject = format!("the traces of block {}", at.height);
    let contradiction = |fault: Fault, why: String| node.contradiction(&subject, "its transactions", fault, why);
    let traced: Vec<_> = traces.iter().map(|trace| trace.tx_hash).collect();
    let ids: Vec<_> = digest.transactions.iter().map(|tx| tx.id).collect();
    let odd = traced.iter().zip(&ids).find_map(|(traced, id)| traced.filter(|hash| hash != id).map(|hash| (hash, id)));
    if let Some((hash, id)) = odd {
        let mut fault = diagnose::traces(&traced, &ids);
        if !ids.contains(&hash) {
            fault = block_of(node, hash).await.map_or(fault, |height| diagnose::of_another_block(at.height, height));
        }
        return Err(contradiction(fault, format!("{hash} stands where {id} belongs")));
    }
    if traced.len() != ids.len() {
        let why = format!("{} traces for {} transactions", traced.len(), ids.len());
        return Err(contradiction(diagnose::traces(&traced, &ids), why));
    }
    for (place, trace) in traces.into_iter().enumerate() {
        match (trace.result, trace.error) {
            (Some(call), None) => {
                let tx = &digest.transactions[place];
                if !call.is_of(tx) {
                    let is_of_another = digest.transactions.iter().any(|other| call.is_of(other));
                    let fault = if is_of_another { Fault::Reordered } else { Fault::Forged };
                    return Err(contradiction(fault, format!("the trace of {} is not of its call", tx.id)));
                }
                digest.transactions[place].frames = call.frames(burns);
            }
            (_, error) => {
                let message = error.map_or("neither result nor error".into(), |error| error.to_string());
                let error = ErrorPayload { code: 0, message: message.into(), data: None };
                if let Refusal::Failed(error) = node.refusal_in_words(&error) {
                    return Err(error);
                }
                let id = digest.transactions[place].id;
                tracing::debug!(node = node.name, block = at.height.0, tx = %id, "no trace: {}", error.message);
            }
        }
    }
    Ok(())
}

/// The same, of those that called anyone.
pub(crate) async fn explain_one_by_one(node: &Node, digest: &mut Digest, burns: bool) -> Result<(), NodeError> {
    /// What a transaction costs that calls nobody, and brings nothing along.
    const PLAIN_GAS: u64 = 21_000;
    /// Traces that are on their way.
    const AT_ONCE: usize = 4;
    let calling = digest.transactions.iter().enumerate().filter(|(_, tx)| tx.gas > PLAIN_GAS);
    let calling: Vec<(usize, B256)> = calling.map(|(place, tx)| (place, tx.id)).collect();
    let mut calls = futures_util::stream::iter(calling)
        .map(async |(place, id)| {
            let subject = format!("the trace of transaction {id}");
            match node.ask::<Call>("debug_traceTransaction", json!([id, tracer()]), &subject).await {
                Ok(call) => Ok((place, Some(call), subject)),
                Err(Refusal::NoMethod(why)) => {
                    node.traces.refuse(node, &subject, &why).map(|()| (place, None, subject))
                }
                Err(refusal) => {
                    let why = refusal.in_words()?;
                    tracing::debug!(node = node.name, "{subject}: {why}");
                    Ok((place, None, subject))
                }
            }
        })
        .buffered(AT_ONCE);
    while let Some((place, call, subject)) = calls.try_next().await? {
        let Some(call) = call else { continue };
        if !call.is_of(&digest.transactions[place]) {
            return Err(node.contradiction(&subject, "its transaction", Fault::Forged, "it is not of its call"));
        }
        digest.transactions[place].frames = call.frames(burns);
    }
    Ok(())
}

/// In which block the node has a transaction, if it says so.
async fn block_of(node: &Node, txid: B256) -> Option<Height> {
    let found = node.ask::<Option<Place>>("eth_getTransactionByHash", json!([txid]), "a transaction").await;
    Some(Height(found.ok()??.block_number?.to()))
}
