//! While `assay index` runs: it is asked, it follows, it ends in good order, and it is alone.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::oracle::{agrees, all, indexed_height};
use crate::stage::{Random, Stage};

const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until this height is indexed. Every answer on the way is whole, or says that nothing is known yet.
fn wait_for(lab: &Lab, stage: &Stage, height: u64) {
    let since = Instant::now();
    while indexed_height(lab, stage) != Some(height) {
        assert!(since.elapsed() < PATIENCE, "block {height} is not indexed in time");
    }
}

fn signal(run: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &run.id().to_string()]).status().unwrap().success());
}

/// Its exit code and what it said, if it ends in time.
fn ended(mut run: Child) -> (Option<i32>, String) {
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

fn follow(lab: &Lab) -> Child {
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
