//! Which of a chain's nodes answers: one at a time, and the next one where that fails.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy::consensus::Header;
use assay_types::{Asset, BlockRef, Fault, Height, NodeError, Pair, Reading};

use super::EvmChain;
use crate::block::headers;
use crate::node::Node;

/// How often another node is asked whether it has blocks above the last one of this node, and how often if it does not answer.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AWAY: Duration = Duration::from_secs(600);
/// For how long what no node knows is not asked of the others again.
const NOBODY_KNOWS: Duration = Duration::from_secs(300);

impl EvmChain {
    /// Lets one node do a whole piece of work, and the next one all of it anew when that node does not answer: what
    /// belongs to one block never comes from two nodes.
    pub(super) fn with_a_node<T>(&self, work: impl AsyncFn(&Node) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let first = self.current.load(Ordering::Relaxed);
        let (mut failed, mut away): (Option<NodeError>, Option<NodeError>) = (None, None);
        for turn in 0..self.nodes.len() {
            let place = (first + turn) % self.nodes.len();
            let node = &self.nodes[place];
            let done = assay_http::wait(async {
                node.make_sure_of_chain().await?;
                work(node).await
            });
            match done {
                Ok(result) => {
                    self.current.store(place, Ordering::Relaxed);
                    return Ok(result);
                }
                Err(error) if error.another_may_know() => {
                    self.tell_of_one(&error);
                    let is_away = matches!(error, NodeError::Unreachable { .. } | NodeError::Limited { .. });
                    away = away.or_else(|| (is_away && node.recent.head().is_some()).then(|| error.clone()));
                    failed = Some(NodeError::or_worse(failed, error));
                }
                Err(error) => {
                    if failed.is_some() && matches!(error, NodeError::Gone(_)) {
                        self.current.store(place, Ordering::Relaxed); // the one before said that it stands there, and did not have it
                    }
                    return Err(error);
                }
            }
        }
        let failed = failed.unwrap_or_else(|| NodeError::Unsupported(format!("{} has no node", self.id)));
        // Who answered before is waited for, whatever another one says meanwhile.
        Err(away.filter(|_| matches!(failed, NodeError::Contradiction { .. })).unwrap_or(failed))
    }

    /// Says what one of several nodes did, for the next one is asked.
    fn tell_of_one(&self, error: &NodeError) {
        if self.nodes.len() > 1 {
            tracing::warn!(kind = error.fault().map(Fault::as_str), "{error}");
        }
    }

    /// Leaves the current node if it stands still while another one has blocks above its last: those it cannot be asked for.
    pub(super) fn leaves_who_stands_still(&self, last: BlockRef) -> bool {
        /// Who is so many blocks behind, and has none more after a moment, is late.
        const AHEAD: u64 = 3;
        const MOMENT: Duration = Duration::from_secs(1);
        let current = self.current.load(Ordering::Relaxed);
        let goes_on = |node: &Node| {
            assay_http::wait(async {
                node.make_sure_of_chain().await?;
                let head = headers::head(node).await?.header.number;
                Ok::<_, NodeError>(
                    head >= last.height.0 + AHEAD && headers::hash_at(node, last.height).await? == Some(last.hash),
                )
            })
        };
        let others = (0..self.nodes.len()).filter(|place| *place != current);
        let ahead = others.into_iter().find(|place| {
            let mut look = self.looks[*place].lock();
            if look.is_some_and(|next| Instant::now() < next) {
                return false;
            }
            let goes_on = goes_on(&self.nodes[*place]);
            // One that is away may take its time to be so.
            *look = Some(Instant::now() + if goes_on.is_ok() { LOOK } else { LOOK_AWAY });
            goes_on.unwrap_or(false)
        });
        let Some(place) = ahead else { return false };
        std::thread::sleep(MOMENT);
        let node = &self.nodes[current];
        let still = async || {
            let head = headers::head(node).await?.header;
            Ok::<_, NodeError>(head.number <= last.height.0 && is_overdue(node, &head, AHEAD).await?)
        };
        let stands_still = assay_http::wait(still()).unwrap_or(false);
        if stands_still {
            let why = format!("it is of block {}, and {} has blocks above it", last.height, self.nodes[place].name);
            let error = node.unreadable("the latest header", Fault::Stale, why);
            tracing::warn!(kind = Fault::Stale.as_str(), "{error}: another node is asked");
            self.current.store(place, Ordering::Relaxed);
        }
        stands_still
    }

    /// Asks one after the other until one has it. Nothing where none of those that answer does.
    pub(super) fn with_whoever_has<T>(
        &self,
        work: impl AsyncFn(&Node) -> Result<Option<T>, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let (first, mut failed, mut is_answered) = (self.current.load(Ordering::Relaxed), None, false);
        for place in (first..).take(self.nodes.len()) {
            let node = &self.nodes[place % self.nodes.len()];
            let found = assay_http::wait(async {
                node.make_sure_of_chain().await?;
                work(node).await
            });
            match found {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => is_answered = true,
                Err(error) => {
                    self.tell_of_one(&error);
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        failed.filter(|_| !is_answered).map_or(Ok(None), Err)
    }

    /// As [`EvmChain::with_a_node`], of one block, where a node may answer and yet not know every balance: then the next one does all of it. Whoever knows
    /// most counts.
    pub(super) fn with_who_knows<T>(
        &self,
        at: BlockRef,
        work: impl AsyncFn(&Node) -> Result<T, NodeError>,
        readings: impl Fn(&T) -> &[Reading],
    ) -> Result<T, NodeError> {
        let (most, left_out) = (RefCell::<Option<(T, usize)>>::default(), RefCell::new(Vec::new()));
        // As it is now: what another piece of work finds out meanwhile makes nobody's answer whole.
        let nobody_knows = self.nobody_knows();
        let whole = self.with_a_node(async |node| {
            let done = headers::of_block(node, at, async || work(node).await).await?;
            let Some((unknown, why)) = self.unknown(readings(&done), &nobody_knows) else { return Ok(done) };
            if readings(&done).iter().any(|reading| reading.balance.is_ok()) {
                left_out.borrow_mut().push(node.missing("a balance", Some(Fault::Omitted), &why));
            }
            let mut most = most.borrow_mut();
            if most.as_ref().is_none_or(|(_, before)| unknown < *before) {
                *most = Some((done, unknown));
            }
            Err(node.missing("a balance", None, why))
        });
        match (whole, most.into_inner()) {
            (Ok(done), _) => {
                for error in left_out.into_inner() {
                    tracing::warn!(kind = Fault::Omitted.as_str(), "{error}: another node knows it");
                }
                Ok(done)
            }
            (Err(_), Some((done, _))) => {
                self.note_nobody_knows(readings(&done));
                Ok(done)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// How many of these balances are unknown that another node may know, and why the first of them is. What none of them knew lately is not asked of all of
    /// them again: some tokens answer nobody.
    fn unknown(&self, readings: &[Reading], nobody_knows: &HashSet<Pair>) -> Option<(usize, String)> {
        let unknown = readings.iter().filter(|one| one.balance.is_err() && !nobody_knows.contains(&one.pair()));
        let first = unknown.clone().next()?.balance.as_ref().err()?.clone();
        (self.nodes.len() > 1).then(|| (unknown.count(), first))
    }

    fn nobody_knows(&self) -> HashSet<Pair> {
        let mut nobody_knows = self.nobody_knows.lock();
        nobody_knows.retain(|_, at| at.elapsed() < NOBODY_KNOWS);
        nobody_knows.keys().copied().collect()
    }

    fn note_nobody_knows(&self, readings: &[Reading]) {
        let tokens = readings.iter().filter(|one| one.balance.is_err() && one.asset != Asset::Native);
        self.nobody_knows.lock().extend(tokens.map(|one| (one.pair(), Instant::now())));
    }
}

/// By the pace of the last blocks, should so many have come since this one? That another node names newer ones proves nothing.
async fn is_overdue(node: &Node, head: &Header, blocks: u64) -> Result<bool, NodeError> {
    const LAST: u64 = 8;
    let mut longest = 0;
    for count in [1, LAST].map(|count| count.min(head.number)) {
        let before = headers::header_at(node, Height(head.number - count)).await?;
        longest = longest.max(head.timestamp.saturating_sub(before.header.timestamp) / count.max(1));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(now.saturating_sub(head.timestamp) > longest.saturating_mul(blocks))
}
