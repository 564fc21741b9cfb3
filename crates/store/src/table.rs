//! Many rows of one family as a sorted table of their own, which RocksDB takes over as it is: they pass neither through the
//! write-ahead log nor through what it keeps in memory until it is sorted.

use rocksdb::{IngestExternalFileOptions, SstFileWriter, WriteBatch};

use crate::open::family_options;
use crate::{Family, Store, StoreError};

/// So many rows are a table.
const MANY_ROWS: usize = if cfg!(test) { 2 } else { 10_000 };

/// Takes a key and its value.
pub(crate) type Put<'p> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'p;

impl Store {
    /// Puts rows, which come in the order of their keys, into `batch` where about `count` are few. Where they are many, all of them are there, and
    /// safe on disk, when this returns, whatever becomes of the batch: it is the batch that must make them count.
    pub(crate) fn put_sorted(
        &self,
        family: Family,
        count: usize,
        batch: &mut WriteBatch,
        rows: impl FnOnce(&mut Put<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let handle = self.family(family)?;
        if count < MANY_ROWS {
            return rows(&mut |key, value| {
                batch.put_cf(handle, key, value);
                Ok(())
            });
        }
        // One that was left behind is overwritten.
        let (path, options) = (self.path.join(format!("{}.new", family.name())), family_options(family));
        let mut table = SstFileWriter::create(&options);
        let failed = |error| self.database(error);
        table.open(&path).map_err(failed)?;
        let mut is_empty = true;
        rows(&mut |key, value| {
            is_empty = false;
            table.put(key, value).map_err(failed)
        })?;
        if is_empty {
            return Ok(());
        }
        table.finish().map_err(failed)?;
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        self.db.ingest_external_file_cf_opts(handle, &how, vec![path]).map_err(failed)
    }
}
