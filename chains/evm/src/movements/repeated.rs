//! What a trace says again: a contract that pays someone, and then destroys itself to the benefit of the same one with as much left, moved it twice;
//! of one that destroys itself to its own benefit, and stays, a widely used tracer says the same, and it moved once. What the payer has after the
//! block decides.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::{Address, U256};
use assay_types::{BlockRef, NodeError, Watch};

use crate::movements::digest::Tx;
use crate::movements::fetch::Fetched;
use crate::movements::told::{MOST_BESIDE, before, flows};
use crate::node::Node;
use crate::state::proofs::each_proof;

/// Takes in what moved again, of the transactions that concern a watched account. Where that cannot be found out, not all is told of them.
pub(crate) async fn settle(node: &Node, at: BlockRef, fetched: &mut Fetched, watch: &Watch) -> Result<(), NodeError> {
    let is_watched = |address: Address| watch.number(&address[..]).is_some();
    let concerns = |tx: &&Tx| {
        let all = tx.frames.iter().chain(tx.repeated.iter().map(|(_, frame)| frame));
        let mut all = all.flat_map(|frame| [frame.from, frame.to]).chain([tx.sender, tx.recipient]);
        !tx.repeated.is_empty() && all.any(is_watched)
    };
    let concerned = fetched.digest.transactions.iter().filter(concerns);
    let payers: BTreeSet<Address> = concerned.flat_map(|tx| tx.repeated.iter().map(|(_, frame)| frame.from)).collect();
    if payers.is_empty() {
        return Ok(());
    }
    let (watched, others): (Vec<Address>, Vec<Address>) = payers.into_iter().partition(|payer| is_watched(*payer));
    let payers: Vec<Address> = watched.into_iter().chain(others.into_iter().take(MOST_BESIDE)).collect();
    let (mut twice, mut once) = (BTreeSet::new(), BTreeSet::new());
    if fetched.state().is_provable() {
        let asked: Vec<(Address, Address)> = payers.iter().map(|payer| (*payer, *payer)).collect();
        let after = each_proof(node, fetched.state(), &asked, |payer, proof| (payer, proof)).await?;
        let before = before(node, at, fetched, payers.iter()).await?;
        let flows = flows(&fetched.digest);
        let mut paid: HashMap<Address, U256> = HashMap::new();
        for (_, frame) in fetched.digest.transactions.iter().flat_map(|tx| &tx.repeated) {
            let paid = paid.entry(frame.from).or_default();
            *paid = paid.saturating_add(frame.value);
        }
        for (payer, after) in after {
            let (Some(before), Some(flow)) = (before.get(&payer), flows.get(&payer)) else { continue };
            let (told, held) = flow.held(before.balance, after.balance, true);
            if told == held {
                once.insert(payer);
            } else if told == held.saturating_add(paid[&payer]) {
                twice.insert(payer);
            }
        }
    }
    for tx in &mut fetched.digest.transactions {
        let repeated = std::mem::take(&mut tx.repeated);
        tx.is_told &= repeated.iter().all(|(_, frame)| twice.contains(&frame.from) || once.contains(&frame.from));
        let again = repeated.into_iter().filter(|(_, frame)| twice.contains(&frame.from));
        let mut frames: Vec<_> = again.chain(std::mem::take(&mut tx.frames).into_iter().enumerate()).collect();
        frames.sort_by_key(|(place, _)| *place); // stable: each before the one that stood at its place
        tx.frames = frames.into_iter().map(|(_, frame)| frame).collect();
    }
    Ok(())
}
