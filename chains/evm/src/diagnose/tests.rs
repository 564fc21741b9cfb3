//! Each lie by its kind.

use alloy::primitives::{Log, U64, U256};
use assay_types::BlockHash;

use super::*;
use crate::verify::tests::{CONTRACT, contract, receipt_of, slot, state};

const AT: BlockRef = BlockRef { height: Height(9), hash: BlockHash([9; 32]) };

fn place(height: u64, hash: u8, index: u64) -> Place {
    let (number, index) = (Some(U64::from(height)), Some(U64::from(index)));
    Place { block_hash: Some(B256::repeat_byte(hash)), block_number: number, transaction_index: index }
}

fn receipt(gas: u64, logs: &[u8]) -> Receipt {
    let log = |data: &u8| {
        Log::new_unchecked(Address::repeat_byte(*data), vec![B256::repeat_byte(*data)], vec![*data; 32].into())
    };
    Receipt { place: place(9, 9, gas - 1), ..receipt_of(gas, logs.iter().map(log).collect()) }
}

#[test]
fn receipts_are_told_by_what_became_of_them() {
    let honest = [receipt(1, &[1, 2]), receipt(2, &[3]), receipt(3, &[])];
    let root = verify::receipts_root(&honest);
    let bloom = honest.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom);
    let kind = |given: &[Receipt]| receipts(given, (root, bloom), AT, 3);
    let [first, second, third] = honest.clone();
    assert_eq!(kind(&[first.clone(), second.clone()]), Fault::Omitted);
    assert_eq!(kind(&[]), Fault::Omitted);
    assert_eq!(kind(&[&honest[..], &honest[2..]].concat()), Fault::Forged);
    assert_eq!(kind(&[second.clone(), first.clone(), third.clone()]), Fault::Reordered);
    assert_eq!(kind(&[receipt(1, &[1]), second.clone(), third.clone()]), Fault::Omitted, "a log less");
    assert_eq!(kind(&[receipt(1, &[1, 4]), second.clone(), third.clone()]), Fault::Forged);
    assert_eq!(kind(&[first.clone(), second.clone(), receipt(4, &[])]), Fault::Forged);
    let altered = |logs: &[u8]| Receipt { bloom: first.bloom, ..receipt(1, logs) };
    assert_eq!(
        kind(&[altered(&[1]), second.clone(), third.clone()]),
        Fault::Omitted,
        "a log less, and the bloom of all"
    );
    assert_eq!(kind(&[altered(&[4, 4]), second.clone(), third.clone()]), Fault::Forged, "none less, and others");
    let bit = Bloom::from([1; 256]);
    assert_eq!(
        kind(&[first.clone(), Receipt { bloom: second.bloom | bit, ..second.clone() }, third.clone()]),
        Fault::Forged
    );
    let numbered = Receipt { last_log: Some(3), ..second };
    assert_eq!(kind(&[receipt(1, &[1, 4]), numbered, third]), Fault::Omitted, "a gap in the logs' numbers");
    for (height, fault) in [(8, Fault::Stale), (9, Fault::MixedForks), (10, Fault::Reordered)] {
        assert_eq!(kind(&[Receipt { place: place(height, 8, 0), ..first.clone() }]), fault);
    }
}

#[test]
fn withdrawals_are_numbered() {
    let withdrawal = |index: u64| Withdrawal { index, amount: index, ..Withdrawal::default() };
    let honest = [withdrawal(5), withdrawal(6), withdrawal(7)];
    let root = Some(calculate_withdrawals_root(&honest));
    for around in [(None, None), (Some(4), None), (None, Some(8)), (Some(4), Some(8))] {
        let kind =
            |given: &[u64]| withdrawals(Some(&given.iter().copied().map(withdrawal).collect::<Vec<_>>()), root, around);
        assert_eq!(kind(&[6, 5, 7]), Fault::Reordered);
        assert_eq!(kind(&[5, 7]), Fault::Omitted);
        assert_eq!(kind(&[]), Fault::Omitted);
        assert_eq!(kind(&[5, 6, 7, 8]), Fault::Forged);
        assert_eq!(kind(&[5, 7, 7]), Fault::Forged, "a number twice");
        // What is left out at an end its neighbour's number shows, and a number that is made up as well.
        let told = |is_known: bool, fault: Fault| if is_known { fault } else { Fault::Forged };
        assert_eq!(kind(&[6, 7]), told(around.0.is_some(), Fault::Omitted), "{around:?}");
        assert_eq!(kind(&[5, 6]), told(around.1.is_some(), Fault::Omitted), "{around:?}");
        assert_eq!(kind(&[7]) == Fault::Omitted, around.0.is_some(), "{around:?}");
        assert_eq!(kind(&[5, 6, 99]) == Fault::Forged, around.1.is_some(), "{around:?}");
        assert_eq!(kind(&[1, 6, 7]) == Fault::Forged, around.0.is_some(), "{around:?}");
    }
    assert_eq!(withdrawals(None, root, (None, None)), Fault::Omitted);
    assert_eq!(withdrawals(Some(&honest), None, (None, None)), Fault::Forged);
}

#[test]
fn traces_are_told_by_their_transactions() {
    let ids = [1, 2, 3].map(B256::repeat_byte);
    let kind = |given: &[u8]| traces(&given.iter().map(|id| Some(B256::repeat_byte(*id))).collect::<Vec<_>>(), &ids);
    assert_eq!(
        [kind(&[1, 2]), kind(&[1, 2, 3, 3]), kind(&[2, 1, 3]), kind(&[1, 2, 4])],
        [Fault::Omitted, Fault::Forged, Fault::Reordered, Fault::Forged]
    );
}

#[test]
fn a_proof_is_told_by_where_it_leads() {
    for address in [Address::repeat_byte(42), Address::repeat_byte(200)] {
        let (root, honest) = state(address);
        let kind = |given: &AccountProof| proof(given, address, &[], (Height(9), root), &[]);
        let nodes = honest.account_proof.len();
        for missing in 0..nodes {
            let mut given = honest.clone();
            given.account_proof.remove(missing);
            // What is left of a proof that something is absent may look like another one whose beginning was altered.
            let is_plain = honest.nonce.to::<u64>() > 0 || !honest.balance.is_zero() || missing + 1 == nodes;
            assert!(!is_plain || kind(&given) == Fault::Omitted, "without node {missing} of {nodes}");
            let mut given = honest.clone();
            let mut bytes = given.account_proof[missing].to_vec();
            let last = bytes.len() - 1;
            bytes[last / 2] ^= 1;
            given.account_proof[missing] = bytes.into();
            assert_eq!(kind(&given), Fault::Forged, "with another node {missing} of {nodes}");
        }
        let none = AccountProof { account_proof: vec![], ..honest.clone() };
        assert_eq!(kind(&none), Fault::Omitted);
        let mut turned = honest.clone();
        turned.account_proof.reverse();
        assert_eq!(kind(&turned), Fault::Reordered);
        let richer = AccountProof { balance: honest.balance + U256::from(1), ..honest.clone() };
        assert_eq!(kind(&richer), Fault::Forged);
        let (_, other) = state(Address::repeat_byte(43));
        assert_eq!(kind(&other), Fault::Reordered, "of another account");
        let renamed = AccountProof { address, ..other };
        if renamed.account_proof != honest.account_proof {
            assert_eq!(kind(&renamed), Fault::Reordered, "of another account, under this one's name");
        }
        // What leads from another block's root.
        let here = (Height(9), B256::repeat_byte(1));
        for (height, fault) in [(8, Fault::Stale), (9, Fault::MixedForks), (10, Fault::Reordered)] {
            assert_eq!(proof(&honest, address, &[], here, &[(Height(height), root)]), fault);
        }
        assert_eq!(proof(&honest, address, &[], here, &[]), Fault::Forged);
    }
}

#[test]
fn a_proof_of_slots_is_told_by_its_slots() {
    let keys = [slot(7), slot(60), slot(8)];
    let (root, honest) = contract(&[7, 60, 8]);
    let kind = |alter: &dyn Fn(&mut Vec<SlotProof>)| {
        let mut given = honest.clone();
        alter(given.storage_proof.as_mut().unwrap_or(&mut Vec::new()));
        proof(&given, CONTRACT, &keys, (Height(9), root), &[])
    };
    assert_eq!(kind(&|slots| drop(slots.pop())), Fault::Omitted);
    assert_eq!(kind(&|slots| slots.push(slots[0].clone())), Fault::Forged);
    assert_eq!(kind(&|slots| slots.swap(0, 2)), Fault::Reordered);
    assert_eq!(kind(&|slots| slots[0].value += U256::from(1)), Fault::Forged);
    assert_eq!(kind(&|slots| drop(slots[0].proof.pop())), Fault::Omitted);
    assert_eq!(kind(&|slots| slots[0].proof.reverse()), Fault::Reordered);
    assert_eq!(kind(&|slots| slots[0] = slots[1].clone()), Fault::Reordered, "of another slot");
    // What denies a slot denies others too, as far as it goes: so many are asked for where a token's is looked for.
    let keys: Vec<B256> = (100..165).map(slot).collect();
    let (root, honest) = contract(&(100..165).collect::<Vec<_>>());
    let kind = |nth: usize, last: bool, alter: fn(&mut Vec<Bytes>, usize)| {
        let mut given = honest.clone();
        let nodes = &mut given.storage_proof.as_mut().unwrap()[nth].proof;
        alter(nodes, if last { nodes.len() - 1 } else { 0 });
        proof(&given, CONTRACT, &keys, (Height(9), root), &[])
    };
    let nudge = |nodes: &mut Vec<Bytes>, place: usize| {
        let mut bytes = nodes[place].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        nodes[place] = bytes.into();
    };
    for nth in 0..keys.len() {
        assert_eq!([true, false].map(|last| kind(nth, last, nudge)), [Fault::Forged; 2], "of slot {nth}");
        let without = [true, false].map(|last| kind(nth, last, |nodes, place| drop(nodes.remove(place))));
        assert_eq!(without, [Fault::Omitted; 2], "of slot {nth}");
    }
}

/// Each of these leads to the next without a step along the key, so that following them would hash them all each time.
#[test]
fn very_many_nodes_are_no_proof_and_are_not_followed() {
    let mut next = B256::repeat_byte(1);
    let extension = |below: B256| {
        let node = [&[0xe2, 0x00, 0xa0][..], &below[..]].concat();
        Bytes::from(node)
    };
    let mut nodes: Vec<Bytes> = (0..100_000)
        .map(|_| {
            let node = extension(next);
            next = keccak256(&node);
            node
        })
        .collect();
    nodes.reverse();
    let address = Address::repeat_byte(7);
    let many = AccountProof { address, account_proof: nodes, storage_proof: Some(vec![]), ..contract(&[]).1 };
    assert_eq!(proof(&many, address, &[], (Height(9), next), &[]), Fault::Forged);
}
