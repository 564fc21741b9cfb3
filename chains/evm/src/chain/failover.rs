//! Which of a chain's nodes answers: one at a time, and the next one where that fails.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assay_types::{Asset, Fault, NodeError, Reading};

use super::EvmChain;
use crate::node::Node;

/// For how long what no node knows is not asked of the others again.
const NOBODY_KNOWS: Duration = Duration::from_secs(300);

impl EvmChain {
    /// Lets one node do a whole piece of work, and the next one all of it anew when that node does not answer: what
    /// belongs to one block never comes from two nodes.
    pub(super) fn with_a_node<T>(&self, work: impl AsyncFn(&Node) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failed: Option<NodeError> = None;
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
                    if self.nodes.len() > 1 {
                        tracing::warn!(kind = error.fault().map(Fault::as_str), "{error}");
                    }
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
        Err(failed.unwrap_or_else(|| NodeError::Unsupported(format!("{} has no node", self.id))))
    }

    /// The same, where a node may answer and yet not know every balance: then the next one does all of it. Whoever knows most counts.
    pub(super) fn with_who_knows<T>(
        &self,
        work: impl AsyncFn(&Node) -> Result<T, NodeError>,
        readings: impl Fn(&T) -> &[Reading],
    ) -> Result<T, NodeError> {
        let (most, left_out) = (RefCell::<Option<(T, usize)>>::default(), RefCell::new(Vec::new()));
        let whole = self.with_a_node(async |node| {
            let done = work(node).await?;
            let Some((unknown, why)) = self.unknown(readings(&done)) else { return Ok(done) };
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
    fn unknown(&self, readings: &[Reading]) -> Option<(usize, String)> {
        let nobody_knows = self.nobody_knows.lock();
        let is_lately = |pair| nobody_knows.get(&pair).is_some_and(|at| at.elapsed() < NOBODY_KNOWS);
        let unknown = readings.iter().filter(|one| one.balance.is_err() && !is_lately((one.account, one.asset)));
        let first = unknown.clone().next()?.balance.as_ref().err()?.clone();
        (self.nodes.len() > 1).then(|| (unknown.count(), first))
    }

    fn note_nobody_knows(&self, readings: &[Reading]) {
        let mut nobody_knows = self.nobody_knows.lock();
        let tokens = readings.iter().filter(|one| one.balance.is_err() && one.asset != Asset::Native);
        nobody_knows.retain(|_, at| at.elapsed() < NOBODY_KNOWS);
        nobody_knows.extend(tokens.map(|one| ((one.account, one.asset), Instant::now())));
    }
}
