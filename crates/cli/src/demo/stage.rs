//! The stage: two real nodes in a temporary folder, and one clock for both.

use std::path::{Path, PathBuf};

use assay_indexer::Stop;
use assay_types::Timestamp;
use tempfile::TempDir;

use super::bitcoin::{self, BitcoinSide};
use super::ethereum::{self, EvmSide};
use super::figures::{BITCOIN_BLOCK_OFFSET_S, BITCOIN_BLOCK_S, EVM_BLOCK_S, kst};
use super::others::Other;
use super::told::Told;
use super::{broken, joined};
use crate::failure::Failure;

/// The nodes end, and then the folder goes, when this is dropped.
pub struct Stage {
    /// Everybody's wallets on Bitcoin.
    pub bitcoin: BitcoinSide,
    /// Everybody's accounts on the EVM chain.
    pub evm: EvmSide,
    /// The exchanges beside the one of the story.
    pub others: Vec<Other>,
    now: Timestamp,
    next_bitcoin_block: Timestamp,
    next_evm_block: Timestamp,
    stop: Stop,
    folder: TempDir,
}

impl Stage {
    /// Starts both nodes, plays what was before the story, and gives everybody their wallets.
    pub fn build(told: &Told, stop: &Stop) -> Result<Stage, Failure> {
        let start = kst(15, 0, 0);
        let folder = tempfile::Builder::new().prefix("assay-demo-").tempdir()?;
        let (bitcoind, anvil) = both(|| BitcoinSide::start(folder.path(), start), || EvmSide::start(kst(14, 0, 0)))?;
        told.line(format!(
            "{} (regtest) and {} (chain 31337) run, with their clocks at 6 February 2026",
            bitcoin::version(&bitcoind)?,
            ethereum::version(&anvil)?
        ));
        let (bitcoin, evm) = both(
            || BitcoinSide::open(bitcoind, kst(14, 58, 0)),
            || EvmSide::open(anvil, [kst(14, 29, 0), kst(14, 30, 0)]),
        )?;
        bitcoin.clock(start)?;
        Ok(Stage {
            others: Other::all(&bitcoin, kst(19, 41, 40)),
            bitcoin,
            evm,
            now: start,
            next_bitcoin_block: later(start, BITCOIN_BLOCK_OFFSET_S),
            next_evm_block: later(start, EVM_BLOCK_S),
            stop: stop.clone(),
            folder,
        })
    }

    /// Lets the clock run to this instant; blocks come as they are due.
    pub fn advance(&mut self, to: Timestamp, told: &Told) -> Result<(), Failure> {
        while self.next_bitcoin_block.min(self.next_evm_block) <= to {
            if self.stop.is_wished() {
                return Err(broken("stopped"));
            }
            if self.next_bitcoin_block <= self.next_evm_block {
                self.bitcoin.mine(self.next_bitcoin_block)?;
                self.next_bitcoin_block = later(self.next_bitcoin_block, BITCOIN_BLOCK_S);
            } else {
                self.evm.mine(self.next_evm_block)?;
                self.next_evm_block = later(self.next_evm_block, EVM_BLOCK_S);
            }
        }
        self.bitcoin.clock(to)?;
        self.now = to;
        told.clock(to);
        Ok(())
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Where everything of this run lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file there.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf, Failure> {
        let path = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents)?;
        Ok(path)
    }
}

/// So many seconds later.
pub fn later(than: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_unix_s(than.unix_s() + seconds)
}

/// Does two things at once.
pub fn both<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A, Failure> + Send,
    other: impl FnOnce() -> Result<B, Failure> + Send,
) -> Result<(A, B), Failure> {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        Ok((joined(one.join())?, other?))
    })
}
