//! Do a chain's nodes have the same final blocks? Each is asked by itself, beside the one that is followed.

use std::time::Duration;

use assay_desk::{Dissent, Source};
use assay_store::Store;
use assay_types::{BlockHash, Chain, Height};

use super::Shared;
use crate::setup::Setup;

const EVERY: Duration = Duration::from_secs(10);

/// Compares until the process stops.
pub fn watch(shared: &Shared, source: &Source) {
    while !shared.stop.is_wished() {
        let setup = shared.setup();
        let found = dissent(&setup, source);
        if source.dissent() != found {
            if !found.is_empty() {
                source.hear(|heard| *heard.errors.entry("disagreement").or_default() += 1);
                tracing::error!(chain = source.name, ?found, "nodes disagree about final blocks");
            }
            source.set_dissent(found);
            shared.desk.look();
        }
        shared.stop.pause(EVERY);
    }
}

fn dissent(setup: &Setup, source: &Source) -> Vec<Dissent> {
    let (Ok(chain), Ok(store)) = (setup.chain(&source.name), source.store()) else { return Vec::new() };
    let count = chain.nodes.len();
    if count < 2 {
        return Vec::new();
    }
    let before = source.dissent();
    let each = (0..count).filter_map(|nth| {
        let node = setup.connect_to(chain, &chain.nodes[nth..=nth]).ok()?;
        match differs(&*node, &store) {
            Ok(found) => found.map(|(from, ours, theirs)| Dissent {
                node: nth + 1,
                from: from.0,
                ours: source.id.show_hash(&ours.0),
                theirs: source.id.show_hash(&theirs.0),
            }),
            // Nobody says that it agrees now.
            Err(_) => before.iter().find(|known| known.node == nth + 1).cloned(),
        }
    });
    each.collect()
}

/// The first final block that the node has otherwise, with our hash and its own.
fn differs(node: &dyn Chain, store: &Store) -> Result<Option<(Height, BlockHash, BlockHash)>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let Some(last) = store.final_height().map_err(|error| words(&error))? else { return Ok(None) };
    let Some(first) = store.first_height().map_err(|error| words(&error))? else { return Ok(None) };
    let at = |height: Height| -> Result<Option<(BlockHash, BlockHash)>, String> {
        let ours = store.header(height).map_err(|error| words(&error))?.map(|header| header.hash);
        let theirs = node.hash_at(height).map_err(|error| words(&error))?;
        Ok(ours.zip(theirs).filter(|(ours, theirs)| ours != theirs))
    };
    // A node that is behind has none there, and what it has may still be on the way to ours.
    let Some((mut ours, mut theirs)) = at(last)? else { return Ok(None) };
    let (mut same_below, mut from) = (first, last);
    while same_below < from {
        let middle = Height(same_below.0 + (from.0 - same_below.0) / 2);
        match at(middle)? {
            Some(pair) => ((ours, theirs), from) = (pair, middle),
            None => same_below = Height(middle.0 + 1),
        }
    }
    Ok(Some((from, ours, theirs)))
}
