//! Asking nodes side by side, and waiting for no more of them than are needed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use assay_types::{Chain, NodeError, Reading};
use parking_lot::Mutex;

use super::Quorum;

/// For how long the others are waited for once enough have answered: to hear at once of those who disagree.
const GRACE: Duration = Duration::from_millis(100);
/// And from time to time, and where another one may prove it: to hear of those who are slow.
const LONG_GRACE: Duration = Duration::from_secs(1);
pub(super) const LONG_EACH: Duration = Duration::from_secs(5);

/// One node.
pub(super) struct Seat {
    pub(super) node: Arc<dyn Chain>,
    /// Host and port.
    pub(super) name: String,
    /// A question that was not waited for. Until it is over the node is asked nothing more side by side with others, so that one which is
    /// silent delays nobody twice.
    open: Mutex<Weak<()>>,
}

/// What a node answered, by its place.
pub(super) type Answers<T> = Vec<(usize, Result<T, NodeError>)>;

impl Seat {
    pub(super) fn new(node: Arc<dyn Chain>) -> Seat {
        let name = node.source().unwrap_or_else(|| "the node".into());
        Seat { node, name, open: Mutex::default() }
    }

    fn is_asked(&self) -> bool {
        self.open.lock().strong_count() > 0
    }
}

impl Quorum {
    /// Asks every node.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&dyn Chain) -> Result<T, NodeError> + Send + Sync + 'static,
    ) -> Answers<T> {
        self.ask_these(0..self.seats.len(), question)
    }

    /// The same, and from time to time waits longer.
    pub(super) fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&dyn Chain) -> Result<T, NodeError> + Send + Sync + 'static,
    ) -> Answers<T> {
        let mut heard_all = self.heard_all.lock();
        let is_time = heard_all.is_none_or(|at| at.elapsed() >= LONG_EACH) && !self.seats.iter().any(Seat::is_asked);
        if is_time {
            *heard_all = Some(Instant::now());
        }
        drop(heard_all);
        let grace = if is_time { LONG_GRACE } else { GRACE };
        self.ask_within(grace, 0..self.seats.len(), question, |answers| self.are_enough(answers))
    }

    /// Asks every node for balances, and waits until each is proven, or enough say the same, or too many do not know it: who is slow may know what
    /// another one has not any more.
    pub(super) fn ask_balances(
        &self,
        question: impl Fn(&dyn Chain) -> Result<Vec<Reading>, NodeError> + Send + Sync + 'static,
    ) -> Answers<Vec<Reading>> {
        let are_settled = |answers: &Answers<_>| self.are_enough(answers) && self.are_settled(answers);
        self.ask_within(LONG_GRACE, 0..self.seats.len(), question, are_settled)
    }

    /// Asks these nodes.
    pub(super) fn ask_these<T: Send + 'static>(
        &self,
        places: impl Iterator<Item = usize>,
        question: impl Fn(&dyn Chain) -> Result<T, NodeError> + Send + Sync + 'static,
    ) -> Answers<T> {
        self.ask_within(GRACE, places, question, |answers| self.are_enough(answers))
    }

    fn are_enough<T>(&self, answers: &Answers<T>) -> bool {
        answers.iter().filter(|(_, answer)| answer.is_ok()).count() >= self.need
    }

    fn ask_within<T: Send + 'static>(
        &self,
        grace: Duration,
        places: impl Iterator<Item = usize>,
        question: impl Fn(&dyn Chain) -> Result<T, NodeError> + Send + Sync + 'static,
        are_enough: impl Fn(&Answers<T>) -> bool,
    ) -> Answers<T> {
        let (question, (tell, told)) = (Arc::new(question), channel());
        let (mut answers, mut open) = (Answers::new(), Vec::new());
        for place in places {
            let seat = &self.seats[place];
            if seat.is_asked() {
                answers.push((place, Err(self.silent(place))));
                continue;
            }
            let (node, question, tell, token) = (seat.node.clone(), question.clone(), tell.clone(), Arc::new(()));
            open.push((place, Arc::downgrade(&token)));
            std::thread::spawn(move || {
                let _ = tell.send((place, question(&*node))); // it may be over by now
                drop(token);
            });
        }
        drop(tell);
        gather(grace, &told, &mut answers, are_enough);
        for (place, token) in open {
            if !answers.iter().any(|(answered, _)| *answered == place) {
                *self.seats[place].open.lock() = token;
                answers.push((place, Err(self.silent(place))));
            }
        }
        answers.sort_by_key(|(place, _)| *place);
        answers
    }

    /// The answers, where there are enough; else why there are not.
    pub(super) fn enough<T>(&self, answers: Answers<T>) -> Result<Vec<(usize, T)>, NodeError> {
        let (mut good, mut failed) = (Vec::with_capacity(answers.len()), None);
        for (place, answer) in answers {
            match answer {
                Ok(answer) => good.push((place, answer)),
                Err(error) => {
                    if error.fault().is_some() {
                        self.fault(place, &error);
                    }
                    failed = Some(NodeError::or_worse(failed, error));
                }
            }
        }
        match failed {
            Some(error) if good.len() < self.need => Err(error),
            None if good.len() < self.need => Err(self.too_few()),
            _ => Ok(good),
        }
    }

    pub(super) fn name(&self, place: usize) -> String {
        self.seats[place].name.clone()
    }

    pub(super) fn too_few(&self) -> NodeError {
        NodeError::Unreachable { node: self.id.to_string(), why: format!("fewer than {} nodes answer", self.need) }
    }

    /// What a node that is not waited for is told as.
    pub(super) fn silent(&self, place: usize) -> NodeError {
        let node = self.name(place);
        if self.seats[place].node.is_refused() {
            return NodeError::Limited { node, why: "refuses whatever it is asked, as too much".into() };
        }
        NodeError::Unreachable { node, why: "does not answer while others do".into() }
    }
}

/// Waits for answers until there are enough, and a little longer.
fn gather<T>(
    grace: Duration,
    told: &Receiver<(usize, Result<T, NodeError>)>,
    answers: &mut Answers<T>,
    are_enough: impl Fn(&Answers<T>) -> bool,
) {
    let mut enough_since: Option<Instant> = None;
    loop {
        let next = match enough_since {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => told.recv_timeout(grace.saturating_sub(since.elapsed())),
        };
        let Ok(answer) = next else { return };
        answers.push(answer);
        if enough_since.is_none() && are_enough(answers) {
            enough_since = Some(Instant::now());
        }
    }
}
