//! The only crate that knows RocksDB. It keeps what one chain did to the watched accounts: one database for each chain,
//! one atomic write for each block, and undo without asking a node. `FORMAT.md` specifies every byte.
//!
//! It knows no chain: it is given blocks of credits and debits ([`assay_types::Block`]) and answers with balances.

mod announce;
mod applier;
mod apply;
mod assets;
mod batch;
mod blank;
mod bytes;
mod changes;
mod cohorts;
mod correct;
mod declare;
mod deep;
mod holders;
mod left;
mod memory;
mod near;
mod open;
mod proofs;
mod prove;
mod query;
mod records;
mod remarks;
mod rows;
mod settle;
mod standing;
mod table;
#[cfg(test)]
mod tests;
mod unattributed;
mod walked;
mod window;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_types::Height;
use parking_lot::{Mutex, MutexGuard};
use rocksdb::{ColumnFamily, DB, WriteBatch};

pub use applier::Applier;
pub use apply::{Undo, known};
pub use correct::Seen;
pub use declare::Round;
pub use deep::Audit;
pub use left::Left;
pub use memory::Memory;
pub use open::Mode;
pub use proofs::KeptProof;
pub use prove::{Credits, Hidden};
pub use records::{KeyValue, RECORDS_FORMAT, Records, Row, Table};
pub use rows::{Coverage, Movement, Transaction};
pub use standing::{Lookup, Past, Standing};
pub use window::{Scratch, Window};

/// The version of the bytes that this program writes and reads.
pub const FORMAT: u32 = 8;

const AMENDED_KEY: &[u8] = b"amended";

/// One chain's database.
pub struct Store {
    db: DB,
    path: PathBuf,
    /// Is this the one process that writes?
    writes: bool,
    pen: Mutex<()>,
    amended: AtomicU64,
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was indexed here yet.
    #[error("{}: nothing has been indexed here yet", .0.display())]
    Absent(PathBuf),
    /// Another process writes to it.
    #[error("{}: another process is indexing this chain", .0.display())]
    Busy(PathBuf),
    /// Written by another version.
    #[error("{}: format {found} is not format {FORMAT}, which this program reads", path.display())]
    Format {
        /// The database.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// Of another chain.
    #[error("{}: holds chain {found}, not {expected}", path.display())]
    OtherChain {
        /// The database.
        path: PathBuf,
        /// As configured.
        expected: String,
        /// What it says.
        found: String,
    },
    /// Bytes that cannot be what was written.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A block whose debits exceed a balance, or whose credits exceed 2^256 - 1.
    #[error("block {0}: its movements are impossible on the balances before it")]
    Impossible(Height),
    /// A reorganisation deeper than the undo that is kept.
    #[error("block {0}: no undo is kept so far back")]
    UndoGone(Height),
    /// The disk, or RocksDB itself.
    #[error("{}: {why}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What happened.
        why: String,
    },
}

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $byte:literal $text:literal;)*) => {
        /// The column families.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(crate) enum Family { $($(#[$doc])* $name = $byte),* }

        impl Family {
            pub const ALL: &[Family] = &[$(Family::$name),*];

            pub fn name(self) -> &'static str {
                match self { $(Family::$name => $text),* }
            }

            pub fn from_byte(byte: u8) -> Option<Family> {
                match byte { $($byte => Some(Family::$name),)* _ => None }
            }
        }
    };
}
families! {
    /// Format, chain, counters.
    Meta = 0 "meta";
    /// Height to header.
    Headers = 1 "headers";
    /// Account to number and back.
    Accounts = 2 "accounts";
    /// Credits and debits with the balance after them.
    Movements = 3 "movements";
    /// What touched a watched account.
    Transactions = 4 "transactions";
    /// Watched unspent outputs.
    Outpoints = 5 "outpoints";
    /// How well heights are known.
    Coverage = 6 "coverage";
    /// What blocks changed.
    Undo = 7 "undo";
    /// What accounts declared together hold together.
    Holdings = 8 "holdings";
    /// What proves balances.
    Proofs = 9 "proofs";
}

impl Store {
    pub(crate) fn new(db: DB, path: PathBuf, writes: bool) -> Store {
        Store { db, path, writes, pen: Mutex::default(), amended: AtomicU64::default() }
    }

    /// Whoever follows the chain holds this while blocks are written, and whoever announces accounts while these are.
    pub fn pen(&self) -> MutexGuard<'_, ()> {
        self.pen.lock()
    }

    /// The same, unless somebody holds it.
    pub fn try_pen(&self) -> Option<MutexGuard<'_, ()>> {
        self.pen.try_lock()
    }

    /// Changes when what is known of followed accounts at blocks that were there already becomes another, before that is written and
    /// after it, in this process or in the one that writes: whoever keeps sums over accounts makes them anew then.
    pub fn amended(&self) -> u64 {
        self.amended.load(Ordering::Acquire)
    }

    /// Writes such a thing.
    pub(crate) fn amend<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.note_amended()?;
        let written = write();
        self.note_amended()?;
        written
    }

    /// Blocks are read again, and may come to say something else.
    ///
    /// # Errors
    /// When the database fails.
    pub fn note_amended(&self) -> Result<(), StoreError> {
        let times = 1 + self.amended.fetch_add(1, Ordering::AcqRel);
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(Family::Meta)?, AMENDED_KEY, times.to_be_bytes());
        self.commit(batch, false)
    }

    /// Goes on counting where the process before ended, which may have been in the middle of something.
    fn begin_to_count(&self) -> Result<(), StoreError> {
        if let Some(row) = self.get(Family::Meta, AMENDED_KEY)? {
            let times = row.as_slice().try_into().ok().map(u64::from_be_bytes);
            self.amended.store(self.read(Family::Meta, AMENDED_KEY, times)?, Ordering::Release);
        }
        if self.writes { self.note_amended() } else { Ok(()) }
    }

    pub(crate) fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| self.damaged(format!("no column family {}", family.name())))
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family)?, key).map_err(|error| self.database(error))
    }

    /// A damaged row is an error, never a missing one.
    pub(crate) fn read<T>(&self, family: Family, key: &[u8], row: Option<T>) -> Result<T, StoreError> {
        row.ok_or_else(|| self.damaged(format!("{} row {} cannot be read", family.name(), hex(key))))
    }

    pub(crate) fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what }
    }

    pub(crate) fn database(&self, error: rocksdb::Error) -> StoreError {
        open::failure(&self.path, error)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
