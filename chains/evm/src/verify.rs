//! What an answer must agree with: a header its hash, a body and receipts their roots, a balance its state root.
//!
//! Pure. Everything returns, in words, how it does not agree. The codec is Ethereum's (headers up to the fields of
//! Amsterdam, transactions of types 0 to 4); a chain of another family fails its header's check here.

use alloy::consensus::proofs::{calculate_receipt_root, calculate_withdrawals_root, ordered_trie_root_with_encoder};
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
pub(crate) fn transactions(transactions: &[&Transaction], root: B256) -> Result<(), String> {
    equal(ordered_trie_root_with_encoder(transactions, |transaction, to| transaction.encode_2718(to)), root)
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
        RootMismatch { .. } => "it does not begin at that root".into(),
        ValueMismatch { .. } => "what it claims does not follow from that root".into(),
        _ => "its nodes are no trie".into(),
    }
}

fn equal(rebuilt: B256, expected: B256) -> Result<(), String> {
    (rebuilt == expected).then_some(()).ok_or_else(|| format!("{rebuilt} was rebuilt, {expected} is committed to"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::{Eip658Value, Receipt, ReceiptWithBloom};
    use alloy::primitives::{Log, U64};
    use alloy_trie::HashBuilder;
    use alloy_trie::proof::ProofRetainer;

    /// A state of a hundred accounts, and the proof of this address, there or not.
    fn state(address: Address) -> (B256, AccountProof) {
        let account = |number: u8| TrieAccount {
            nonce: u64::from(number % 3),
            balance: U256::from(number) * U256::from(1_000_000_007u64),
            storage_root: EMPTY_ROOT_HASH,
            code_hash: KECCAK256_EMPTY,
        };
        let mut leaves: Vec<_> =
            (1..=100).map(|n| (Nibbles::unpack(keccak256(Address::repeat_byte(n))), account(n))).collect();
        leaves.sort_by_key(|(key, _)| *key);
        let key = Nibbles::unpack(keccak256(address));
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![key]));
        for (key, account) in &leaves {
            builder.add_leaf(*key, &alloy::rlp::encode(account));
        }
        let root = builder.root();
        let nodes = builder.take_proof_nodes().matching_nodes_sorted(&key);
        let leaf = leaves.iter().find(|(other, _)| *other == key).map(|(_, account)| *account).unwrap_or_default();
        let proof = AccountProof {
            address,
            balance: leaf.balance,
            nonce: U64::from(leaf.nonce),
            code_hash: leaf.code_hash,
            storage_hash: leaf.storage_root,
            account_proof: nodes.into_iter().map(|(_, node)| node).collect(),
        };
        (root, proof)
    }

    #[test]
    fn a_proof_gives_the_balance_and_an_absent_account_has_none() {
        let there = Address::repeat_byte(42);
        let (root, proof) = state(there);
        assert_eq!(account(&proof, there, root), Ok(proof.balance));
        assert!(!proof.balance.is_zero() && proof.account_proof.len() > 1);
        let absent = Address::repeat_byte(200);
        let (same_root, proof) = state(absent);
        assert_eq!((same_root, account(&proof, absent, root)), (root, Ok(U256::ZERO)));
    }

    #[test]
    fn a_tampered_proof_is_refused_whatever_was_changed() {
        for address in [Address::repeat_byte(42), Address::repeat_byte(200)] {
            let (root, honest) = state(address);
            for node in 0..honest.account_proof.len() {
                for byte in 0..honest.account_proof[node].len() {
                    let mut proof = honest.clone();
                    let mut bytes = proof.account_proof[node].to_vec();
                    bytes[byte] ^= 1;
                    proof.account_proof[node] = bytes.into();
                    assert!(account(&proof, address, root).is_err(), "byte {byte} of node {node}");
                }
                let mut proof = honest.clone();
                proof.account_proof.remove(node);
                assert!(account(&proof, address, root).is_err(), "without node {node}");
            }
            let tampered = [
                AccountProof { balance: honest.balance + U256::from(1), ..honest.clone() },
                AccountProof { nonce: honest.nonce + U64::from(1), ..honest.clone() },
                AccountProof { code_hash: B256::repeat_byte(1), ..honest.clone() },
                AccountProof { storage_hash: B256::repeat_byte(1), ..honest.clone() },
                AccountProof { account_proof: vec![], ..honest.clone() },
                AccountProof { address: Address::repeat_byte(43), ..honest.clone() },
            ];
            for proof in &tampered {
                assert!(account(proof, address, root).is_err(), "{proof:?}");
            }
            assert!(account(&honest, address, B256::repeat_byte(9)).is_err());
            assert!(account(&honest, Address::repeat_byte(43), root).is_err());
        }
        // an account that is there cannot be passed off as absent
        let (root, honest) = state(Address::repeat_byte(42));
        let (_, nothing) = state(Address::repeat_byte(200));
        let denied = AccountProof { address: honest.address, ..nothing };
        assert!(account(&denied, honest.address, root).is_err());
        let denied = AccountProof { account_proof: honest.account_proof, ..denied };
        assert!(account(&denied, honest.address, root).is_err());
    }

    #[test]
    fn a_receipt_that_was_altered_rebuilds_no_root() {
        let receipt = |gas: u64, status: bool, data: u8| {
            let log = Log::new_unchecked(Address::repeat_byte(7), vec![B256::repeat_byte(1)], vec![data; 32].into());
            let receipt = Receipt { status: Eip658Value::Eip658(status), cumulative_gas_used: gas, logs: vec![log] };
            ReceiptEnvelope::Eip1559(ReceiptWithBloom::from(receipt))
        };
        let honest = vec![receipt(21_000, true, 1), receipt(42_000, true, 2)];
        let logs_bloom = *honest[0].logs_bloom() | *honest[1].logs_bloom();
        let header = Header { receipts_root: calculate_receipt_root(&honest), logs_bloom, ..Header::default() };
        assert_eq!(receipts(&honest, &header), Ok(()));
        let altered = [
            vec![receipt(21_000, false, 1), receipt(42_000, true, 2)],
            vec![receipt(21_001, true, 1), receipt(42_000, true, 2)],
            vec![receipt(21_000, true, 3), receipt(42_000, true, 2)],
            vec![receipt(42_000, true, 2), receipt(21_000, true, 1)],
            vec![receipt(21_000, true, 1)],
            vec![],
        ];
        for receipts_given in &altered {
            assert!(receipts(receipts_given, &header).is_err(), "{receipts_given:?}");
        }
        assert!(receipts(&honest, &Header { logs_bloom: Bloom::ZERO, ..header }).is_err());
    }
}
