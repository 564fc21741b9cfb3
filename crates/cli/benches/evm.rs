//! An EVM chain, checked and indexed, beside a bare download of the same answers and a peer; how soon a block is stored; how fast state
//! proofs are verified.
//!
//! `EVM_BLOCKS` blocks of 100 transfers (10,000 where it is not set) are made on anvil, 30 ms each, and what is asked of it is answered from a file
//! afterwards, so that the node is not what is measured. `EVM_ACCOUNTS` are watched (1,000,000 where it is not set), beside the 1,000 of them that
//! are paid. The node does not trace, as most do not. With `EVM_TRACES=1` it does.
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
#[path = "evm/latency.rs"]
mod latency;
#[path = "evm/ours.rs"]
mod ours;
#[path = "evm/peer.rs"]
mod peer;
#[path = "evm/proofs.rs"]
mod proofs;
#[path = "shared/ran.rs"]
mod ran;
#[path = "evm/replay.rs"]
mod replay;
#[path = "evm/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chain::Plan;
use floor::Then;
use ours::Declared;
use replay::Replay;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each, in turn; the best counts.
const ROUNDS: usize = 2;
/// Over how many connections the floor is downloaded.
const CONNECTIONS: usize = 4;
/// After how many blocks of a growing chain it is recorded: as many states are kept.
const STRETCH: u64 = 2_500;

/// How many runs must ask nothing new until a recording is whole: which thread is the first to look for a token's slot, and so at which block, is
/// another one each time.
const QUIET: usize = 6;
/// How many there are at most, and how often it is looked for a run that asks nothing new once the node is gone.
const AT_MOST: usize = 30;

/// Blocks of the chain on which ours and the peer ask a live anvil. It takes 25 ms for each block's transactions, whoever asks, for it recovers
/// their senders anew, and as long for each proof of an account, one at a time, for it builds the whole trie anew: of those the peer asks for none.
const LIVE: u64 = 200;
/// Blocks at its end of which the peer is not asked, so that all that it is asked of is final to it.
const NOT_FINAL: u64 = 64;
/// Blocks that are awaited, one a second.
const AWAITED: usize = 90;

fn main() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |value| value.parse().unwrap());
    let traces = std::env::var_os("EVM_TRACES").is_some();
    let plan = Plan { seed: 1, blocks: number("EVM_BLOCKS", 10_000), traces };
    let accounts = usize::try_from(number("EVM_ACCOUNTS", 1_000_000)).unwrap();
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut goals = vec![];
    if wanted("backfill") {
        goals.extend(backfill(plan, accounts));
    }
    if wanted("peer") {
        goals.extend(peer(Plan { blocks: LIVE, traces: true, ..plan }));
    }
    if wanted("latency") {
        goals.push(latency(plan));
    }
    if wanted("proofs") {
        goals.push(proofs());
    }
    println!("\n{:72} {:>10} {:>10}", "must reach", "", "seen");
    for Goal { what, least, seen, met } in goals {
        println!("{what:72} {least:>10} {seen:>10}{}", if met { "" } else { "  NOT MET" });
    }
}

/// A row of what must be reached.
struct Goal {
    what: String,
    least: String,
    seen: String,
    met: bool,
}

impl Goal {
    fn at_least(what: impl Into<String>, least: f64, seen: f64) -> Goal {
        Goal { what: what.into(), least: format!(">= {least}"), seen: format!("{seen:.2}"), met: seen >= least }
    }

    fn at_most(what: impl Into<String>, most: f64, seen: f64) -> Goal {
        Goal { what: what.into(), least: format!("<= {most}"), seen: format!("{seen:.2}"), met: seen <= most }
    }
}

fn backfill(plan: Plan, accounts: usize) -> [Goal; 3] {
    let paid = plan.paid();
    let watched = [paid.len(), accounts].map(|accounts| Declared::new(&paid, accounts));
    let recording = Recording::new(plan, &watched);
    println!("\n{} blocks of {} transfers, {} of them with an event", plan.blocks, chain::TRANSFERS, chain::EVENTS);
    head("of floor");
    let seen = std::array::from_fn::<_, 2, _>(|n| {
        let (declared, requests, url) = (&watched[n], &recording.requests[n], &recording.replay.url);
        let (mut floors, mut walks, mut runs) = ([vec![], vec![], vec![]], vec![], vec![]);
        for _ in 0..ROUNDS {
            for (floors, then) in floors.iter_mut().zip([Then::Nothing, Then::Roots, Then::RootsAndSenders]) {
                floors.push(floor::download(url, requests, CONNECTIONS, then));
            }
            walks.push(declared.walk(url).unwrap());
            runs.push(declared.index(url));
        }
        let [(floor, bytes), (roots, _), (senders, _)] = floors.map(|times| times.into_iter().min().unwrap());
        let walk = walks.into_iter().min().unwrap();
        let run = runs.into_iter().min_by_key(|run| run.took).unwrap();
        println!(
            "{} accounts: {} requests, {} MB of answers",
            [paid.len(), accounts][n],
            requests.len(),
            bytes / 1_000_000
        );
        row("  floor: downloaded", plan.blocks, floor, Some(floor), None);
        row("  the same, JSON read and roots rebuilt", plan.blocks, roots, Some(floor), None);
        row("  the same, and senders recovered", plan.blocks, senders, Some(floor), None);
        row("  ours: checked and indexed", plan.blocks, walk, Some(floor), None);
        row("  assay index --once", plan.blocks, run.took, Some(floor), Some(run.peak_kb));
        let missing = recording.replay.missing();
        if let Some(first) = missing.first() {
            println!("  {} questions were not recorded, so that this was slower: {first}", missing.len());
        }
        (floor, walk, run)
    });
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    let [few, many] = seen;
    [
        Goal::at_least(
            format!("verified backfill of {} blocks, of the bare download's speed", plan.blocks),
            0.75,
            ratio(few.0, few.1),
        ),
        Goal::at_most(
            format!("{accounts} watched accounts, times as long as {}", paid.len()),
            1.2,
            ratio(many.1, few.1),
        ),
        Goal::at_most(format!("peak memory with {accounts} accounts, MB"), 400.0, many.2.peak_kb as f64 / 1e3),
    ]
}

/// Both ask a live anvil first, then once more what was answered then. The peer asks for no traces, for the same events are in receipts: first nor do
/// we, then we ask for them, which explains what contracts pay beside.
fn peer(plan: Plan) -> [Goal; 3] {
    let paid = plan.paid();
    let declared = Declared::new(&paid, paid.len());
    let last = plan.blocks - NOT_FINAL;
    let mut ratios = [0.0; 4];
    println!("\n{} blocks, {} of them for the peer", plan.blocks, last);
    head("");
    plan.mine(plan.blocks, |anvil, _| {
        let runs =
            [(false, ["a live anvil", "from a file"]), (true, ["a live anvil that traces", "from a file, traces"])];
        for ((traces, whats), ratios) in runs.into_iter().zip(ratios.chunks_mut(2)) {
            let folder = tempfile::tempdir().unwrap();
            let replay = Replay::start(&folder.path().join("answers"), traces);
            for ((what, is_live), ratio) in whats.into_iter().zip([true, false]).zip(ratios) {
                if is_live {
                    replay.pass_on(&anvil.url);
                } else {
                    // What a file is to answer is asked for once more, and kept.
                    replay.ask(Some(&anvil.url));
                    declared.index(&replay.url);
                    replay.ask(None);
                }
                let ours = declared.index(&replay.url);
                if !is_live {
                    replay.ask(Some(&anvil.url)); // in which ranges the peer asks for logs is not always the same
                    peer::index(&replay.url, last, chain::EVENTS * last);
                }
                let theirs = peer::index(&replay.url, last, chain::EVENTS * last);
                row(&format!("assay index --once, {what}"), plan.blocks, ours.took, None, Some(ours.peak_kb));
                row(&format!("ponder, {what}"), last, theirs.took, None, Some(theirs.peak_kb));
                let each = |ran: ran::Ran, blocks: u64| ran.took.as_secs_f64() / blocks as f64;
                *ratio = each(theirs, last) / each(ours, plan.blocks);
                println!("  {ratio:.2} times as fast as the peer");
            }
        }
    });
    let goal =
        |what: &str, ratio: f64| Goal::at_least(format!("same events, {what}: times as fast as the peer"), 5.0, ratio);
    let [live, _, traced, from_file] = ratios;
    [
        goal("a live anvil", live),
        goal("a live anvil, with traces", traced),
        goal("answers from a file, with traces", from_file),
    ]
}

fn latency(plan: Plan) -> Goal {
    let paid = plan.paid();
    let times = latency::of_blocks(plan, &Declared::new(&paid, paid.len()), AWAITED);
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("\n{} blocks, one a second, from visible at the node to stored here:", times.len());
    println!("  median {:.0} ms, 99 % within {:.0} ms, worst {:.0} ms", at(50), at(99), at(100));
    Goal::at_most("block visible at the node to stored here, 99th percentile, ms", 250.0, at(99))
}

fn proofs() -> Goal {
    let what = format!("state proofs of {} levels verified, one core, accounts/s", proofs::LEVELS);
    Goal::at_least(what, 25_000.0, proofs::verified_each_second())
}

fn head(share: &str) {
    println!("{:48} {:>9} {:>9} {:>9} {share:>9} {:>9}", "", "seconds", "blocks/s", "events/s", "peak MB");
}

fn row(what: &str, blocks: u64, time: Duration, floor: Option<Duration>, peak_kb: Option<u64>) {
    let seconds = time.as_secs_f64();
    let share = floor.map_or_else(String::new, |floor| format!("{:.3}", floor.as_secs_f64() / seconds));
    let peak = peak_kb.map_or_else(String::new, |kb| (kb / 1_000).to_string());
    let blocks = blocks as f64 / seconds;
    let events = blocks * chain::EVENTS as f64;
    println!("{what:48} {seconds:>9.3} {blocks:>9.0} {events:>9.0} {share:>9} {peak:>9}");
}

/// A generated chain's answers, and what is asked of it with so many accounts.
struct Recording<const N: usize> {
    replay: Replay,
    requests: [Vec<Vec<u8>>; N],
}

impl<const N: usize> Recording<N> {
    /// What is there is used; where a question is not answered there, the chain is made anew and asked.
    fn new(plan: Plan, declared: &[Declared; N]) -> Recording<N> {
        let cache = std::env::var_os("ASSAY_CACHE").expect("ASSAY_CACHE: `make bench` sets it");
        let Plan { seed, blocks, traces } = plan;
        let traced = if traces { "-traced" } else { "" };
        let folder = PathBuf::from(cache).join("chains").join(format!("evm-seed-{seed}-blocks-{blocks}{traced}"));
        std::fs::create_dir_all(&folder).unwrap();
        let replay = Replay::start(&folder.join("answers"), traces);
        let ask = |declared: &Declared| replay.listen(|| _ = declared.walk(&replay.url));
        let mut asked = declared.each_ref().map(ask);
        if asked.iter().any(|(_, missing)| !missing.is_empty()) {
            println!("recording {blocks} blocks");
            let begun = Instant::now();
            plan.mine(STRETCH, |anvil, height| {
                println!("  {height} blocks are there after {} s", begun.elapsed().as_secs());
                replay.ask(Some(&anvil.url));
                let some = if height <= STRETCH || height == blocks { N } else { 1 };
                for declared in &declared[..some] {
                    // What is asked depends a little on what is answered first.
                    let (mut quiet, mut runs) = (0, 0);
                    while quiet < QUIET && runs < AT_MOST {
                        runs += 1;
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
            asked = declared.each_ref().map(|declared| {
                let mut runs = (0..AT_MOST).map(|_| ask(declared));
                runs.find(|(_, missing)| missing.is_empty()).unwrap_or_else(|| ask(declared))
            });
        }
        let requests = asked.map(|(requests, missing)| {
            assert!(missing.is_empty(), "{} questions have no answer, {}", missing.len(), missing[0]);
            requests
        });
        Recording { replay, requests }
    }
}
