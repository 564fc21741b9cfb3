//! From when a block is visible at the node until it is stored here: anvil with a block each second, and `assay index` that follows it.
//!
//! Ten transfers in each: anvil's trace of a block takes time that grows with their square, a second for a hundred.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use assay_testnodes::Anvil;

use crate::chain::{self, Plan};
use crate::ours::Declared;
use crate::wire::Line;

const IN_EACH: usize = 10;
/// How often the node is asked for its last block.
const LOOK: Duration = Duration::from_millis(2);
/// How long the last block is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it took for each of so many blocks, in order of size.
pub fn of_blocks(plan: Plan, declared: &Declared, blocks: usize) -> Vec<Duration> {
    let mut transactions = vec![];
    Plan { blocks: 1 + (blocks * IN_EACH) as u64 / chain::TRANSFERS, ..plan }
        .each_block(|block| transactions.extend(block));
    let anvil = Anvil::start(&["--silent", "--block-time", "1", "--order", "fees", "--balance", "1000000"]).unwrap();
    let mut command = declared.command(&anvil.url);
    command.arg("index").env("ASSAY_LOG", "info").env("ASSAY_LOG_FORMAT", "json");
    let mut program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(program.stderr.take().unwrap());
    let stored: Mutex<Vec<(u64, Instant)>> = Mutex::default();
    let warnings: Mutex<Vec<String>> = Mutex::default();
    let is_stored = |height: u64| stored.lock().unwrap().iter().any(|(reached, _)| *reached >= height);
    let visible = std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in said.lines().map_while(Result::ok) {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if said["level"] == "WARN" {
                    warnings.lock().unwrap().push(line);
                }
                let height = said["height"].as_u64().filter(|_| said["message"] == "caught up");
                stored.lock().unwrap().extend(height.map(|height| (height, Instant::now())));
            }
        });
        let mut line = Line::to(&anvil.url);
        let mut visible: Vec<(u64, Instant)> = vec![];
        let mut waiting = transactions.chunks(IN_EACH);
        while visible.len() < blocks + 1 {
            let height = height(&mut line);
            if visible.last().is_none_or(|(last, _)| *last < height) {
                visible.push((height, Instant::now()));
                chain::send(&mut line, waiting.next().unwrap_or_default());
            }
            std::thread::sleep(LOOK);
        }
        while !is_stored(visible[blocks].0) {
            assert!(visible[blocks].1.elapsed() < PATIENCE, "block {} is not stored", visible[blocks].0);
            std::thread::sleep(LOOK);
        }
        program.kill().unwrap();
        program.wait().unwrap();
        visible
    });
    let (stored, warnings) = (stored.into_inner().unwrap(), warnings.into_inner().unwrap());
    if let Some(first) = warnings.first() {
        println!("\n  it warns {} times, first: {first}", warnings.len());
    }
    // The first is there before the program is.
    let of = |(height, seen): &(u64, Instant)| {
        let (_, stored) = stored.iter().find(|(reached, _)| reached >= height).expect("every block is stored");
        stored.saturating_duration_since(*seen)
    };
    let mut times: Vec<Duration> = visible[1..].iter().map(of).collect();
    times.sort_unstable();
    times
}

fn height(line: &mut Line) -> u64 {
    let answer = line.post(br#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#);
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    u64::from_str_radix(&answer["result"].as_str().unwrap()[2..], 16).unwrap()
}
