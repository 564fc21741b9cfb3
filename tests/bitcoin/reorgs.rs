//! Whatever the chain takes back is taken back.

use serde_json::json;

use crate::lab::Lab;
use crate::oracle::{agrees, all, histories_agree};
use crate::stage::{Random, Snapshot, Stage};

/// The active chain as the node said it was at each of its blocks.
struct Record {
    active: Vec<String>,
    snapshots: Vec<Snapshot>,
}

impl Record {
    fn of(stage: &Stage) -> Record {
        let active = (0..=stage.tip()).map(|height| stage.hash_at(height)).collect();
        Record { active, snapshots: vec![stage.snapshot()] }
    }

    fn take_back(&mut self, blocks: u64) {
        let keep = self.active.len() - usize::try_from(blocks).unwrap();
        self.active.truncate(keep);
        self.snapshots
            .retain(|snapshot| self.active.get(usize::try_from(snapshot.height).unwrap()) == Some(&snapshot.hash));
    }

    fn note(&mut self, stage: &Stage) {
        let snapshot = stage.snapshot();
        self.active.push(snapshot.hash.clone());
        self.snapshots.push(snapshot);
    }
}

fn indexed(lab: &Lab) -> (u64, u64) {
    let reached = lab.json(&["index", "--once"], 0);
    (reached["chains"][0]["height"].as_u64().unwrap(), reached["chains"][0]["removed"].as_u64().unwrap())
}

#[test]
fn reorganisations_of_every_depth_leave_no_trace() {
    every_depth(Stage::lab);
}

#[test]
fn reorganisations_of_every_depth_leave_no_trace_in_block_files() {
    every_depth(Stage::lab_with_files);
}

fn every_depth(lab: fn(&Stage, u32) -> Lab) {
    let stage = Stage::new();
    stage.mine(120);
    let mut record = Record::of(&stage);
    let mut random = Random(3);
    for _ in 0..25 {
        stage.busy_block(&mut random);
        record.note(&stage);
    }
    let lab = lab(&stage, 100);
    lab.index();
    for depth in 1..=20 {
        stage.invalidate(depth);
        record.take_back(depth);
        for _ in 0..depth {
            stage.busy_block(&mut random);
            record.note(&stage);
        }
        // One with what came back into the mempool: the same transactions at other heights.
        stage.mine(1);
        record.note(&stage);
        assert_eq!(indexed(&lab), (stage.tip(), depth), "depth {depth}");
        let tip = record.snapshots.last().unwrap();
        agrees(&lab, &stage, tip, all(&stage));
        histories_agree(&lab, &stage, tip, &record.active);
        let turn = usize::try_from(depth).unwrap();
        for snapshot in record.snapshots.iter().rev().skip(1).step_by(turn).take(3) {
            agrees(&lab, &stage, snapshot, [turn, turn + 5].map(|place| place % stage.accounts.len()));
        }
    }
    // A chain that only became shorter.
    stage.invalidate(5);
    record.take_back(5);
    assert_eq!(indexed(&lab), (stage.tip(), 5));
    agrees(&lab, &stage, record.snapshots.last().unwrap(), all(&stage));
    histories_agree(&lab, &stage, record.snapshots.last().unwrap(), &record.active);
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}

#[test]
fn a_reorganisation_beyond_finality_stops_until_an_operator_accepts_it() {
    beyond_finality(Stage::lab);
}

#[test]
fn a_reorganisation_beyond_finality_stops_until_an_operator_accepts_it_in_block_files() {
    beyond_finality(Stage::lab_with_files);
}

fn beyond_finality(lab: fn(&Stage, u32) -> Lab) {
    let stage = Stage::new();
    stage.mine(120);
    let mut random = Random(5);
    (0..10).for_each(|_| stage.busy_block(&mut random));
    let lab = lab(&stage, 3);
    lab.index();
    let before = stage.snapshot();
    // Up to finality it is an ordinary one: the block at tip - 2 is final.
    stage.invalidate(2);
    (0..3).for_each(|_| stage.busy_block(&mut random));
    assert_eq!(indexed(&lab), (before.height + 1, 2));
    let before = stage.snapshot();

    stage.invalidate(4);
    let behind = lab.assay(&["index", "--once"]);
    assert_eq!(behind.code, 3, "a node that only has fewer blocks may be behind: {}", behind.stderr);
    (0..5).for_each(|_| stage.busy_block(&mut random));
    let refused = lab.assay(&["index", "--once"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    for words in ["error: chain bitcoin: ", "beyond finality", "hint: ", "--accept-reorg HASH"] {
        assert!(refused.stderr.contains(words), "{words} is not in {}", refused.stderr);
    }
    // What is known of the blocks that both branches have stays there to be asked; of those that the node left nothing is known.
    let address = &stage.accounts[0].address;
    let at = |depth: u64, code| {
        let height = (before.height - depth).to_string();
        lab.json(&["balance", address, "--chain", "bitcoin", "--at", &height], code)
    };
    assert_eq!(at(4, 0)["final"], json!(true));
    assert!(at(2, 3)["reason"].as_str().is_some_and(|reason| reason.contains("final")), "{}", at(2, 3));

    let other = stage.hash_at(stage.tip() - 1);
    for (hash, code) in [(other.as_str(), 4), ("nonsense", 2)] {
        let ran = lab.assay(&["index", "--once", "--chain", "bitcoin", "--accept-reorg", hash]);
        assert_eq!(ran.code, code, "only the new tip is accepted: {}", ran.stderr);
    }
    let tip = stage.hash_at(stage.tip());
    let accepted = lab.assay(&["index", "--once", "--chain", "bitcoin", "--accept-reorg", &tip]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
    // From here on it is an ordinary chain again.
    stage.busy_block(&mut random);
    lab.index();
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
}

#[test]
fn what_was_accepted_and_then_interrupted_is_final_only_up_to_what_is_there() {
    let stage = Stage::new();
    stage.mine(120);
    let mut random = Random(6);
    (0..8).for_each(|_| stage.busy_block(&mut random));
    let lab = stage.lab(1);
    lab.index();
    stage.invalidate(6);
    (0..7).for_each(|_| stage.busy_block(&mut random));
    let tip = stage.hash_at(stage.tip());
    let accept = ["index", "--once", "--chain", "bitcoin", "--accept-reorg", &tip];
    // Killed at moments that fall before, within and after the taking back.
    for moment in 0..6 {
        let mut run = lab.spawn(&accept);
        std::thread::sleep(std::time::Duration::from_millis(10 + 8 * moment));
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let accepted = lab.assay(&accept);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
    lab.index();
}
