//! A whole Bitcoin chain, checked and indexed: from files, over REST, over RPC, beside the floor and a peer, in one run.
//!
//! The floor is what cannot be saved: the same bytes read from the page cache, XORed, parsed with bitcoin_slices, and every hash
//! that the checks need made by bare calls of the crate `sha2`, on the same threads; over a network, the blocks downloaded
//! over as many connections, and the same hashes. The peer is electrs, on the same node.
//!
//! `WALK_BLOCKS` full blocks (800 where it is not set) of a generated chain, kept in `ASSAY_CACHE`; 2 % of their outputs pay
//! watched scripts and are spent later. They pay the same 1,000 scripts however many are declared, so that the same rows are written and
//! matching alone differs: each of those has some hundred movements, and the others none. Undo is kept for the last 100 blocks: on a long chain nearly all lie below what is kept.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_precision_loss
)]

#[path = "walk/floor.rs"]
mod floor;
#[path = "walk/history.rs"]
mod history;
#[path = "walk/ours.rs"]
mod ours;
#[path = "walk/process.rs"]
mod process;
#[path = "shared/ran.rs"]
mod ran;

use std::path::PathBuf;
use std::time::Duration;

use assay_testnodes::Bitcoind;
use assay_testnodes::generator::{Generator, Plan, feed};

use ours::{Declared, Source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each, in turn; the median counts.
const RUNS: usize = 5;
/// How many blocks are asked for at once over a network, by us and by the floor.
const CONNECTIONS: usize = 4;

fn main() {
    // As in the program.
    #[allow(unsafe_code)]
    // SAFETY: a number among settings, before there are other threads.
    unsafe {
        libmimalloc_sys::mi_option_set(15, 1_000);
    }
    let blocks = std::env::var("WALK_BLOCKS").map_or(800, |blocks| blocks.parse().unwrap());
    let plan = Plan { blocks, ..Plan::default() };
    let chain = Chain::new(plan);
    let watched = Generator::new(plan).watched_scripts();
    let bytes = floor::warm(&chain.blocks_dir());
    println!(
        "\n{} blocks, {} MB; 2 % of the outputs pay the same {} scripts, however many are declared\n",
        chain.blocks,
        bytes / 1_000_000,
        watched.len()
    );
    println!("{:48} {:>9} {:>9} {:>8} {:>9}", "", "seconds", "blocks/s", "MB/s", "of floor");
    let row = |what: &str, time: Duration, floor: Duration| {
        let seconds = time.as_secs_f64();
        println!(
            "{what:48} {seconds:>9.3} {:>9.0} {:>8.0} {:>9.2}",
            f64::from(chain.blocks) / seconds,
            bytes as f64 / 1e6 / seconds,
            floor.as_secs_f64() / seconds
        );
    };
    let declared = |scripts| Declared::new(&watched, scripts);
    let [few, million, ten_million] = [1_000, 1_000_000, 10_000_000].map(declared);
    let dir = chain.blocks_dir();
    let files = || Source::Files(dir.clone());
    let mut of_million = vec![];
    {
        let node = chain.start(&["-rest=1"]);
        for threads in [2, 1] {
            let mut times: Vec<Vec<Duration>> = vec![vec![]; 4];
            for run in 0..RUNS {
                times[0].push(floor::files(&dir, threads, chain.blocks));
                times[1].push(few.walk(&node, &files(), threads));
                times[2].push(million.walk(&node, &files(), threads));
                if run < 2 && threads == 2 {
                    times[3].push(ten_million.walk(&node, &files(), threads));
                }
            }
            let times: Vec<Option<Duration>> = times.into_iter().map(median).collect();
            let floor = times[0].unwrap();
            let rows = ["floor", "files, 1,000 scripts", "files, 1,000,000 scripts", "files, 10,000,000 scripts"];
            for (what, time) in rows.iter().zip(&times) {
                if let Some(time) = time {
                    row(&format!("{what}, {threads} threads"), *time, floor);
                }
            }
            of_million.push(times[2].unwrap());
            if let (Some(few), Some(many)) = (times[1], times[3]) {
                let times = many.as_secs_f64() / few.as_secs_f64();
                println!("  10,000,000 scripts take {times:.2} times as long as 1,000");
            }
        }
        println!(
            "  two threads are {:.2} times as fast as one\n",
            of_million[1].as_secs_f64() / of_million[0].as_secs_f64()
        );
        drop(ten_million);
        let mut times = [vec![], vec![]];
        for _ in 0..3 {
            times[0].push(floor::rest(&node, CONNECTIONS, chain.blocks));
            times[1].push(million.walk(&node, &Source::Node, 2));
        }
        let [floor, ours] = times.map(|times| median(times).unwrap());
        row("floor: downloaded over REST, and hashed", floor, floor);
        row("REST, 1,000,000 scripts", ours, floor);
        node.stop().unwrap();
    }
    {
        let node = chain.start(&[]);
        let time = million.walk(&node, &Source::Node, 2);
        row("RPC, 1,000,000 scripts", time, time);
        node.stop().unwrap();
    }
    println!("\n{:48} {:>9} {:>9} {:>8} {:>9}", "whole processes", "seconds", "blocks/s", "MB/s", "peak MB");
    let whole = |what: &str, ran: &ran::Ran| {
        let seconds = ran.took.as_secs_f64();
        let (rate, speed) = (f64::from(chain.blocks) / seconds, bytes as f64 / 1e6 / seconds);
        println!("{what:48} {seconds:>9.3} {rate:>9.0} {speed:>8.0} {:>9}", ran.peak_kb / 1_000);
    };
    let port = process::free_port();
    let (bind, listen) = (format!("-bind=127.0.0.1:{port}"), ["-rest=1", "-listen=1", "-listenonion=0"]);
    let node = chain.start(&[&listen[..], &[&bind, "-maxtipage=1000000000"]].concat());
    let [few, million] = [&few, &million].map(|declared| process::Lab::new(&node, &dir, declared.scripts()));
    let (of_few, ours) = (few.index(), million.index());
    whole("assay index --once, 1,000 scripts", &of_few);
    whole("assay index --once, 1,000,000 scripts", &ours);
    whole("the same again: nothing to do", &million.index());
    let peer = process::electrs(&node, port, chain.blocks);
    whole("electrs 0.11.1", &peer);
    let against_peer = |ran: &ran::Ran| peer.took.as_secs_f64() / ran.took.as_secs_f64();
    let (few, million) = (against_peer(&of_few), against_peer(&ours));
    println!(
        "  {few:.1} times as fast as the peer; {million:.1} times where a million scripts are read and declared first\n"
    );
    node.stop().unwrap();
    history::ten_million_movements();
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// A generated chain, in the data folder of a node.
struct Chain {
    folder: PathBuf,
    blocks: u32,
}

impl Chain {
    fn new(plan: Plan) -> Chain {
        let cache = std::env::var_os("ASSAY_CACHE").expect("ASSAY_CACHE: `make bench` sets it");
        let Plan { seed, blocks, watched_keys, .. } = plan;
        let name = format!("seed-{seed}-blocks-{blocks}-keys-{watched_keys}");
        let folder = PathBuf::from(cache).join("chains").join(name);
        let generator = Generator::new(plan);
        let all = generator.blocks_in_all();
        let chain = Chain { folder, blocks: all + 1 };
        let node = chain.start(&[]);
        let count = |node: &Bitcoind| node.call("getblockcount", serde_json::json!([])).unwrap().as_u64().unwrap();
        let there = count(&node);
        if there < u64::from(all) {
            println!("generating {blocks} full blocks, once: some minutes, nearly all of it the node's own checks");
            feed(&node, generator.filter(|block| u64::from(block.height) > there)).unwrap();
        }
        assert_eq!(count(&node), u64::from(all));
        node.stop().unwrap();
        chain
    }

    fn start(&self, arguments: &[&str]) -> Bitcoind {
        Bitcoind::start(&self.folder, arguments).unwrap()
    }

    fn blocks_dir(&self) -> PathBuf {
        self.folder.join("regtest/blocks")
    }
}
