//! Who holds a token.

use std::ops::Range;

use assay_types::{Amount, Asset, Height, Pair};

use crate::rows::account_prefix;
use crate::standing::pair_of;
use crate::{Family, Movement, Store, StoreError};

impl Store {
    /// What each of these accounts holds of each token, by the last block, where that is something. Takes two steps for each account and token that ever
    /// moved.
    ///
    /// # Errors
    /// When the database fails.
    pub fn token_holders(&self, numbers: Range<u32>) -> Result<Vec<(Pair, Amount)>, StoreError> {
        let (mut rows, mut holders) = (self.db.raw_iterator_cf(self.family(Family::Movements)?), Vec::new());
        rows.seek(numbers.start.to_be_bytes());
        while let Some((key, _)) = rows.item() {
            let pair = self.read(Family::Movements, key, pair_of(key))?;
            if pair.0.0 >= numbers.end {
                break;
            }
            let end = Movement::key_at(&account_prefix(pair.0, pair.1), Height(u64::MAX), u32::MAX);
            if let Asset::Token(_) = pair.1 {
                let balance = self.seek_balance(&mut rows, pair, Height(u64::MAX))?;
                holders.extend((balance != Amount::ZERO).then_some((pair, balance)));
            }
            rows.seek(end);
        }
        rows.status().map_err(|error| self.database(error))?;
        Ok(holders)
    }
}
