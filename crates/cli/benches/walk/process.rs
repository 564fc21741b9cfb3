//! Whole processes, with their time and peak memory: ours and the peer's.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use assay_testnodes::Bitcoind;
use assay_types::Account;

use crate::ran::Ran;

/// A folder with a configuration and declarations.
pub struct Lab(tempfile::TempDir);

impl Lab {
    pub fn new(node: &Bitcoind, blocks_dir: &Path, scripts: &[Account]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "[[chain]]\nname = \"bitcoin\"\nid = \"bip122:0f9188f13cb7b2c71f2a335e3a4fc328\"\nundo_depth = 100\n\
             [[chain.node]]\nrpc = \"{}\"\ncookie_file = \"{}\"\nblocks_dir = \"{}\"\n",
            node.rpc_url,
            node.cookie_file.display(),
            blocks_dir.display()
        );
        std::fs::write(folder.path().join("assay.toml"), configuration).unwrap();
        let acme = folder.path().join("exchanges/acme");
        std::fs::create_dir_all(&acme).unwrap();
        std::fs::write(acme.join("exchange.toml"), "id = \"acme\"\n").unwrap();
        let mut lines = String::from("chain,address,role\n");
        for script in scripts {
            lines.push_str("bitcoin,script:");
            script.0.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
            lines.push_str(",deposit\n");
        }
        std::fs::write(acme.join("scripts.csv"), lines).unwrap();
        Lab(folder)
    }

    pub fn index(&self) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("--config").arg(self.0.path().join("assay.toml")).args(["index", "--once"]);
        Ran::of(&mut command)
    }
}

/// electrs 0.11.1 indexes what this node has, over its P2P port, and ends.
pub fn electrs(node: &Bitcoind, p2p_port: u16, blocks: u32) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::var_os("ELECTRS").expect("ELECTRS: `make bench` sets it");
    let log = folder.path().join("log");
    let mut command = Command::new(program);
    command.args(["--skip-default-conf-files", "--network", "regtest", "--sync-once", "--ignore-mempool"]);
    command.args(["--disable-electrum-rpc", "--monitoring-addr", "127.0.0.1:0", "--log-filters", "info"]);
    command.arg("--db-dir").arg(folder.path().join("db")).arg("--cookie-file").arg(&node.cookie_file);
    command.arg("--daemon-rpc-addr").arg(node.rpc_url.trim_start_matches("http://"));
    command.arg("--daemon-p2p-addr").arg(format!("127.0.0.1:{p2p_port}"));
    command.stderr(std::fs::File::create(&log).unwrap());
    let ran = Ran::of(&mut command);
    let said = std::fs::read_to_string(&log).unwrap();
    let tip = format!("height={}", blocks - 1);
    assert!(said.contains(&tip) && said.contains("finished full compaction"), "{said}");
    ran
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
