//! What Assay does: as in the program, and the program itself.

use std::process::Command;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, keccak256};
use assay_evm::{EvmChain, EvmConfig, Finality};
use assay_http::{Endpoint, Login};
use assay_indexer::{IndexError, Indexer, Settings, Stop, Turns};
use assay_store::{Mode, Store};
use assay_types::{Account, ChainId, Height};

use crate::chain;
use crate::ran::Ran;

const CONFIRMATIONS: u64 = 64;
const UNDO: u64 = 100;

/// Watched accounts, declared in a store in which nothing is indexed yet, and in files.
pub struct Declared {
    folder: tempfile::TempDir,
}

impl Declared {
    /// Those that are paid, and so many in all with others.
    pub fn new(paid: &[Address], accounts: usize) -> Declared {
        let others = (0u64..).map(|number| Address::from_word(keccak256(number.to_be_bytes())));
        let mut accounts: Vec<Address> = paid.iter().copied().chain(others).take(accounts).collect();
        accounts.sort_unstable(); // as the program does: its questions name them in this order
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("template"), &id(), Mode::Write).unwrap();
        let watched: Vec<Account> = accounts.iter().map(|address| Account::new(address.as_slice())).collect();
        store.declare(&[&watched]).unwrap();
        drop(store);
        let acme = folder.path().join("exchanges/acme");
        std::fs::create_dir_all(&acme).unwrap();
        std::fs::write(acme.join("exchange.toml"), "id = \"acme\"\n").unwrap();
        let lines: String = accounts.iter().map(|address| format!("ethereum,{address},deposit\n")).collect();
        std::fs::write(acme.join("accounts.csv"), format!("chain,address,role\n{lines}")).unwrap();
        Declared { folder }
    }

    /// An initial index with all checks, from the first question to the node until the last block is on disk. That the accounts are
    /// read into memory comes before, once.
    pub fn walk(&self, url: &str) -> Result<Duration, IndexError> {
        let nodes = vec![Endpoint::new(url, Login::None).unwrap()];
        let finality = Finality::Confirmations(CONFIRMATIONS);
        let (tokens, foreign_headers) = (vec![chain::token().into()], false);
        let config = EvmConfig { id: id(), nodes, start: Height(0), finality, tokens, foreign_headers };
        let chain = EvmChain::connect(config).unwrap();
        let copy = self.folder.path().join("copy");
        Store::open(&self.folder.path().join("template"), &id(), Mode::Write).unwrap().copy_to(&copy).unwrap();
        let store = Store::open(&copy, &id(), Mode::Write).unwrap();
        let threads = std::thread::available_parallelism().unwrap().get();
        let settings = Settings { undo_depth: UNDO, accept_reorg: None, threads, turns: Turns::default() };
        let indexer = Indexer::new(&chain, &store, settings, Stop::default());
        indexer.load().unwrap();
        let begun = Instant::now();
        let reached = indexer.catch_up(&|_| ());
        let took = begun.elapsed();
        drop(store);
        std::fs::remove_dir_all(copy).unwrap();
        reached.map(|_| took)
    }

    /// `assay index --once`, with a store of its own: declaring, reading what is declared, indexing.
    pub fn index(&self, url: &str) -> Ran {
        let data = self.folder.path().join("data");
        let ran = Ran::of(self.command(url).args(["index", "--once", "--json"]));
        std::fs::remove_dir_all(data).unwrap();
        ran
    }

    /// The program with this node.
    pub fn command(&self, url: &str) -> Command {
        let (id, token) = (id(), chain::token());
        let configuration = format!(
            "data_dir = \"data\"\n\
             [[chain]]\nname = \"ethereum\"\nid = \"{id}\"\nstart = 0\nundo_depth = {UNDO}\nfinality = {{ confirmations = {CONFIRMATIONS} }}\n\
             [[chain.node]]\nrpc = \"{url}\"\n\
             [[asset]]\nsymbol = \"BENCH\"\non = [ {{ id = \"{id}/erc20:{token}\", decimals = 6 }} ]\n"
        );
        let file = self.folder.path().join("assay.toml");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("--config").arg(file);
        command
    }
}

fn id() -> ChainId {
    format!("eip155:{}", chain::NUMBER).parse().unwrap()
}
