//! Many rows for one atomic write.
//!
//! RocksDB's own calls append row by row to a string in C++, which for a window of many blocks takes as long as half of the writing. A
//! batch is its serialized form from the beginning on: 8 bytes of sequence number, a count of 4 bytes, then for each row what kind it
//! is, its family, its key and its value. How the first two are written is asked of RocksDB itself.

use rocksdb::WriteBatch;

use crate::{Family, Store, StoreError};

/// Rows that are written together.
pub(crate) struct Batch<'s> {
    store: &'s Store,
    bytes: &'s mut Vec<u8>,
    count: u32,
    /// What a row of the family that was written to last begins with.
    last: Option<(Family, Kinds)>,
}

/// What rows begin with before their keys: those that come, those that go.
struct Kinds {
    put: Vec<u8>,
    delete: Vec<u8>,
}

const HEADER_BYTES: usize = 12;

impl<'s> Batch<'s> {
    /// Without rows, in this memory.
    pub fn new(store: &'s Store, bytes: &'s mut Vec<u8>) -> Batch<'s> {
        bytes.clear();
        bytes.resize(HEADER_BYTES, 0);
        Batch { store, bytes, count: 0, last: None }
    }

    /// A row that comes, or takes the place of one.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.begin(family, |kinds| &kinds.put)?;
        self.sized(key);
        self.sized(value);
        Ok(())
    }

    /// A row that goes.
    pub fn delete(&mut self, family: Family, key: &[u8]) -> Result<(), StoreError> {
        self.begin(family, |kinds| &kinds.delete)?;
        self.sized(key);
        Ok(())
    }

    /// As RocksDB takes it.
    pub fn into_inner(self) -> WriteBatch {
        self.bytes[8..HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        WriteBatch::from_data(self.bytes)
    }

    fn begin(&mut self, family: Family, kind: impl Fn(&Kinds) -> &[u8]) -> Result<(), StoreError> {
        let kinds = match self.last.take() {
            Some((last, kinds)) if last == family => kinds,
            _ => Kinds::of(self.store, family)?,
        };
        self.bytes.extend_from_slice(kind(&kinds));
        self.last = Some((family, kinds));
        self.count += 1;
        Ok(())
    }

    /// A length of seven bits in each byte, the lowest first, then the bytes.
    fn sized(&mut self, bytes: &[u8]) {
        let mut length = bytes.len();
        loop {
            let [seven, ..] = (length & 0x7f).to_le_bytes();
            length >>= 7;
            self.bytes.push(seven | if length > 0 { 0x80 } else { 0 });
            if length == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl Kinds {
    fn of(store: &Store, family: Family) -> Result<Kinds, StoreError> {
        let family = store.family(family)?;
        let (mut put, mut delete) = (WriteBatch::default(), WriteBatch::default());
        put.put_cf(family, "", "");
        delete.delete_cf(family, "");
        // Behind them the lengths of nothing.
        let begins =
            |batch: &WriteBatch, lengths: usize| batch.data()[HEADER_BYTES..batch.data().len() - lengths].to_vec();
        Ok(Kinds { put: begins(&put, 2), delete: begins(&delete, 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    #[test]
    fn a_batch_is_as_rocksdb_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &"eip155:1".parse().unwrap(), Mode::Write).unwrap();
        let mut bytes = vec![7; 100];
        let (mut ours, mut theirs) = (Batch::new(&store, &mut bytes), WriteBatch::default());
        let lengths = [0, 1, 2, 127, 128, 129, 16_383, 16_384, 70_000, 3_000_000];
        for (fill, (length, other)) in (1..).zip(lengths.into_iter().zip(lengths.into_iter().rev())) {
            let (key, value) = (vec![fill; length], vec![!fill; other]);
            for family in Family::ALL {
                ours.put(*family, &key, &value).unwrap();
                theirs.put_cf(store.family(*family).unwrap(), &key, &value);
                ours.delete(*family, &value).unwrap();
                theirs.delete_cf(store.family(*family).unwrap(), &value);
            }
        }
        let ours = ours.into_inner();
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.data() == theirs.data());
    }
}
