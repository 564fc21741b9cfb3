//! What an answer must agree with: a header its hash, a body and receipts their roots, a balance its state root.
//!
//! Pure. Everything returns, in words, how it does not agree. The codec is Ethereum's (headers up to the fields of
//! Amsterdam, transactions of types 0 to 4); a chain of another family fails its header's check here.

use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root};
use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{EthereumTxEnvelope, Header, ReceiptEnvelope, TxEip4844};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::proof::verify_proof;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};

/// A transaction as blocks hold it, without blobs.
pub(crate) type Transaction = EthereumTxEnvelope<TxEip4844>;

/// The header's fields must hash to its hash.
pub(crate) fn header(header: &Header, hash: B256) -> Result<(), String> {
    equal(header.hash_slow(), hash)
}

/// The transactions must rebuild the header's `transactionsRoot`.
pub(crate) fn transactions(transactions: &[Transaction], root: B256) -> Result<(), String> {
    equal(calculate_transaction_root(transactions), root)
}

/// The withdrawals must rebuild the header's `withdrawalsRoot`, or both must be absent.
pub(crate) fn withdrawals(withdrawals: Option<&[Withdrawal]>, root: Option<B256>) -> Result<(), String> {
    match (withdrawals, root) {
        (None, None) => Ok(()),
        (Some(withdrawals), Some(root)) => equal(calculate_withdrawals_root(withdrawals), root),
        (Some([]), None) => Ok(()),
        (Some(_), None) => Err("there are withdrawals, and the header commits to none".into()),
        (None, Some(_)) => Err("there are none, and the header commits to some".into()),
    }
}

/// The receipts must rebuild the header's `receiptsRoot`, and their blooms its `logsBloom`.
pub(crate) fn receipts(receipts: &[ReceiptEnvelope], header: &Header) -> Result<(), String> {
    equal(calculate_receipt_root(receipts), header.receipts_root)?;
    let mut bloom = Bloom::ZERO;
    for receipt in receipts {
        bloom |= *receipt.logs_bloom();
    }
    (bloom == header.logs_bloom).then_some(()).ok_or_else(|| "the blooms do not add up to the header's".into())
}

/// A transaction must hash to its id, and its signature must be its sender's.
///
/// A signature of zeros, which no real network takes, is what test nodes give a transaction of an account that they
/// impersonate; its id and sender are then what the node says.
pub(crate) fn sender(transaction: &Transaction, sender: Address) -> Result<(), String> {
    let signature = transaction.signature();
    if signature.r().is_zero() && signature.s().is_zero() {
        return Ok(());
    }
    equal(keccak256(transaction.encoded_2718()), *transaction.tx_hash())?;
    let recovered = transaction.recover_signer_unchecked().map_err(|error| error.to_string())?;
    (recovered == sender)
        .then_some(())
        .ok_or_else(|| format!("it is said to be from {sender}, and was signed by {recovered}"))
}

/// An account as `eth_getProof` gives it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountProof {
    pub(crate) address: Address,
    pub(crate) balance: U256,
    pub(crate) nonce: alloy::primitives::U64,
    pub(crate) code_hash: B256,
    pub(crate) storage_hash: B256,
    pub(crate) account_proof: Vec<Bytes>,
}

/// The account's balance, if the proof leads from the state root to what it claims: a leaf with exactly these fields, or
/// for an account without any the absence of a leaf.
pub(crate) fn account(proof: &AccountProof, address: Address, state_root: B256) -> Result<U256, String> {
    if proof.address != address {
        return Err(format!("it is about {}", proof.address));
    }
    let leaf = TrieAccount {
        nonce: proof.nonce.to(),
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let key = Nibbles::unpack(keccak256(address));
    let is_empty = leaf.nonce == 0 && leaf.balance.is_zero() && is_codeless(&leaf);
    if is_empty && verify_proof(state_root, key, None, &proof.account_proof).is_ok() {
        return Ok(U256::ZERO);
    }
    let expected = alloy::rlp::encode(leaf);
    verify_proof(state_root, key, Some(expected), &proof.account_proof).map_err(|error| in_short(&error))?;
    Ok(proof.balance)
}

/// Some nodes give an absent account zeros for hashes.
fn is_codeless(leaf: &TrieAccount) -> bool {
    (leaf.code_hash == KECCAK256_EMPTY || leaf.code_hash.is_zero())
        && (leaf.storage_root == EMPTY_ROOT_HASH || leaf.storage_root.is_zero())
}

/// The library's error repeats whole nodes of the trie.
fn in_short(error: &alloy_trie::proof::ProofVerificationError) -> String {
    use alloy_trie::proof::ProofVerificationError::{RootMismatch, ValueMismatch};
    match error {
        RootMismatch { .. } => "it does not begin at the state root".into(),
        ValueMismatch { .. } => "it leads to something else than it claims".into(),
        _ => "its nodes are no trie".into(),
    }
}

fn equal(rebuilt: B256, expected: B256) -> Result<(), String> {
    (rebuilt == expected).then_some(()).ok_or_else(|| format!("{rebuilt} was rebuilt, {expected} is committed to"))
}
