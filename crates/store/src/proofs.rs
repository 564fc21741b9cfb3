//! The last proof of each account's balance in each asset, as far as proofs are kept: so that what is said to be proven can be shown to others.

use assay_types::{AccountNo, Asset, Height, Pair, Proof};

use crate::bytes::{Reader, Writer};
use crate::{Family, Store, StoreError};

/// A proof that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptProof {
    /// Of the balance after this block.
    pub at: Height,
    /// That block's header, as its hash is made of it.
    pub sealed: Vec<u8>,
    /// What shows the balance, as the chain encodes it.
    pub proof: Vec<u8>,
}

/// The asset first: the proofs of a token have most in common, and stand together.
pub(crate) fn proof_key(row: Writer, (account, asset): Pair) -> Writer {
    row.asset(asset).account(account)
}

pub(crate) fn proof_value(row: Writer, at: Height, sealed: &[u8], proof: &Proof) -> Writer {
    row.u64(at.0).sized(sealed).sized(&proof.0)
}

fn read_key(key: &[u8]) -> Option<Pair> {
    let mut row = Reader(key);
    let (asset, account) = (row.asset()?, row.account()?);
    row.end((account, asset))
}

pub(crate) fn read_value(value: &[u8]) -> Option<KeptProof> {
    let mut row = Reader(value);
    let (at, sealed, proof) = (Height(row.u64()?), row.sized()?.to_vec(), row.sized()?.to_vec());
    row.end(KeptProof { at, sealed, proof })
}

impl Store {
    /// The last proof of this balance, where one is kept. It is of a block of ours: it goes with that.
    ///
    /// # Errors
    /// When the database fails.
    pub fn kept_proof(&self, account: AccountNo, asset: Asset) -> Result<Option<KeptProof>, StoreError> {
        let key = proof_key(Writer::default(), (account, asset)).0;
        let Some(row) = self.get(Family::Proofs, &key)? else { return Ok(None) };
        self.read(Family::Proofs, &key, read_value(&row)).map(Some)
    }

    /// Every proof that is kept.
    ///
    /// # Errors
    /// When the database fails, or `see` does.
    pub fn each_kept_proof<E: From<StoreError>>(
        &self,
        mut see: impl FnMut(Pair, KeptProof) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = self.db.raw_iterator_cf(self.family(Family::Proofs)?);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            let (pair, kept) = self.read(Family::Proofs, key, read_key(key).zip(read_value(value)))?;
            see(pair, kept)?;
            rows.next();
        }
        rows.status().map_err(|error| self.database(error).into())
    }

    /// Did the balance move between two blocks, whichever is the later, as far as is known?
    ///
    /// # Errors
    /// When the database fails.
    pub fn moved_between(&self, pair: Pair, one: Height, other: Height) -> Result<bool, StoreError> {
        let (from, to) = (one.min(other), one.max(other));
        Ok(self.movements(pair.0, pair.1, from.next(), to)?.next().transpose()?.is_some())
    }
}
