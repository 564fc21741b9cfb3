//! A local Bitcoin chain.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use assay_http::{Endpoint, Login};
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::process::{self, Process};
use crate::{TestNodeError, rpc};

const PROGRAM: &str = "bitcoind";

/// Options stand in the file where versions of bitcoind differ: it only warns of an unknown key there.
const CONFIGURATION: &str = "\
# Written at every start.
[regtest]
fallbackfee=0.0001
acceptnonstdtxn=1
permitbaremultisig=1
datacarriersize=100000
minrelaytxfee=0
";

/// A running `bitcoind -regtest`, killed when dropped.
pub struct Bitcoind {
    /// Where it answers JSON-RPC, and REST under `/rest/` when started with `-rest=1`.
    pub rpc_url: String,
    /// The file with its login, written anew at every start.
    pub cookie_file: PathBuf,
    /// Its data folder.
    pub dir: PathBuf,
    login: Login,
    endpoint: Endpoint,
    wallets: Mutex<HashMap<String, Endpoint>>,
    process: Process,
}

impl Bitcoind {
    /// Starts `bitcoind -regtest` in this folder, which may hold the data of an earlier start, with these arguments
    /// beyond ours, and waits until it answers. It listens to no peers.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(dir: &Path, arguments: &[&str]) -> Result<Bitcoind, TestNodeError> {
        let failed = |error: std::io::Error| TestNodeError::NotStarted { program: PROGRAM, why: error.to_string() };
        let path = process::find(PROGRAM, "BITCOIND")?;
        std::fs::create_dir_all(dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        std::fs::write(dir.join("bitcoin.conf"), CONFIGURATION).map_err(failed)?;
        let cookie_file = dir.join("regtest").join(".cookie");
        // An old cookie, left by a crash, would be taken for the new one.
        let _ = std::fs::remove_file(&cookie_file);
        let port = process::free_port().map_err(failed)?;
        let mut command = Command::new(path);
        command.arg("-regtest").arg(format!("-datadir={}", dir.display())).arg(format!("-rpcport={port}"));
        command.args(["-server=1", "-listen=0", "-dnsseed=0", "-printtoconsole=0"]).args(arguments);
        let mut process = Process::start(PROGRAM, &mut command)?;
        let rpc_url = format!("http://127.0.0.1:{port}");
        let (login, endpoint) = process.wait_until_ready(|| connect(&rpc_url, &cookie_file))?;
        Ok(Bitcoind { rpc_url, cookie_file, dir, login, endpoint, wallets: Mutex::default(), process })
    }

    /// Calls a method with positional or named parameters: `call("setmocktime", json!([1_770_000_000]))`. Give amounts
    /// as strings; to read them exactly use [`Bitcoind::call_raw`].
    ///
    /// # Errors
    /// [`TestNodeError::Refused`] in the node's own words, or no answer.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, TestNodeError> {
        rpc::call_value(&self.endpoint, method, &params)
    }

    /// The same, with the result as the node wrote it.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub fn call_raw(&self, method: &str, params: Value) -> Result<Box<RawValue>, TestNodeError> {
        rpc::call(&self.endpoint, method, &params)
    }

    /// Calls a method of one of several wallets.
    ///
    /// # Errors
    /// As [`Bitcoind::call`].
    pub fn call_wallet(&self, wallet: &str, method: &str, params: Value) -> Result<Value, TestNodeError> {
        rpc::call_value(&self.wallet(wallet)?, method, &params)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops it in good order, so that its data can be started again.
    ///
    /// # Errors
    /// When it does not take the order; it is killed then.
    pub fn stop(mut self) -> Result<(), TestNodeError> {
        self.call("stop", Value::Array(vec![]))?;
        self.process.wait_for_end();
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }

    fn wallet(&self, name: &str) -> Result<Endpoint, TestNodeError> {
        let mut wallets = self.wallets.lock();
        if let Some(endpoint) = wallets.get(name) {
            return Ok(endpoint.clone());
        }
        let endpoint = rpc::endpoint(&format!("{}/wallet/{name}", self.rpc_url), self.login.clone())?;
        wallets.insert(name.into(), endpoint.clone());
        Ok(endpoint)
    }
}

/// Logs in with the cookie, once it is there, and waits out the start-up (error -28).
fn connect(url: &str, cookie_file: &Path) -> Result<(Login, Endpoint), TestNodeError> {
    let no_cookie = |why: String| TestNodeError::NoAnswer { method: "login".into(), why };
    let cookie = std::fs::read_to_string(cookie_file).map_err(|error| no_cookie(error.to_string()))?;
    let (user, password) =
        cookie.trim().split_once(':').ok_or_else(|| no_cookie("the cookie is not whole yet".into()))?;
    let login = Login::Basic { user: user.into(), password: password.into() };
    let endpoint = rpc::endpoint(url, login.clone())?;
    rpc::call(&endpoint, "getblockchaininfo", &Value::Array(vec![]))?;
    Ok((login, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bitcoind_starts_stops_and_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let node = Bitcoind::start(dir.path(), &[]).unwrap();
        for wallet in ["cold", "hot"] {
            node.call("createwallet", json!([wallet])).unwrap();
        }
        let address = node.call_wallet("cold", "getnewaddress", json!([])).unwrap();
        node.call("setmocktime", json!([1_770_000_000])).unwrap();
        node.call("generatetoaddress", json!([3, address])).unwrap();
        let balances =
            node.call_raw("scantxoutset", json!(["start", [format!("addr({})", address.as_str().unwrap())]]));
        assert!(balances.unwrap().get().contains("\"total_amount\":150.00000000"));
        node.stop().unwrap();

        let node = Bitcoind::start(dir.path(), &["-rest=1"]).unwrap();
        assert_eq!(node.call("getblockcount", json!([])).unwrap(), json!(3));
        assert!(matches!(node.call("getblockhash", json!([4])), Err(TestNodeError::Refused { code: -8, .. })));
    }

    #[test]
    fn a_node_that_ends_at_once_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let Err(TestNodeError::NotStarted { why, .. }) = Bitcoind::start(dir.path(), &["-nosuchoption"]) else {
            panic!("started")
        };
        assert!(why.contains("nosuchoption"), "{why}");
    }
}
