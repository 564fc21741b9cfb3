//! What everyone holds is looked at once behind a long stretch, in which only those that blocks moved were read.

use assay_store::Coverage;
use assay_types::{Account, Header, Pair, Reading, Watch};
use crossbeam_channel::bounded;

use crate::Indexer;
use crate::breaks::Break;
use crate::patience::patiently;
use crate::turns::{AT_A_TIME, numbers};

impl Indexer<'_> {
    /// After a long stretch: reads what everyone holds at its last block, where not everyone was read at every block. What the
    /// movements do not give is searched for.
    pub(crate) fn read_everyone(&self, at: &Header, watch: &Watch) -> Result<(), Break> {
        tracing::info!(accounts = watch.len(), height = at.height.0, "the balances of all accounts are read");
        let all = numbers(watch);
        let (chain, stop) = (self.chain, &self.stop);
        // The next ones are asked for while these are looked at.
        std::thread::scope(|scope| {
            let (give, given) = bounded(1);
            scope.spawn(move || {
                let parts = all.clone().step_by(AT_A_TIME as usize).map(|from| from..all.end.min(from + AT_A_TIME));
                for part in parts {
                    let accounts: Vec<_> =
                        watch.among(part).map(|(number, account)| (number, Account::new(account))).collect();
                    let readings = patiently(stop, || chain.look(at, &accounts));
                    if give.send(readings).is_err() {
                        return; // nobody wants them any more
                    }
                }
            });
            for readings in given {
                if self.stop.is_wished() {
                    return Err(crate::IndexError::Stopped.into());
                }
                let pairs = self.differing(at, &readings?)?;
                if !pairs.is_empty() {
                    self.explain_parted(at, &self.with_bytes(&pairs)?)?;
                }
            }
            Ok::<_, Break>(())
        })?;
        Ok(self.store.note_all_read(at.height..=at.height)?)
    }

    /// The pairs that are known to hold something else after this block, the last one.
    fn differing(&self, at: &Header, readings: &[Reading]) -> Result<Vec<Pair>, Break> {
        let (mut differing, mut lookup) = (Vec::new(), self.store.lookup()?);
        for Reading { account, asset, balance, .. } in readings {
            let (Ok(state), pair) = (balance, (*account, *asset)) else { continue };
            let ours = lookup.balance(pair, at.height)?;
            if ours != *state && !matches!(lookup.standing(pair, at.height)?.coverage, Coverage::Unknown(_)) {
                differing.push(pair);
            }
        }
        Ok(differing)
    }
}
