//! One block's answers from one node, each checked against the header, and digested.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use alloy::consensus::Header;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{B256, Bytes, U256, keccak256};
use assay_types::{BlockHash, BlockRef, Fault, Height, NodeError, Watch};
use serde::Deserialize;
use serde_json::json;

use crate::block::codec::{Place, Receipt, Transaction};
use crate::block::headers::{BlockJson, SealedHeader, hash_at, sealed};
use crate::diagnose;
use crate::diagnose::elsewhere;
use crate::movements::digest::Digest;
use crate::movements::traces;
use crate::node::{Cause, NULL, Node, OrFail, Refusal};
use crate::state::{self, StateAt};
use crate::verify;
use crate::verify::keccak;

/// A checked block: what its transactions are, and, where movements were asked for, what they did.
pub(crate) struct Fetched {
    pub(crate) sealed: SealedHeader,
    pub(crate) txids: Vec<B256>,
    /// Was everything held against the header? What a chain of another family has beside Ethereum's cannot be.
    pub(crate) is_checked: bool,
    /// The header was verified, and something that it commits to could not be, such as a transaction of an unknown type: nothing is settled by the
    /// receipts of this block.
    pub(crate) is_denied: bool,
    pub(crate) digest: Digest,
}

impl Fetched {
    /// The state after it; proven where everything was held against the header.
    pub(crate) fn state(&self) -> StateAt {
        let after = StateAt::after(&self.sealed);
        if self.is_checked { after } else { after.unproven() }
    }
}

/// What an answer that is not there means: the block was reorganised away, or this node does not have it. `why` is what the
/// node says, if it says something; `null` of a block that is on its chain leaves out what it has.
pub(crate) async fn gone_or_missing(node: &Node, at: BlockRef, subject: &str, why: Option<&str>) -> NodeError {
    let fault = match hash_at(node, at.height).await {
        Ok(Some(hash)) if hash != at.hash => return NodeError::Gone(at),
        Ok(Some(_)) => why.is_none().then_some(Fault::Omitted),
        // Another node may have named it.
        Ok(None) => node.recent.head().filter(|head| *head >= at.height).map(|_| Fault::Stale),
        Err(error) => return error,
    };
    node.missing(subject, fault, why.unwrap_or(NULL))
}

/// The block with its transactions, checked; without receipts, and so without movements.
pub(crate) async fn block_without_movements(node: &Node, at: BlockRef) -> Result<Fetched, NodeError> {
    let contents = read_body(node, at, body(node, at).await, Senders::All).await?;
    let digest = Digest { beneficiary: contents.sealed.header.beneficiary, ..Digest::default() };
    Ok(Fetched {
        txids: contents.txids(),
        sealed: contents.sealed,
        is_checked: contents.is_checked,
        is_denied: false,
        digest,
    })
}

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

/// The block with all that it did, every part asked for by its hash, at once.
pub(crate) async fn block(node: &Node, at: BlockRef, senders: Senders<'_>) -> Result<Fetched, NodeError> {
    let (body, receipts, traces) = tokio::join!(body(node, at), block_receipts(node, at), traces::of_block(node, at));
    let contents = read_body(node, at, body, senders).await?;
    let subject = format!("the receipts of block {}", at.height);
    let receipts = match receipts {
        Ok(Some(mut receipts)) => {
            // Polygon's Erigon gives that of a state sync by itself alone.
            if contents.apart && receipts.len() + 1 == contents.transactions.len() {
                receipts.extend(last_receipt(node, &contents, &subject).await?);
            }
            receipts
        }
        Ok(None) => receipts_one_by_one(node, at, &contents, &subject).await?,
        Err(Refusal::Absent(why)) => return Err(gone_or_missing(node, at, &subject, Some(&why)).await),
        Err(Refusal::Null(_)) => return Err(gone_or_missing(node, at, &subject, None).await),
        Err(refusal) => return Err(refusal).or_fail(node, &subject),
    };
    let are_committed = check_receipts(node, &contents, &subject, &receipts)?;
    let is_checked = contents.is_checked && are_committed;
    if is_checked {
        let base_fee = contents.sealed.header.base_fee_per_gas.unwrap_or(0);
        if let Some((fault, why)) = diagnose::beside(contents.committed(), &receipts, base_fee, at) {
            node.doubt(node.contradiction(&subject, "what is committed to", fault, why));
        }
    }
    let is_denied = !contents.sealed.is_foreign && !is_checked;
    let txids = contents.txids();
    let committed = contents.committed().iter().map(|transaction| is_checked && !transaction.is_foreign);
    let committed: Vec<bool> = committed.chain([false]).collect();
    let Contents { sealed, transactions, withdrawals, apart, .. } = contents;
    let withdrawals = withdrawals.filter(|_| node.family.pays_withdrawals()).unwrap_or_default();
    let is_state_sync = apart || transactions.last().is_some_and(|last| node.family.is_state_sync(last.kind));
    let is_of_another_family =
        sealed.is_foreign || !node.family.knows() && transactions.iter().any(|transaction| transaction.is_foreign);
    let mut digest = Digest::new(&sealed.header, is_of_another_family, transactions, receipts, &withdrawals).map_err(
        |(id, why)| {
            node.contradiction(&format!("the receipt of transaction {id}"), "its transaction", Fault::Forged, why)
        },
    )?;
    digest.transactions.iter_mut().zip(committed).for_each(|(tx, committed)| tx.is_committed &= committed);
    if let Some(last) = digest.transactions.last_mut().filter(|_| is_state_sync) {
        (last.is_state_sync, last.is_told) = (true, false);
    }
    if !node.family.pays_beneficiary() {
        digest.transactions.iter_mut().for_each(|tx| tx.tip = U256::ZERO);
    }
    let burns = node.family.burns(at.height, sealed.header.excess_blob_gas.is_some());
    traces::explain(node, at, &mut digest, traces?, burns).await?;
    Ok(Fetched { sealed, txids, is_checked, is_denied, digest })
}

async fn body(node: &Node, at: BlockRef) -> Result<Option<BlockJson<Transaction>>, Refusal> {
    let subject = format!("block {}", at.height);
    node.ask_large("eth_getBlockByHash", json!([B256::from(at.hash.0), true]), &subject).await
}

/// A block's parts, held against its header.
struct Contents {
    sealed: SealedHeader,
    transactions: Vec<Transaction>,
    /// Is the last of them one to which nothing commits?
    apart: bool,
    /// Was everything else held against the header?
    is_checked: bool,
    withdrawals: Option<Vec<Withdrawal>>,
}

impl Contents {
    fn txids(&self) -> Vec<B256> {
        self.transactions.iter().map(|transaction| transaction.id).collect()
    }

    fn committed(&self) -> &[Transaction] {
        &self.transactions[..self.transactions.len() - usize::from(self.apart)]
    }
}

async fn read_body(
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
            let count = count(node, header, at).await;
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

/// How many transactions the block has, by receipts that its header commits to; nothing where the node does not give them.
async fn count(node: &Node, header: &Header, at: BlockRef) -> Option<usize> {
    let receipts = block_receipts(node, at).await.ok()??;
    verify::receipts(&receipts, header).is_ok().then_some(receipts.len())
}

/// All receipts of the block; `None` where they are to be asked for one by one.
async fn block_receipts(node: &Node, at: BlockRef) -> Result<Option<Vec<Receipt>>, Refusal> {
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

async fn last_receipt(node: &Node, contents: &Contents, subject: &str) -> Result<Option<Receipt>, NodeError> {
    let Some(last) = contents.transactions.last() else { return Ok(None) };
    match node.ask::<Option<Receipt>>("eth_getTransactionReceipt", json!([last.id]), subject).await {
        Ok(receipt) => Ok(receipt),
        Err(refusal) => refusal.in_words().map(|_| None),
    }
}

async fn receipts_one_by_one(
    node: &Node,
    at: BlockRef,
    contents: &Contents,
    subject: &str,
) -> Result<Vec<Receipt>, NodeError> {
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
fn check_receipts(node: &Node, contents: &Contents, subject: &str, receipts: &[Receipt]) -> Result<bool, NodeError> {
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

/// The block that a transaction is in: by the node's word, and where that is one of these, it is.
pub(crate) async fn mined(
    node: &Node,
    txid: B256,
    among: impl Fn(BlockRef) -> bool,
) -> Result<Option<BlockRef>, NodeError> {
    #[derive(Deserialize)]
    struct Found {
        hash: B256,
        #[serde(flatten)]
        place: Place,
    }
    let subject = format!("transaction {txid}");
    let found: Option<Found> =
        node.ask("eth_getTransactionByHash", json!([txid]), &subject).await.or_fail(node, &subject)?;
    let Some(Found { hash, place }) = found else { return Ok(None) };
    is_asked_for(node, &subject, txid, hash)?;
    let Some((number, block)) = place.block_number.zip(place.block_hash) else { return Ok(None) };
    let at = BlockRef { height: Height(number.to()), hash: BlockHash(block.0) };
    if among(at) {
        let contents = read_body(node, at, body(node, at).await, Senders::Of(&Watch::default())).await?;
        if contents.is_checked && contents.transactions.iter().all(|one| one.id != txid) {
            let block = format!("block {}, which it is said to be in", at.height);
            return Err(node.contradiction(&subject, &block, Fault::Forged, "it is not among its transactions"));
        }
    }
    Ok(Some(at))
}

fn is_asked_for(node: &Node, subject: &str, asked: B256, given: B256) -> Result<(), NodeError> {
    match asked == given {
        true => Ok(()),
        false => Err(node.contradiction(subject, "what was asked for", Fault::Reordered, format!("it is {given}"))),
    }
}

/// A transaction that waits for a block behind this one, if the node knows it as such: its sender has sent none with its nonce up to there.
pub(crate) async fn pending(node: &Node, txid: B256, after: StateAt) -> Result<Option<Transaction>, NodeError> {
    let subject = format!("transaction {txid}");
    let found: Option<Transaction> =
        node.ask("eth_getTransactionByHash", json!([txid]), &subject).await.or_fail(node, &subject)?;
    let Some(found) = found else { return Ok(None) };
    is_asked_for(node, &subject, txid, found.id)?;
    let is_pending = found.place.block_hash.is_none() && found.place.block_number.is_none();
    if !is_pending || found.is_foreign {
        return Ok(None);
    }
    found
        .check(keccak256(&found.bytes))
        .and_then(|()| found.check_sender())
        .map_err(|why| node.contradiction(&subject, "its own bytes", Fault::Forged, why))?;
    let next = state::nonce(node, after, found.sender).await?;
    if found.nonce < next {
        // A node's pool may be a moment behind its chain: nothing follows but that it does not wait.
        let why = format!("its nonce is {}, and its sender's next one is {next}", found.nonce);
        let against = format!("the state of block {}", after.block.height);
        let error = node.contradiction(&format!("{subject} that waits"), &against, Fault::Stale, why);
        tracing::warn!(kind = Fault::Stale.as_str(), "{error}");
        return Ok(None);
    }
    Ok(Some(found))
}
