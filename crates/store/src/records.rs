//! The desk's own database: tables of rows in key order. What a row means is the desk's business; that it is there after a
//! failure of the machine is seen to here.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use crate::StoreError;
use crate::open::{CACHE, failure, open_read_only};

/// The version of the desk's rows.
pub const RECORDS_FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";

/// The tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Format and counters.
    Meta,
    /// Statements as received.
    Statements,
    /// Verdicts as given.
    Verdicts,
    /// Alerts as they stand.
    Alerts,
    /// Notifications that wait to be delivered.
    Outbox,
}

impl Table {
    const ALL: [Table; 5] = [Table::Meta, Table::Statements, Table::Verdicts, Table::Alerts, Table::Outbox];

    fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Statements => "statements",
            Table::Verdicts => "verdicts",
            Table::Alerts => "alerts",
            Table::Outbox => "outbox",
        }
    }
}

/// A row to write; without a value it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// A key with its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The desk's database. One process at a time.
pub struct Records {
    db: DB,
    path: PathBuf,
}

impl Records {
    /// Opens it in this folder, made where it is not there.
    ///
    /// # Errors
    /// Busy, of another format, damaged.
    pub fn open(path: &Path) -> Result<Records, StoreError> {
        std::fs::create_dir_all(path)
            .map_err(|error| StoreError::Database { path: path.into(), why: format!("cannot be made: {error}") })?;
        let db = DB::open_cf_descriptors(&Records::options(), path, Records::families());
        let db = db.map_err(|error| failure(path, error))?;
        let records = Records { db, path: path.into() };
        match records.get(Table::Meta, FORMAT_KEY)? {
            None => {
                let value = Some(RECORDS_FORMAT.to_be_bytes().to_vec());
                records.write(&[Row { table: Table::Meta, key: FORMAT_KEY.into(), value }])?;
            }
            Some(found) => records.check(&found)?,
        }
        Ok(records)
    }

    /// Opens it to read, as it is now, also while another process writes. Nothing where it is not there.
    ///
    /// # Errors
    /// Of another format, damaged.
    pub fn open_to_read(path: &Path) -> Result<Option<Records>, StoreError> {
        if !path.join("CURRENT").exists() {
            return Ok(None);
        }
        let db = open_read_only(path, &Records::options(), || Records::families().into());
        let records = Records { db: db.map_err(|error| failure(path, error))?, path: path.into() };
        let Some(found) = records.get(Table::Meta, FORMAT_KEY)? else { return Ok(None) };
        records.check(&found).map(|()| Some(records))
    }

    fn check(&self, found: &[u8]) -> Result<(), StoreError> {
        match found.try_into().map_or(0, u32::from_be_bytes) {
            RECORDS_FORMAT => Ok(()),
            found => Err(StoreError::Format { path: self.path.clone(), found }),
        }
    }

    fn options() -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_paranoid_checks(true);
        options.set_max_file_opening_threads(2);
        options.set_keep_log_file_num(2);
        options.set_max_total_wal_size(64 << 20);
        options.set_db_write_buffer_size(16 << 20);
        options
    }

    fn families() -> [ColumnFamilyDescriptor; 5] {
        Table::ALL.map(|table| {
            let mut options = Options::default();
            options.set_compression_type(rocksdb::DBCompressionType::Zstd); // documents, read seldom
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&CACHE);
            options.set_block_based_table_factory(&blocks);
            options.set_write_buffer_size(8 << 20);
            if matches!(table, Table::Statements | Table::Verdicts) {
                // They never go: a large one is written once, and not again with each compaction.
                options.set_enable_blob_files(true);
                options.set_min_blob_size(16 << 10);
                options.set_blob_compression_type(rocksdb::DBCompressionType::Zstd);
            }
            ColumnFamilyDescriptor::new(table.name(), options)
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A row's value.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(table)?, key).map_err(|error| failure(&self.path, error))
    }

    /// Writes the rows, all or none. When this returns they are safe on disk.
    ///
    /// # Errors
    /// When the database fails.
    pub fn write(&self, rows: &[Row]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for row in rows {
            let family = self.family(row.table)?;
            match &row.value {
                Some(value) => batch.put_cf(family, &row.key, value),
                None => batch.delete_cf(family, &row.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| failure(&self.path, error))
    }

    /// The rows whose keys begin with `prefix`, in order, at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn oldest_first(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        self.rows(table, prefix, IteratorMode::From(prefix, Direction::Forward), limit)
    }

    /// The rows whose keys begin with `prefix` and come before `before`, the last first, at most `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn newest_first(
        &self,
        table: Table,
        prefix: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValue>, StoreError> {
        let mut rows = self.db.raw_iterator_cf(self.family(table)?);
        rows.seek_for_prev(before);
        let mut found = Vec::new();
        while let Some((key, value)) = rows.item().filter(|_| found.len() < limit) {
            if key < before {
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key.to_vec(), value.to_vec()));
            }
            rows.prev();
        }
        rows.status().map_err(|error| failure(&self.path, error))?;
        Ok(found)
    }

    fn rows(
        &self,
        table: Table,
        prefix: &[u8],
        from: IteratorMode<'_>,
        limit: usize,
    ) -> Result<Vec<KeyValue>, StoreError> {
        let mut found = Vec::new();
        for row in self.db.iterator_cf(self.family(table)?, from).take(limit) {
            let (key, value) = row.map_err(|error| failure(&self.path, error))?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.into_vec(), value.into_vec()));
        }
        Ok(found)
    }

    /// A row that cannot be read is damage, told as such.
    pub fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn family(&self, table: Table) -> Result<&rocksdb::ColumnFamily, StoreError> {
        let missing = || StoreError::Damaged { path: self.path.clone(), what: format!("no table {}", table.name()) };
        self.db.cf_handle(table.name()).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> Row {
        Row { table: Table::Alerts, key: key.into(), value: Some(value.into()) }
    }

    #[test]
    fn rows_are_listed_within_their_prefix_from_either_end() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        records.write(&["a1", "b1", "b2", "b3", "c1"].map(|key| row(key, key))).unwrap();
        let keys = |rows: Vec<KeyValue>| -> Vec<String> {
            rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
        };
        assert_eq!(keys(records.oldest_first(Table::Alerts, b"b", 9).unwrap()), ["b1", "b2", "b3"]);
        assert_eq!(keys(records.oldest_first(Table::Alerts, b"b", 2).unwrap()), ["b1", "b2"]);
        assert_eq!(keys(records.newest_first(Table::Alerts, b"b", b"b\xff", 2).unwrap()), ["b3", "b2"]);
        assert_eq!(keys(records.newest_first(Table::Alerts, b"b", b"b3", 9).unwrap()), ["b2", "b1"]);
        records.write(&[Row { value: None, ..row("b2", "") }]).unwrap();
        assert_eq!(keys(records.newest_first(Table::Alerts, b"b", b"b3", 9).unwrap()), ["b1"]);
        assert!(matches!(Records::open(folder.path()), Err(StoreError::Busy(_))));
        drop(records);
        let again = Records::open(folder.path()).unwrap();
        assert_eq!(again.get(Table::Alerts, b"c1").unwrap().as_deref(), Some(&b"c1"[..]));
    }

    #[test]
    fn large_rows_are_there_for_a_reader_beside_the_writer_and_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let mut state = 1u64;
        let mut large = |number: u8| {
            let mut value = vec![number];
            value.resize_with(1 << 20, || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            });
            Row { table: Table::Statements, key: vec![number], value: Some(value) }
        };
        let rows: Vec<Row> = (0..20).map(&mut large).collect();
        rows.iter().for_each(|row| records.write(std::slice::from_ref(row)).unwrap());
        let has = |name: &str| {
            let of_blobs = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|kind| kind == name);
            std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).any(|entry| of_blobs(&entry))
        };
        // They are written from memory by another thread.
        let patience = std::time::Instant::now();
        while !has("blob") {
            assert!(patience.elapsed().as_secs() < 60, "nothing was written from memory");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let check = |records: &Records| {
            for row in &rows {
                assert_eq!(records.get(row.table, &row.key).unwrap(), row.value, "{:?}", row.key);
            }
        };
        check(&Records::open_to_read(folder.path()).unwrap().unwrap());
        check(&records);
        drop(records);
        check(&Records::open(folder.path()).unwrap());
    }
}
