//! Proofs that were verified, as they are kept, and as anybody checks them again: from the header of a block, whose hash is all that must be
//! known, down to a balance.
//!
//! Pure. What is kept are the nodes that the node gave, as they were. What others get is a header, and an answer in the shape of
//! `eth_getProof` (EIP-1186): other tools check it as well.

use alloy::consensus::Header;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rlp::Decodable;
use assay_types::{Account, Amount, Asset, BlockHash, BlockRef, Height, Proof, Proven, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::state::slots::layout::Layout;
use crate::verify::{self, AccountProof, SlotProof};

/// The proof of an account by itself: of its balance, or of there being no code at an address.
pub(crate) fn of_account(proof: &AccountProof) -> Proof {
    encoded(&[fields(proof), proof.account_proof.clone()])
}

/// The proof of one of a contract's slots, out of one that may have many.
pub(crate) fn of_slot(proof: &AccountProof, key: B256, slot: &SlotProof) -> Proof {
    let word = vec![key.into(), number(slot.value)];
    encoded(&[fields(proof), proof.account_proof.clone(), word, slot.proof.clone()])
}

/// RLP: a list of two lists, the account's fields and the nodes on the way to it; of a slot two more, its key and its word, and the nodes on
/// the way to it.
fn encoded(lists: &[Vec<Bytes>]) -> Proof {
    let mut bytes = Vec::new();
    alloy::rlp::encode_list::<_, Vec<Bytes>>(lists, &mut bytes);
    Proof(bytes.into())
}

fn fields(proof: &AccountProof) -> Vec<Bytes> {
    let AccountProof { address, balance, nonce, code_hash, storage_hash, .. } = proof;
    let hashes = [*storage_hash, *code_hash].map(Bytes::from);
    [vec![Bytes::copy_from_slice(address.as_slice()), number(U256::from(*nonce)), number(*balance)], hashes.to_vec()]
        .concat()
}

fn number(number: U256) -> Bytes {
    number.to_be_bytes_trimmed_vec().into()
}

/// What is kept as JSON: `header` in RLP, and under `eth_getProof` what a node answers when it is asked for this account, or slot, alone.
///
/// # Errors
/// In words, that it is not what was kept.
pub(crate) fn show(sealed: &[u8], kept: &[u8]) -> Result<String, String> {
    let lists =
        Vec::<Vec<Bytes>>::decode(&mut &*kept).map_err(|error| format!("what was kept is no proof: {error}"))?;
    let (fields, nodes, slot) = match &lists[..] {
        [fields, nodes] => (fields, nodes, None),
        [fields, nodes, word, slot] => (fields, nodes, Some((word, slot))),
        _ => return Err(format!("what was kept has {} parts", lists.len())),
    };
    let [address, nonce, balance, storage_hash, code_hash] = &fields[..] else {
        return Err(format!("what was kept has {} fields of an account", fields.len()));
    };
    let number = |bytes: &Bytes| U256::try_from_be_slice(bytes).ok_or("what was kept has a number that is none");
    let slots = match slot {
        None => vec![],
        Some((word, nodes)) => match &word[..] {
            [key, value] => vec![json!({ "key": key, "value": number(value)?, "proof": nodes })],
            _ => return Err("what was kept has no word".into()),
        },
    };
    let answer = json!({
        "address": address,
        "accountProof": nodes,
        "balance": number(balance)?,
        "codeHash": code_hash,
        "nonce": number(nonce)?,
        "storageHash": storage_hash,
        "storageProof": slots,
    });
    Ok(json!({ "header": Bytes::copy_from_slice(sealed), "eth_getProof": answer }).to_string())
}

/// What [`show`] makes; what else is said beside it proves nothing.
#[derive(Deserialize)]
struct Document {
    header: Bytes,
    #[serde(rename = "eth_getProof")]
    answer: Box<RawValue>,
}

/// The keys of an answer, which its proofs do not repeat.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    #[serde(default)]
    storage_proof: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    key: B256,
}

/// The balance that such JSON shows: from the header's state root to the account or, of a token, to the slot that holds the account's balance. The
/// slot must be where a compiler puts that; that the token reads it there is not part of the proof.
///
/// # Errors
/// In words, where it does not lead from one to the next.
pub(crate) fn check(document: &str, account: &Account, asset: Asset) -> Result<Proven, String> {
    let read = |error: serde_json::Error| format!("it cannot be read: {error}");
    let Document { header: sealed, answer } = serde_json::from_str(document).map_err(read)?;
    let (proof, keys): (AccountProof, Keys) =
        (serde_json::from_str(answer.get()).map_err(read)?, serde_json::from_str(answer.get()).map_err(read)?);
    let account = Address::try_from(&*account.0).ok().ok_or("an account of this chain has 20 bytes")?;
    let mut rest = &sealed[..];
    let header = Header::decode(&mut rest).map_err(|error| format!("its header is none: {error}"))?;
    if !rest.is_empty() {
        return Err("its header goes on behind its end".into());
    }
    let balance = match asset {
        Asset::Native => verify::account(&proof, account, header.state_root)?,
        Asset::Token(token) => of_token(&proof, &keys, account, token.into(), header.state_root)?,
    };
    Ok(Proven {
        at: BlockRef { height: Height(header.number), hash: BlockHash(keccak256(&sealed).0) },
        time: Timestamp::from_unix_s(i64::try_from(header.timestamp).unwrap_or(i64::MAX)),
        balance: Amount(balance),
    })
}

fn of_token(
    proof: &AccountProof,
    keys: &Keys,
    account: Address,
    token: Address,
    state_root: B256,
) -> Result<U256, String> {
    let keys: Vec<B256> = keys.storage_proof.iter().map(|slot| slot.key).collect();
    let Some(words) = verify::storage(proof, token, state_root, &keys)? else { return Ok(U256::ZERO) };
    let ([key], [word]) = (&keys[..], &words[..]) else { return Err(format!("it is about {} slots", keys.len())) };
    match Layout::all().iter().any(|layout| layout.key(account) == *key) {
        true => Ok(*word),
        false => Err(format!("slot {key} is none in which a token keeps the balance of {account}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::tests::{CONTRACT, state, state_with, trie};
    use serde_json::Value;

    const HOLDER: Address = Address::repeat_byte(7);
    const STRANGER: Address = Address::repeat_byte(8);

    fn header(state_root: B256) -> (Vec<u8>, BlockRef) {
        let header = Header { state_root, number: 77, timestamp: 1_000, ..Header::default() };
        let hash = BlockHash(header.hash_slow().0);
        (alloy::rlp::encode(&header), BlockRef { height: Height(77), hash })
    }

    fn account(address: Address) -> Account {
        Account::new(address.as_slice())
    }

    /// A token with 50 holders; who is none has an empty slot.
    fn token(of: Address) -> (B256, AccountProof, B256, SlotProof) {
        let key = |holder: Address| Layout::Solidity(U256::from(3)).key(holder);
        let leaf = |number: u8| {
            let held = U256::from(number) * U256::from(1_000_000);
            (keccak256(key(Address::repeat_byte(number))), alloy::rlp::encode(held))
        };
        let leaves = || (1..=50).filter(|number| Address::repeat_byte(*number) != STRANGER).map(leaf);
        let (storage_root, proof) = trie(leaves(), keccak256(key(of)));
        let value = if of == HOLDER { U256::from(7_000_000) } else { U256::ZERO };
        let (root, account) = state_with(CONTRACT, Some((CONTRACT, storage_root)));
        (root, account, key(of), SlotProof { value, proof })
    }

    /// Of each kind one: the document, whose it is, and what it holds.
    fn honest() -> Vec<(String, BlockRef, Address, Asset, U256)> {
        let shown = |root: B256, proof: Proof| {
            let (sealed, at) = header(root);
            (show(&sealed, &proof.0).unwrap(), at)
        };
        let native = [HOLDER, Address::repeat_byte(200)].map(|of| {
            let (root, proof) = state(of);
            let (document, at) = shown(root, of_account(&proof));
            (document, at, of, Asset::Native, proof.balance)
        });
        let tokens = [HOLDER, STRANGER].map(|of| {
            let (root, account, key, slot) = token(of);
            let (document, at) = shown(root, of_slot(&account, key, &slot));
            (document, at, of, Asset::Token(CONTRACT.into_array()), slot.value)
        });
        let codeless = Address::repeat_byte(201);
        let (root, proof) = state(codeless);
        let (document, at) = shown(root, of_account(&proof));
        let nothing = (document, at, HOLDER, Asset::Token(codeless.into_array()), U256::ZERO);
        native.into_iter().chain(tokens).chain([nothing]).collect()
    }

    #[test]
    fn what_was_kept_shows_the_balance_to_whoever_has_the_blocks_hash() {
        for (document, at, of, asset, held) in honest() {
            let time = Timestamp::from_unix_s(1_000);
            assert_eq!(check(&document, &account(of), asset), Ok(Proven { at, time, balance: Amount(held) }));
            let answer = &serde_json::from_str::<Value>(&document).unwrap()["eth_getProof"];
            let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
            let standard = ["accountProof", "address", "balance", "codeHash", "nonce", "storageHash", "storageProof"];
            assert_eq!(fields, standard, "EIP-1186");
        }
        assert!(honest().iter().any(|(.., held)| *held == U256::from(7_000_000)));
    }

    #[test]
    fn it_shows_nothing_of_another_account_or_asset() {
        for (document, _, of, asset, _) in honest() {
            let holds_for_all = matches!(asset, Asset::Token(token) if token != CONTRACT.into_array());
            if !holds_for_all {
                assert!(check(&document, &account(Address::repeat_byte(9)), asset).is_err(), "{of} {asset:?}");
            }
            let other = if asset == Asset::Native { Asset::Token(of.into_array()) } else { Asset::Native };
            let told = check(&document, &account(of), other);
            // an account without code is no token, and that is proven
            assert!(told.is_err() || asset == Asset::Native && told.is_ok_and(|it| it.balance == Amount::ZERO));
            assert!(check(&document, &Account::new(&[7; 19]), asset).is_err());
        }
        // a slot in which no compiler keeps that account's balance proves nothing of it, whatever it holds
        let (root, proof, _, slot) = token(HOLDER);
        let (sealed, _) = header(root);
        let document = show(&sealed, &of_slot(&proof, Layout::Solidity(U256::from(3)).key(HOLDER), &slot).0).unwrap();
        let why = check(&document, &account(STRANGER), Asset::Token(CONTRACT.into_array())).unwrap_err();
        assert!(why.contains("is none in which"), "{why}");
    }

    /// Every digit of every part: another one makes it no proof, or one of another block.
    #[test]
    fn a_tampered_document_is_refused_whatever_was_changed() {
        for (document, at, of, asset, held) in honest() {
            let is_digit = |place: usize| document.as_bytes()[place].is_ascii_hexdigit();
            let within = |place: usize| {
                document[..place].rfind("\"0x").is_some_and(|start| !document[start + 1..place].contains('"'))
            };
            let digits: Vec<usize> = (0..document.len()).filter(|place| is_digit(*place) && within(*place)).collect();
            assert!(digits.len() > 1_000);
            for place in digits {
                let mut altered = document.clone().into_bytes();
                altered[place] = if altered[place] == b'5' { b'6' } else { b'5' };
                let told = check(std::str::from_utf8(&altered).unwrap(), &account(of), asset);
                let is_other =
                    told.as_ref().is_ok_and(|proven| proven.at.hash != at.hash && proven.balance == Amount(held));
                assert!(told.is_err() || is_other, "{asset:?}: {told:?} with another digit at {place} of {document}");
            }
        }
    }

    #[test]
    fn kept_bytes_that_are_damaged_are_told_and_never_panic() {
        let (root, account, key, slot) = token(HOLDER);
        let (sealed, _) = header(root);
        let kept = of_slot(&account, key, &slot).0;
        for cut in 0..kept.len() {
            assert!(show(&sealed, &kept[..cut]).is_err());
            let shown = show(&sealed[..cut.min(sealed.len() - 1)], &kept).unwrap();
            assert!(check(&shown, &super::tests::account(HOLDER), Asset::Token(CONTRACT.into_array())).is_err());
        }
    }
}
