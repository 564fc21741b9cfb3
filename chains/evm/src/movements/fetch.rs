//! One block's answers from one node, each checked against the header, and digested.

use alloy::primitives::{B256, U256};
use assay_types::{BlockRef, Fault, NodeError};

use crate::block::body::{self, Senders};
use crate::block::headers::SealedHeader;
use crate::block::{Contents, StateAt, receipts};
use crate::movements::digest::Digest;
use crate::movements::traces;
use crate::node::Node;

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

/// The block with its transactions, checked; without receipts, and so without movements.
pub(crate) async fn block_without_movements(node: &Node, at: BlockRef) -> Result<Fetched, NodeError> {
    let contents = body::read(node, at, body::ask(node, at).await, Senders::All).await?;
    let digest = Digest { beneficiary: contents.sealed.header.beneficiary, ..Digest::default() };
    Ok(Fetched {
        txids: contents.txids(),
        sealed: contents.sealed,
        is_checked: contents.is_checked,
        is_denied: false,
        digest,
    })
}

/// The block with all that it did, every part asked for by its hash, at once.
pub(crate) async fn block(node: &Node, at: BlockRef, senders: Senders<'_>) -> Result<Fetched, NodeError> {
    let (body, receipts, traces) =
        tokio::join!(body::ask(node, at), receipts::ask(node, at), traces::of_block(node, at));
    let contents = body::read(node, at, body, senders).await?;
    let (receipts, is_checked) = receipts::read(node, at, receipts, &contents).await?;
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
