//! Killed at any instant, a store stands at a boundary, and goes on to the same bytes as if nothing had happened.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use assay_types::{AccountNo, Height, Watch};

use super::world::{Event, Sealed, World};
use super::{Dump, account, dump, folder, open};
use crate::{Family, Mode, Store, Undo};

const PATH: &str = "ASSAY_STORE_CRASH_PATH";
const BLOCKS: u64 = 240;
/// At this height two accounts more are declared.
const LATE_FROM: u64 = 60;
/// So many blocks are read for them while one is applied.
const BESIDE: u64 = 3;

fn blocks() -> Vec<Sealed> {
    let mut world = World::default();
    for height in 0..BLOCKS {
        for who in 0..4u8 {
            world.pay_in(who, 5_000 + height);
        }
        let unspent = world.unspent();
        let (txid, vout, _, amount) = unspent[unspent.len() / 2];
        let tx = world.new_tx();
        world.events.push(Event::Input { tx, index: 0, spends: (txid, vout) });
        world.events.push(Event::Output { tx, vout: 0, to: (height % 4) as u8, amount, coinbase: false });
        world.seal(0);
    }
    world.blocks
}

/// One write. What it is depends only on what the store holds, but for now and then a step back, which is taken once.
fn step(store: &Store, blocks: &[Sealed], stepped_back: &mut HashSet<u64>) -> bool {
    let next = store.tip().unwrap().map_or(0, |tip| tip.height.0 + 1);
    if store.number(&account(0)).unwrap().is_none() {
        store.declare(&[[account(0), account(1)]]).unwrap();
    } else if next == LATE_FROM && store.number(&account(2)).unwrap().is_none() {
        store.declare(&[[account(2), account(3)]]).unwrap();
    } else if let Some(round) =
        store.round(Height(0)).unwrap().filter(|round| round.next.0 < BESIDE * (next - LATE_FROM + 1))
    {
        let watch = store.round_watch(round).unwrap();
        match blocks[..place(next)].get(place(round.next.0)) {
            Some(block) => drop(store.fill_in(&block.view(&watch), &watch, round).unwrap()),
            None => store.publish(round).unwrap(),
        }
    } else if next.is_multiple_of(7) && next > LATE_FROM * 2 && stepped_back.insert(next) {
        (0..3).for_each(|_| assert!(store.remove_tip().unwrap().is_some()));
    } else if let Some(block) = blocks.get(place(next)) {
        let watch: Watch = store.watch().unwrap();
        let undo = Undo { depth: BLOCKS, tip: block.header.height };
        store.apply(&block.view(&watch), &watch, undo, next.is_multiple_of(16)).unwrap();
    } else {
        return false;
    }
    true
}

fn place(height: u64) -> usize {
    usize::try_from(height).unwrap()
}

/// What the child does until it is killed: it says a line before each write.
fn write_until_killed(path: &Path) {
    let store = open(path, Mode::Write).unwrap();
    let (blocks, mut stepped_back) = (blocks(), HashSet::new());
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "step").unwrap();
        out.flush().unwrap();
        if !step(&store, &blocks, &mut stepped_back) {
            store.remove_tip().unwrap(); // at the end: back and forth until it is killed
        }
    }
}

fn kill_after(path: &Path, steps: usize) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::a_killed_writer_leaves_a_boundary_and_the_next_one_goes_on", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.filter(|line| line.ends_with("step")).take(steps).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said, steps, "the child ended by itself");
}

#[test]
fn a_killed_writer_leaves_a_boundary_and_the_next_one_goes_on() {
    if let Some(path) = std::env::var_os(PATH) {
        return write_until_killed(Path::new(&path));
    }
    let blocks = blocks();
    let (boundaries, end) = uninterrupted(&blocks);
    let folder = folder();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    for kill in 0..10u32 {
        kill_after(folder.path(), 1 + (seed.rotate_left(3 * kill) % 60) as usize);
        let store = open(folder.path(), Mode::Write).unwrap();
        assert!(boundaries.contains(&digest(&dump(&store))), "kill {kill}, seed {seed}: not a boundary");
        store.audit().unwrap();
    }
    let store = open(folder.path(), Mode::Write).unwrap();
    while step(&store, &blocks, &mut (0..=BLOCKS).collect()) {}
    assert!(dump(&store) == end, "seed {seed}: continued, it is not what it would have been");
}

#[test]
fn of_a_declaring_that_did_not_come_to_its_end_nothing_is_left() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(4), account(1)]]).unwrap();
    let before = dump(&store);
    store.declare(&[&[account(5), account(0)][..], &[account(1), account(3), account(2), account(0)]]).unwrap();
    let after = dump(&store);
    // Killed after its rows were there, and before it was said that they count.
    let meta = Family::Meta.name();
    let mut batch = rocksdb::WriteBatch::default();
    for ((_, key), value) in before.iter().filter(|((family, _), _)| *family == meta) {
        batch.put_cf(store.family(Family::Meta).unwrap(), key, value);
    }
    store.commit(batch, true).unwrap();
    assert_ne!(dump(&store), before);
    let reader = open(folder.path(), Mode::Read).unwrap();
    assert_eq!([0, 1].map(|who| reader.number(&account(who)).unwrap()), [None, Some((AccountNo(1), true))]);
    drop(store);
    let store = open(folder.path(), Mode::Write).unwrap();
    assert_eq!(dump(&store), before);
    store.declare(&[&[account(5), account(0)][..], &[account(3), account(2)]]).unwrap();
    assert_eq!(dump(&store), after);
}

/// Every state on the way, and the last.
fn uninterrupted(blocks: &[Sealed]) -> (HashSet<u64>, Dump) {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    let mut states = HashSet::from([digest(&Dump::new()), digest(&dump(&store))]);
    let mut back = (0..=BLOCKS).collect();
    while step(&store, blocks, &mut back) {
        states.insert(digest(&dump(&store)));
    }
    (states, dump(&store))
}

fn digest(rows: &Dump) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    rows.hash(&mut hasher);
    hasher.finish()
}
