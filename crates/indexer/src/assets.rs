//! Assets come into the configuration, and leave it, while blocks are there already.

use assay_store::{Coverage, Seen};
use assay_types::Height;

use crate::Indexer;
use crate::breaks::Break;

impl Indexer<'_> {
    /// Tells the store which assets the next blocks are read for. What few accounts hold of those that are new is read at once, after the last
    /// block: many have their turns, and those that the node does not say any more are read with the next block.
    pub(crate) fn follow_assets(&self) -> Result<(), Break> {
        let fresh = self.store.follow_assets(&self.chain.assets())?;
        let (watch, last) = (self.followed()?, self.store.tip()?);
        let (Some(last), true) = (last, self.settings.turns.are_few(&watch)) else { return Ok(()) };
        let mut unknown = Vec::new();
        for (number, _) in watch.by_number() {
            for asset in &fresh {
                let is_unknown =
                    matches!(self.store.noted_coverage(number, *asset, last.height)?, Coverage::Unknown(_));
                let has_moved = self.store.movements(number, *asset, last.height, Height(u64::MAX))?.next().is_some();
                if is_unknown && !has_moved {
                    unknown.push((number, *asset));
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        for reading in self.read_again(&last, &self.with_bytes(&unknown)?)? {
            if let Ok(balance) = reading.balance {
                let seen = Seen { balance, proven: reading.proven, since: None };
                self.store.correct(reading.pair(), last.height, &seen, &[])?;
            }
        }
        Ok(())
    }
}
