//! Which assets are followed. What the configuration names changes while blocks are there already: those that were read without an asset say nothing
//! of it.

use std::collections::BTreeSet;

use assay_types::{Asset, Height};
use rocksdb::WriteBatch;

use crate::bytes::{Reader, Writer};
use crate::changes::{self, Changes, Way};
use crate::rows::account_prefix;
use crate::standing::NOT_FOLLOWED;
use crate::{Coverage, Family, Store, StoreError};

const ASSETS_KEY: &[u8] = b"assets";

impl Store {
    /// The assets that the last block was read for; none before the first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn assets(&self) -> Result<BTreeSet<Asset>, StoreError> {
        let Some(row) = self.get(Family::Meta, ASSETS_KEY)? else { return Ok(BTreeSet::new()) };
        let (mut rest, mut assets) = (Reader(&row), BTreeSet::new());
        while !rest.0.is_empty() {
            assets.insert(self.read(Family::Meta, ASSETS_KEY, rest.asset())?);
        }
        Ok(assets)
    }

    /// Notes which assets the blocks above the last one are read for, and says which of them that one was not read for. What is known of those that
    /// are followed no more ends with it; taking it back brings back how it was. The caller holds the pen.
    ///
    /// # Errors
    /// When the database fails.
    pub fn follow_assets(&self, assets: &BTreeSet<Asset>) -> Result<Vec<Asset>, StoreError> {
        let before = self.assets()?;
        if before == *assets {
            return Ok(Vec::new());
        }
        let fresh: Vec<Asset> = assets.difference(&before).copied().collect();
        let gone: BTreeSet<Asset> = before.difference(assets).copied().collect();
        let (mut changes, mut batch, tip) = (Changes::new(self), WriteBatch::default(), self.tip()?);
        let row = assets.iter().fold(Writer::default(), |row, asset| row.asset(*asset)).0;
        changes.put(Family::Meta, ASSETS_KEY.to_vec(), row)?;
        let Some(tip) = tip else {
            changes::write(self, &mut batch, &changes.into_list(), Way::Forth)?;
            self.commit(batch, true)?;
            return Ok(Vec::new());
        };
        // Those that are filled in are known up to another block.
        let (published, round) = (self.published()?, self.current_round()?);
        let round = round.and_then(|round| Some((round.from.0..round.to.0, round.next.previous()?)));
        for (numbers, last) in std::iter::once((0..published, tip.height)).chain(round) {
            let (next, mut known, mut lookup) = (last.next(), Vec::new(), self.lookup()?);
            lookup.each_coverage(numbers, next, |pair, coverage| known.push((pair, coverage)))?;
            for ((account, asset), coverage) in known {
                let key = Coverage::key(&account_prefix(account, asset), next);
                let why = unfollowed_from(next);
                match coverage {
                    // It went and came back without a block between.
                    Coverage::Unknown(reason) if reason == why && fresh.contains(&asset) => {
                        changes.put(Family::Coverage, key, Coverage::Unproven.value())?;
                    }
                    Coverage::Unknown(_) => {}
                    _ if gone.contains(&asset) => {
                        changes.put(Family::Coverage, key, Coverage::Unknown(why).value())?;
                    }
                    _ => {}
                }
            }
        }
        self.write_late(tip.height, &changes.into_list(), &mut batch)?;
        self.amend(|| self.commit(batch, true))?;
        Ok(fresh)
    }
}

/// Why nothing is known of an asset from this block on.
fn unfollowed_from(next: Height) -> String {
    format!("{NOT_FOLLOWED} from block {next} on: the asset was not configured")
}
