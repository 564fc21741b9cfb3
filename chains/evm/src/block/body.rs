//! A block's transactions and withdrawals, held against its header.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{B256, Bytes};
use assay_types::{BlockRef, Fault, Height, NodeError, Watch};
use serde_json::json;

use crate::block::headers::{BlockJson, gone_or_missing, sealed};
use crate::block::{Contents, elsewhere, receipts};
use crate::codec::Transaction;
use crate::diagnose;
use crate::node::{Node, OrFail, Refusal};
use crate::verify;
use crate::verify::keccak;

/// Whose signatures are checked.
#[derive(Clone, Copy)]
pub(crate) enum Senders<'w> {
    /// Everyone's.
    All,
    /// Of those who are watched, and of a part of the others that nobody can foretell. What a wrong sender hides of a watched account, state
    /// shows; then the block is read again.
    Of(&'w Watch),
}

impl Senders<'_> {
    /// One in so many is looked at.
    const SHARE: u64 = 1_024;

    fn are_to_be_checked(self, transaction: &Transaction) -> bool {
        static CHANCE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        match self {
            Senders::All => true,
            Senders::Of(watch) => {
                watch.number(transaction.sender.as_slice()).is_some()
                    || CHANCE.hash_one(transaction.id).is_multiple_of(Senders::SHARE)
            }
        }
    }
}

/// The block with its transactions.
pub(crate) async fn ask(node: &Node, at: BlockRef) -> Result<Option<BlockJson<Transaction>>, Refusal> {
    let subject = format!("block {}", at.height);
    node.ask_large("eth_getBlockByHash", json!([B256::from(at.hash.0), true]), &subject).await
}

/// What it has, checked.
pub(crate) async fn read(
    node: &Node,
    at: BlockRef,
    answer: Result<Option<BlockJson<Transaction>>, Refusal>,
    senders: Senders<'_>,
) -> Result<Contents, NodeError> {
    let subject = format!("block {}", at.height);
    let missing = async |why: Option<&str>| match gone_or_missing(node, at, &subject, why).await {
        NodeError::Missing { why, .. } if elsewhere::has_another(node, at).await => {
            node.missing(&subject, Some(Fault::MixedForks), why)
        }
        error => error,
    };
    let block = match answer {
        Ok(Some(block)) => block,
        Ok(None) => return Err(missing(None).await),
        Err(Refusal::Absent(why)) => return Err(missing(Some(&why)).await),
        Err(refusal) => return Err(refusal).or_fail(node, &subject),
    };
    let sealed = sealed(node, &block, &subject)?;
    let BlockJson { transactions, withdrawals, .. } = block;
    let header = &sealed.header;
    if sealed.hash.0 != at.hash.0 || header.number != at.height.0 {
        let why = format!("it is {} at height {}", sealed.hash, header.number);
        let fault = diagnose::of_another_block(at.height, Height(header.number));
        return Err(node.contradiction(&subject, "what was asked for", fault, why));
    }
    let is_checked = !sealed.is_foreign;
    let apart = transactions.last().is_some_and(|last| Some(last.id) == node.family.state_sync(at));
    let committed = &transactions[..transactions.len() - usize::from(apart)];
    if let Some(field) = committed.iter().find_map(|transaction| transaction.lacks).filter(|_| is_checked) {
        return Err(node.not_read(&subject, &serde::de::Error::missing_field(field)));
    }
    let mut contents = Contents { sealed, transactions, apart, is_checked, withdrawals };
    if contents.is_checked {
        contents.is_checked = check_transactions(node, at, &mut contents, senders).await?;
        check_withdrawals(node, at, &contents).await?;
    }
    Ok(contents)
}

/// Do they rebuild their root, and are they from whom they are said to be? `false` where a type is not known here and the node does not give
/// the bytes.
async fn check_transactions(
    node: &Node,
    at: BlockRef,
    contents: &mut Contents,
    senders: Senders<'_>,
) -> Result<bool, NodeError> {
    let committed = contents.transactions.len() - usize::from(contents.apart);
    let is_whole = bytes_of_foreign(node, at, &mut contents.transactions[..committed]).await?;
    let (header, transactions) = (&contents.sealed.header, contents.committed());
    let root = header.transactions_root;
    if is_whole && let Err(why) = verify::transactions(transactions, root) {
        let passed_on = passed_on(node, at, transactions).await?;
        let bytes = |transaction| bytes_of(transaction, &passed_on);
        if passed_on.is_empty() || verify::root_of(transactions.iter().map(bytes)) != root {
            let count = receipts::count(node, header, at).await;
            let fault = diagnose::transactions(transactions, bytes, root, at, count);
            let subject = format!("the transactions of block {}", at.height);
            return Err(node.contradiction(&subject, "its header", fault, why));
        }
    }
    let known: Vec<&Transaction> = transactions.iter().filter(|transaction| !transaction.bytes.is_empty()).collect();
    let hashes = keccak::of_each(&known.iter().map(|transaction| &transaction.bytes[..]).collect::<Vec<_>>());
    for (transaction, hash) in known.into_iter().zip(hashes) {
        let is_unsigned = transaction.is_signed_by_name() && !node.family.knows();
        let checked = transaction.check(hash).and_then(|()| match senders.are_to_be_checked(transaction) {
            true if !is_unsigned => transaction.check_sender(),
            _ => Ok(()),
        });
        checked.map_err(|why| {
            let subject = format!("transaction {}", transaction.id);
            node.contradiction(&subject, "its own bytes", Fault::Forged, why)
        })?;
    }
    Ok(is_whole)
}

/// Every block of the OP stack begins with a deposit, has no withdrawals, and may have another root in their place.
async fn check_withdrawals(node: &Node, at: BlockRef, contents: &Contents) -> Result<(), NodeError> {
    let (withdrawals, root) = (contents.withdrawals.as_deref(), contents.sealed.header.withdrawals_root);
    let is_of_op_stack = contents.transactions.first().is_some_and(Transaction::is_deposit);
    if is_of_op_stack && withdrawals.is_none_or(<[Withdrawal]>::is_empty) {
        return Ok(());
    }
    let Err(why) = verify::withdrawals(withdrawals, root) else { return Ok(()) };
    let fault = diagnose::withdrawals(withdrawals, root, elsewhere::withdrawals_around(node, at).await);
    Err(node.contradiction(&format!("the withdrawals of block {}", at.height), "its header", fault, why))
}

/// Asks for the bytes of transactions whose type is not known here, so that these can be held against the root at least. `false` where the
/// node does not give them.
async fn bytes_of_foreign(node: &Node, at: BlockRef, all: &mut [Transaction]) -> Result<bool, NodeError> {
    for deposit in all.iter_mut().filter(|one| one.is_deposit() && node.family.has_own_deposits()) {
        (deposit.is_foreign, deposit.bytes) = (true, Vec::new());
    }
    let foreign: Vec<&mut Transaction> = all.iter_mut().filter(|transaction| transaction.is_foreign).collect();
    let Some(kind) = foreign.first().map(|transaction| transaction.kind) else { return Ok(true) };
    let subject = format!("the bytes of transactions of type {kind:#x} in block {}", at.height);
    let questions = foreign.iter().map(|transaction| json!([transaction.id])).collect();
    let answers = match node.can.raw.is_there() {
        true => node.ask_many::<Bytes>("eth_getRawTransactionByHash", questions, &subject).await?,
        false => Vec::new(),
    };
    let mut told = 0;
    for (transaction, answer) in foreign.into_iter().zip(answers) {
        match answer {
            Ok(bytes) => {
                node.can.raw.show();
                transaction.bytes = bytes.into();
                told += 1;
            }
            Err(Refusal::NoMethod(why)) => node.can.raw.refuse(node, &subject, &why)?,
            Err(refusal) => _ = refusal.in_words()?,
        }
    }
    let last = all.len().saturating_sub(1);
    let mut without = (0..).zip(all.iter()).filter(|(_, transaction)| transaction.bytes.is_empty());
    let is_whole = told > 0 && without.clone().next().is_none();
    let is_strange = |(place, one): (usize, &Transaction)| place != last || !node.family.is_state_sync(one.kind);
    if without.any(is_strange) && node.family.knows() {
        let why = format!(
            "block {} has a transaction of type {kind:#x}, which this chain did not have when this was written",
            at.height
        );
        return Err(NodeError::Unsupported(format!("{}: {why}, and the node does not give its bytes", node.name)));
    }
    Ok(is_whole)
}

/// Test nodes commit to transactions as networks pass them on, with their blobs: the bytes of those that have some.
async fn passed_on(
    node: &Node,
    at: BlockRef,
    transactions: &[Transaction],
) -> Result<BTreeMap<B256, Bytes>, NodeError> {
    let with_blobs: Vec<&Transaction> = transactions.iter().filter(|transaction| transaction.blobs.is_some()).collect();
    if with_blobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let subject = format!("the blobs of block {}", at.height);
    let questions = with_blobs.iter().map(|transaction| json!([transaction.id])).collect();
    let answers = node.ask_many::<Bytes>("eth_getRawTransactionByHash", questions, &subject).await?;
    if answers.iter().any(|answer| matches!(answer, Err(Refusal::Null(_)))) {
        return Err(gone_or_missing(node, at, &subject, None).await);
    }
    let told = |(transaction, answer): (&&Transaction, Result<Bytes, Refusal>)| {
        Some((transaction.id, answer.ok().filter(|bytes| transaction.is_passed_on_as(bytes))?))
    };
    Ok(with_blobs.iter().zip(answers).filter_map(told).collect())
}

/// Its bytes as such a node commits to them.
fn bytes_of<'t>(transaction: &'t Transaction, passed_on: &'t BTreeMap<B256, Bytes>) -> &'t [u8] {
    passed_on.get(&transaction.id).map_or(&transaction.bytes, |bytes| bytes)
}
