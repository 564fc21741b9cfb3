//! While `assay index` runs: it is asked, it follows, it ends in good order, and it is alone.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use std::sync::Arc;

use crate::lab::{Lab, bitcoin_chain};
use crate::oracle::{agrees, all, indexed_height};
use crate::proxy::{Fault, Proxy, Rule};
use crate::stage::{Random, Stage};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until this height is indexed. Every answer on the way is whole, or says that nothing is known yet.
fn wait_for(lab: &Lab, stage: &Stage, height: u64) {
    let since = Instant::now();
    while indexed_height(lab, stage) != Some(height) {
        assert!(since.elapsed() < PATIENCE, "block {height} is not indexed in time");
    }
}

pub fn signal(run: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &run.id().to_string()]).status().unwrap().success());
}

/// Its exit code and what it said, if it ends in time.
pub fn ended(mut run: Child) -> (Option<i32>, String) {
    let since = Instant::now();
    while run.try_wait().unwrap().is_none() {
        if since.elapsed() > PATIENCE {
            run.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = run.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

pub fn follow(lab: &Lab) -> Child {
    lab.command(&["index"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn it_follows_and_is_asked_and_ends_in_good_order() {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(23);
    (0..20).for_each(|_| stage.busy_block(&mut random));
    let lab = stage.lab(100);
    let run = follow(&lab);
    wait_for(&lab, &stage, stage.tip());
    // New blocks, one of them with what the mempool had; then other ones instead.
    stage.busy_block(&mut random);
    stage.busy_block(&mut random);
    wait_for(&lab, &stage, stage.tip());
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
    stage.invalidate(2);
    (0..3).for_each(|_| stage.busy_block(&mut random));
    wait_for(&lab, &stage, stage.tip());
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));

    for arguments in [&["index"][..], &["index", "--once"]] {
        let second = lab.assay(arguments);
        assert_eq!(second.code, 2, "{}", second.stderr);
        assert!(second.stderr.contains("another process is indexing this chain"), "{}", second.stderr);
        assert!(second.stderr.contains("hint: "), "{}", second.stderr);
    }
    signal(&run, "-TERM");
    let (code, said) = ended(run);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
    // It left no lock behind, and nothing to be repaired.
    lab.index();
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

/// Every other declaration is indexed, and the others come now, with a node that takes its time for each block.
fn filling_in_slowly(stage: &Stage, lab: &Lab) -> Proxy {
    stage.declare(lab, |nth| nth % 2 == 0);
    lab.index();
    let slowly = Fault::Bytes(Arc::new(|_| std::thread::sleep(Duration::from_millis(60))));
    let proxy = Proxy::with(&stage.node.rpc_url, vec![Rule::always(&["/rest/block/"], slowly)]);
    lab.write("assay.toml", &bitcoin_chain(&proxy.url, &stage.node.cookie_file, 100));
    stage.declare(lab, |_| true);
    proxy
}

/// Is it known what an account holds that was declared late?
fn late_is_known(lab: &Lab, stage: &Stage) -> bool {
    let ran = lab.assay(&["balance", &stage.accounts[1].address, "--chain", "bitcoin", "--json"]);
    assert!([0, 3].contains(&ran.code), "{}", ran.stderr);
    ran.code == 0
}

#[test]
fn new_blocks_are_there_while_late_accounts_are_filled_in() {
    let stage = Stage::new();
    stage.mine(330);
    let mut random = Random(29);
    (0..30).for_each(|_| stage.busy_block(&mut random));
    let lab = stage.lab(100);
    let _slow = filling_in_slowly(&stage, &lab);
    let run = follow(&lab);
    for blocks in [1, 2] {
        (0..blocks).for_each(|_| stage.busy_block(&mut random));
        wait_for(&lab, &stage, stage.tip());
        assert!(!late_is_known(&lab, &stage), "it was filled in before the block came: the test shows nothing");
    }
    stage.invalidate(2);
    (0..3).for_each(|_| stage.busy_block(&mut random));
    wait_for(&lab, &stage, stage.tip());
    let since = Instant::now();
    while !late_is_known(&lab, &stage) {
        assert!(since.elapsed() < PATIENCE, "it is not filled in in time");
    }
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
    signal(&run, "-TERM");
    assert_eq!(ended(run).0, Some(0));
    // Those that are declared no more keep what was found, and go on.
    stage.declare(&lab, |nth| nth % 2 == 0);
    stage.busy_block(&mut random);
    lab.index();
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

#[test]
fn it_waits_for_a_node_that_is_away_and_ends_in_good_order_then_too() {
    let stage = Stage::new();
    stage.mine(5);
    let lab = stage.lab(100);
    let run = follow(&lab);
    wait_for(&lab, &stage, 5);
    let (node, accounts) = (stage.node, stage.accounts);
    node.kill();
    // Queries need no node.
    let ran = lab.assay(&["balance", &accounts[0].address, "--chain", "bitcoin"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // It has noticed, once it has tried, and does not give up.
    let once = lab.assay(&["check"]);
    assert_eq!(once.code, 3, "{}", once.stdout);
    signal(&run, "-INT");
    let (code, said) = ended(run);
    assert_eq!(code, Some(0), "{said}");
}
