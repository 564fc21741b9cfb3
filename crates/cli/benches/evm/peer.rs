//! The peer: ponder, from npm, which indexes the token's Transfer events into a database. It believes the node, and reads neither ether nor state.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay_http::{Endpoint, Login};

use crate::chain;
use crate::ran::{Ran, peak_of};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// From its start until it has stored every event up to this block, which must be so many.
pub fn index(url: &str, last: u64, events: u64) -> Ran {
    let folder = project();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(folder.path().join("node_modules/.bin/ponder"));
    command.args(["start", "--schema", "peer", "--port", &port.to_string()]).current_dir(folder.path());
    command.env("PONDER_TELEMETRY_DISABLED", "1").env("PEER_RPC", url);
    command.env("PEER_TOKEN", chain::token().to_string()).env("PEER_LAST", last.to_string());
    let begun = Instant::now();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let counted = wait_for(&mut child, begun, &folder.path().join("log"), &format!("http://127.0.0.1:{port}"));
    let ran = Ran { took: begun.elapsed(), peak_kb: peak_of(&child).unwrap_or(0) };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(counted, events, "ponder has indexed every event");
    ran
}

/// Waits until it says that it is ready, and asks how many events it has.
fn wait_for(child: &mut Child, begun: Instant, log: &Path, url: &str) -> u64 {
    let get = |path: &str| {
        let endpoint = Endpoint::new(&format!("{url}{path}"), Login::None).unwrap();
        let answer = assay_http::wait(endpoint.read(1 << 16)).ok().filter(|answer| answer.status == 200)?;
        Some(String::from_utf8(answer.body).unwrap())
    };
    while get("/ready").is_none() {
        let ended = child.try_wait().unwrap().is_some();
        assert!(!ended && begun.elapsed() < PATIENCE, "it did not come to its end: {}", last_words(log));
        std::thread::sleep(Duration::from_millis(20));
    }
    get("/count").unwrap().parse().unwrap()
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Its program in a folder of its own, which begins without anything remembered.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = PathBuf::from(std::env::var_os("PONDER").expect("PONDER: `make bench` sets it"));
    std::os::unix::fs::symlink(program.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let files = [
        ("package.json", include_str!("ponder/package.json")),
        ("tsconfig.json", include_str!("ponder/tsconfig.json")),
        ("ponder.config.ts", include_str!("ponder/ponder.config.ts")),
        ("ponder.schema.ts", include_str!("ponder/ponder.schema.ts")),
        ("src/index.ts", include_str!("ponder/src/index.ts")),
        ("src/api/index.ts", include_str!("ponder/src/api/index.ts")),
    ];
    std::fs::create_dir_all(folder.path().join("src/api")).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
    folder
}
