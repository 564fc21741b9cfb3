//! What the end-to-end tests share: a folder with a configuration, the real binary, and how to ask it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The CAIP-2 id of a Bitcoin regtest.
pub const REGTEST: &str = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";
/// The CAIP-2 id of an anvil.
pub const ANVIL: &str = "eip155:31337";

/// A folder of one test's own.
pub struct Lab {
    dir: tempfile::TempDir,
}

/// What a run of the binary gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    /// An empty folder.
    pub fn new() -> Lab {
        Lab { dir: tempfile::Builder::new().prefix("assay-test-").tempdir().unwrap() }
    }

    /// The folder, or something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the folders that it needs.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The command, ready to run with this folder's `assay.toml`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("--config").arg(self.path("assay.toml")).args(arguments).env_remove("ASSAY_CONFIG");
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn assay(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs it, expects this exit code, and reads its JSON document.
    pub fn json(&self, arguments: &[&str], code: i32) -> Value {
        let ran = self.assay(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, code, "assay {}\n{}\n{}", arguments.join(" "), ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// Starts it and does not wait.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Catches up with every chain.
    pub fn index(&self) {
        let ran = self.assay(&["index", "--once"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A `[[chain]]` of a regtest node.
pub fn bitcoin_chain(rpc: &str, cookie_file: &Path, confirmations: u32) -> String {
    format!(
        "[[chain]]\nname = \"bitcoin\"\nid = \"{REGTEST}\"\nfinality = {{ confirmations = {confirmations} }}\n\
         [[chain.node]]\nrpc = \"{rpc}\"\ncookie_file = \"{}\"\n\n",
        cookie_file.display()
    )
}

/// A `[[chain]]` of an anvil.
pub fn evm_chain(rpc: &str, start: u64, confirmations: u32) -> String {
    format!(
        "[[chain]]\nname = \"evm\"\nid = \"{ANVIL}\"\nstart = {start}\nfinality = {{ confirmations = {confirmations} }}\n\
         [[chain.node]]\nrpc = \"{rpc}\"\n\n"
    )
}
