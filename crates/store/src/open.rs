//! Opening: as the one process that writes, or as one of many that read while it does.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use assay_types::ChainId;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Options};

use crate::{FORMAT, Family, Store, StoreError};

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To index: one process at a time. Made where it is not there.
    Write,
    /// To ask: any number of processes, also while one indexes. Sees the block boundary at which it was opened.
    Read,
}

const FORMAT_KEY: &[u8] = b"format";
const CHAIN_KEY: &[u8] = b"chain";
/// How often a reader tries again when the writer replaced a file just as it opened.
const READER_ATTEMPTS: u32 = 20;

impl Store {
    /// Opens the store of this chain in the folder.
    ///
    /// # Errors
    /// Absent (when reading), busy (when writing), of another chain or format, or damaged.
    pub fn open(path: &Path, chain: &ChainId, mode: Mode) -> Result<Store, StoreError> {
        let store = match mode {
            Mode::Write => open_to_write(path)?,
            Mode::Read => open_to_read(path)?,
        };
        store.check_identity(chain, mode)?;
        store.begin_to_count()?;
        if mode == Mode::Write {
            store.forget_unnumbered()?;
            store.merge_small_tables()?;
        }
        Ok(store)
    }

    /// Each opening leaves a small table of every family behind, and RocksDB never merges those whose keys only rise.
    fn merge_small_tables(&self) -> Result<(), StoreError> {
        const SMALL_BYTES: usize = 1 << 20;
        const MANY: usize = 16;
        const MUCH_BYTES: usize = 256 << 20;
        let tables = self.db.live_files().map_err(|error| self.database(error))?;
        for family in Family::ALL {
            let all = || tables.iter().filter(|table| table.column_family_name == family.name());
            let small: Vec<_> = all().filter(|table| table.size < SMALL_BYTES).collect();
            let (from, to) = (small.iter().map(|it| &it.start_key).min(), small.iter().map(|it| &it.end_key).max());
            let (Some(Some(from)), Some(Some(to)), true) = (from, to, small.len() > MANY) else { continue };
            let between = all().filter(|it| it.start_key.as_ref() <= Some(to) && it.end_key.as_ref() >= Some(from));
            if between.map(|table| table.size).sum::<usize>() < MUCH_BYTES {
                let mut options = rocksdb::CompactOptions::default();
                options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
                self.db.compact_range_cf_opt(self.family(*family)?, Some(from), Some(to), &options);
            }
        }
        Ok(())
    }

    /// Makes a copy in this folder, as of now, that can be opened by itself: files are linked where the disk allows, so that it costs
    /// next to nothing. What was there before goes.
    ///
    /// # Errors
    /// When the disk fails, or the store was opened to read.
    pub fn copy_to(&self, folder: &Path) -> Result<(), StoreError> {
        let failed = |why: String| StoreError::Database { path: folder.into(), why };
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error.to_string())),
            _ => {}
        }
        let copy = rocksdb::checkpoint::Checkpoint::new(&self.db).and_then(|copy| copy.create_checkpoint(folder));
        copy.map_err(|error| failed(error.to_string()))
    }

    /// Is this the one process that writes?
    pub fn is_writer(&self) -> bool {
        self.writes
    }

    fn check_identity(&self, chain: &ChainId, mode: Mode) -> Result<(), StoreError> {
        let Some(format) = self.get(Family::Meta, FORMAT_KEY)? else {
            if self.tip()?.is_some() {
                return Err(self.damaged("it has blocks, but does not say in which format".into()));
            }
            if mode == Mode::Read {
                return Err(StoreError::Absent(self.path.clone()));
            }
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(self.family(Family::Meta)?, FORMAT_KEY, FORMAT.to_be_bytes());
            batch.put_cf(self.family(Family::Meta)?, CHAIN_KEY, chain.as_str());
            return self.commit(batch, true);
        };
        let found = <[u8; 4]>::try_from(format.as_slice()).map(u32::from_be_bytes);
        let found = self.read(Family::Meta, FORMAT_KEY, found.ok())?;
        if found != FORMAT {
            return Err(StoreError::Format { path: self.path.clone(), found });
        }
        let found = self.get(Family::Meta, CHAIN_KEY)?.unwrap_or_default();
        if found != chain.as_str().as_bytes() {
            let (expected, found) = (chain.to_string(), String::from_utf8_lossy(&found).into_owned());
            return Err(StoreError::OtherChain { path: self.path.clone(), expected, found });
        }
        Ok(())
    }

    /// Writes a batch, atomically. `sync`: it survives a failure of the machine, and not only of the process.
    pub(crate) fn commit(&self, batch: rocksdb::WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| self.database(error))
    }
}

/// What is still in memory is safe in the write-ahead log; a large one would be read again by whoever opens the store next.
impl Drop for Store {
    fn drop(&mut self) {
        const MUCH_BYTES: u64 = 8 << 20;
        if !self.is_writer() {
            return;
        }
        let families = || Family::ALL.iter().filter_map(|family| self.db.cf_handle(family.name()));
        let waiting = families().filter_map(|family| {
            self.db.property_int_value_cf(family, "rocksdb.cur-size-active-mem-table").ok().flatten()
        });
        if waiting.sum::<u64>() > MUCH_BYTES {
            // Nothing is lost where that fails.
            let _ = self.db.flush_cfs_opt(&families().collect::<Vec<_>>(), &rocksdb::FlushOptions::default());
        }
    }
}

fn open_to_write(path: &Path) -> Result<Store, StoreError> {
    std::fs::create_dir_all(path)
        .map_err(|error| StoreError::Database { path: path.into(), why: format!("cannot be made: {error}") })?;
    let db = DB::open_cf_descriptors(&database_options(), path, families()).map_err(|error| failure(path, error))?;
    Ok(Store::new(db, path.into(), true))
}

fn open_to_read(path: &Path) -> Result<Store, StoreError> {
    if !path.join("CURRENT").exists() {
        return Err(StoreError::Absent(path.into()));
    }
    match open_read_only(path, &database_options(), families) {
        Ok(db) => Ok(Store::new(db, path.into(), false)),
        Err(_) if is_half_made(path) => Err(StoreError::Absent(path.into())),
        Err(error) => Err(failure(path, error)),
    }
}

/// Without a lock, and as strictly as whoever writes: every table must be there, whole.
pub(crate) fn open_read_only(
    path: &Path,
    options: &Options,
    families: impl Fn() -> Vec<ColumnFamilyDescriptor>,
) -> Result<DB, rocksdb::Error> {
    let mut attempt = 0;
    loop {
        let logs = write_ahead_logs(path);
        match DB::open_cf_descriptors_read_only(options, path, families(), false) {
            // A log that went meanwhile may have taken rows with it whose table was not listed yet.
            Ok(_) if attempt < READER_ATTEMPTS && !logs.is_subset(&write_ahead_logs(path)) => {}
            // The writer may replace or remove files between our listing and our opening them.
            Err(_) if attempt < READER_ATTEMPTS && !is_half_made(path) => {
                std::thread::sleep(Duration::from_millis(25));
            }
            opened => return opened,
        }
        attempt += 1;
    }
}

/// A new database gets its families one by one, in order: until all are there nobody has written to it.
fn is_half_made(path: &Path) -> bool {
    let Ok(found) = DB::list_cf(&Options::default(), path) else { return false };
    let found: Vec<&str> = found.iter().map(String::as_str).filter(|name| *name != "default").collect();
    let all: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
    found.len() < all.len() && all.starts_with(&found)
}

fn write_ahead_logs(path: &Path) -> BTreeSet<OsString> {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|file| file.file_name());
    files.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "log")).collect()
}

/// Defaults of RocksDB lose acknowledged writes and open past corruption: these do not.
fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_max_open_files(-1);
    // By default 16 for each family, at every opening, however few files there are: slower than reading them.
    options.set_max_file_opening_threads(2);
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(256 << 20);
    options.set_db_write_buffer_size(64 << 20);
    options.increase_parallelism(2);
    options
}

/// Blocks that were read, of every database that this process has open. What is read again and again is summed above; for the rest
/// the system's own cache does.
pub(crate) static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::new_lru_cache(24 << 20));

fn families() -> Vec<ColumnFamilyDescriptor> {
    Family::ALL.iter().map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(*family))).collect()
}

pub(crate) fn family_options(family: Family) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&CACHE);
    blocks.set_format_version(5);
    if family == Family::Proofs {
        // The upper nodes of a block's tries are in every proof of it: compression leaves them out that sees some proofs at once.
        blocks.set_block_size(64 << 10);
    }
    if matches!(family, Family::Outpoints | Family::Transactions | Family::Accounts) {
        blocks.set_bloom_filter(10.0, false); // looked up by whole keys, mostly in vain
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 << 20);
    options
}

pub(crate) fn failure(path: &Path, error: rocksdb::Error) -> StoreError {
    let path = path.to_path_buf();
    let why = error.to_string();
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StoreError::Damaged { path, what: why },
        // A family that is missing is not a store of ours, or one that lost its files.
        rocksdb::ErrorKind::InvalidArgument if why.contains("olumn famil") => StoreError::Damaged { path, what: why },
        _ if why.contains("lock hold") || why.contains("While lock file") => StoreError::Busy(path),
        _ => StoreError::Database { path, why },
    }
}
