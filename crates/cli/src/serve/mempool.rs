//! What waits in a chain's mempool, looked at again and again beside the thread that follows the chain: nobody who asks waits for it.

use std::time::{Duration, Instant};

use assay_desk::{Mempool, Source};
use assay_indexer::Stop;
use assay_types::{BlockRef, Chain};

use super::Shared;

/// How long a look rests at least, unless a block comes.
const REST: Duration = Duration::from_secs(1);
/// A node spends a twentieth of its time on it at most: listing a large mempool takes it some tenths of a second.
const SHARE: u32 = 20;
/// How often it is looked whether a block came.
const GLANCE: Duration = Duration::from_millis(50);

/// Looks until the process stops.
pub fn watch(shared: &Shared, source: &Source) {
    let mut mempool = Mempool::default();
    while !shared.stop.is_wished() {
        let (setup, round) = (shared.setup(), shared.round());
        let Ok(chain) = setup.chain(&source.name) else { return };
        match setup.connect(chain) {
            Ok(node) => {
                if !look(&*node, source, &mut mempool, &round) {
                    return;
                }
            }
            Err(failure) => {
                source.set_waiting(Err(failure.first()));
                round.pause(REST);
            }
        }
    }
}

/// Looks until the round ends. Is there anything to look at?
fn look(node: &dyn Chain, source: &Source, mempool: &mut Mempool, round: &Stop) -> bool {
    while !round.is_wished() {
        let (began, last) = (Instant::now(), last_block(source));
        if let Ok(store) = source.store() {
            match mempool.look(node, &store, &|_, _| ()) {
                Ok(Some(waiting)) => source.set_waiting(Ok(waiting)),
                Ok(None) => return false,
                Err(error) => source.set_waiting(Err(error.to_string())),
            }
        }
        let rest = REST.max(began.elapsed() * SHARE);
        let woken = Instant::now();
        while woken.elapsed() < rest && last_block(source) == last && !round.is_wished() {
            round.pause(GLANCE);
        }
    }
    true
}

fn last_block(source: &Source) -> Option<BlockRef> {
    source.store().ok()?.tip().ok()?.map(|header| header.at())
}
