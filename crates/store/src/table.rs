//! Many rows of one family as a sorted table of their own, which RocksDB takes over as it is: they pass neither through the
//! write-ahead log nor through what it keeps in memory until it is sorted.

use std::panic::resume_unwind;
use std::path::PathBuf;

use rocksdb::{IngestExternalFileOptions, SstFileWriter, WriteBatch};

use crate::open::family_options;
use crate::{Family, Store, StoreError};

/// So many rows are a table.
const MANY_ROWS: usize = if cfg!(test) { 2 } else { 10_000 };

/// Takes a key and its value.
pub(crate) type Put<'p> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'p;

/// Gives rows in the order of their keys.
pub(crate) type Rows<'r> = Box<dyn FnOnce(&mut Put<'_>) -> Result<(), StoreError> + Send + 'r>;

impl Store {
    /// Puts rows, of which each part's come before those of the next, into `batch` where about `count` are few. Where they are many, each part is
    /// made a table, side by side, and all of them are there, and safe on disk, when this returns, whatever becomes of the batch: it is the batch
    /// that must make them count.
    pub(crate) fn put_sorted(
        &self,
        family: Family,
        count: usize,
        batch: &mut WriteBatch,
        parts: Vec<Rows<'_>>,
    ) -> Result<(), StoreError> {
        let handle = self.family(family)?;
        if count < MANY_ROWS {
            let mut put = |key: &[u8], value: &[u8]| {
                batch.put_cf(handle, key, value);
                Ok(())
            };
            return parts.into_iter().try_for_each(|rows| rows(&mut put));
        }
        let tables = std::thread::scope(|scope| {
            let make = |(nth, rows)| scope.spawn(move || self.make_table(family, nth, rows));
            let making: Vec<_> = parts.into_iter().enumerate().map(make).collect();
            let made = making.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)));
            made.collect::<Result<Vec<Option<PathBuf>>, StoreError>>()
        })?;
        let tables: Vec<PathBuf> = tables.into_iter().flatten().collect();
        if tables.is_empty() {
            return Ok(());
        }
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        self.db.ingest_external_file_cf_opts(handle, &how, tables).map_err(|error| self.database(error))
    }

    /// A table of these rows, if there are any.
    fn make_table(&self, family: Family, nth: usize, rows: Rows<'_>) -> Result<Option<PathBuf>, StoreError> {
        // One that was left behind is overwritten.
        let (path, options) = (self.path.join(format!("{}-{nth}.new", family.name())), family_options(family));
        let mut table = SstFileWriter::create(&options);
        let failed = |error| self.database(error);
        table.open(&path).map_err(failed)?;
        let mut is_empty = true;
        rows(&mut |key, value| {
            is_empty = false;
            table.put(key, value).map_err(failed)
        })?;
        if is_empty {
            return Ok(None);
        }
        table.finish().map_err(failed)?;
        Ok(Some(path))
    }
}
