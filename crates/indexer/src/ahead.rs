//! Fetches blocks ahead of the one that is applied, on several threads, and hands them over in order.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use assay_types::{Block, BlockRef, Chain, Height, NodeError, Proofs, Watch};

use crate::patience::{Stop, patiently};

/// How many blocks are fetched at once.
const FETCHERS: usize = 4;
/// How many blocks may wait, fetched or being fetched, for the one before them: what bounds memory.
const AHEAD: u64 = 32;

/// What to fetch.
pub(crate) struct Span<'a> {
    pub chain: &'a dyn Chain,
    pub watch: &'a Watch,
    pub from: Height,
    pub to: Height,
    /// The hash at a height, if it is known already.
    pub hash: &'a (dyn Fn(Height) -> Option<assay_types::BlockHash> + Sync),
    /// The last block of the span proves every balance.
    pub prove_last: bool,
    pub stop: &'a Stop,
}

/// Hands every block of the span over in order; ends at the first error of either side.
pub(crate) fn each_block<E: From<NodeError>>(
    span: &Span<'_>,
    mut take: impl FnMut(Block) -> Result<(), E>,
) -> Result<(), E> {
    if span.from > span.to {
        return Ok(());
    }
    std::thread::scope(|scope| {
        // Both ends that live here go when this closure is left, early or not: then the fetchers end.
        let (jobs, todo) = crossbeam_channel::unbounded::<Height>();
        let (done, results) = crossbeam_channel::unbounded();
        for _ in 0..FETCHERS {
            let (todo, done) = (todo.clone(), done.clone());
            scope.spawn(move || {
                for height in todo {
                    // A thread that dies would leave the others, and whoever waits for its block, waiting for ever.
                    let block = std::panic::catch_unwind(AssertUnwindSafe(|| fetch(span, height)));
                    if done.send((height, block.unwrap_or_else(|_| Err(not_understood(height))))).is_err() {
                        break;
                    }
                }
            });
        }
        drop((todo, done));
        let (mut asked, mut next) = (span.from, span.from);
        let mut ready = BTreeMap::new();
        while next <= span.to {
            while asked <= span.to && asked.0 < next.0 + AHEAD {
                let _ = jobs.send(asked);
                asked = asked.next();
            }
            let block = loop {
                match ready.remove(&next) {
                    Some(block) => break block,
                    None => ready.extend([results.recv().expect("fetchers live as long as there are jobs")]),
                }
            };
            take(block?)?;
            next = next.next();
        }
        Ok(())
    })
}

fn fetch(span: &Span<'_>, height: Height) -> Result<Block, NodeError> {
    let proofs = if span.prove_last && height == span.to { Proofs::All } else { Proofs::Moved };
    patiently(span.stop, || {
        let hash = match (span.hash)(height) {
            Some(hash) => hash,
            None => span.chain.hash_at(height)?.ok_or_else(|| above_the_tip(height))?,
        };
        let block = span.chain.block(BlockRef { height, hash }, span.watch, proofs)?;
        assert_eq!(block.header.at(), BlockRef { height, hash }, "a chain gives the block that it was asked for");
        Ok(block)
    })
}

/// Reading it panicked. The message went to standard error.
fn not_understood(height: Height) -> NodeError {
    let why = "this program failed on it: please report this".into();
    NodeError::Unreadable { node: "the node".into(), subject: format!("block {height}"), why }
}

/// The tip was above this height a moment ago.
fn above_the_tip(height: Height) -> NodeError {
    let why = "the chain became shorter meanwhile".into();
    NodeError::Missing { node: "the node".into(), subject: format!("block {height}"), why }
}
