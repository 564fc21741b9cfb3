//! One chain's thread: follows it into its store, and tells the desk what it heard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use assay_desk::{CatchingUp, Desk, Dissent, Source, Trouble, clock};
use assay_indexer::{IndexError, Indexer, Progress, Reached, Settings, Stop, reach};
use assay_store::{Mode, Store, StoreError};
use assay_types::{BlockHash, Chain, Fault, NodeError};

use super::Shared;
use crate::check;
use crate::config::ChainConfig;
use crate::failure::Failure;
use crate::setup::Setup;

/// How long to wait before a chain that cannot be followed is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often a store that another process writes is opened anew.
const BESIDE: Duration = Duration::from_secs(1);

/// Follows a chain until the process stops: anew when the files change, and again after whatever kept it, a mistake of ours included.
pub fn follow(shared: &Shared, source: &Source) {
    while !shared.stop.is_wished() {
        let (setup, round) = (shared.setup(), shared.round());
        let Ok(chain) = setup.chain(&source.name) else { return };
        let followed = catch_unwind(AssertUnwindSafe(|| follow_once(shared, &setup, chain, source, &round)));
        if followed.is_err() {
            cannot(shared, source, &round, "its thread ended by itself: please report this as a bug".into());
        }
    }
}

fn follow_once(shared: &Shared, setup: &Setup, chain: &ChainConfig, source: &Source, round: &Stop) {
    match open(setup, chain, source, round) {
        Ok(Opened::Ours(store)) => {
            source.set_store(Ok(store.clone()));
            shared.desk.look();
            if let Err(error) = follow_into(&store, setup, chain, source, &shared.desk, round) {
                note(source, &error);
                shared.desk.look();
                round.pause(AGAIN);
            }
        }
        Ok(Opened::Another) => beside(setup, chain, source, &shared.desk, round),
        Err(failure) => cannot(shared, source, round, failure.first()),
    }
}

fn cannot(shared: &Shared, source: &Source, round: &Stop, why: String) {
    tracing::error!(chain = source.name, %why, "this chain cannot be followed");
    source.set_trouble(Some(Trouble { since: clock::now(), why, lasting: true }));
    shared.desk.look();
    round.pause(AGAIN);
}

enum Opened {
    Ours(Arc<Store>),
    /// Another process indexes this chain: it is read beside it.
    Another,
}

/// Takes the store that is there already, or opens it. A new one is made only once the node is known to be of this chain.
fn open(setup: &Setup, chain: &ChainConfig, source: &Source, round: &Stop) -> Result<Opened, Failure> {
    if let Ok(store) = source.store()
        && store.is_writer()
    {
        return Ok(Opened::Ours(store));
    }
    let folder = setup.config.data_dir.join(&chain.name);
    if !folder.exists() {
        let node = setup.connect(chain)?;
        while let Err(error) = reach(&*node, round) {
            if !error.may_heal() || round.is_wished() {
                return Err(error.into());
            }
            note(source, &error.into());
            round.pause(AGAIN);
        }
    }
    match Store::open(&folder, &chain.id, Mode::Write) {
        Ok(store) => Ok(Opened::Ours(Arc::new(store))),
        Err(StoreError::Busy(_)) => Ok(Opened::Another),
        Err(error) => Err(error.into()),
    }
}

fn follow_into(
    store: &Store,
    setup: &Setup,
    chain: &ChainConfig,
    source: &Source,
    desk: &Desk,
    round: &Stop,
) -> Result<(), IndexError> {
    let node = setup.connect(chain).map_err(|failure| NodeError::Unsupported(failure.first()))?;
    let (threads, turns) = (crate::index::processors(), chain.turns);
    let settings = Settings { undo_depth: chain.undo_depth, accept_reorg: None, threads, turns };
    let indexer = Indexer::new(&*node, store, settings, round.clone());
    let (announced, mut groups) = (desk.announced(&chain.id), setup.declarations.groups(&chain.id));
    groups.push(announced.iter().collect()); // known already, unless the store was made anew
    {
        let _pen = store.pen();
        indexer.declare(&groups)?;
    }
    let progress = |progress: Progress| {
        let Progress { at, from, to, filling_in } = progress;
        source.hear(|heard| {
            if !filling_in {
                heard.head = Some(to);
            }
            let same = |before: &CatchingUp| (before.from, before.filling_in) == (from, filling_in);
            let since = heard.catching_up.filter(same).map_or_else(clock::now, |before| before.since);
            heard.catching_up = Some(CatchingUp { since, from, at, to, filling_in });
        });
        desk.look();
    };
    let compared = std::sync::Once::new();
    let reached = |reached: &Reached| {
        compared.call_once(|| check::warn_of_tokens(setup, chain, &*node));
        let healed = source.trouble().is_some();
        source.set_trouble(None);
        source.reached_tip(clock::ago(reached.asked.elapsed()));
        source.hear(|heard| {
            (heard.head, heard.source) = (Some(reached.tip.height), node.source());
            (heard.nodes, heard.parted) = (node.standings(), Vec::new());
            heard.catching_up = heard.catching_up.filter(|one| one.filling_in && reached.filling_in);
            heard.reorgs += u64::from(reached.removed > 0);
        });
        if healed || reached.applied + reached.removed > 0 {
            desk.look();
        }
        if source.has_to_prove_again() {
            // A node may take minutes for it, and nobody waits until it has.
            let source = source.clone();
            std::thread::spawn(move || source.prove_again());
        }
    };
    let stand = |error: &IndexError| {
        source.hear(|heard| (heard.nodes, heard.parted) = (node.standings(), parted(&*node, error)));
    };
    let ended = indexer.follow(&progress, &reached, &|error| {
        stand(error);
        note(source, error);
        desk.look();
    });
    ended.inspect_err(stand)
}

/// What keeps the chain from being followed: counted, and shown with the time since when.
fn note(source: &Source, error: &IndexError) {
    let (kind, lasting) = kind(error);
    tracing::warn!(chain = source.name, kind, %error, "not followed at the moment");
    source.hear(|heard| *heard.errors.entry(kind).or_default() += 1);
    source.set_trouble(Some(Trouble { since: clock::now(), why: error.to_string(), lasting }));
}

/// Which nodes have another block than the first of them, where too few agree on one to go on.
fn parted(node: &dyn Chain, error: &IndexError) -> Vec<Dissent> {
    let IndexError::Node(NodeError::Disagreement { height, said }) = error else { return Vec::new() };
    let Some((_, first)) = said.first() else { return Vec::new() };
    let nodes = node.standings();
    let show = |hash: &BlockHash| node.id().show_hash(&hash.0);
    let others = said.iter().filter(|(_, hash)| hash != first);
    let dissent = |(name, theirs): &(String, BlockHash)| {
        let place = nodes.iter().position(|one| one.node == *name)?;
        Some(Dissent { node: place + 1, from: height.0, ours: show(first), theirs: show(theirs) })
    };
    others.filter_map(dissent).collect()
}

/// What kind of error it is, and whether an operator is needed. An answer that came is named by what is wrong with it.
fn kind(error: &IndexError) -> (&'static str, bool) {
    match error {
        IndexError::Node(error) => {
            use NodeError::{Contradiction, LoginRefused, Unsupported, WrongChain};
            let lasting =
                matches!(error, Contradiction { .. } | LoginRefused { .. } | WrongChain { .. } | Unsupported(_));
            (error.kind(), lasting)
        }
        IndexError::Store(_) => ("store", true),
        IndexError::Left(_) => ("beyond-finality", true),
        IndexError::NodeBehind { .. } => (Fault::Stale.as_str(), false),
        IndexError::NotBegun { .. } => ("not-begun", false),
        IndexError::OtherStart { .. } => ("other-start", true),
        IndexError::Restless => ("restless", false),
        IndexError::Stopped => ("stopped", false),
    }
}

/// Reads beside the process that indexes, anew at each block boundary that it has reached meanwhile.
fn beside(setup: &Setup, chain: &ChainConfig, source: &Source, desk: &Desk, round: &Stop) {
    tracing::info!(chain = source.name, "another process indexes this chain: it is read beside it");
    let trouble = |why: String, lasting| source.set_trouble(Some(Trouble { since: clock::now(), why, lasting }));
    while !round.is_wished() {
        // The node first: what it had then, the store has by now if the other process keeps up.
        let asked = clock::now();
        let head = setup.connect(chain).map_err(|failure| failure.first());
        let told = |node: Box<dyn Chain>| node.tip().map(|tip| (tip.head, node.source(), node.standings()));
        let head = head.and_then(|node| told(node).map_err(|error| error.to_string()));
        match setup.store_to_read(chain) {
            Ok(store) => {
                let tip = store.as_ref().ok().and_then(|store| store.tip().ok().flatten());
                source.set_store(store.map(Arc::new));
                match head {
                    Ok((head, from, nodes)) => {
                        source.hear(|heard| {
                            (heard.head, heard.source, heard.nodes) = (Some(head.height), from, nodes);
                        });
                        source.set_trouble(None);
                        if tip.is_some_and(|tip| tip.height >= head.height) {
                            source.reached_tip(asked);
                        }
                    }
                    Err(why) => trouble(why, false),
                }
            }
            Err(failure) => trouble(failure.first(), true),
        }
        desk.look();
        round.pause(BESIDE);
        if !is_busy(setup, chain) {
            source.set_store(Err("the process that indexed this chain has ended".into()));
            return; // now we index it
        }
    }
}

/// Does another process still write? Only asking for the lock tells.
fn is_busy(setup: &Setup, chain: &ChainConfig) -> bool {
    let folder = setup.config.data_dir.join(&chain.name);
    matches!(Store::open(&folder, &chain.id, Mode::Write), Err(StoreError::Busy(_)))
}
