//! Of what kind is an answer that contradicts what it must agree with? Pure, and asked only after it did.
//!
//! An answer that is right elsewhere is told by where: of an older block it is stale, of another block at the same height it
//! comes from another fork. What is right in another order, or to a question of a later block, was reordered. What is less was
//! omitted, everything else forged.

use std::collections::HashMap;

use alloy::consensus::proofs::calculate_withdrawals_root;
use alloy::eips::eip4895::Withdrawal;
use alloy::primitives::{Address, B256, Bloom, Bytes, keccak256};
use alloy::rlp::Decodable;
use alloy_trie::Nibbles;
use alloy_trie::nodes::{RlpNode, TrieNode};
use assay_types::{BlockRef, Fault, Height};

use crate::codec::{Place, Receipt, Transaction};
use crate::verify::{self, AccountProof, SlotProof};

/// An answer of the block at this height, where one of `at` was asked for.
pub(crate) fn of_another_block(at: Height, height: Height) -> Fault {
    match height.cmp(&at) {
        std::cmp::Ordering::Less => Fault::Stale,
        std::cmp::Ordering::Equal => Fault::MixedForks,
        std::cmp::Ordering::Greater => Fault::Reordered,
    }
}

/// The fault of the first of these that says it is of another block, if one does.
fn elsewhere(places: impl Iterator<Item = Place>, at: BlockRef) -> Option<Fault> {
    let mut places = places;
    let other = places.find(|place| place.block_hash.is_some_and(|hash| hash.0 != at.hash.0))?;
    let height = other.block_number.map_or(at.height, |number| Height(number.to()));
    Some(of_another_block(at.height, height))
}

/// More or fewer than there are?
fn by_count(given: usize, expected: usize) -> Option<Fault> {
    match given.cmp(&expected) {
        std::cmp::Ordering::Less => Some(Fault::Omitted),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Fault::Forged),
    }
}

/// Is a number left out between the first and the last?
fn has_gap(numbers: impl Iterator<Item = u64>) -> bool {
    let mut sorted: Vec<u64> = numbers.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|two| two[1] - two[0] > 1)
}

/// Transactions whose `bytes` do not rebuild this root; `count` of them there are, where that is known.
pub(crate) fn transactions<'t>(
    transactions: &'t [Transaction],
    bytes: impl Fn(&'t Transaction) -> &'t [u8],
    root: B256,
    at: BlockRef,
    count: Option<usize>,
) -> Fault {
    if let Some(fault) = elsewhere(transactions.iter().map(|transaction| transaction.place), at) {
        return fault;
    }
    let index = |transaction: &Transaction| transaction.place.transaction_index.map_or(u64::MAX, |index| index.to());
    let mut sorted: Vec<&Transaction> = transactions.iter().collect();
    sorted.sort_by_key(|transaction| index(transaction));
    if verify::root_of(sorted.into_iter().map(bytes)) == root {
        return Fault::Reordered;
    }
    // Numbers begin at 0, so that one before them shows what is left out in front.
    let gap = || has_gap(std::iter::once(0).chain(transactions.iter().map(|it| index(it).saturating_add(1))));
    let counted = count.and_then(|count| by_count(transactions.len(), count));
    counted.unwrap_or_else(|| if gap() { Fault::Omitted } else { Fault::Forged })
}

/// Receipts that do not rebuild this root and bloom, of so many transactions.
pub(crate) fn receipts(receipts: &[Receipt], (root, bloom): (B256, Bloom), at: BlockRef, count: usize) -> Fault {
    let places = receipts.iter().map(|receipt| receipt.place);
    if let Some(fault) = elsewhere(places, at).or_else(|| by_count(receipts.len(), count)) {
        return fault;
    }
    // Each uses gas, so that what was used up to it orders them.
    let mut sorted: Vec<&Receipt> = receipts.iter().collect();
    sorted.sort_by_key(|receipt| receipt.gas);
    if verify::receipts_root(sorted) == root {
        return Fault::Reordered;
    }
    let of_logs = |receipt: &Receipt| receipt.logs.iter().collect::<Bloom>();
    let with_own_blooms: Vec<Receipt> =
        receipts.iter().map(|receipt| Receipt { bloom: of_logs(receipt), ..receipt.clone() }).collect();
    if verify::receipts_root(&with_own_blooms) == root {
        return Fault::Forged;
    }
    let all = receipts.iter().fold(Bloom::ZERO, |all, receipt| all | of_logs(receipt));
    let is_less = |bloom: Bloom, whole: Bloom| bloom != whole && bloom | whole == whole;
    // What was left out adds nothing to a bloom.
    if receipts.iter().any(|receipt| of_logs(receipt) | receipt.bloom != receipt.bloom) {
        return Fault::Forged;
    }
    let own_less = receipts.iter().any(|receipt| is_less(of_logs(receipt), receipt.bloom));
    // A log's number within the block says how many stand before it.
    let (logs, last) =
        (receipts.iter().map(|it| it.logs.len()).sum::<usize>(), receipts.iter().filter_map(|it| it.last_log).max());
    let logs_missing = last.is_some_and(|last| last >= logs as u64);
    if logs_missing || own_less || is_less(all, bloom) { Fault::Omitted } else { Fault::Forged }
}

/// Fields that no root commits to (block, index, hash, gas, price; EIP-1559) and that contradict what one does. They are not used, but who falsifies
/// them may falsify more.
pub(crate) fn beside(
    transactions: &[Transaction],
    receipts: &[Receipt],
    base_fee: u64,
    at: BlockRef,
) -> Option<(Fault, String)> {
    let mut gas_before = 0;
    for ((index, transaction), receipt) in (0u64..).zip(transactions).zip(receipts) {
        let gas = receipt.gas.saturating_sub(std::mem::replace(&mut gas_before, receipt.gas));
        if transaction.is_foreign || transaction.is_deposit() {
            continue;
        }
        let is_other_index = |place: &Place| place.transaction_index.is_some_and(|said| said.to::<u64>() != index);
        let places = [transaction.place, receipt.place];
        let (fault, what) = if let Some(fault) = elsewhere(places.into_iter(), at) {
            (fault, "of another block")
        } else if places.iter().any(is_other_index) {
            (Fault::Reordered, "at another place in the block")
        } else if receipt.id.is_some_and(|id| id != transaction.id) {
            (Fault::Forged, "of another transaction")
        } else if receipt.gas_used.is_some_and(|said| said != gas) {
            (Fault::Forged, "one of other `gasUsed` than its `cumulativeGasUsed`")
        } else if receipt.gas_price.is_some_and(|said| said != transaction.gas_price(base_fee)) {
            (Fault::Forged, "one of another `effectiveGasPrice` than the transaction")
        } else {
            continue;
        };
        return Some((fault, format!("that of {} says that it is {what}", transaction.id)));
    }
    None
}

/// Withdrawals that do not rebuild this root. They are numbered from block to block (EIP-4895): the last before these, and the first after them, as far
/// as these are known.
pub(crate) fn withdrawals(
    withdrawals: Option<&[Withdrawal]>,
    root: Option<B256>,
    (before, after): (Option<u64>, Option<u64>),
) -> Fault {
    let (Some(root), withdrawals) = (root, withdrawals.unwrap_or_default()) else { return Fault::Forged };
    let mut sorted = withdrawals.to_vec();
    sorted.sort_by_key(|withdrawal| withdrawal.index);
    if !sorted.is_empty() && calculate_withdrawals_root(&sorted) == root {
        return Fault::Reordered;
    }
    let numbers: Vec<u64> = before.into_iter().chain(sorted.iter().map(|it| it.index)).chain(after).collect();
    let are_in_turn = numbers.windows(2).all(|two| two[0] < two[1]);
    if sorted.is_empty() || are_in_turn && has_gap(numbers.into_iter()) { Fault::Omitted } else { Fault::Forged }
}

/// Traces that are not of these transactions, one of each.
pub(crate) fn traces(traced: &[Option<B256>], ids: &[B256]) -> Fault {
    if let Some(fault) = by_count(traced.len(), ids.len()) {
        return fault;
    }
    let mut traced: Vec<B256> = traced.iter().flatten().copied().collect();
    let mut ids = ids.to_vec();
    traced.sort_unstable();
    ids.sort_unstable();
    if traced == ids { Fault::Reordered } else { Fault::Forged }
}

/// A proof of this account, and of these slots, that does not lead from the state root to what it claims. `recent` are other
/// blocks' state roots.
pub(crate) fn proof(
    proof: &AccountProof,
    address: Address,
    keys: &[B256],
    (at, root): (Height, B256),
    recent: &[(Height, B256)],
) -> Fault {
    let is_of = |address: Address, root: B256| verify::account(proof, address, root).is_ok();
    let is_another = proof.address != address;
    if is_another && is_of(proof.address, root) {
        return Fault::Reordered;
    }
    let leads_from = |root: B256| match is_another {
        true => is_of(proof.address, root),
        false => verify::storage(proof, address, root, keys).is_ok(),
    };
    if let Some((height, _)) = recent.iter().find(|(_, other)| *other != root && leads_from(*other)) {
        return of_another_block(at, *height);
    }
    if is_another {
        return Fault::Forged;
    }
    if !is_of(address, root) {
        let claimed = alloy::rlp::encode(proof.leaf());
        return of_path(&proof.account_proof, (root, &claimed), keccak256(address), &HashMap::new(), |path| {
            verify::account(&AccountProof { account_proof: path.to_vec(), ..proof.clone() }, address, root).is_ok()
        });
    }
    let slots = proof.storage_proof.as_deref().unwrap_or_default();
    if let Some(fault) = by_count(slots.len(), keys.len()) {
        return fault;
    }
    let is_word = |slot: &SlotProof, key: B256| verify::word(slot, key, proof.storage_hash).is_ok();
    let is_known = |slot: &SlotProof| keys.iter().any(|key| is_word(slot, *key));
    let mut wrong = slots.iter().zip(keys).filter(|(slot, key)| !is_word(slot, **key));
    // Where one alone is wrong it has no other's place.
    let (Some((slot, key)), others) = (wrong.next(), wrong.count()) else { return Fault::Forged };
    if others > 0 && slots.iter().all(is_known) && keys.iter().all(|key| slots.iter().any(|slot| is_word(slot, *key))) {
        return Fault::Reordered;
    }
    // The nodes that lead to others show what is left out of these.
    let beside = slots.iter().flat_map(|slot| &slot.proof).map(|node| (keccak256(node), node)).collect();
    of_path(&slot.proof, (proof.storage_hash, &alloy::rlp::encode(slot.value)), keccak256(key), &beside, |path| {
        is_word(&SlotProof { proof: path.to_vec(), ..slot.clone() }, *key)
    })
}

/// What is wrong with the nodes of a trie that should lead from this root along this key, of which some are known from `beside` them. `leads`: do
/// they, in this order?
fn of_path(
    nodes: &[Bytes],
    (root, claimed): (B256, &[u8]),
    key: B256,
    beside: &HashMap<B256, &Bytes>,
    leads: impl FnOnce(&[Bytes]) -> bool,
) -> Fault {
    if verify::proof::is_no_path(nodes) {
        return Fault::Forged;
    }
    let key = Nibbles::unpack(key);
    match follow(nodes, root, &key, beside) {
        _ if leads_elsewhere(nodes, root, &key, claimed) => Fault::Reordered,
        None => Fault::Omitted,
        Some(path) if path.len() == nodes.len() && leads(&path) => Fault::Reordered,
        Some(_) => Fault::Forged,
    }
}

/// Do they lead, one to the next, from this root to what is claimed, and away from the key? Then they prove that of another one.
fn leads_elsewhere(nodes: &[Bytes], root: B256, key: &Nibbles, claimed: &[u8]) -> bool {
    let (mut next, mut depth) = (RlpNode::word_rlp(&root), 0);
    for (place, node) in nodes.iter().enumerate() {
        if next.as_hash() != Some(keccak256(node)) {
            return false;
        }
        let (ours, all) = match TrieNode::decode(&mut &node[..]) {
            Ok(TrieNode::Branch(branch)) => {
                let (Some(nibble), children) = (key.get(depth), branch.as_ref()) else { return false };
                depth += 1;
                let children: Vec<_> =
                    children.children().filter_map(|(at, child)| Some((at, child?.clone()))).collect();
                let ours = children.iter().find(|(at, _)| *at == nibble).map(|(_, child)| child.clone());
                (ours, children.into_iter().map(|(_, child)| child).collect())
            }
            Ok(TrieNode::Extension(extension)) => {
                let is_on = key.slice(depth..).starts_with(&extension.key);
                depth += extension.key.len();
                (is_on.then(|| extension.child.clone()), vec![extension.child])
            }
            Ok(TrieNode::Leaf(leaf)) => return key.slice(depth..) != leaf.key && leaf.value == claimed,
            _ => return false,
        };
        let Some(below) = nodes.get(place + 1).map(|node| RlpNode::word_rlp(&keccak256(node))) else { return false };
        if ours.as_ref() != Some(&below) {
            return all.contains(&below);
        }
        next = below;
    }
    false
}

/// The nodes in the order in which they lead along the key, to an end of it. Where the node that must come next is not among
/// them, it may be known from `beside` them; else the first that is left stands in for it, as one that was altered. `None`: that does not come to an
/// end, or one that was known from beside is all that it lacks, so that it is missing.
fn follow(nodes: &[Bytes], root: B256, key: &Nibbles, beside: &HashMap<B256, &Bytes>) -> Option<Vec<Bytes>> {
    let (mut left, mut path, mut depth) = (nodes.to_vec(), Vec::with_capacity(nodes.len()), 0);
    let (mut altered, mut is_known) = (false, false);
    let mut next = RlpNode::word_rlp(&root);
    loop {
        // A short node stands within its parent.
        let node = match next.as_hash() {
            None => Bytes::copy_from_slice(&next),
            Some(hash) => {
                let place = left.iter().position(|node| keccak256(node) == hash);
                match beside.get(&hash).filter(|_| place.is_none()) {
                    Some(node) => {
                        is_known = true;
                        (*node).clone()
                    }
                    None => {
                        altered |= place.is_none();
                        (!left.is_empty()).then(|| path.push(left.remove(place.unwrap_or(0))))?;
                        path.last()?.clone()
                    }
                }
            }
        };
        match TrieNode::decode(&mut &node[..]) {
            Ok(TrieNode::Branch(branch)) => {
                let nibble = key.get(depth)?;
                depth += 1;
                match branch.as_ref().children().find(|(at, _)| *at == nibble).and_then(|(_, child)| child) {
                    Some(child) => next = child.clone(),
                    None if altered && !left.is_empty() => return None,
                    None => return (!is_known || !left.is_empty()).then_some(path),
                }
            }
            Ok(TrieNode::Extension(extension)) if key.slice(depth..).starts_with(&extension.key) => {
                depth += extension.key.len();
                next = extension.child;
            }
            Ok(TrieNode::Leaf(leaf)) if depth + leaf.key.len() != key.len() => return None,
            _ => return (!is_known || !left.is_empty()).then_some(path),
        }
    }
}

#[cfg(test)]
mod tests;
