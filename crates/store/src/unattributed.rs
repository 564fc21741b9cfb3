//! Native coins that state says moved in a block, and no transaction of it is known to have moved: kept as if they were one more transaction of the
//! block. Whoever asks for one that no trace shows finds there what it can have moved at most. No id leads there: whoever names the block's hash as a
//! transaction's finds none.

use std::collections::BTreeSet;

use assay_types::{AccountNo, Amount, Asset, BlockHash, BlockRef, Direction, Height, Kind, Pair, Payment, Told, TxId};

use crate::bytes::{Reader, Writer};
use crate::settle::Step;
use crate::{Family, Store, StoreError, Transaction};

/// Where it is noted in which such block a transaction is: shorter than a transaction's id.
pub(crate) fn key_of(txid: &TxId) -> Vec<u8> {
    Writer::default().raw(&txid.0[..8]).u8(0).0
}

/// Of whom, which way, and how much.
pub(crate) type Unattributed = (AccountNo, Direction, Amount);

/// Longer than a transaction's.
pub(crate) fn key(block: &BlockHash) -> Vec<u8> {
    Writer::default().raw(&block.0).u8(0).0
}

const RANGE: &[u8] = b"loose";

/// Where it is noted that what is kept beside the block `to` moved in one of the blocks from `from` on: the states between were not to be had.
pub(crate) fn range_key(from: Height, to: Height) -> Vec<u8> {
    Writer::default().raw(RANGE).u64(from.0).u64(to.0).0
}

/// What of a balance's steps is such.
pub(crate) fn of((account, asset): Pair, steps: &[Step]) -> impl Iterator<Item = Unattributed> {
    let such = steps.iter().filter(move |step| asset == Asset::Native && step.kind == Kind::Unattributed);
    such.map(move |step| (account, step.direction, step.amount))
}

impl Store {
    /// What moved in this block without a transaction that is known to have moved it, or may have: in one of several blocks of which this is one.
    /// Its debits are those of watched accounts, its payments are to these.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unattributed(&self, block: &BlockRef) -> Result<Option<Transaction>, StoreError> {
        let mut all: Option<Transaction> = None;
        for hash in self.ends_of_ranges(block.height)?.into_iter().chain([block.hash]).collect::<BTreeSet<_>>() {
            let key = key(&hash);
            let Some(row) = self.get(Family::Transactions, &key)? else { continue };
            let moved = self.read(Family::Transactions, &key, Transaction::read(&row))?;
            match &mut all {
                None => all = Some(moved),
                Some(all) => {
                    all.debits.extend(moved.debits);
                    all.payments.extend(moved.payments);
                }
            }
        }
        Ok(all)
    }

    /// The last blocks of all ranges with this one in them.
    fn ends_of_ranges(&self, at: Height) -> Result<Vec<BlockHash>, StoreError> {
        let (mut rows, mut ends) = (self.db.raw_iterator_cf(self.family(Family::Meta)?), Vec::new());
        rows.seek(RANGE);
        while let Some((key, hash)) = rows.item().filter(|(key, _)| key.starts_with(RANGE)) {
            let mut range = Reader(&key[RANGE.len()..]);
            let range = range.u64().zip(range.u64()).zip(<[u8; 32]>::try_from(hash).ok());
            let ((from, to), hash) = self.read(Family::Meta, key, range)?;
            ends.extend((from..=to).contains(&at.0).then_some(BlockHash(hash)));
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok(ends)
    }

    /// In which such block a transaction is, of those that are not known to have moved anyone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unattributed_beside(&self, txid: &TxId) -> Result<Option<Height>, StoreError> {
        let key = key_of(txid);
        let Some(row) = self.get(Family::Transactions, &key)? else { return Ok(None) };
        self.read(Family::Transactions, &key, Reader(&row).count().map(Height)).map(Some)
    }

    /// The row of a block in which these moved, before and after.
    pub(crate) fn with_unattributed(
        &self,
        (height, hash): (Height, BlockHash),
        moved: &[Unattributed],
    ) -> Result<(Option<Vec<u8>>, Vec<u8>), StoreError> {
        let key = key(&hash);
        let before = self.get(Family::Transactions, &key)?;
        let known = before.as_ref().map(|row| self.read(Family::Transactions, &key, Transaction::read(row)));
        let mut all = known.transpose()?.unwrap_or_else(|| Transaction::nothing_yet(height));
        for (account, direction, amount) in moved {
            match direction {
                Direction::Debit => all.debits.push((*account, Asset::Native, *amount)),
                Direction::Credit => {
                    let to = self.account(*account)?;
                    all.payments.push(Payment { index: None, to, asset: Asset::Native, amount: *amount });
                }
            }
        }
        // So that the order does not tell when an account was declared, or what was found out when.
        all.debits.sort();
        all.payments.sort_by(|one, other| (&one.to.0, one.amount).cmp(&(&other.to.0, other.amount)));
        let row = Transaction::head_into(Writer::default(), height, &all.debits);
        let row = all.payments.iter().fold(row, |row, Payment { index, to, asset, amount }| {
            Transaction::payment_into(row, *index, &to.0, *asset, *amount)
        });
        Ok((before, Transaction::told_into(row, Told::NotCalls).0))
    }
}
