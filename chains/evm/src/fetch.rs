//! One block's answers from one node, each checked against the header, and digested.

use alloy::consensus::Header;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{Address, B256, U8};
use alloy::rpc::json_rpc::ErrorPayload;
use alloy::rpc::types::TransactionReceipt;
use assay_types::{BlockHash, BlockRef, Height, NodeError};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::digest::{Digest, Received, Sent};
use crate::node::{Node, OrFail, Refusal};
use crate::trace::Trace;
use crate::verify::{self, Transaction};

/// A header whose fields hash to its hash.
#[derive(Debug)]
pub(crate) struct SealedHeader {
    pub(crate) header: Header,
    pub(crate) hash: B256,
}

/// A checked block: what its transactions are, and, where movements were asked for, what they did.
pub(crate) struct Fetched {
    pub(crate) sealed: SealedHeader,
    pub(crate) txids: Vec<B256>,
    pub(crate) digest: Digest,
}

/// The parts of a block's JSON beside its header.
#[derive(Deserialize)]
struct Body {
    hash: B256,
    transactions: Vec<Box<RawValue>>,
    withdrawals: Option<Vec<Withdrawal>>,
}

/// The block at a height or tag of the node's active chain; `None` where there is none.
pub(crate) async fn header_at(node: &Node, number: serde_json::Value, subject: &str) -> Result<SealedHeader, Refusal> {
    let block: Option<Box<RawValue>> = node.ask("eth_getBlockByNumber", json!([number, false]), subject).await?;
    let block = block.ok_or_else(|| Refusal::Absent("the answer is null".into()))?;
    sealed(node, &block, subject).map(|(sealed, _)| sealed).map_err(Refusal::Failed)
}

/// The hash at a height of the node's active chain; `None` above its tip.
pub(crate) async fn hash_at(node: &Node, height: Height) -> Result<Option<BlockHash>, NodeError> {
    let subject = format!("the header at height {height}");
    match header_at(node, json!(format!("{:#x}", height.0)), &subject).await {
        Ok(sealed) if sealed.header.number == height.0 => Ok(Some(BlockHash(sealed.hash.0))),
        Ok(sealed) => {
            Err(node.contradiction(&subject, "what was asked for", format!("it is of height {}", sealed.header.number)))
        }
        Err(Refusal::Absent(_)) => Ok(None),
        Err(refusal) => Err(refusal).or_fail(node, &subject),
    }
}

/// What an answer that is not there means: the block was reorganised away, or this node does not have it.
pub(crate) async fn gone_or_missing(node: &Node, at: BlockRef, subject: &str, why: &str) -> NodeError {
    match hash_at(node, at.height).await {
        Ok(Some(hash)) if hash != at.hash => NodeError::Gone(at),
        Ok(_) => node.missing(subject, why),
        Err(error) => error,
    }
}

/// The block with its transactions, checked; without receipts, and so without movements.
pub(crate) async fn block_without_movements(node: &Node, at: BlockRef) -> Result<Fetched, NodeError> {
    let (sealed, sent, _) = read_body(node, at, body(node, at).await).await?;
    let txids = sent.iter().map(|sent| *sent.transaction.tx_hash()).collect();
    let digest = Digest { beneficiary: sealed.header.beneficiary, transactions: Vec::new(), withdrawals: Vec::new() };
    Ok(Fetched { sealed, txids, digest })
}

/// The block with all that it did, every part asked for by its hash, at once.
pub(crate) async fn block(node: &Node, at: BlockRef) -> Result<Fetched, NodeError> {
    let (body, receipts, traces) = tokio::join!(body(node, at), block_receipts(node, at), block_traces(node, at));
    let (sealed, sent, withdrawals) = read_body(node, at, body).await?;
    let subject = format!("the receipts of block {}", at.height);
    let receipts = match receipts {
        Ok(Some(receipts)) => receipts,
        Ok(None) => receipts_one_by_one(node, at, &sent, &subject).await?,
        Err(Refusal::Absent(why)) => return Err(gone_or_missing(node, at, &subject, &why).await),
        Err(refusal) => return Err(refusal).or_fail(node, &subject),
    };
    let received = read_receipts(node, &sealed.header, &subject, sent.len(), receipts)?;
    let txids = sent.iter().map(|sent| *sent.transaction.tx_hash()).collect();
    let mut digest = Digest::new(&sealed.header, sent, received, &withdrawals)
        .map_err(|(id, why)| node.contradiction(&format!("the receipt of transaction {id}"), "its transaction", why))?;
    if let Some(traces) = traces? {
        explain(node, at, &mut digest, traces)?;
    }
    Ok(Fetched { sealed, txids, digest })
}

async fn body(node: &Node, at: BlockRef) -> Result<Option<Box<RawValue>>, Refusal> {
    let subject = format!("block {}", at.height);
    node.ask("eth_getBlockByHash", json!([B256::from(at.hash.0), true]), &subject).await
}

type Contents = (SealedHeader, Vec<Sent>, Vec<Withdrawal>);

async fn read_body(
    node: &Node,
    at: BlockRef,
    answer: Result<Option<Box<RawValue>>, Refusal>,
) -> Result<Contents, NodeError> {
    let subject = format!("block {}", at.height);
    let block = match answer {
        Ok(Some(block)) => block,
        Ok(None) => return Err(gone_or_missing(node, at, &subject, "the node does not know its hash").await),
        Err(Refusal::Absent(why)) => return Err(gone_or_missing(node, at, &subject, &why).await),
        Err(refusal) => return Err(refusal).or_fail(node, &subject),
    };
    let (sealed, body) = sealed(node, &block, &subject)?;
    let header = &sealed.header;
    if sealed.hash.0 != at.hash.0 || header.number != at.height.0 {
        let why = format!("it is {} at height {}", sealed.hash, header.number);
        return Err(node.contradiction(&subject, "what was asked for", why));
    }
    let sent =
        body.transactions.iter().map(|transaction| sent(node, &subject, transaction)).collect::<Result<Vec<_>, _>>()?;
    check_transactions(node, header, at, &sent)?;
    let withdrawals = body.withdrawals;
    verify::withdrawals(withdrawals.as_deref(), header.withdrawals_root)
        .map_err(|why| node.contradiction(&format!("the withdrawals of {subject}"), "its header", why))?;
    Ok((sealed, sent, withdrawals.unwrap_or_default()))
}

fn check_transactions(node: &Node, header: &Header, at: BlockRef, sent: &[Sent]) -> Result<(), NodeError> {
    let transactions: Vec<&Transaction> = sent.iter().map(|sent| &sent.transaction).collect();
    let subject = format!("the transactions of block {}", at.height);
    verify::transactions(&transactions, header.transactions_root)
        .map_err(|why| node.contradiction(&subject, "its header", why))?;
    for sent in sent {
        verify::sender(&sent.transaction, sent.sender).map_err(|why| {
            let subject = format!("transaction {}", sent.transaction.tx_hash());
            node.contradiction(&subject, "its own bytes", why)
        })?;
    }
    Ok(())
}

/// A block's JSON, with its header's fields hashed.
fn sealed(node: &Node, block: &RawValue, subject: &str) -> Result<(SealedHeader, Body), NodeError> {
    let header: Header = serde_json::from_str(block.get()).map_err(|why| node.unreadable(subject, why))?;
    let body: Body = serde_json::from_str(block.get()).map_err(|why| node.unreadable(subject, why))?;
    verify::header(&header, body.hash)
        .map_err(|why| node.contradiction(&format!("the header of {subject}"), "its hash", why))?;
    Ok((SealedHeader { header, hash: body.hash }, body))
}

/// One transaction's JSON.
pub(crate) fn sent(node: &Node, subject: &str, transaction: &RawValue) -> Result<Sent, NodeError> {
    type Json = alloy::rpc::types::Transaction<Transaction>;
    match serde_json::from_str::<Json>(transaction.get()) {
        Ok(read) => {
            let (transaction, sender) = read.inner.into_parts();
            Ok(Sent { transaction, sender })
        }
        Err(why) => match unknown_type(transaction) {
            Some(kind) => Err(NodeError::Unsupported(format!(
                "{}: {subject} has a transaction of type {kind:#x}: only Ethereum's types 0 to 4 are supported",
                node.name
            ))),
            None => Err(node.unreadable(&format!("a transaction of {subject}"), why)),
        },
    }
}

fn unknown_type(transaction: &RawValue) -> Option<u8> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: U8,
    }
    let kind = serde_json::from_str::<Typed>(transaction.get()).ok()?.kind.to::<u8>();
    (kind > 4).then_some(kind)
}

/// All receipts of the block; `None` where the node knows no way to ask for them together.
async fn block_receipts(node: &Node, at: BlockRef) -> Result<Option<Vec<TransactionReceipt>>, Refusal> {
    if !node.block_receipts.is_there() {
        return Ok(None);
    }
    let subject = format!("the receipts of block {}", at.height);
    match node.ask("eth_getBlockReceipts", json!([B256::from(at.hash.0)]), &subject).await {
        Ok(Some(receipts)) => Ok(Some(receipts)),
        Ok(None) => Err(Refusal::Absent("the answer is null".into())),
        Err(Refusal::NoMethod(why)) => {
            node.block_receipts.lose(node, "eth_getBlockReceipts, so receipts are read one by one", &why);
            Ok(None)
        }
        Err(refusal) => Err(refusal),
    }
}

async fn receipts_one_by_one(
    node: &Node,
    at: BlockRef,
    sent: &[Sent],
    subject: &str,
) -> Result<Vec<TransactionReceipt>, NodeError> {
    let questions = sent.iter().map(|sent| json!([sent.transaction.tx_hash()])).collect();
    let answers = node.ask_many::<Option<TransactionReceipt>>("eth_getTransactionReceipt", questions, subject).await?;
    let mut receipts = Vec::with_capacity(sent.len());
    for answer in answers {
        match answer {
            Ok(Some(receipt)) if receipt.block_hash.is_none_or(|hash| hash.0 == at.hash.0) => receipts.push(receipt),
            Ok(_) => return Err(gone_or_missing(node, at, subject, "one is not there, or is of another block").await),
            Err(refusal) => return Err(refusal).or_fail(node, subject),
        }
    }
    Ok(receipts)
}

fn read_receipts(
    node: &Node,
    header: &Header,
    subject: &str,
    expected: usize,
    receipts: Vec<TransactionReceipt>,
) -> Result<Vec<Received>, NodeError> {
    if receipts.len() != expected {
        let why = format!("{} receipts for {expected} transactions", receipts.len());
        return Err(node.contradiction(subject, "its transactions", why));
    }
    let (receipts, prices): (Vec<_>, Vec<_>) =
        receipts.into_iter().map(|receipt| (receipt.inner.into_primitives_receipt(), receipt.blob_gas_price)).unzip();
    verify::receipts(&receipts, header).map_err(|why| node.contradiction(subject, "its header", why))?;
    if receipts.iter().any(|receipt| receipt.as_receipt().is_some_and(|receipt| receipt.status.is_post_state())) {
        let why = "its receipts say no status: blocks before the Byzantium fork are not supported, start later";
        return Err(NodeError::Unsupported(format!("block {}: {why}", header.number)));
    }
    let received = receipts.into_iter().zip(prices);
    Ok(received.map(|(receipt, blob_gas_price)| Received { receipt, blob_gas_price }).collect())
}

/// The block's traces; `None` where the node gives none, which costs explanations and no coins: state is read anyway.
async fn block_traces(node: &Node, at: BlockRef) -> Result<Option<Vec<Trace>>, NodeError> {
    if !node.traces.is_there() {
        return Ok(None);
    }
    let subject = format!("the traces of block {}", at.height);
    let config = json!({
        "tracer": "prestateTracer",
        "tracerConfig": { "diffMode": true, "disableCode": true, "disableStorage": true },
    });
    match node.ask("debug_traceBlockByHash", json!([B256::from(at.hash.0), config]), &subject).await {
        Ok(traces) => Ok(Some(traces)),
        Err(Refusal::Failed(error)) => Err(error),
        Err(Refusal::NoMethod(why)) => {
            node.traces.lose(node, "traces, so internal payments are found by reading state", &why);
            Ok(None)
        }
        Err(Refusal::Absent(why) | Refusal::TooMuch(why) | Refusal::Execution(why) | Refusal::Other(why)) => {
            tracing::debug!(node = node.name, block = at.height.0, "no traces: {why}");
            Ok(None)
        }
    }
}

/// Adds to each transaction what its trace says. A single trace that failed leaves its transaction unexplained.
fn explain(node: &Node, at: BlockRef, digest: &mut Digest, traces: Vec<Trace>) -> Result<(), NodeError> {
    let subject = format!("the traces of block {}", at.height);
    let contradiction = |why: String| node.contradiction(&subject, "its transactions", why);
    if traces.len() != digest.transactions.len() {
        let why = format!("{} traces for {} transactions", traces.len(), digest.transactions.len());
        return Err(contradiction(why));
    }
    for (tx, trace) in digest.transactions.iter_mut().zip(traces) {
        if let Some(hash) = trace.tx_hash.filter(|hash| *hash != tx.id) {
            return Err(contradiction(format!("{hash} stands where {} belongs", tx.id)));
        }
        match (trace.result, trace.error) {
            (Some(diff), None) => {
                tx.changes = diff.changes(tx);
                if tx.changes.is_none() {
                    return Err(contradiction(format!("the trace of {} leaves out its sender", tx.id)));
                }
            }
            (_, error) => {
                let message = error.map_or("neither result nor error".into(), |error| error.to_string());
                let error = ErrorPayload { code: 0, message: message.into(), data: None };
                if let Refusal::Failed(error) = node.refusal_in_words(&error) {
                    return Err(error);
                }
                tracing::debug!(node = node.name, block = at.height.0, tx = %tx.id, "no trace: {}", error.message);
            }
        }
    }
    Ok(())
}

/// A transaction that waits for a block, if the node knows it as such.
pub(crate) async fn pending(node: &Node, txid: B256) -> Result<Option<Transaction>, NodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Place {
        block_hash: Option<B256>,
        block_number: Option<alloy::primitives::U64>,
        from: Address,
    }
    let subject = format!("transaction {txid}");
    let found: Option<Box<RawValue>> =
        node.ask("eth_getTransactionByHash", json!([txid]), &subject).await.or_fail(node, &subject)?;
    let Some(found) = found else { return Ok(None) };
    let place: Place = serde_json::from_str(found.get()).map_err(|why| node.unreadable(&subject, why))?;
    if place.block_hash.is_some() || place.block_number.is_some() {
        return Ok(None);
    }
    let sent = sent(node, &subject, &found)?;
    if *sent.transaction.tx_hash() != txid {
        let why = format!("it is {}", sent.transaction.tx_hash());
        return Err(node.contradiction(&subject, "what was asked for", why));
    }
    verify::sender(&sent.transaction, place.from).map_err(|why| node.contradiction(&subject, "its own bytes", why))?;
    Ok(Some(sent.transaction))
}
