//! Wherever blocks come from, and on however many threads they are read: the same answers, byte for byte.

use std::collections::BTreeMap;

use assay_testnodes::Bitcoind;
use assay_testnodes::generator::{Generator, Plan, feed};
use assay_types::Amount;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::lab::{Lab, bitcoin_chain};
use crate::oracle::answers;
use crate::stage::{Random, Stage};

/// What `assay index` says about where blocks come from.
fn indexed(lab: &Lab, threads: &str) -> String {
    let mut run = lab.command(&["index", "--once", "--threads", threads]);
    let ran = run.env("ASSAY_LOG", "info").output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    said
}

#[test]
fn files_rest_and_rpc_on_any_number_of_threads_give_the_same_answers() {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(31);
    for round in 0..12 {
        (0..4).for_each(|_| stage.busy_block(&mut random));
        // Stale blocks remain in the files.
        stage.invalidate(round % 3 + 1);
        (0..=round % 3 + 1).for_each(|_| stage.busy_block(&mut random));
    }
    let heights = [1, 111, 130, stage.tip() - 3, stage.tip()];
    let rest = stage.lab(6);
    let said = indexed(&rest, "1");
    assert!(said.contains("blocks come over REST, as bytes"), "{said}");
    let expected = answers(&rest, &stage, &heights);
    for threads in ["1", "2", "3", "7"] {
        let files = stage.lab_with_files(6);
        let said = indexed(&files, threads);
        assert!(said.contains("blocks come from its files: ") && said.contains("in 1 files, XORed"), "{said}");
        assert_eq!(answers(&files, &stage, &heights), expected, "files, {threads} threads");
    }
    let other = stage.lab(6);
    indexed(&other, "5");
    assert_eq!(answers(&other, &stage, &heights), expected, "REST, 5 threads");

    // A few blocks more are not worth looking through the files.
    let files = stage.lab_with_files(6);
    indexed(&files, "2");
    stage.busy_block(&mut random);
    let said = indexed(&files, "2");
    assert!(said.contains("not from its files: only 1 are missing"), "{said}");
}

#[test]
fn a_node_without_rest_is_asked_over_rpc_for_what_its_files_have_as_well() {
    let stage = Stage::with(&[]);
    stage.mine(110);
    let mut random = Random(32);
    (0..10).for_each(|_| stage.busy_block(&mut random));
    let (rpc, files) = (stage.lab(6), stage.lab_with_files(6));
    let said = indexed(&rpc, "3");
    assert!(said.contains("blocks come over RPC, which is slower, as REST is not served"), "{said}");
    let said = indexed(&files, "3");
    assert!(said.contains("blocks come from its files: "), "{said}");
    let heights = [1, 112, stage.tip()];
    assert_eq!(answers(&rpc, &stage, &heights), answers(&files, &stage, &heights));
}

#[test]
fn files_that_cannot_be_used_are_told_and_the_node_is_asked() {
    let stage = Stage::new();
    stage.mine(110);
    let expected = {
        let lab = stage.lab(6);
        lab.index();
        answers(&lab, &stage, &[110])
    };
    let empty = tempfile::tempdir().unwrap();
    let chain = bitcoin_chain(&stage.node.rpc_url, &stage.node.cookie_file, 6);
    for (folder, why) in [(empty.path().to_owned(), "no block files"), (empty.path().join("nowhere"), "No such file")] {
        let lab = stage.lab(6);
        lab.write("assay.toml", &format!("{}\nblocks_dir = \"{}\"\n", chain.trim_end(), folder.display()));
        let said = indexed(&lab, "2");
        assert!(said.contains("blocks come from the node and not from its files: ") && said.contains(why), "{said}");
        assert_eq!(answers(&lab, &stage, &[110]), expected);
    }
    // A damaged byte in a file: that block is asked of the node.
    let damaged = tempfile::tempdir().unwrap();
    let blocks = stage.node.dir.join("regtest/blocks");
    let mut bytes = std::fs::read(blocks.join("blk00000.dat")).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(damaged.path().join("blk00000.dat"), bytes).unwrap();
    std::fs::copy(blocks.join("xor.dat"), damaged.path().join("xor.dat")).unwrap();
    let lab = stage.lab(6);
    lab.write("assay.toml", &format!("{}\nblocks_dir = \"{}\"\n", chain.trim_end(), damaged.path().display()));
    let said = indexed(&lab, "2");
    assert!(said.contains("in the block files: ") && said.contains("asking the node for it"), "{said}");
    assert_eq!(answers(&lab, &stage, &[110]), expected);
}

#[derive(Deserialize)]
struct Scan {
    unspents: Vec<Unspent>,
}

#[derive(Deserialize)]
struct Unspent {
    #[serde(rename = "scriptPubKey")]
    script: String,
    amount: Box<RawValue>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Blocks as heavy as the main network's are small here, but of the same make-up.
#[test]
fn a_generated_chain_holds_what_the_nodes_own_set_of_coins_says() {
    let plan = Plan { blocks: 60, inputs: 80, outputs: 80, watched_permille: 200, ..Plan::default() };
    let folder = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(folder.path(), &["-rest=1"]).unwrap();
    feed(&node, Generator::new(plan)).unwrap();
    let scripts = Generator::new(plan).watched_scripts();
    // Those that hold something at the end, and some that may not.
    let scripts: Vec<String> = scripts.iter().map(|script| hex(script)).collect();
    let raw: Vec<String> = scripts.iter().map(|script| format!("raw({script})")).collect();
    let scan = node.call_raw("scantxoutset", json!(["start", raw])).unwrap();
    let scan: Scan = serde_json::from_str(scan.get()).unwrap();
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for unspent in scan.unspents {
        let amount = Amount::from_coins(unspent.amount.get(), 8).unwrap();
        *held.entry(unspent.script).or_default() += u64::try_from(amount.0).unwrap();
    }
    assert!(held.len() > 50, "{}", held.len());
    let lab = Lab::new();
    let chain = bitcoin_chain(&node.rpc_url, &node.cookie_file, 6);
    let blocks = folder.path().join("regtest/blocks");
    lab.write("assay.toml", &format!("{}\nblocks_dir = \"{}\"\n", chain.trim_end(), blocks.display()));
    lab.write("exchanges/acme/exchange.toml", "id = \"acme\"\n");
    let lines = scripts.iter().map(|script| format!("bitcoin,script:{script},deposit\n"));
    lab.write("exchanges/acme/scripts.csv", &format!("chain,address,role\n{}", lines.collect::<String>()));
    let said = indexed(&lab, "2");
    assert!(said.contains("blocks come from its files"), "{said}");
    let holdings = lab.json(&["holdings", "acme"], 0);
    assert_eq!(holdings["holdings"][0]["units"], json!(held.values().sum::<u64>().to_string()), "{holdings}");
    for (script, sat) in held.iter().take(40) {
        let answer = lab.json(&["balance", &format!("script:{script}"), "--chain", "bitcoin"], 0);
        assert_eq!(answer["units"], json!(sat.to_string()), "{answer}");
    }
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}
