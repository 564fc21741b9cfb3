//! Of which block an answer is that is not of the one that was asked for. The node is asked, and only after it contradicted something: what it
//! says elsewhere tells one that is late, or several on several forks, from one that makes something up.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use assay_types::{Amount, BlockRef, Fault, Height};
use serde_json::json;

use crate::block::{StateAt, by_hash, headers};
use crate::diagnose;
use crate::node::Node;
use crate::state::reader::call_laid;
use crate::verify::{self, AccountProof};

/// Nobody's address.
pub(crate) const STRANGER: Address = Address::repeat_byte(0xa5);

/// Of what kind a proof is that does not verify. The headers that were seen lately tell whether it is of another block; where they do not, those below are
/// asked for, as many as nodes keep states of that are no archive, and some above: a node answers while its chain goes on.
pub(crate) async fn of_proof(
    node: &Node,
    StateAt { block: at, root }: StateAt,
    (address, keys): (Address, &[B256]),
    proof: &AccountProof,
) -> Fault {
    const BELOW: u64 = 128;
    const ABOVE: u64 = 8;
    let diagnose = || diagnose::proof(proof, address, keys, (at.height, root), &node.recent.roots());
    let fault = diagnose();
    // What its nodes lead to from a root of their own is at least some block's.
    let leads = |root: &B256| match proof.address == address {
        true => verify::storage(proof, address, *root, keys).is_ok(),
        false => verify::account(proof, proof.address, *root).is_ok(),
    };
    let Some(other) = proof.account_proof.first().map(keccak256).filter(leads) else { return fault };
    if fault != Fault::Forged {
        return fault;
    }
    let around = (at.height.0.saturating_sub(BELOW)..=at.height.0 + ABOVE).filter(|height| *height != at.height.0);
    // What they say is in their headers, which are noted.
    futures_util::future::join_all(around.map(|height| headers::hash_at(node, Height(height)))).await;
    match diagnose() {
        Fault::Forged if is_state_of_a_block(node, at, other).await => Fault::MixedForks,
        fault => fault,
    }
}

/// Does what the node proves of a stranger at this block lead from this root too? Who makes up one account's proof does not think of that.
async fn is_state_of_a_block(node: &Node, at: BlockRef, root: B256) -> bool {
    let params = json!([STRANGER, [], by_hash(at.hash)]);
    let proof = node.ask::<AccountProof>("eth_getProof", params, "a proof").await;
    proof.is_ok_and(|proof| verify::account(&proof, STRANGER, root).is_ok())
}

/// Of what kind the answer to an `eth_call` at this block is that proofs deny: the block on which the node runs one says of itself which it is.
pub(crate) async fn of_call(node: &Node, at: BlockRef) -> Fault {
    /// Returns NUMBER, BLOCKHASH of the block before that, and a word that is known: who alters every answer does not know that this one is looked at.
    const CODE: &str = "0x43600052600143034060205260011960405260606000f3";
    const KNOWN: U256 = U256::MAX.wrapping_sub(U256::ONE);
    let Ok(answer) = call_laid(node, at.hash, CODE, &Bytes::new(), "its block").await else { return Fault::Forged };
    let (Ok(height), Some(before)) = (u64::try_from(word(&answer, 0)), answer.get(32..64).map(B256::from_slice)) else {
        return Fault::Forged;
    };
    if answer.len() != 96 || word(&answer, 64) != KNOWN {
        return Fault::Forged;
    }
    let fault = diagnose::of_another_block(at.height, Height(height));
    let Some(below) = Height(height).previous().filter(|_| !before.is_zero()) else { return Fault::Forged };
    // By some rules NUMBER is that of another chain, and BLOCKHASH is nothing that headers have.
    let expected = headers::hash_at(node, below).await.ok().flatten().map(|hash| B256::from(hash.0));
    match (fault, expected) {
        (Fault::Stale | Fault::Reordered, Some(expected)) if expected == before => fault,
        (Fault::MixedForks, Some(expected)) if expected != before => Fault::MixedForks,
        _ => Fault::Forged,
    }
}

/// Of what kind a native balance at this block is that its proof denies: one at a block near by says of which it is, where the node runs no code of ours.
pub(crate) async fn of_balance(node: &Node, at: BlockRef, address: Address, said: Amount) -> Fault {
    const BELOW: u64 = 8;
    const ABOVE: u64 = 2;
    let fault = of_call(node, at).await;
    if fault != Fault::Forged {
        return fault;
    }
    let below = (at.height.0.saturating_sub(BELOW)..at.height.0).rev();
    for height in below.chain(at.height.0 + 1..=at.height.0 + ABOVE).map(Height) {
        let Ok(header) = headers::header_at(node, height).await else { continue };
        let state = StateAt::after(&header);
        let params = json!([address, [], by_hash(state.block.hash)]);
        let Ok(proof) = node.ask::<AccountProof>("eth_getProof", params, "a proof").await else { break };
        if proof.balance == said.0 && verify::account(&proof, address, state.root).is_ok() {
            return diagnose::of_another_block(at.height, height);
        }
    }
    Fault::Forged
}

fn word(answer: &[u8], from: usize) -> U256 {
    answer.get(from..from + 32).map_or(U256::MAX, U256::from_be_slice)
}
