//! `assay index`: follows the chains.

use assay_indexer::{Indexer, Progress, Reached, Settings, Stop};
use assay_store::Mode;
use assay_types::BlockHash;

use crate::args::IndexArgs;
use crate::check;
use crate::config::ChainConfig;
use crate::failure::{Failure, WRONG_INPUT};
use crate::output;
use crate::progress::{self, Bars};
use crate::setup::Setup;
use assay_desk::clock;

pub fn run(setup: &Setup, arguments: &IndexArgs, json: bool) -> Result<u8, Failure> {
    let chains = chosen(setup, &arguments.chain)?;
    let accept = accepted(&chains, arguments.accept_reorg.as_deref())?;
    let threads = arguments.threads.map_or_else(processors, std::num::NonZeroUsize::get);
    let stop = stop_on_signals("stopping at the next block")?;
    let bars = Bars::new();
    let follow = |chain: &ChainConfig| -> Result<Option<Reached>, Failure> {
        let bar = bars.chain(&chain.name);
        let show = |progress: Progress| progress::show(&bar, progress);
        let done = if arguments.once {
            with_indexer(setup, chain, true, accept, threads, &stop, |indexer| Ok(Some(indexer.catch_up(&show)?)))
        } else {
            let said = |reached: &Reached| {
                if reached.applied + reached.removed > 0 {
                    tracing::info!(
                        chain = chain.name,
                        height = reached.tip.height.0,
                        removed = reached.removed,
                        "caught up"
                    );
                }
            };
            with_indexer(setup, chain, false, accept, threads, &stop, |indexer| {
                indexer.follow(&show, &said, &|_| ()).map(|()| None).map_err(Failure::from)
            })
        };
        bar.finish_and_clear();
        if let Err(failure) = &done
            && !arguments.once
            && chains.len() > 1
            && !stop.is_wished()
        {
            // What it comes to is said at the end, which may be far.
            output::warning(format!("{} is followed no more, the others are: {}", chain.name, failure.first()));
        }
        done.map_err(|failure| failure.during(format!("chain {}", chain.name)))
    };
    // Each chain at its own pace: one that fails holds up no other.
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = chains.iter().map(|chain| scope.spawn(|| follow(chain))).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut failed: Option<Failure> = None;
    let mut reached = Vec::new();
    for (chain, result) in chains.iter().zip(results) {
        match result.unwrap_or_else(|_| Err(Failure::new(crate::failure::INTEGRITY, "a thread ended by itself"))) {
            Ok(Some(now)) => reached.push((*chain, now)),
            Ok(None) => {}
            Err(failure) => {
                failed = Some(match failed {
                    Some(before) => before.and(failure),
                    None => failure,
                });
            }
        }
    }
    report(&reached, json);
    failed.map_or(Ok(0), Err)
}

/// As many as this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Catches up with the node's tip, from the store as it is.
pub fn catch_up(setup: &Setup, chain: &str, stop: &Stop, progress: &dyn Fn(Progress)) -> Result<Reached, Failure> {
    let chain = setup.chain(chain)?;
    with_indexer(setup, chain, true, None, processors(), stop, |indexer| Ok(indexer.catch_up(progress)?))
}

/// Opens the store for writing and declares the exchanges' accounts there, unless the node is of another chain or refuses
/// us: then nothing is written. A node that is away can be waited for, if it is not only for `once`.
fn with_indexer<T>(
    setup: &Setup,
    chain: &ChainConfig,
    once: bool,
    accept_reorg: Option<BlockHash>,
    threads: usize,
    stop: &Stop,
    work: impl FnOnce(&Indexer<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let node = setup.connect(chain)?;
    match assay_indexer::reach(&*node, stop) {
        Err(error) if once || !error.may_heal() => return Err(error.into()),
        Err(_) => {}
        Ok(_) => check::warn_of_tokens(setup, chain, &*node),
    }
    let store = setup.store(chain, Mode::Write)?;
    let settings = Settings { undo_depth: chain.undo_depth, accept_reorg, threads, turns: chain.turns };
    let indexer = Indexer::new(&*node, &store, settings, stop.clone());
    indexer.declare(&setup.declarations.groups(&chain.id))?;
    work(&indexer)
}

fn chosen<'a>(setup: &'a Setup, names: &[String]) -> Result<Vec<&'a ChainConfig>, Failure> {
    if names.is_empty() {
        return Ok(setup.config.chains.iter().collect());
    }
    let named: Vec<&ChainConfig> = names.iter().map(|name| setup.chain(name)).collect::<Result<_, _>>()?;
    // Each once, however often and by whichever name it is given.
    let is_named = |chain: &&ChainConfig| named.iter().any(|named| named.name == chain.name);
    Ok(setup.config.chains.iter().filter(is_named).collect())
}

fn accepted(chains: &[&ChainConfig], hash: Option<&str>) -> Result<Option<BlockHash>, Failure> {
    let Some(hash) = hash else { return Ok(None) };
    let [chain] = chains else {
        return Err(Failure::new(WRONG_INPUT, "--accept-reorg is for one chain").hint("name it: --chain C"));
    };
    let hash = chain.id.parse_hash(hash).map_err(|error| Failure::new(WRONG_INPUT, error).during("--accept-reorg"))?;
    Ok(Some(BlockHash(hash)))
}

/// The first Ctrl-C, or SIGTERM, asks to stop at a block boundary; the second ends the process.
pub fn stop_on_signals(saying: &'static str) -> Result<Stop, Failure> {
    let stop = Stop::default();
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    let wished = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if wished.is_wished() {
                std::process::exit(130);
            }
            output::message(format!("{saying}; again to stop at once (nothing is lost either way)"));
            wished.now();
        }
    });
    Ok(stop)
}

fn report(reached: &[(&ChainConfig, Reached)], json: bool) {
    if json {
        let chains = reached.iter().map(|(chain, now)| {
            serde_json::json!({
                "chain": chain.name,
                "height": now.tip.height,
                "hash": chain.id.show_hash(&now.tip.hash.0),
                "time": now.tip.time,
                "final_height": now.final_height,
                "applied": now.applied,
                "removed": now.removed,
            })
        });
        output::document(&serde_json::json!({ "evaluated_at": clock::now(), "chains": chains.collect::<Vec<_>>() }));
        return;
    }
    for (chain, now) in reached {
        let final_height = now.final_height.map_or("none yet".into(), |height| height.to_string());
        let removed = if now.removed > 0 { format!(", {} taken back", now.removed) } else { String::new() };
        output::message(format!(
            "{}: block {} {} ({} new{removed}), final: {final_height}",
            chain.name,
            now.tip.height,
            chain.id.show_hash(&now.tip.hash.0),
            now.applied,
        ));
    }
}
