//! Killed at any moment, the next run goes on from a block boundary and ends at the same bytes.

use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::oracle::{agrees, all, answers, indexed_height};
use crate::stage::{Random, Stage};

/// Starts `assay index`, kills it after each of these moments, and tells how many blocks there were then.
fn killed(lab: &Lab, stage: &Stage, moments: impl IntoIterator<Item = Duration>) -> Vec<Option<u64>> {
    let each = moments.into_iter().map(|moment| {
        let mut run = lab.spawn(&["index", "--once"]);
        std::thread::sleep(moment);
        run.kill().unwrap();
        run.wait().unwrap();
        // A killed run leaves an index that can be asked, at a block boundary.
        indexed_height(lab, stage)
    });
    each.collect()
}

/// Moments spread over a run of this length, in no order.
fn moments(whole: Duration, count: u32, random: &mut Random) -> Vec<Duration> {
    let part = |n: usize| whole * u32::try_from(n).unwrap() / 1000;
    (0..count).map(|_| part(100 + random.below(600))).collect()
}

#[test]
fn killed_at_any_moment_it_ends_at_the_same_bytes() {
    killed_at_any_moment(Stage::lab);
}

#[test]
fn killed_while_it_reads_block_files_it_ends_at_the_same_bytes() {
    killed_at_any_moment(Stage::lab_with_files);
}

fn killed_at_any_moment(lab: fn(&Stage, u32) -> Lab) {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(17);
    (0..100).for_each(|_| stage.busy_block(&mut random));
    let whole = stage.lab(100);
    let began = Instant::now();
    whole.index();
    let duration = began.elapsed();

    let broken = lab(&stage, 100);
    stage.declare(&broken, |nth| nth % 2 == 0);
    // First while it is only being made, then while it grows.
    killed(&broken, &stage, (1..8).map(|n| Duration::from_millis(3 * n)));
    let reached = killed(&broken, &stage, moments(duration, 8, &mut random));
    broken.index();
    // Now the other accounts are filled in, and that is broken off as well.
    stage.declare(&broken, |_| true);
    killed(&broken, &stage, moments(duration, 6, &mut random));
    broken.index();
    let heights = [1, 111, 130, 199, stage.tip()];
    assert_eq!(answers(&whole, &stage, &heights), answers(&broken, &stage, &heights), "killed at {reached:?}");

    // The chain reorganises, twice as deep each time.
    for depth in [12, 25, 50] {
        stage.invalidate(depth);
        (0..=depth).for_each(|_| stage.busy_block(&mut random));
        killed(&broken, &stage, moments(duration, 4, &mut random));
        broken.index();
    }
    agrees(&broken, &stage, &stage.snapshot(), all(&stage));
    // From files, with all that the chain left in them.
    let fresh = lab(&stage, 100);
    fresh.index();
    let heights = [111, 190, stage.tip() - 60, stage.tip()];
    assert_eq!(answers(&fresh, &stage, &heights), answers(&broken, &stage, &heights));
    whole.index();
    assert_eq!(answers(&fresh, &stage, &heights), answers(&whole, &stage, &heights));
    assert_eq!(broken.assay(&["check", "--deep"]).code, 0);
}

#[test]
fn killed_while_the_node_reorganises_under_it_it_ends_at_the_same_bytes() {
    let stage = Stage::new();
    stage.mine(110);
    let mut random = Random(19);
    (0..40).for_each(|_| stage.busy_block(&mut random));
    let lab = stage.lab(100);
    for depth in [3, 12, 25, 7] {
        // The node takes blocks back and mines others while the index runs.
        let mut run = lab.spawn(&["index"]);
        stage.invalidate(depth);
        (0..depth).for_each(|_| stage.busy_block(&mut random));
        run.kill().unwrap();
        run.wait().unwrap();
        stage.mine(1);
    }
    lab.index();
    let fresh = stage.lab(100);
    fresh.index();
    let heights = [1, 111, 120, stage.tip() - 1, stage.tip()];
    assert_eq!(answers(&fresh, &stage, &heights), answers(&lab, &stage, &heights));
    agrees(&lab, &stage, &stage.snapshot(), all(&stage));
}
