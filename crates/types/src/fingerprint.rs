//! Outpoints as numbers: looked up millions of times a second, nearly always in vain.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;

use foldhash::quality::RandomState;

use crate::Outpoint;

/// Gives each outpoint a number of 64 bits. Which one is this process's secret, so that nobody can make outpoints that share one.
#[derive(Clone)]
pub struct Fingerprint(RandomState);

static SECRET: LazyLock<Fingerprint> = LazyLock::new(|| Fingerprint(RandomState::default()));

impl Fingerprint {
    /// The same everywhere in this process.
    pub fn get() -> Fingerprint {
        SECRET.clone()
    }

    /// Of an outpoint.
    pub fn of(&self, outpoint: &Outpoint) -> u64 {
        let mut txid = outpoint.txid.0;
        txid.reverse();
        self.of_raw(&txid, outpoint.vout)
    }

    /// The same; the id's bytes in the order in which they stand in a block, which is the reverse of that of [`crate::TxId`]. An id is a hash:
    /// half of it is as good as the whole.
    #[inline]
    pub fn of_raw(&self, txid: &[u8; 32], vout: u32) -> u64 {
        let ([half, _], _) = txid.as_chunks::<16>() else { unreachable!("32 bytes") };
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(u128::from_le_bytes(*half) ^ u128::from(vout));
        hasher.finish()
    }
}
