//! That the chain left blocks of ours for good, as far as its node says.

use assay_types::{BlockHash, BlockRef, Height};
use rocksdb::WriteBatch;

use crate::bytes::{Reader, Writer};
use crate::{Family, Store, StoreError};

const LEFT_KEY: &[u8] = b"left";

/// Blocks of ours that are not on the chain any more, and were not taken back: one was final, or there is no undo for so deep a reorganisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The first of them.
    pub block: BlockRef,
    /// What was final, where that is why.
    pub final_height: Option<Height>,
}

impl Store {
    /// The blocks of ours that the chain left, if it did.
    ///
    /// # Errors
    /// When the database fails.
    pub fn left(&self) -> Result<Option<Left>, StoreError> {
        let Some(row) = self.get(Family::Meta, LEFT_KEY)? else { return Ok(None) };
        self.read(Family::Meta, LEFT_KEY, Left::read(&row)).map(Some)
    }

    /// Notes them, or that they are on the chain again or were taken back.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_left(&self, left: Option<Left>) -> Result<(), StoreError> {
        if self.left()? == left {
            return Ok(());
        }
        let (mut batch, meta) = (WriteBatch::default(), self.family(Family::Meta)?);
        match left {
            Some(left) => batch.put_cf(meta, LEFT_KEY, left.value()),
            None => batch.delete_cf(meta, LEFT_KEY),
        }
        self.commit(batch, true)
    }
}

impl Left {
    fn value(self) -> Vec<u8> {
        let row = Writer::default().u64(self.block.height.0).raw(&self.block.hash.0);
        self.final_height.into_iter().fold(row, |row, height| row.u64(height.0)).0
    }

    fn read(value: &[u8]) -> Option<Left> {
        let mut row = Reader(value);
        let block = BlockRef { height: Height(row.u64()?), hash: BlockHash(row.array()?) };
        let final_height = if row.0.is_empty() { None } else { Some(Height(row.u64()?)) };
        row.end(Left { block, final_height })
    }
}
