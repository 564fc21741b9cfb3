//! Prometheus's Alertmanager: no node, and somebody who must be told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::TestNodeError;
use crate::process::{self, Process};

const PROGRAM: &str = "alertmanager";

/// A running `alertmanager`, killed when dropped.
pub struct Alertmanager {
    port: u16,
    _process: Process,
}

impl Alertmanager {
    /// Starts it on this port with its data in this folder, which begins empty, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(folder: &Path, port: u16) -> Result<Alertmanager, TestNodeError> {
        let path = process::find(PROGRAM, "ALERTMANAGER")?;
        let failed = |error: std::io::Error| TestNodeError::NotStarted { program: PROGRAM, why: error.to_string() };
        let config = folder.join("alertmanager.yml");
        std::fs::write(&config, "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n").map_err(failed)?;
        let mut command = Command::new(path);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.path={}", folder.display()));
        command.args([&format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address="]);
        let mut process = Process::start(PROGRAM, &mut command)?;
        process.wait_until_ready(|| get(port, "/-/ready"))?;
        Ok(Alertmanager { port, _process: process })
    }

    /// The alerts that are active there.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self) -> Result<Vec<Value>, TestNodeError> {
        let body = get(self.port, "/api/v2/alerts")?;
        serde_json::from_str(&body).map_err(|error| no_answer("/api/v2/alerts", error))
    }
}

fn no_answer(path: &str, why: impl std::fmt::Display) -> TestNodeError {
    TestNodeError::NoAnswer { method: path.into(), why: why.to_string() }
}

/// HTTP/1.0, so that the body ends with the connection.
fn get(port: u16, path: &str) -> Result<String, TestNodeError> {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error: std::io::Error| no_answer(path, error))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200 ")) => Ok(body.to_owned()),
        _ => Err(no_answer(path, answer.lines().next().unwrap_or("nothing"))),
    }
}
