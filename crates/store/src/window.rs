//! What blocks wrote and is not in the database yet: the rows of one block, or of many, that become one atomic write.

use assay_types::Outpoint;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::batch::Batch;
use crate::bytes::Writer;
use crate::rows::Unspent;
use crate::{Family, Store, StoreError};

/// The rows of blocks that follow each other.
#[derive(Default)]
pub struct Window {
    rows: Rows,
    /// Outputs that these blocks made and did not spend. They become rows only when the window is written: most are spent soon.
    pub(crate) made: HashMap<Outpoint, Unspent, RandomState>,
}

/// About what an output that was made takes in memory.
const MADE_BYTES: usize = 120;

impl Window {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.rows.bytes.len() + self.rows.list.len() * size_of::<Row>() + self.made.len() * MADE_BYTES
    }

    /// Nothing to write?
    pub fn is_empty(&self) -> bool {
        self.rows.list.is_empty() && self.made.is_empty()
    }

    /// An empty one, with room for as much as there was in this one.
    pub(crate) fn emptied(mut self) -> Window {
        self.rows.bytes.clear();
        self.rows.list.clear();
        self.made.clear();
        self
    }

    /// A row to write; of several of one key the last counts.
    pub(crate) fn put(
        &mut self,
        family: Family,
        key: impl FnOnce(Writer) -> Writer,
        value: impl FnOnce(Writer) -> Writer,
    ) {
        self.rows.push(family, key, Some(value));
    }

    /// What a row becomes, if it is among these: nothing, where it goes. Looks through all of them.
    pub(crate) fn last(&self, family: Family, key: &[u8]) -> Option<Option<&[u8]>> {
        let is_it = |row: &&Row| row.family as u8 == family as u8 && self.rows.key(row) == key;
        self.rows.list.iter().rev().find(is_it).map(|row| self.rows.value(row))
    }

    /// A row that goes.
    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        self.rows.push(family, |row| row.raw(key), None::<fn(Writer) -> Writer>);
    }
}

/// Memory in which windows are put into order, used again and again.
#[derive(Default)]
pub struct Scratch {
    rows: Vec<Row>,
    bytes: Vec<u8>,
}

impl Store {
    /// Writes a window, atomically. `sync`: before this returns, it is safe on disk.
    ///
    /// # Errors
    /// When the database fails: nothing is written then.
    pub fn write(&self, window: &Window, sync: bool) -> Result<(), StoreError> {
        self.write_in(&mut Scratch::default(), window, sync)
    }

    /// The same, for whoever writes many.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_in(&self, scratch: &mut Scratch, window: &Window, sync: bool) -> Result<(), StoreError> {
        let Scratch { rows, bytes } = scratch;
        let mut batch = Batch::new(self, bytes);
        window.rows.add_to(&mut batch, rows)?;
        // Behind what goes: a coinbase may come again whose output was there before (BIP 30).
        let mut made: Vec<(&Outpoint, &Unspent)> = window.made.iter().collect();
        made.sort_unstable_by_key(|(outpoint, _)| **outpoint);
        for (outpoint, unspent) in made {
            batch.put(Family::Outpoints, &Unspent::key(outpoint), &unspent.value_into(Writer::default()).0)?;
        }
        self.commit(batch.into_inner(), sync)
    }
}

/// Rows in the order in which they came, one behind the other.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    list: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    /// The key's first bytes, as a number.
    prefix: u128,
    /// Where the key starts in `bytes`; the value follows it.
    start: u32,
    key: u32,
    /// How long the value is, or that there is none any more.
    value: u32,
    family: Family,
}

const NONE: u32 = u32::MAX;

impl Rows {
    fn push(
        &mut self,
        family: Family,
        key: impl FnOnce(Writer) -> Writer,
        value: Option<impl FnOnce(Writer) -> Writer>,
    ) {
        let start = self.bytes.len();
        let row = key(Writer(std::mem::take(&mut self.bytes)));
        let middle = row.0.len();
        self.bytes = match value {
            Some(value) => {
                let row = value(row);
                let length = row.0.len() - middle;
                self.list.push(Row::new(&row.0, family, start, middle, length));
                row.0
            }
            None => {
                self.list.push(Row::new(&row.0, family, start, middle, NONE as usize));
                row.0
            }
        };
    }

    fn key(&self, row: &Row) -> &[u8] {
        &self.bytes[row.start as usize..][..row.key as usize]
    }

    fn value(&self, row: &Row) -> Option<&[u8]> {
        let from = row.start as usize + row.key as usize;
        (row.value != NONE).then(|| &self.bytes[from..][..row.value as usize])
    }

    /// By family and key: so RocksDB finds the place of each beside that of the one before.
    fn add_to(&self, batch: &mut Batch<'_>, rows: &mut Vec<Row>) -> Result<(), StoreError> {
        let key = |row: &Row| self.key(row);
        rows.clone_from(&self.list);
        rows.sort_unstable_by(|a, b| {
            let by_prefix = (a.family as u8, a.prefix).cmp(&(b.family as u8, b.prefix));
            by_prefix.then_with(|| key(a).cmp(key(b))).then(a.start.cmp(&b.start))
        });
        let follows = rows.iter().skip(1).map(Some).chain([None]);
        for (row, next) in rows.iter().zip(follows) {
            if next.is_some_and(|next| next.is_like(row) && key(next) == key(row)) {
                continue;
            }
            match self.value(row) {
                None => batch.delete(row.family, key(row))?,
                Some(value) => batch.put(row.family, key(row), value)?,
            }
        }
        Ok(())
    }
}

impl Row {
    fn is_like(&self, other: &Row) -> bool {
        (self.family as u8, self.prefix) == (other.family as u8, other.prefix)
    }

    fn new(bytes: &[u8], family: Family, start: usize, middle: usize, value: usize) -> Row {
        let narrow = |length: usize| u32::try_from(length).expect("a window is far below 4 GiB");
        let key = &bytes[start..middle];
        let mut prefix = [0; 16];
        let length = key.len().min(16);
        prefix[..length].copy_from_slice(&key[..length]);
        let prefix = u128::from_be_bytes(prefix);
        Row { prefix, start: narrow(start), key: narrow(middle - start), value: narrow(value), family }
    }
}
