//! What an answer must agree with: a header its hash, a body and receipts their roots (`trie`), a balance its state root (`proof`); what is hashed
//! together is so side by side (`keccak`).
//!
//! Pure. Everything returns, in words, how it does not agree. Headers are Ethereum's, up to the fields of Amsterdam, which the OP stack,
//! Polygon and BNB share; what stands in a block is read by `codec`.

pub(crate) mod keccak;
pub(crate) mod proof;
pub(crate) mod trie;

use std::collections::BTreeMap;

use alloy::consensus::Header;
use alloy::consensus::proofs::calculate_withdrawals_root;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use serde::de::IgnoredAny;

use crate::codec::{Receipt, Transaction};
use crate::verify::proof::Broken;

/// The header's fields must hash to its hash.
pub(crate) fn header(header: &Header, hash: B256) -> Result<(), String> {
    equal(header.hash_slow(), hash)
}

/// Has this JSON of a block fields that Ethereum's have not?
pub(crate) fn has_foreign_fields(block: &[u8]) -> bool {
    /// By the execution APIs' specification, and what nodes add to it.
    const OURS: [&str; 30] = [
        "hash",
        "parentHash",
        "sha3Uncles",
        "miner",
        "stateRoot",
        "transactionsRoot",
        "receiptsRoot",
        "logsBloom",
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "extraData",
        "mixHash",
        "nonce",
        "baseFeePerGas",
        "withdrawalsRoot",
        "blobGasUsed",
        "excessBlobGas",
        "parentBeaconBlockRoot",
        "requestsHash",
        "blockAccessListHash",
        "slotNumber",
        "totalDifficulty",
        "size",
        "uncles",
        "transactions",
        "withdrawals",
        "author",
    ];
    let fields: Result<BTreeMap<&str, IgnoredAny>, _> = serde_json::from_slice(block);
    fields.is_ok_and(|fields| fields.keys().any(|name| !OURS.contains(name)))
}

/// The transactions must rebuild the header's `transactionsRoot`. Hardhat's genesis has the hash of nothing there, which is no trie's.
pub(crate) fn transactions(transactions: &[Transaction], root: B256) -> Result<(), String> {
    if transactions.is_empty() && root == KECCAK256_EMPTY {
        return Ok(());
    }
    equal(root_of(transactions.iter().map(|transaction| &transaction.bytes[..])), root)
}

/// The root of a trie of these, each under its number.
pub(crate) fn root_of<'b>(encoded: impl Iterator<Item = &'b [u8]>) -> B256 {
    trie::root_of(&encoded.collect::<Vec<_>>())
}

/// The withdrawals must rebuild the header's `withdrawalsRoot`, or both must be absent.
pub(crate) fn withdrawals(withdrawals: Option<&[Withdrawal]>, root: Option<B256>) -> Result<(), String> {
    match (withdrawals, root) {
        (None | Some([]), None) => Ok(()),
        (Some(withdrawals), Some(root)) => equal(calculate_withdrawals_root(withdrawals), root),
        (Some(_), None) => Err("there are withdrawals, and the header commits to none".into()),
        (None, Some(_)) => Err("there are none, and the header commits to some".into()),
    }
}

/// What a receipt takes as RLP, about: most of it is its bloom.
const RECEIPT_BYTES: usize = 512;

pub(crate) fn receipts_root<'r>(receipts: impl IntoIterator<Item = &'r Receipt>) -> B256 {
    let receipts = receipts.into_iter();
    let count = receipts.size_hint().0;
    let (mut bytes, mut ends) = (Vec::with_capacity(count * RECEIPT_BYTES), Vec::with_capacity(count + 1));
    ends.push(0);
    for receipt in receipts {
        receipt.encode(&mut bytes);
        ends.push(bytes.len());
    }
    root_of(ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]))
}

/// The receipts must rebuild the header's `receiptsRoot`, and their blooms its `logsBloom`.
pub(crate) fn receipts(receipts: &[Receipt], header: &Header) -> Result<(), String> {
    equal(receipts_root(receipts), header.receipts_root)?;
    let bloom = receipts.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom);
    (bloom == header.logs_bloom).then_some(()).ok_or_else(|| "the blooms do not add up to the header's".into())
}

/// An account as `eth_getProof` gives it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountProof {
    /// Whose it says it is.
    pub address: Address,
    /// In wei, as it claims.
    pub balance: U256,
    pub(crate) nonce: alloy::primitives::U64,
    pub(crate) code_hash: B256,
    pub(crate) storage_hash: B256,
    pub(crate) account_proof: Vec<Bytes>,
    /// In the order of the keys that were asked for.
    pub(crate) storage_proof: Option<Vec<SlotProof>>,
}

/// Is this the hash of any code? Some nodes say zero of an account that is not there.
pub(crate) fn is_code(hash: B256) -> bool {
    !hash.is_zero() && hash != KECCAK256_EMPTY
}

impl AccountProof {
    /// Some nodes give an absent account zeros for hashes.
    pub(crate) fn has_code(&self) -> bool {
        is_code(self.code_hash)
    }

    /// What the state has of the account, as it claims.
    pub(crate) fn leaf(&self) -> TrieAccount {
        TrieAccount {
            nonce: self.nonce.to(),
            balance: self.balance,
            storage_root: self.storage_hash,
            code_hash: self.code_hash,
        }
    }
}

/// A word of an account's storage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct SlotProof {
    pub(crate) value: U256,
    pub(crate) proof: Vec<Bytes>,
}

/// The account's balance, if the proof leads from the state root to what it claims: a leaf with exactly these fields, or
/// for an account without any the absence of a leaf.
///
/// # Errors
/// In words, how it does not lead there.
pub fn account(proof: &AccountProof, address: Address, state_root: B256) -> Result<U256, String> {
    if proof.address != address {
        return Err(format!("it is about {}", proof.address));
    }
    let leaf = proof.leaf();
    let is_right = match proof::value(state_root, keccak256(address), &proof.account_proof).map_err(in_words)? {
        Some(found) => found == alloy::rlp::encode(leaf),
        None => leaf.nonce == 0 && leaf.balance.is_zero() && is_codeless(&leaf),
    };
    is_right.then_some(proof.balance).ok_or_else(|| in_words(Broken::Chain))
}

/// The words at these keys of the contract's storage, if the account's proof leads from the state root to its storage root,
/// and from there one of each key to its word; `None` where the account is proven to have no code.
pub(crate) fn storage(
    proof: &AccountProof,
    address: Address,
    state_root: B256,
    keys: &[B256],
) -> Result<Option<Vec<U256>>, String> {
    account(proof, address, state_root)?;
    if !proof.has_code() {
        return Ok(None);
    }
    let slots = proof.storage_proof.as_deref().unwrap_or_default();
    if slots.len() != keys.len() {
        return Err(format!("it is about {} slots, not {}", slots.len(), keys.len()));
    }
    slots.iter().zip(keys).map(|(slot, key)| word(slot, *key, proof.storage_hash)).collect::<Result<_, _>>().map(Some)
}

/// A word of zero has no leaf. Test nodes keep a leaf for one that has become zero, which says the same.
pub(crate) fn word(slot: &SlotProof, key: B256, storage_root: B256) -> Result<U256, String> {
    let in_words = |why| format!("slot {key}: {}", in_words(why));
    let is_right = match proof::value(storage_root, keccak256(key), &slot.proof).map_err(in_words)? {
        Some(found) => found == alloy::rlp::encode(slot.value),
        None => slot.value.is_zero(),
    };
    is_right.then_some(slot.value).ok_or_else(|| in_words(Broken::Chain))
}

/// Some nodes give an absent account zeros for hashes.
fn is_codeless(leaf: &TrieAccount) -> bool {
    !is_code(leaf.code_hash) && (leaf.storage_root == EMPTY_ROOT_HASH || leaf.storage_root.is_zero())
}

fn in_words(why: Broken) -> String {
    match why {
        Broken::Begin => "it does not begin at that root",
        Broken::Chain => "what it claims does not follow from that root",
        Broken::Node => "its nodes are no trie",
    }
    .into()
}

fn equal(rebuilt: B256, expected: B256) -> Result<(), String> {
    (rebuilt == expected).then_some(()).ok_or_else(|| format!("{rebuilt} was rebuilt, {expected} is committed to"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloy::primitives::{Log, U64};
    use alloy_trie::proof::ProofRetainer;
    use alloy_trie::{HashBuilder, Nibbles};

    /// The root of a trie of these leaves, and the proof of this key, there or not.
    pub(crate) fn trie(leaves: impl IntoIterator<Item = (B256, Vec<u8>)>, key: B256) -> (B256, Vec<Bytes>) {
        let mut leaves: Vec<_> = leaves.into_iter().map(|(key, leaf)| (Nibbles::unpack(key), leaf)).collect();
        leaves.sort();
        let key = Nibbles::unpack(key);
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![key]));
        for (key, leaf) in &leaves {
            builder.add_leaf(*key, leaf);
        }
        let root = builder.root();
        let nodes = builder.take_proof_nodes().matching_nodes_sorted(&key);
        (root, nodes.into_iter().map(|(_, node)| node).collect())
    }

    /// A state of a hundred accounts, one of them with this storage and code, and the proof of this address, there or not.
    pub(crate) fn state_with(address: Address, contract: Option<(Address, B256)>) -> (B256, AccountProof) {
        let account = |number: u8| {
            let contract = contract.filter(|(contract, _)| *contract == Address::repeat_byte(number));
            TrieAccount {
                nonce: u64::from(number % 3),
                balance: U256::from(number) * U256::from(1_000_000_007u64),
                storage_root: contract.map_or(EMPTY_ROOT_HASH, |(_, storage_root)| storage_root),
                code_hash: contract.map_or(KECCAK256_EMPTY, |_| B256::repeat_byte(0xc0)),
            }
        };
        let leaf = |number: u8| (keccak256(Address::repeat_byte(number)), alloy::rlp::encode(account(number)));
        let (root, account_proof) = trie((1..=100).map(leaf), keccak256(address));
        let leaf = (1..=100).find(|number| Address::repeat_byte(*number) == address).map(account).unwrap_or_default();
        let proof = AccountProof {
            address,
            balance: leaf.balance,
            nonce: U64::from(leaf.nonce),
            code_hash: leaf.code_hash,
            storage_hash: leaf.storage_root,
            account_proof,
            storage_proof: None,
        };
        (root, proof)
    }

    /// Real blocks: the first transaction on Ethereum, before receipts had a status, and one of OP Sepolia with its deposit.
    #[test]
    fn recorded_blocks_are_what_their_headers_commit_to() {
        use crate::block::headers::BlockJson;
        for name in ["ethereum-46147", "op-sepolia-26207960"] {
            let path = format!("{}/../../tests/blocks/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let told: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let (block, receipts) = (told["block"].to_string(), told["receipts"].to_string());
            let fields: Header = serde_json::from_str(&block).unwrap();
            let hash: B256 = serde_json::from_value(told["block"]["hash"].clone()).unwrap();
            let block: BlockJson<Transaction> = serde_json::from_str(&block).unwrap();
            let receipts: Vec<Receipt> =
                crate::json::FromJson::from_json(&mut crate::json::Json::new(receipts.as_bytes())).unwrap();
            assert_eq!(header(&fields, hash), Ok(()), "{name}");
            assert_eq!(transactions(&block.transactions, fields.transactions_root), Ok(()), "{name}");
            assert_eq!(super::receipts(&receipts, &fields), Ok(()), "{name}");
            for one in &block.transactions {
                assert_eq!(
                    (one.check(keccak256(&one.bytes)), one.check_sender()),
                    (Ok(()), Ok(())),
                    "{name}: {}",
                    one.id
                );
            }
        }
    }

    /// Of an EIP-1559 transaction that succeeded.
    pub(crate) fn receipt_of(gas: u64, logs: Vec<Log>) -> Receipt {
        Receipt {
            place: Default::default(),
            id: None,
            gas_used: None,
            kind: 2,
            succeeded: Some(true),
            gas,
            bloom: logs.iter().collect(),
            last_log: None,
            logs,
            deposit: [None; 2],
            contract: None,
            blob_gas_price: None,
            l1_fee: U256::ZERO,
            gas_price: None,
            operator: Default::default(),
            state_root: None,
        }
    }

    pub(crate) fn state(address: Address) -> (B256, AccountProof) {
        state_with(address, None)
    }

    pub(crate) fn slot(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    /// A contract of fifty words, slot n holding 1,000,000 n, and the proof of these of its slots.
    pub(crate) fn contract(slots: &[u8]) -> (B256, AccountProof) {
        let value = |number: u8| if number <= 50 { U256::from(number) * U256::from(1_000_000) } else { U256::ZERO };
        let leaves = || (1..=50).map(|number| (keccak256(slot(number)), alloy::rlp::encode(value(number))));
        let of = |number: &u8| SlotProof { value: value(*number), proof: trie(leaves(), keccak256(slot(*number))).1 };
        let (storage_root, _) = trie(leaves(), B256::ZERO);
        let (root, proof) = state_with(CONTRACT, Some((CONTRACT, storage_root)));
        (root, AccountProof { storage_proof: Some(slots.iter().map(of).collect()), ..proof })
    }

    pub(crate) const CONTRACT: Address = Address::repeat_byte(42);

    #[test]
    fn a_storage_proof_gives_words_and_an_absent_slot_is_zero() {
        let keys = [slot(7), slot(60), slot(8)];
        let (root, proof) = contract(&[7, 60, 8]);
        let words = [7_000_000, 0, 8_000_000].map(U256::from).to_vec();
        assert_eq!(storage(&proof, CONTRACT, root, &keys), Ok(Some(words)));
        assert_eq!(storage(&proof, CONTRACT, root, &keys[..0]), Err("it is about 3 slots, not 0".into()));
        // no code: an ordinary account, and none at all
        for address in [Address::repeat_byte(43), Address::repeat_byte(200)] {
            let (root, proof) = state(address);
            assert_eq!(storage(&proof, address, root, &keys), Ok(None));
        }
        // a leaf of zero, as test nodes keep it, says zero and nothing else
        let leaves = || (1..=9).map(|number| (keccak256(slot(number)), alloy::rlp::encode(U256::from(number % 2))));
        let (storage_root, zero) = trie(leaves(), keccak256(slot(4)));
        assert_eq!(word(&SlotProof { value: U256::ZERO, proof: zero.clone() }, slot(4), storage_root), Ok(U256::ZERO));
        assert!(word(&SlotProof { value: U256::from(1), proof: zero }, slot(4), storage_root).is_err());
    }

    #[test]
    fn a_tampered_storage_proof_is_refused_whatever_was_changed() {
        for number in [7, 60] {
            let (root, honest) = contract(&[number]);
            let refused = |slots: Vec<SlotProof>, what: &str| {
                let proof = AccountProof { storage_proof: Some(slots), ..honest.clone() };
                assert!(storage(&proof, CONTRACT, root, &[slot(number)]).is_err(), "{what}");
            };
            let there = honest.storage_proof.as_deref().unwrap()[0].clone();
            for node in 0..there.proof.len() {
                for byte in 0..there.proof[node].len() {
                    let mut altered = there.clone();
                    let mut bytes = altered.proof[node].to_vec();
                    bytes[byte] ^= 1;
                    altered.proof[node] = bytes.into();
                    refused(vec![altered], &format!("byte {byte} of node {node}"));
                }
                let mut altered = there.clone();
                altered.proof.remove(node);
                refused(vec![altered], &format!("without node {node}"));
            }
            refused(vec![SlotProof { value: there.value + U256::from(1), ..there.clone() }], "another value");
            refused(vec![SlotProof { proof: vec![], ..there.clone() }], "no proof");
            refused(contract(&[8]).1.storage_proof.unwrap(), "another slot");
            refused(vec![], "none");
            let elsewhere = AccountProof { storage_hash: B256::repeat_byte(1), ..honest.clone() };
            assert!(storage(&elsewhere, CONTRACT, root, &[slot(number)]).is_err());
            let codeless = AccountProof { code_hash: KECCAK256_EMPTY, ..honest.clone() };
            assert!(storage(&codeless, CONTRACT, root, &[slot(number)]).is_err(), "code cannot be denied");
            assert!(storage(&honest, CONTRACT, B256::repeat_byte(9), &[slot(number)]).is_err());
        }
        // a slot that is there cannot be passed off as absent
        let (root, honest) = contract(&[7]);
        for proof in [&contract(&[60]).1, &honest] {
            let nothing = SlotProof { value: U256::ZERO, ..proof.storage_proof.as_deref().unwrap()[0].clone() };
            let denied = AccountProof { storage_proof: Some(vec![nothing]), ..honest.clone() };
            assert!(storage(&denied, CONTRACT, root, &[slot(7)]).is_err());
        }
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
        let receipt = |gas: u64, succeeded: bool, data: u8| {
            let log = Log::new_unchecked(Address::repeat_byte(7), vec![B256::repeat_byte(1)], vec![data; 32].into());
            Receipt { succeeded: Some(succeeded), ..receipt_of(gas, vec![log]) }
        };
        let honest = vec![receipt(21_000, true, 1), receipt(42_000, true, 2)];
        let logs_bloom = honest[0].bloom | honest[1].bloom;
        let header = Header { receipts_root: receipts_root(&honest), logs_bloom, ..Header::default() };
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

    #[test]
    fn no_transactions_may_be_the_hash_of_nothing() {
        for root in [KECCAK256_EMPTY, EMPTY_ROOT_HASH] {
            assert_eq!(transactions(&[], root), Ok(()));
        }
        assert!(transactions(&[], B256::ZERO).is_err());
    }
}
