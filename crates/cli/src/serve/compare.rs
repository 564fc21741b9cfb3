//! Do a chain's nodes have the same final blocks? Each is asked by itself, beside the one that is followed. What a node that does
//! not says by its own blocks is indexed too, in a copy of the store that goes when they agree.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_desk::{Branch, Dissent, Source};
use assay_indexer::{Indexer, Settings, Stop};
use assay_store::{Mode, Store};
use assay_types::{BlockHash, Chain, Height};

use super::Shared;
use crate::config::ChainConfig;
use crate::setup::Setup;

const EVERY: Duration = Duration::from_secs(2);

/// The copies of a chain's store into which other nodes' blocks are followed, by the node's place from 0.
type Copies = BTreeMap<usize, Arc<Store>>;

/// Compares until the process stops.
pub fn watch(shared: &Shared, source: &Source) {
    let mut copies = Copies::new();
    while !shared.stop.is_wished() {
        let setup = shared.setup();
        let final_height = source.store().ok().and_then(|store| store.final_height().ok().flatten());
        if let Ok(chain) = setup.chain(&source.name) {
            // One node contradicts nobody; what it was once part of is cleared.
            let several = chain.nodes.len() > 1 || !source.dissent().is_empty();
            if several {
                look(shared, &setup, chain, source, &mut copies);
            }
            source.asked_all(final_height);
            if several {
                shared.desk.look();
            }
        }
        shared.stop.pause(EVERY);
    }
    copies.into_keys().for_each(|nth| forget(&shared.setup(), source, nth));
}

fn look(shared: &Shared, setup: &Setup, chain: &ChainConfig, source: &Source, copies: &mut Copies) {
    let found = dissents(setup, chain, source);
    let branches = |copies: &Copies| -> Vec<Branch> {
        let branch =
            |dissent: &Dissent| Branch { dissent: dissent.clone(), store: copies.get(&(dissent.node - 1)).cloned() };
        found.iter().map(branch).collect()
    };
    if source.dissent() != found {
        if !found.is_empty() {
            source.hear(|heard| *heard.errors.entry("disagreement").or_default() += 1);
            tracing::error!(chain = source.name, ?found, "nodes disagree");
        }
        // Told at once; what the node says by its blocks may take longer.
        keep(shared, source, branches(copies));
    }
    copies.retain(|nth, _| {
        let stays = found.iter().any(|dissent| dissent.node == nth + 1);
        if !stays {
            forget(setup, source, *nth);
        }
        stays
    });
    // What nodes say above the last block on which enough agree counts for nothing yet.
    let parted = source.heard().parted;
    for dissent in found.iter().filter(|dissent| !parted.contains(dissent)) {
        let nth = dissent.node - 1;
        match follow(setup, chain, source, nth, copies.get(&nth), &shared.stop) {
            Ok(store) => drop(copies.insert(nth, store)),
            Err(why) => {
                tracing::warn!(chain = source.name, node = dissent.node, why, "what this node says could not be read");
                if copies.remove(&nth).is_some() {
                    forget(setup, source, nth);
                }
            }
        }
    }
    if !found.is_empty() {
        keep(shared, source, branches(copies));
    }
}

fn keep(shared: &Shared, source: &Source, branches: Vec<Branch>) {
    if let Err(error) = shared.desk.set_branches(source, branches) {
        tracing::error!(chain = source.name, %error, "which nodes disagree could not be kept");
    }
}

/// Follows a node's own blocks into a copy of our store, made where there is none yet.
fn follow(
    setup: &Setup,
    chain: &ChainConfig,
    source: &Source,
    nth: usize,
    copy: Option<&Arc<Store>>,
    stop: &Stop,
) -> Result<Arc<Store>, String> {
    let node = setup.connect_to(chain, &chain.nodes[nth..=nth]).map_err(|failure| failure.first())?;
    let store = match copy {
        Some(store) => store.clone(),
        None => {
            let folder = folder(setup, source, nth);
            source.store()?.copy_to(&folder).map_err(|error| error.to_string())?;
            Arc::new(Store::open(&folder, &chain.id, Mode::Write).map_err(|error| error.to_string())?)
        }
    };
    let head = node.tip().map_err(|error| error.to_string())?.head.hash;
    let settings = Settings {
        undo_depth: chain.undo_depth,
        accept_reorg: Some(head),
        threads: crate::index::processors(),
        turns: chain.turns,
    };
    let indexer = Indexer::new(&*node, &store, settings, stop.clone());
    indexer.come_to_the_tip(&|_| ()).map_err(|error| error.to_string())?;
    Ok(store)
}

fn folder(setup: &Setup, source: &Source, nth: usize) -> PathBuf {
    setup.config.data_dir.join(format!("{}.node-{}", source.name, nth + 1)) // no chain has a name with a dot
}

/// Removes a copy; whoever still reads it has its files open.
fn forget(setup: &Setup, source: &Source, nth: usize) {
    if let Err(error) = std::fs::remove_dir_all(folder(setup, source, nth)) {
        tracing::warn!(chain = source.name, %error, "a copy of the store could not be removed");
    }
}

fn dissents(setup: &Setup, chain: &ChainConfig, source: &Source) -> Vec<Dissent> {
    let Ok(store) = source.store() else { return source.dissent() };
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
    let mut found: Vec<Dissent> = each.collect();
    for one in source.heard().parted {
        if found.iter().all(|known| known.node != one.node) {
            found.push(one);
        }
    }
    found
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
