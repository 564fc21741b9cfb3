//! A local EVM chain.

use std::process::Command;

use assay_http::{Endpoint, Login};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::process::{self, Process};
use crate::{TestNodeError, rpc};

/// A running `anvil`, killed when dropped.
pub struct Anvil {
    /// Where it answers JSON-RPC.
    pub url: String,
    endpoint: Endpoint,
    process: Process,
}

impl Anvil {
    /// Starts `anvil` with these arguments beyond host and port, and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(arguments: &[&str]) -> Result<Anvil, TestNodeError> {
        for _ in 0..2 {
            match Anvil::start_once(arguments) {
                // Another program was quicker to take the port that was free.
                Err(TestNodeError::NotStarted { why, .. }) if why.contains("in use") => {}
                started => return started,
            }
        }
        Anvil::start_once(arguments)
    }

    fn start_once(arguments: &[&str]) -> Result<Anvil, TestNodeError> {
        const PROGRAM: &str = "anvil";
        let path = process::find(PROGRAM, "ANVIL")?;
        let port = process::free_port()
            .map_err(|error| TestNodeError::NotStarted { program: PROGRAM, why: error.to_string() })?;
        let mut command = Command::new(path);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).args(arguments);
        let mut process = Process::start(PROGRAM, &mut command)?;
        let url = format!("http://127.0.0.1:{port}");
        let endpoint = rpc::endpoint(&url, Login::None)?;
        process.wait_until_ready(|| rpc::call(&endpoint, "eth_chainId", &Value::Array(vec![])))?;
        Ok(Anvil { url, endpoint, process })
    }

    /// Calls a method with positional parameters: `call("evm_mine", json!([]))`.
    ///
    /// # Errors
    /// [`TestNodeError::Refused`] in the node's own words, or no answer.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, TestNodeError> {
        rpc::call_value(&self.endpoint, method, &params)
    }

    /// The same, with the result as the node wrote it.
    ///
    /// # Errors
    /// As [`Anvil::call`].
    pub fn call_raw(&self, method: &str, params: Value) -> Result<Box<RawValue>, TestNodeError> {
        rpc::call(&self.endpoint, method, &params)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn anvil_starts_mines_and_ends() {
        let node = Anvil::start(&["--chain-id", "4242"]).unwrap();
        assert_eq!(node.call("eth_chainId", json!([])).unwrap(), json!("0x1092"));
        node.call("anvil_mine", json!(["0x5"])).unwrap();
        assert_eq!(node.call("eth_blockNumber", json!([])).unwrap(), json!("0x5"));
        assert!(matches!(node.call("nonsense", json!([])), Err(TestNodeError::Refused { .. })));
        let url = node.url.clone();
        drop(node);
        let endpoint = Endpoint::new(&url, Login::None).unwrap();
        assert!(rpc::call(&endpoint, "eth_chainId", &json!([])).is_err());
    }

    #[test]
    fn a_node_that_ends_at_once_says_why() {
        let Err(TestNodeError::NotStarted { why, .. }) = Anvil::start(&["--no-such-option"]) else { panic!("started") };
        assert!(why.contains("no-such-option"), "{why}");
    }
}
