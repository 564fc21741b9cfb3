//! Balances are what the node's own set of coins says, at every height, for every type of script.

use serde_json::json;

use crate::lab::Lab;
use crate::oracle::{agrees, all, answers, histories_agree};
use crate::stage::{Coin, Payment, Random, Snapshot, Stage, names};

const COIN_SAT: u64 = 100_000_000;

/// Plays everything that can happen to a coin, and tells what the node says after each block.
fn play(stage: &Stage, mut after: impl FnMut(Snapshot)) {
    // The first coinbases go to scripts of several types; all the following ones to the first account.
    after(stage.snapshot());
    for name in ["p2pk", "p2tr", "OP_TRUE", "2 of 3"] {
        stage.block(&stage.script(name), &[]);
        after(stage.snapshot());
    }
    stage.mine(94);
    after(stage.snapshot());
    // Around maturity, block by block: the first coinbase, of height 1, can be spent in block 101 and not before.
    stage.block(&stage.script("p2wpkh"), &[]);
    let first = Coin { txid: coinbase_of(stage, 1), vout: 0, sat: 50 * COIN_SAT, script: stage.script("p2pk") };
    let spend = stage.pay(&[first], vec![(49 * COIN_SAT, stage.script("p2wsh"))]);
    let early = stage.node.call("generateblock", json!([stage.accounts[0].address, [spend.hex]]));
    assert!(early.unwrap_err().to_string().contains("premature"), "a coinbase is immature for a hundred blocks");
    after(stage.snapshot());
    stage.block(&stage.script("p2wpkh"), &[]);
    after(stage.snapshot());
    stage.block(&stage.script("p2wpkh"), &[&spend]);
    after(stage.snapshot());
    every_script_is_paid_and_spends(stage, &mut after);
    let mut random = Random(7);
    for _ in 0..6 {
        stage.busy_block(&mut random);
        after(stage.snapshot());
    }
    // Everything that the wallet has goes to one script, and a part of it comes back within the block.
    let coins: Vec<Coin> = stage.snapshot().coins.into_iter().take(100).collect();
    let sum: u64 = coins.iter().map(|coin| coin.sat).sum();
    let sweep = stage.pay(&coins, vec![(sum - 10_000, stage.script("p2tr"))]);
    let back = stage.pay(&[sweep.coin(0)], vec![(COIN_SAT, stage.script("p2pkh"))]);
    stage.block(&stage.script("bare multisig"), &[&sweep, &back]);
    after(stage.snapshot());
}

fn every_script_is_paid_and_spends(stage: &Stage, after: &mut impl FnMut(Snapshot)) {
    // Paid: every account, some of them nothing, and outputs that nobody can ever spend.
    let funds = stage.snapshot().coins.remove(0);
    let mut outputs: Vec<_> =
        (1..).zip(&stage.accounts).map(|(nth, account)| (nth * 1_000_001, account.script.clone())).collect();
    outputs.push((0, stage.script("p2pkh")));
    outputs.push((0, stage.script("OP_TRUE")));
    outputs.push((777, format!("6a4c50{}", "01".repeat(0x50))));
    let change = funds.sat - outputs.iter().map(|(sat, _)| sat).sum::<u64>() - 1_000;
    outputs.push((change, stage.script("p2sh")));
    let paid = stage.pay(&[funds], outputs);
    stage.block(&stage.script("p2sh-p2wpkh"), &[&paid]);
    after(stage.snapshot());
    // Spent in the next block, one by one, but for what nobody can spend.
    let spends: Vec<Payment> = (0..stage.accounts.len() - 1)
        .map(|vout| stage.pay(&[paid.coin(vout)], vec![(500_000, stage.script("p2wsh"))]))
        .collect();
    stage.block(&stage.script("p2tr with a script"), &spends.iter().collect::<Vec<_>>());
    after(stage.snapshot());
    // The same scripts again: paid, and spent by a chain of transactions within one block.
    let coins: Vec<Coin> = (0..spends.len()).map(|nth| spends[nth].coin(0)).collect();
    let outputs = stage.accounts.iter().map(|account| (300_000, account.script.clone())).collect();
    let gather = stage.pay(&coins, outputs);
    let mut chain = vec![gather];
    for vout in 0..stage.accounts.len() - 1 {
        let before = if vout == 0 { vec![] } else { vec![chain[vout].coin(0)] };
        let coins = [vec![chain[0].coin(vout)], before].concat();
        let sum: u64 = coins.iter().map(|coin| coin.sat).sum();
        let to = stage.accounts[(vout + 3) % (stage.accounts.len() - 5)].script.clone();
        let next = stage.pay(&coins, vec![(sum - 1_000, to)]);
        chain.push(next);
    }
    stage.block(&stage.script("witness version 2"), &chain.iter().collect::<Vec<_>>());
    after(stage.snapshot());
    // The zero-value outputs are spent as well.
    let zeros = [paid.coin(stage.accounts.len()), paid.coin(stage.accounts.len() + 1)];
    let more = chain.last().unwrap().coin(0);
    let last = stage.pay(&[zeros.to_vec(), vec![more]].concat(), vec![(1, stage.script("p2wpkh"))]);
    stage.block(&stage.script("pay to anchor"), &[&last]);
    after(stage.snapshot());
}

fn coinbase_of(stage: &Stage, height: u64) -> String {
    let block = stage.node.call("getblock", json!([stage.hash_at(height)])).unwrap();
    block["tx"][0].as_str().unwrap().into()
}

#[test]
fn balances_are_the_nodes_own_at_every_height_for_every_type_of_script() {
    let stage = Stage::new();
    assert_eq!(names(&stage.accounts).len(), 16);
    let by_steps = stage.lab(6);
    let mut snapshots = vec![];
    play(&stage, |snapshot| {
        // Followed block by block: a few accounts in turn, the rest is compared at the end.
        by_steps.index();
        let turn = snapshots.len();
        agrees(&by_steps, &stage, &snapshot, [turn, turn + 7].map(|place| place % stage.accounts.len()));
        snapshots.push(snapshot);
    });
    let at_once = stage.lab(6);
    at_once.index();
    for snapshot in &snapshots {
        agrees(&at_once, &stage, snapshot, all(&stage));
    }
    let active: Vec<String> = (0..=stage.tip()).map(|height| stage.hash_at(height)).collect();
    histories_agree(&at_once, &stage, snapshots.last().unwrap(), &active);
    let heights = [0, 1, 50, stage.tip()];
    assert_eq!(answers(&by_steps, &stage, &heights), answers(&at_once, &stage, &heights), "steps change nothing");
    assert_eq!(by_steps.assay(&["check", "--deep"]).code, 0);
    // Final below the tip, by six confirmations.
    for (height, is_final) in [(stage.tip() - 5, true), (stage.tip() - 4, false)] {
        let address = &stage.accounts[0].address;
        let answer = at_once.json(&["balance", address, "--chain", "bitcoin", "--at", &height.to_string()], 0);
        assert_eq!(answer["final"], json!(is_final));
    }
}

/// Declares every third declaration only.
fn declare_some(stage: &Stage, lab: &Lab) {
    stage.declare(lab, |nth| nth % 3 == 0);
}

#[test]
fn accounts_declared_late_are_known_as_if_they_had_been_there_from_the_start() {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(11);
    (0..15).for_each(|_| stage.busy_block(&mut random));
    let late = stage.lab(6);
    declare_some(&stage, &late);
    late.index();
    // Declared and not indexed yet: unknown, which is never zero.
    stage.declare(&late, |_| true);
    let stranger = &stage.accounts[1].address;
    let answer = late.json(&["balance", stranger, "--chain", "bitcoin"], 3);
    assert_eq!(
        (&answer["amount"], &answer["units"], &answer["coverage"]),
        (&json!(null), &json!(null), &json!("unknown"))
    );
    assert!(answer["reason"].as_str().unwrap().contains("declared"), "{answer}");
    let checked = late.assay(&["check"]);
    assert!(checked.stdout.contains("not indexed yet"), "{}", checked.stdout);
    // Some blocks come along meanwhile, and a reorganisation.
    stage.busy_block(&mut random);
    stage.invalidate(3);
    (0..4).for_each(|_| stage.busy_block(&mut random));
    late.index();
    let fresh = stage.lab(6);
    fresh.index();
    let heights = [1, 100, 115, stage.tip() - 1, stage.tip()];
    assert_eq!(answers(&late, &stage, &heights), answers(&fresh, &stage, &heights));
    agrees(&late, &stage, &stage.snapshot(), all(&stage));
    // And what was filled in can be taken back like the rest.
    stage.invalidate(5);
    (0..6).for_each(|_| stage.busy_block(&mut random));
    late.index();
    agrees(&late, &stage, &stage.snapshot(), all(&stage));
    // No longer declared: the history stays, and goes on.
    declare_some(&stage, &late);
    stage.busy_block(&mut random);
    late.index();
    fresh.index();
    let heights = [stage.tip() - 1, stage.tip()];
    assert_eq!(answers(&late, &stage, &heights), answers(&fresh, &stage, &heights));
    assert_eq!(late.assay(&["check", "--deep"]).code, 0);
}
