//! Proofs of accounts and of words of their storage (`eth_getProof`, EIP-1186), each verified against the state root.

use alloy::primitives::{Address, B256, U256};
use assay_types::{Amount, NodeError, Proof};
use serde_json::json;

use crate::block::{StateAt, by_hash};
use crate::node::{Node, OrFail, Refusal};
use crate::state::elsewhere;
use crate::state::horizon::{Of, meant};
use crate::state::reader::Quantity;
use crate::verify::{self, AccountProof};

/// Proofs that are held at a time.
const AT_ONCE: usize = 500;

/// A balance that was proven, with what proves it where that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) amount: Amount,
    pub(crate) proof: Option<Proof>,
}

/// The accounts that could be proven. None where the node gives no proofs, or where the state root proves nothing.
pub(crate) async fn each_proof<K: Copy, T>(
    node: &Node,
    at: StateAt,
    accounts: &[(K, Address)],
    take: impl Fn(K, AccountProof) -> T,
) -> Result<Vec<T>, NodeError> {
    let mut proven = Vec::with_capacity(accounts.len());
    if !at.is_provable() {
        return Ok(proven);
    }
    let block = by_hash(at.block.hash);
    for some in accounts.chunks(AT_ONCE) {
        if !node.can.proofs.is_there() {
            return Ok(Vec::new());
        }
        let questions = some.iter().map(|(_, address)| json!([address, [], block])).collect();
        let answers = node.ask_many::<AccountProof>("eth_getProof", questions, "a proof").await?;
        for ((whose, address), answer) in some.iter().zip(answers) {
            // An address in words takes a hash.
            let subject = || format!("the proof of {address} at block {}", at.block.height);
            match answer {
                Ok(proof) => {
                    checked(node, at, (*address, &[]), &proof, &subject()).await?;
                    proven.push(take(*whose, proof));
                }
                Err(Refusal::NoMethod(why)) => node.can.proofs.refuse(node, &subject(), &why)?,
                // Some say of an account that is not there that they do not find it, in words of their own.
                Err(Refusal::Absent(why) | Refusal::Other(why)) => {
                    tracing::debug!(node = node.name, "no proof: {}: {why}", subject());
                }
                Err(refusal) => match meant(node, at.block, Of::Proofs, refusal).await {
                    Refusal::Absent(why) => {
                        tracing::debug!(node = node.name, "no proofs of block {}: {why}", at.block.height);
                        return Ok(proven);
                    }
                    refusal => return Err(refusal).or_fail(node, &subject()),
                },
            }
        }
    }
    Ok(proven)
}

/// How many transactions this account has sent, proven where the node proves anything.
pub(crate) async fn nonce(node: &Node, at: StateAt, address: Address) -> Result<u64, NodeError> {
    let subject = format!("the nonce of {address} at block {}", at.block.height);
    let proven = each_proof(node, at, &[((), address)], |(), proof| proof.nonce.to()).await?;
    match proven[..] {
        [nonce] => Ok(nonce),
        _ if node.can.proofs.is_there() && at.is_provable() => {
            Err(node.missing(&subject, None, "its account is not proven"))
        }
        _ => {
            let params = json!([address, by_hash(at.block.hash)]);
            let said: Quantity = node.ask("eth_getTransactionCount", params, &subject).await.or_fail(node, &subject)?;
            Ok(said.0.saturating_to())
        }
    }
}

/// The proof of an account, with these words of its storage, verified against the state root, as [`verify::storage`] has them. A refusal means
/// what [`meant`] says.
///
/// # Errors
/// A contradiction where it does not verify.
pub(crate) async fn prove(
    node: &Node,
    at: StateAt,
    address: Address,
    keys: &[B256],
) -> Result<Result<(AccountProof, Option<Vec<U256>>), Refusal>, NodeError> {
    let subject = format!("the proof of {address} at block {}", at.block.height);
    let block = by_hash(at.block.hash);
    let refusal = match node.ask::<AccountProof>("eth_getProof", json!([address, keys, block]), &subject).await {
        Ok(proof) => {
            let words = checked(node, at, (address, keys), &proof, &subject).await?;
            return Ok(Ok((proof, words)));
        }
        Err(refusal) => meant(node, at.block, Of::Proofs, refusal).await,
    };
    // It may be more keys than it takes.
    if keys.len() < 2 || !matches!(refusal, Refusal::Other(_) | Refusal::TooMuch(_)) {
        return Ok(Err(refusal));
    }
    let (some, others) = keys.split_at(keys.len() / 2);
    // Where one half is refused to its last key, the other one is of no use.
    let (mut proof, words) = match Box::pin(prove(node, at, address, some)).await? {
        Ok(some) => some,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (other, others) = match Box::pin(prove(node, at, address, others)).await? {
        Ok(others) => others,
        Err(refusal) => return Ok(Err(refusal)),
    };
    proof.storage_proof.get_or_insert_default().extend(other.storage_proof.unwrap_or_default());
    Ok(Ok((proof, words.zip(others).map(|(words, others)| [words, others].concat()))))
}

/// The same of a contract of which a node need not prove anything: `None` where it gives no proofs at all, `Err` where it refuses this one, in words. What
/// rests on it is unknown then, if the node proves others (`state::withhold`).
pub(crate) async fn prove_contract(
    node: &Node,
    at: StateAt,
    address: Address,
    keys: &[B256],
) -> Result<Option<Result<(AccountProof, Option<Vec<U256>>), String>>, NodeError> {
    if !node.can.proofs.is_there() {
        return Ok(None);
    }
    let subject = format!("the proof of contract {address} at block {}", at.block.height);
    match prove(node, at, address, keys).await? {
        Ok(proven) => Ok(Some(Ok(proven))),
        Err(Refusal::NoMethod(why)) => node.can.proofs.refuse(node, &subject, &why).map(|()| None),
        Err(refusal) => {
            let why = refusal.in_words()?;
            tracing::debug!(node = node.name, "no proof: {subject}: {why}");
            Ok(Some(Err(why)))
        }
    }
}

/// The words that a proof shows of these slots of an account, as [`verify::storage`] has them.
///
/// # Errors
/// A contradiction where it does not verify.
pub(crate) async fn checked(
    node: &Node,
    at: StateAt,
    (address, keys): (Address, &[B256]),
    proof: &AccountProof,
    subject: &str,
) -> Result<Option<Vec<U256>>, NodeError> {
    match verify::storage(proof, address, at.root, keys) {
        Ok(words) => {
            node.note_proven(at.block.hash);
            Ok(words)
        }
        Err(why) => {
            let fault = elsewhere::of_proof(node, at, (address, keys), proof).await;
            Err(node.contradiction(subject, "the state root", fault, why))
        }
    }
}
