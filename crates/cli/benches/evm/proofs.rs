//! State proofs verified on one core, without a node: accounts of a trie in which eight levels lead to each, as on the main network.

use std::hint::black_box;
use std::time::Instant;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, keccak256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use assay_evm::{AccountProof, verify_account};
use serde_json::json;

/// From the state root to an account's leaf.
pub const LEVELS: usize = 8;
const ACCOUNTS: u64 = 1_000;
const SECONDS: f64 = 2.0;

/// Accounts a second.
pub fn verified_each_second() -> f64 {
    let (root, proofs) = proofs();
    let (begun, mut verified) = (Instant::now(), 0u32);
    while begun.elapsed().as_secs_f64() < SECONDS {
        for proof in &proofs {
            let balance = verify_account(black_box(proof), proof.address, root);
            assert_eq!(balance, Ok(proof.balance));
        }
        verified += u32::try_from(proofs.len()).unwrap();
    }
    f64::from(verified) / begun.elapsed().as_secs_f64()
}

/// A state root, and the proofs of some of its accounts. Each branch on the way to one of these has all sixteen children.
fn proofs() -> (B256, Vec<AccountProof>) {
    let address = |number: u64| Address::from_word(keccak256(number.to_be_bytes()));
    let leaf = |number: u64| TrieAccount {
        nonce: number,
        balance: (u128::from(number) << 64).try_into().unwrap(),
        storage_root: EMPTY_ROOT_HASH,
        code_hash: KECCAK256_EMPTY,
    };
    let wanted: Vec<Nibbles> = (0..ACCOUNTS).map(|number| Nibbles::unpack(keccak256(address(number)))).collect();
    let mut leaves: std::collections::BTreeMap<Nibbles, Vec<u8>> = Default::default();
    for (number, key) in (0..).zip(&wanted) {
        for level in 0..LEVELS - 1 {
            for nibble in 0..16 {
                let mut sibling = key.to_vec();
                sibling[level] = nibble;
                leaves.entry(Nibbles::from_nibbles(sibling)).or_insert_with(|| alloy::rlp::encode(leaf(7)));
            }
        }
        leaves.insert(*key, alloy::rlp::encode(leaf(number)));
    }
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(wanted.clone()));
    leaves.iter().for_each(|(key, leaf)| builder.add_leaf(*key, leaf));
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let proof = |(number, key): (u64, &Nibbles)| {
        let account_proof: Vec<Bytes> = nodes.matching_nodes_sorted(key).into_iter().map(|(_, node)| node).collect();
        assert_eq!(account_proof.len(), LEVELS);
        let TrieAccount { nonce, balance, storage_root, code_hash } = leaf(number);
        let answer = json!({
            "address": address(number), "balance": balance, "nonce": format!("{nonce:#x}"), "codeHash": code_hash,
            "storageHash": storage_root, "accountProof": account_proof, "storageProof": [],
        });
        serde_json::from_value(answer).unwrap()
    };
    (root, (0..).zip(&wanted).map(proof).collect())
}
