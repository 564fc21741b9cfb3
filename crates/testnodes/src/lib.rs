//! Starts and stops real nodes, for the tests and the demo, and makes up a Bitcoin chain for them.
//!
//! A node lives as long as its value: dropping it kills that one process. Ports are picked by the system, data lies
//! where the caller says. Nothing here is for nodes that somebody depends on.

mod alertmanager;
mod anvil;
mod bitcoind;
pub mod generator;
mod postgres;
mod process;
mod rpc;

pub use alertmanager::Alertmanager;
pub use anvil::Anvil;
pub use bitcoind::Bitcoind;
pub use postgres::Postgres;

/// Where `schemathesis` is, which tries an API against its description.
///
/// # Errors
/// When it is not installed.
pub fn schemathesis() -> Result<PathBuf, TestNodeError> {
    process::find("schemathesis", "SCHEMATHESIS")
}

use std::path::PathBuf;
use std::time::Duration;

/// How long a node may take until it answers, or until it has stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no node, or no answer from it.
#[derive(Debug, thiserror::Error)]
pub enum TestNodeError {
    /// No such program on this machine.
    #[error("{program} is not there: looked at ${variable}, {} and PATH; run `make nodes`", .cache.display())]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// The environment variable that may name it.
        variable: &'static str,
        /// Where `make nodes` puts it.
        cache: PathBuf,
    },
    /// It could not be started, or ended before it answered.
    #[error("{program} did not start: {why}")]
    NotStarted {
        /// The program.
        program: &'static str,
        /// The reason, or the last that it wrote.
        why: String,
    },
    /// No answer that can be read.
    #[error("no answer to {method}: {why}")]
    NoAnswer {
        /// What was called.
        method: String,
        /// What happened.
        why: String,
    },
    /// The node refuses.
    #[error("{method} failed: {message} (code {code})")]
    Refused {
        /// What was called.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's words.
        message: String,
    },
}
