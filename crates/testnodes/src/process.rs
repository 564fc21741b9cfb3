//! One child process: found, started, killed.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{PATIENCE, TestNodeError};

/// How much of what a failed program wrote is shown.
const SHOWN_LINES: usize = 5;

/// A running program, killed when this is dropped.
pub(crate) struct Process {
    program: &'static str,
    child: Child,
    complaints: File,
}

impl Process {
    /// Starts it; what it writes to standard error is kept for [`Process::wait_until_ready`] to show.
    pub(crate) fn start(program: &'static str, command: &mut Command) -> Result<Process, TestNodeError> {
        let failed = |error: std::io::Error| TestNodeError::NotStarted { program, why: error.to_string() };
        let complaints = tempfile::tempfile().map_err(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(Process { program, child, complaints })
    }

    /// Tries until `ready` gives something; an early end of the program is an error that shows its last words.
    pub(crate) fn wait_until_ready<T>(
        &mut self,
        mut ready: impl FnMut() -> Result<T, TestNodeError>,
    ) -> Result<T, TestNodeError> {
        let since = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let why = format!("it ended with {status}: {}", self.last_words());
                return Err(TestNodeError::NotStarted { program: self.program, why });
            }
            match ready() {
                Ok(it) => return Ok(it),
                Err(error) if since.elapsed() > PATIENCE => {
                    let why = format!("{error}, after {} s", PATIENCE.as_secs());
                    return Err(TestNodeError::NotStarted { program: self.program, why });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Waits for an end that was asked for; kills the program when its time is over.
    pub(crate) fn wait_for_end(&mut self) {
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.complaints.rewind().and_then(|()| self.complaints.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match (read, lines.as_slice()) {
            (Err(error), _) => format!("its words cannot be read: {error}"),
            (Ok(_), []) => "without a word".into(),
            (Ok(_), lines) => lines[lines.len().saturating_sub(SHOWN_LINES)..].join("; "),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program's path: `variable` in the environment, else where `make nodes` puts it, else on PATH.
pub(crate) fn find(program: &'static str, variable: &'static str) -> Result<PathBuf, TestNodeError> {
    let cache = cache().join("nodes/bin").join(program);
    let on_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
    };
    named(variable)
        .or_else(|| cache.is_file().then(|| cache.clone()))
        .or_else(on_path)
        .filter(|path| path.is_file())
        .ok_or(TestNodeError::NotInstalled { program, variable, cache })
}

/// What `make nodes` fetches lies below this.
pub(crate) fn cache() -> PathBuf {
    named("ASSAY_CACHE").or_else(|| named("HOME").map(|home| home.join(".cache/assay"))).unwrap_or_default()
}

/// A path that a variable of the environment names.
pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A port that is free now. Somebody else may take it before it is used; that start then fails in words.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
