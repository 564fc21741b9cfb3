//! A block's receipts, held against its header.

use alloy::consensus::Header;
use alloy::primitives::B256;
use assay_types::{BlockRef, Fault, NodeError};
use serde_json::json;

use crate::block::Contents;
use crate::block::headers::gone_or_missing;
use crate::codec::Receipt;
use crate::diagnose;
use crate::node::{Cause, Node, OrFail, Refusal};
use crate::verify;

/// All receipts of the block; `None` where they are to be asked for one by one.
pub(crate) async fn ask(node: &Node, at: BlockRef) -> Result<Option<Vec<Receipt>>, Refusal> {
    if !node.can.block_receipts.is_there() {
        return Ok(None);
    }
    let subject = format!("the receipts of block {}", at.height);
    match node.ask_large("eth_getBlockReceipts", json!([B256::from(at.hash.0)]), &subject).await {
        Ok(Some(receipts)) => {
            node.can.block_receipts.show();
            Ok(Some(receipts))
        }
        Ok(None) => Err(node.null(&subject)),
        // As many logs as a block's gas pays for come to more than some nodes give, or we read, at once.
        Err(Refusal::Failed(error, Cause::Huge)) => {
            tracing::warn!(
                kind = error.fault().map(Fault::as_str),
                node = node.name,
                "{error}: they are asked for one by one"
            );
            Ok(None)
        }
        // Some take a number alone.
        Err(Refusal::TooMuch(why) | Refusal::Other(why)) => {
            tracing::debug!(node = node.name, "{subject} are asked for one by one: {why}");
            Ok(None)
        }
        Err(Refusal::NoMethod(why)) => {
            node.can.block_receipts.refuse(node, &subject, &why)?;
            Ok(None)
        }
        Err(refusal) => Err(refusal),
    }
}

/// The receipts, and whether the header commits to them as to the rest of the block.
pub(crate) async fn read(
    node: &Node,
    at: BlockRef,
    answer: Result<Option<Vec<Receipt>>, Refusal>,
    contents: &Contents,
) -> Result<(Vec<Receipt>, bool), NodeError> {
    let subject = format!("the receipts of block {}", at.height);
    let receipts = match answer {
        Ok(Some(mut receipts)) => {
            // Polygon's Erigon gives that of a state sync by itself alone.
            if contents.apart && receipts.len() + 1 == contents.transactions.len() {
                receipts.extend(last(node, contents, &subject).await?);
            }
            receipts
        }
        Ok(None) => one_by_one(node, at, contents, &subject).await?,
        Err(Refusal::Absent(why)) => return Err(gone_or_missing(node, at, &subject, Some(&why)).await),
        Err(Refusal::Null(_)) => return Err(gone_or_missing(node, at, &subject, None).await),
        Err(refusal) => return Err(refusal).or_fail(node, &subject),
    };
    let are_committed = check(node, contents, &subject, &receipts)?;
    let is_checked = contents.is_checked && are_committed;
    if is_checked {
        let base_fee = contents.sealed.header.base_fee_per_gas.unwrap_or(0);
        if let Some((fault, why)) = diagnose::beside(contents.committed(), &receipts, base_fee, at) {
            node.doubt(node.contradiction(&subject, "what is committed to", fault, why));
        }
    }
    Ok((receipts, is_checked))
}

async fn last(node: &Node, contents: &Contents, subject: &str) -> Result<Option<Receipt>, NodeError> {
    let Some(last) = contents.transactions.last() else { return Ok(None) };
    match node.ask::<Option<Receipt>>("eth_getTransactionReceipt", json!([last.id]), subject).await {
        Ok(receipt) => Ok(receipt),
        Err(refusal) => refusal.in_words().map(|_| None),
    }
}

async fn one_by_one(node: &Node, at: BlockRef, contents: &Contents, subject: &str) -> Result<Vec<Receipt>, NodeError> {
    let questions = contents.transactions.iter().map(|transaction| json!([transaction.id])).collect();
    let answers = node.ask_many::<Option<Receipt>>("eth_getTransactionReceipt", questions, subject).await?;
    let mut receipts = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Ok(Some(receipt)) => receipts.push(receipt),
            Ok(None) => return Err(gone_or_missing(node, at, subject, None).await),
            Err(refusal) => return Err(refusal).or_fail(node, subject),
        }
    }
    Ok(receipts)
}

/// Do they rebuild their root? `false` where that cannot be said, for a type among them is not known here.
fn check(node: &Node, contents: &Contents, subject: &str, receipts: &[Receipt]) -> Result<bool, NodeError> {
    let header = &contents.sealed.header;
    let (expected, all) = (contents.transactions.len(), receipts.len());
    let committed = &receipts[..all - usize::from(contents.apart && all == expected)];
    let contradiction = |against: &str, why: String| {
        let roots = (header.receipts_root, header.logs_bloom);
        let fault = diagnose::receipts(committed, roots, contents.sealed.at(), contents.committed().len());
        node.contradiction(subject, against, fault, why)
    };
    if all != expected {
        return Err(contradiction("its transactions", format!("{all} receipts for {expected} transactions")));
    }
    let checked = match contents.sealed.is_foreign {
        false => verify::receipts(committed, header),
        true => Err("the header commits to what is not known here".into()),
    };
    let is_strange =
        || contents.sealed.is_foreign || contents.committed().iter().any(|transaction| transaction.is_foreign);
    // EIP-2718: a receipt is of its transaction's type, which its root commits to.
    let mut pairs = contents.committed().iter().zip(committed);
    if checked.is_ok()
        && let Some((transaction, receipt)) = pairs.find(|(transaction, receipt)| transaction.kind != receipt.kind)
    {
        let why = format!("it is of type {:#x}, its receipt of {:#x}", transaction.kind, receipt.kind);
        let subject = format!("transaction {}", transaction.id);
        return Err(node.contradiction(&subject, "its receipt", Fault::Forged, why));
    }
    match checked {
        Err(why) if !is_strange() || node.family.knows() => Err(contradiction("its header", why)),
        checked if receipts.iter().all(|receipt| receipt.succeeded.is_some()) => {
            checked.as_ref().err().into_iter().for_each(|why| node.can.known.lose(node, why));
            Ok(checked.is_ok())
        }
        _ => {
            let why = "its receipts say no status: blocks before the Byzantium fork are not supported, start later";
            Err(NodeError::Unsupported(format!("block {}: {why}", header.number)))
        }
    }
}

/// How many transactions the block has, by receipts that its header commits to; nothing where the node does not give them.
pub(crate) async fn count(node: &Node, header: &Header, at: BlockRef) -> Option<usize> {
    let receipts = ask(node, at).await.ok()??;
    verify::receipts(&receipts, header).is_ok().then_some(receipts.len())
}
