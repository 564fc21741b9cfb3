//! A process, with its time and peak memory.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process took and how much memory it had at most.
#[derive(Clone, Copy)]
pub struct Ran {
    pub took: Duration,
    pub peak_kb: u64,
}

impl Ran {
    /// Runs it until it ends, which must be well.
    pub fn of(command: &mut Command) -> Ran {
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut peak_kb = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            peak_kb = peak_kb.max(peak_of(&child).unwrap_or(0));
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = begun.elapsed();
        assert!(status.success(), "{command:?}: {status}");
        Ran { took, peak_kb }
    }
}

/// The most memory that it has had so far, in kB.
pub fn peak_of(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
}
