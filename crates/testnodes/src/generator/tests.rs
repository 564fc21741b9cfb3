//! A real node is the judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::consensus::deserialize;
use bitcoin::{Block, OutPoint, Script, Transaction, TxOut};

use super::*;

const SMALL: Plan = Plan { seed: 7, blocks: 30, inputs: 200, outputs: 200, watched_permille: 20, watched_keys: 100 };

/// What a script looks like from outside. Script types inside a hash, or behind a taproot key, show when spent.
fn looks(script: &Script) -> &'static str {
    match script {
        it if it.is_p2pk() => "p2pk",
        it if it.is_p2pkh() => "p2pkh",
        it if it.is_p2sh() => "p2sh",
        it if it.is_p2wpkh() => "p2wpkh",
        it if it.is_p2wsh() => "p2wsh",
        it if it.is_p2tr() => "p2tr",
        it if it.is_witness_program() => "future",
        it if it.is_op_return() => "message",
        it if it.is_multisig() => "multisig",
        _ => "unknown",
    }
}

/// The blocks of a plan, and every output by its outpoint.
fn read(plan: Plan) -> (Vec<Block>, HashMap<OutPoint, (u32, TxOut)>) {
    let mut made = HashMap::new();
    let blocks: Vec<Block> = Generator::new(plan).map(|block| deserialize(&block.bytes).unwrap()).collect();
    for (height, block) in (1..).zip(&blocks) {
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            let outputs = (0..).zip(&transaction.output);
            made.extend(outputs.map(|(vout, output)| (OutPoint { txid, vout }, (height, output.clone()))));
        }
    }
    (blocks, made)
}

fn payments(blocks: &[Block]) -> impl Iterator<Item = &Transaction> {
    blocks.iter().flat_map(|block| &block.txdata[1..])
}

#[test]
fn a_real_node_accepts_every_block() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    let generator = Generator::new(SMALL);
    let last = generator.blocks_in_all();
    feed(&node, generator).unwrap();
    assert_eq!(node.call("getblockcount", json!([])).unwrap(), json!(last));
    let tip = Generator::new(SMALL).last().unwrap();
    assert_eq!(node.call("getbestblockhash", json!([])).unwrap(), json!(tip.hash.to_lower_hex_string()));
}

#[test]
fn uneven_plans_are_accepted() {
    let (few, many) = (3, 400);
    for (blocks, inputs, outputs) in [(0, few, few), (20, 1, 1), (20, many, few), (120, few, many)] {
        let dir = tempfile::tempdir().unwrap();
        let node = Bitcoind::start(dir.path(), &[]).unwrap();
        let plan = Plan { seed: 3, blocks, inputs, outputs, watched_permille: 1_000, watched_keys: 50 };
        let last = Generator::new(plan).blocks_in_all();
        feed(&node, Generator::new(plan)).unwrap();
        assert_eq!(node.call("getblockcount", json!([])).unwrap(), json!(last));
    }
}

#[test]
fn the_first_refusal_is_told_in_the_nodes_words() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(dir.path(), &[]).unwrap();
    let Err(TestNodeError::Refused { message, .. }) = feed(&node, Generator::new(SMALL).skip(1)) else {
        panic!("accepted")
    };
    assert_eq!(message, "block 2: prev-blk-not-found");
}

#[test]
fn every_script_type_is_paid_and_spent() {
    let (blocks, made) = read(SMALL);
    let paid: BTreeSet<&str> = made.values().map(|(_, output)| looks(&output.script_pubkey)).collect();
    let mut spent = BTreeSet::new();
    for input in payments(&blocks).flat_map(|transaction| &transaction.input) {
        let nested = match (input.script_sig.len(), input.witness.len()) {
            (23, 2) => " of p2wpkh",
            (200.., 0) => " of multisig",
            (0, 1) => " by key",
            (0, 3) => " by script",
            _ => "",
        };
        let (_, output) = &made[&input.previous_output];
        spent.insert(format!("{}{nested}", looks(&output.script_pubkey)));
    }
    let names = "future message multisig p2pk p2pkh p2sh p2tr p2wpkh p2wsh";
    assert_eq!(paid, names.split(' ').collect());
    let names = "future,multisig,p2pk,p2pkh,p2sh of multisig,p2sh of p2wpkh,p2tr by key,p2tr by script,p2wpkh,p2wsh";
    assert_eq!(spent, names.split(',').map(String::from).collect());
}

#[test]
fn the_plan_decides_every_byte() {
    let plan = Plan { blocks: 3, inputs: 40, outputs: 50, ..SMALL };
    let blocks: Vec<Generated> = Generator::new(plan).collect();
    assert!(Generator::new(plan).eq(blocks.iter().cloned()));
    assert!(Generator::new(Plan { seed: 8, ..plan }).zip(blocks).all(|(one, other)| one.bytes != other.bytes));
}

#[test]
fn watched_scripts_are_paid_as_often_as_planned_and_spent() {
    let watched: BTreeSet<Vec<u8>> = Generator::new(SMALL).watched_scripts().into_iter().collect();
    assert_eq!(watched.len(), 1_000);
    let (blocks, made) = read(SMALL);
    let is_watched = |output: &TxOut| watched.contains(output.script_pubkey.as_bytes());
    let paid: Vec<&TxOut> = made.values().map(|(_, output)| output).filter(|output| is_watched(output)).collect();
    let permille = paid.len() * 1_000 / made.len();
    assert!((15..=25).contains(&permille), "{permille}");
    let distinct: BTreeSet<&Script> = paid.iter().map(|output| &*output.script_pubkey).collect();
    assert!(distinct.len() > paid.len() / 3, "{} of {}", distinct.len(), paid.len());
    let inputs = payments(&blocks).flat_map(|transaction| &transaction.input);
    let spent = inputs.filter(|input| is_watched(&made[&input.previous_output].1)).count();
    assert!(spent > paid.len() / 3, "{spent} of {}", paid.len());
}

#[test]
fn coins_lie_for_no_block_some_blocks_and_many() {
    let (blocks, made) = read(Plan { blocks: 250, ..SMALL });
    let mut ages = BTreeMap::new();
    for (height, block) in (1..).zip(&blocks) {
        for input in block.txdata[1..].iter().flat_map(|transaction| &transaction.input) {
            let (made_at, _) = made[&input.previous_output];
            *ages.entry(height - made_at).or_insert(0_u32) += 1;
        }
    }
    let in_all: u32 = ages.values().sum();
    let up_to = |blocks| ages.range(..=blocks).map(|(_, count)| count).sum::<u32>() * 100 / in_all;
    assert!((3..=15).contains(&up_to(0)), "{ages:?}");
    assert!((45..=75).contains(&up_to(6)), "{ages:?}");
    assert!((75..=95).contains(&up_to(20)), "{ages:?}");
    assert!(ages.range(150..).next().is_some(), "{ages:?}");
}

#[test]
fn a_plan_of_nothing_is_a_chain_of_coinbases() {
    let plan = Plan { blocks: 2, inputs: 0, outputs: 10, ..SMALL };
    assert_eq!(
        Generator::new(plan).map(|block| deserialize::<Block>(&block.bytes).unwrap().txdata.len()).sum::<usize>(),
        102
    );
}

#[test]
fn a_full_block_is_as_heavy_as_mainnets() {
    let (blocks, made) = read(Plan { blocks: 2, ..Plan::default() });
    for block in &blocks[blocks.len() - 2..] {
        let inputs: usize = block.txdata[1..].iter().map(|transaction| transaction.input.len()).sum();
        let outputs: usize = block.txdata[1..].iter().map(|transaction| transaction.output.len()).sum();
        assert!((5_800..=6_000).contains(&inputs) && (5_800..=6_000).contains(&outputs), "{inputs} {outputs}");
        assert!((2_300..=2_501).contains(&block.txdata.len()), "{}", block.txdata.len());
        assert!((1_200_000..1_500_000).contains(&block.total_size()), "{}", block.total_size());
    }
    for block in &blocks {
        assert!(block.weight() <= bitcoin::Weight::MAX_BLOCK, "{}", block.weight());
        let spent = |outpoint: &OutPoint| made.get(outpoint).map(|(_, output)| output.clone());
        let operations: usize = block.txdata.iter().map(|transaction| transaction.total_sigop_cost(spent)).sum();
        assert!(operations <= 40_000, "{operations}");
    }
}
