//! What a block changes, key by key: written as one atomic batch, and taken back by the same function.

use std::collections::HashMap;

use rocksdb::WriteBatch;

use crate::bytes::{Reader, Writer};
use crate::{Family, Store, StoreError};

/// One key, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub family: Family,
    pub key: Vec<u8>,
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
}

/// Which side of the changes to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forth,
    Back,
}

/// The changes so far, read through: what a block wrote is seen by what it does next.
pub(crate) struct Changes<'a> {
    store: &'a Store,
    list: Vec<Change>,
    places: HashMap<(Family, Vec<u8>), usize>,
}

impl<'a> Changes<'a> {
    pub fn new(store: &'a Store) -> Changes<'a> {
        Changes { store, list: Vec::new(), places: HashMap::new() }
    }

    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.set(family, key, Some(value))
    }

    pub fn delete(&mut self, family: Family, key: Vec<u8>) -> Result<(), StoreError> {
        self.set(family, key, None)
    }

    fn set(&mut self, family: Family, key: Vec<u8>, after: Option<Vec<u8>>) -> Result<(), StoreError> {
        if let Some(place) = self.places.get(&(family, key.clone())) {
            self.list[*place].after = after;
            return Ok(());
        }
        let before = self.store.get(family, &key)?;
        self.places.insert((family, key.clone()), self.list.len());
        self.list.push(Change { family, key, before, after });
        Ok(())
    }

    pub fn into_list(self) -> Vec<Change> {
        self.list.into_iter().filter(|change| change.before != change.after).collect()
    }
}

/// Adds the changes to a batch: forth makes them, back unmakes them, in the opposite order.
pub(crate) fn write(store: &Store, batch: &mut WriteBatch, changes: &[Change], way: Way) -> Result<(), StoreError> {
    let mut set = |change: &Change, value: &Option<Vec<u8>>| -> Result<(), StoreError> {
        let family = store.family(change.family)?;
        match value {
            Some(value) => batch.put_cf(family, &change.key, value),
            None => batch.delete_cf(family, &change.key),
        }
        Ok(())
    };
    match way {
        Way::Forth => changes.iter().try_for_each(|change| set(change, &change.after)),
        Way::Back => changes.iter().rev().try_for_each(|change| set(change, &change.before)),
    }
}

/// The undo row: what was there before. What came after is not needed to go back.
pub(crate) fn undo_row(changes: &[Change]) -> Vec<u8> {
    let each = |row: Writer, change: &Change| undone(row, change.family, &change.key, change.before.as_deref());
    changes.iter().fold(Writer::default(), each).0
}

/// One key of an undo row.
pub(crate) fn undone(row: Writer, family: Family, key: &[u8], before: Option<&[u8]>) -> Writer {
    let row = row.u8(family as u8).sized(key).u8(u8::from(before.is_some()));
    before.iter().fold(row, |row, before| row.sized(before))
}

/// The inverse of [`undo_row`]; `None` when it is damaged.
pub(crate) fn read_undo_row(bytes: &[u8]) -> Option<Vec<Change>> {
    let change = |(family, key, before): Undone<'_>| Change {
        family,
        key: key.to_vec(),
        before: before.map(<[u8]>::to_vec),
        after: None,
    };
    each_undone(bytes).map(|undone| undone.map(change)).collect()
}

/// Each key of an undo row with what was there before, one after another: a row may be long. `None` where it is damaged.
pub(crate) fn each_undone(bytes: &[u8]) -> impl Iterator<Item = Option<Undone<'_>>> {
    let mut row = Reader(bytes);
    std::iter::from_fn(move || {
        let is_more = !row.0.is_empty();
        let undone = if is_more { next_undone(&mut row) } else { None };
        if undone.is_none() {
            row = Reader(&[]);
        }
        is_more.then_some(undone)
    })
}

/// A key, and what was there before.
type Undone<'a> = (Family, &'a [u8], Option<&'a [u8]>);

fn next_undone<'a>(row: &mut Reader<'a>) -> Option<Undone<'a>> {
    let (family, key) = (Family::from_byte(row.u8()?)?, row.sized()?);
    let before = if row.flag()? { Some(row.sized()?) } else { None };
    Some((family, key, before))
}
