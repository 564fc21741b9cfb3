//! What every request shares.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assay_desk::{Desk, Event, clock};
use parking_lot::Mutex;

use crate::caller::Caller;
use crate::problem::Problem;
use crate::rate::Rate;
use crate::seats::Seats;
use crate::tokens::Tokens;

/// Events that a listener who comes back can still be given.
const REMEMBERED: usize = 1024;

pub(crate) type Shared = Arc<App>;

pub(crate) struct App {
    pub(crate) desk: Desk,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) rate: Rate,
    pub(crate) tls: bool,
    pub(crate) openapi: String,
    pub(crate) seats: Seats,
    pub(crate) stopping: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    recent: VecDeque<Arc<Event>>,
    verdicts: BTreeMap<String, u64>,
}

impl App {
    pub(crate) fn new(desk: Desk, tokens: Option<Tokens>, rate: u32, tls: bool, openapi: String) -> App {
        App {
            desk,
            tokens,
            rate: Rate::new(rate),
            tls,
            openapi,
            seats: Seats::default(),
            stopping: AtomicBool::new(false),
            heard: Mutex::default(),
        }
    }

    /// Remembers an event for listeners who come back, and counts verdicts.
    pub(crate) fn hear(&self, event: Arc<Event>) {
        let mut heard = self.heard.lock();
        if event.kind == "verdict"
            && let Some(verdict) = event.json["verdict"].as_str()
        {
            *heard.verdicts.entry(verdict.to_owned()).or_default() += 1;
        }
        if heard.recent.len() >= REMEMBERED {
            heard.recent.pop_front();
        }
        heard.recent.push_back(event);
    }

    /// The remembered events after this one.
    pub(crate) fn events_after(&self, id: u64) -> VecDeque<Arc<Event>> {
        let heard = self.heard.lock();
        heard.recent.iter().filter(|event| event.id > id).cloned().collect()
    }

    /// Does the token still count, with the scope that it had? For answers that go on and on.
    pub(crate) fn still_knows(&self, caller: &Caller) -> bool {
        let holder = match (&self.tokens, &caller.digest) {
            (Some(tokens), Some(digest)) => tokens.holder_of(digest, clock::now()).map(|holder| holder.scope),
            (Some(_), None) => None,
            (None, _) => Some(caller.scope.clone()),
        };
        holder.as_ref() == Some(&caller.scope) && !self.stopping.load(Ordering::Acquire)
    }

    /// Verdicts since the start of the process, by what they say.
    pub(crate) fn verdicts(&self) -> BTreeMap<String, u64> {
        self.heard.lock().verdicts.clone()
    }
}

/// Runs what reads a database off the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Problem::internal(error)))
}
