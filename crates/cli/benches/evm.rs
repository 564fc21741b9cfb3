//! An EVM chain, checked and indexed, beside a bare download of the same answers and a peer; how soon a block is stored; how fast state
//! proofs are verified.
//!
//! `EVM_BLOCKS` blocks of 100 transfers (1,000 where it is not set) are made on anvil, and what is asked of it is answered from a file
//! afterwards, so that the node is not what is measured. `EVM_ACCOUNTS` are watched (1,000,000 where it is not set), beside the 1,000 of them that
//! are paid. Making the chain takes 30 ms a block, and anvil a second for each block's trace, once.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_precision_loss
)]

#[path = "evm/chain.rs"]
mod chain;
#[path = "evm/floor.rs"]
mod floor;
#[path = "evm/ours.rs"]
mod ours;
#[path = "shared/ran.rs"]
mod ran;
#[path = "evm/replay.rs"]
mod replay;
#[path = "evm/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chain::Plan;
use ours::Declared;
use replay::Replay;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each, in turn; the best counts.
const ROUNDS: usize = 2;
/// Over how many connections the floor is downloaded.
const CONNECTIONS: usize = 4;
/// After how many blocks of a growing chain it is recorded: as many states are kept.
const STRETCH: u64 = 1_000;

/// How many runs must ask nothing new until a recording is whole.
const QUIET: usize = 2;

fn main() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |value| value.parse().unwrap());
    let plan = Plan { seed: 1, blocks: number("EVM_BLOCKS", 1_000) };
    let accounts = usize::try_from(number("EVM_ACCOUNTS", 1_000_000)).unwrap();
    let paid = plan.paid();
    let watched = [paid.len(), accounts].map(|accounts| (accounts, Declared::new(&paid, accounts)));
    let recording = Recording::new(plan, watched.each_ref().map(|(_, declared)| declared));
    println!("\n{} blocks of {} transfers, {} of them with an event", plan.blocks, chain::TRANSFERS, chain::EVENTS);
    println!("{:48} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "seconds", "blocks/s", "events/s", "of floor", "peak MB");
    let row = |what: &str, time: Duration, floor: Duration, peak_kb: Option<u64>| {
        let seconds = time.as_secs_f64();
        let peak = peak_kb.map_or_else(String::new, |kb| (kb / 1_000).to_string());
        let blocks = plan.blocks as f64 / seconds;
        let events = blocks * chain::EVENTS as f64;
        let share = floor.as_secs_f64() / seconds;
        println!("{what:48} {seconds:>9.3} {blocks:>9.0} {events:>9.0} {share:>9.2} {peak:>9}");
    };
    for ((accounts, declared), requests) in watched.iter().zip(&recording.requests) {
        let url = &recording.replay.url;
        let (mut floors, mut walks, mut runs) = (vec![], vec![], vec![]);
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let (floor, read) = floor::download(url, requests, CONNECTIONS);
            bytes = read;
            floors.push(floor);
            walks.push(declared.walk(url).unwrap());
            runs.push(declared.index(url));
        }
        let [floor, walk] = [floors, walks].map(|times| times.into_iter().min().unwrap());
        let run = runs.into_iter().min_by_key(|run| run.took).unwrap();
        println!("{accounts} accounts: {} requests, {} MB of answers", requests.len(), bytes / 1_000_000);
        row("  floor: downloaded", floor, floor, None);
        row("  ours: checked and indexed", walk, floor, None);
        row("  assay index --once", run.took, floor, Some(run.peak_kb));
    }
}

/// A generated chain's answers, and what is asked of it with so many accounts.
struct Recording<const N: usize> {
    replay: Replay,
    requests: [Vec<Vec<u8>>; N],
}

impl<const N: usize> Recording<N> {
    /// What is there is used; where a question is not answered there, the chain is made anew and asked.
    fn new(plan: Plan, declared: [&Declared; N]) -> Recording<N> {
        let cache = std::env::var_os("ASSAY_CACHE").expect("ASSAY_CACHE: `make bench` sets it");
        let Plan { seed, blocks } = plan;
        let folder = PathBuf::from(cache).join("chains").join(format!("evm-seed-{seed}-blocks-{blocks}"));
        std::fs::create_dir_all(&folder).unwrap();
        let replay = Replay::start(&folder.join("answers"));
        let ask = |declared: &Declared| replay.listen(|| _ = declared.walk(&replay.url));
        // Which questions are asked depends a little on what is answered first: enough is known when nothing new is asked.
        let all_known = || declared.iter().all(|declared| (0..QUIET).all(|_| ask(declared).1.is_empty()));
        if !all_known() {
            println!("recording {blocks} blocks");
            let begun = Instant::now();
            plan.mine(STRETCH, |anvil, height| {
                println!("  {height} blocks are there after {} s", begun.elapsed().as_secs());
                replay.ask(Some(&anvil.url));
                let some = if height <= STRETCH || height == blocks { N } else { 1 };
                for declared in &declared[..some] {
                    let mut quiet = 0;
                    while quiet < QUIET {
                        let (requests, missing) = ask(declared);
                        println!(
                            "  {} of {} questions were new, after {} s",
                            missing.len(),
                            requests.len(),
                            begun.elapsed().as_secs()
                        );
                        quiet = if missing.is_empty() { quiet + 1 } else { 0 };
                    }
                }
            });
            replay.ask(None);
        }
        let requests = declared.map(|declared| {
            let (requests, missing) = ask(declared);
            assert!(missing.is_empty(), "there is no answer to {}", missing[0]);
            requests
        });
        Recording { replay, requests }
    }
}
