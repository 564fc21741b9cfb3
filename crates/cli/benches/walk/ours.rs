//! What Assay does, in this process: the same bytes, checked and matched, and what moved written into a store.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use assay_bitcoin::{BitcoinChain, NodeConfig, NodeLogin};
use assay_http::Pace;
use assay_indexer::{Indexer, Settings, Stop, Turns};
use assay_store::{Mode, Store};
use assay_testnodes::Bitcoind;
use assay_types::{Account, ChainId, Height};
use sha2::{Digest as _, Sha256};

/// Where blocks come from.
pub enum Source {
    Files(PathBuf),
    /// Over REST where the node serves it, else over RPC.
    Node,
}

/// A store in which scripts are declared and nothing is indexed yet.
pub struct Declared {
    folder: tempfile::TempDir,
    scripts: Vec<Account>,
}

impl Declared {
    /// The scripts that are paid, and others.
    pub fn new(watched: &[Vec<u8>], scripts: u32) -> Declared {
        let others = (0..).map(other_script);
        let scripts = watched.iter().cloned().chain(others).take(scripts as usize);
        let scripts: Vec<Account> = scripts.map(|script| Account(script.into())).collect();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("template"), &id(), Mode::Write).unwrap();
        store.declare(&[&scripts]).unwrap();
        store.cover_by_walking(Height(0)).unwrap();
        Declared { folder, scripts }
    }

    pub fn scripts(&self) -> &[Account] {
        &self.scripts
    }

    /// An initial index with all checks, from the first question to the node until the last block is on disk. That the scripts are
    /// read into memory comes before, once, and is part of the row about opening.
    pub fn walk(&self, node: &Bitcoind, source: &Source, threads: usize) -> Duration {
        let login = NodeLogin::CookieFile(node.cookie_file.clone());
        let blocks_dir = match source {
            Source::Files(folder) => Some(folder.clone()),
            Source::Node => None,
        };
        let config = NodeConfig { rpc: node.rpc_url.clone(), login, blocks_dir, pace: Pace::default() };
        let chain = BitcoinChain::connect(id(), vec![config], 6).unwrap();
        let copy = self.folder.path().join("copy");
        Store::open(&self.folder.path().join("template"), &id(), Mode::Write).unwrap().copy_to(&copy).unwrap();
        let store = Store::open(&copy, &id(), Mode::Write).unwrap();
        let settings = Settings { undo_depth: 100, accept_reorg: None, threads, turns: Turns::default() };
        let indexer = Indexer::new(&chain, &store, settings, Stop::default());
        indexer.load().unwrap();
        let begun = Instant::now();
        let reached = indexer.catch_up(&|_| ()).unwrap();
        let took = begun.elapsed();
        assert!(reached.applied > 0);
        took
    }
}

fn id() -> ChainId {
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()
}

/// A script hash's script: as long as real ones, and nobody's.
fn other_script(number: u32) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    [&[0, 20], &hash[..20]].concat()
}
