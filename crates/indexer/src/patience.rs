//! Asking again: how often, how soon, and when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay_types::{Fault, NodeError};

/// What all waiting is counted in. Tests have no time to lose.
pub(crate) const MOMENT_MS: u64 = if cfg!(test) { 2 } else { 100 };
/// How long to wait before each further attempt. What heals within these changes nothing.
const PAUSES: [Duration; 2] = [Duration::from_millis(3 * MOMENT_MS), Duration::from_millis(15 * MOMENT_MS)];

/// A wish to stop, shared between threads and the signal handler.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everyone who shares it to stop at the next block boundary.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Was that asked?
    pub fn is_wished(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, unless a stop is wished meanwhile.
    pub fn pause(&self, how_long: Duration) {
        let until = Instant::now() + how_long;
        while !self.is_wished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20).min(how_long));
        }
    }
}

/// Asks until there is an answer, or one that cannot heal, or the attempts are used up.
pub(crate) fn patiently<T>(stop: &Stop, mut ask: impl FnMut() -> Result<T, NodeError>) -> Result<T, NodeError> {
    for pause in PAUSES {
        match ask() {
            Err(error) if error.may_heal() && !stop.is_wished() => {
                tracing::warn!(kind = error.fault().map(Fault::as_str), %error, "asking again");
                stop.pause(pause);
            }
            answer => return answer,
        }
    }
    ask()
}
