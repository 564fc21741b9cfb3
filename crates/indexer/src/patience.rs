//! Asking again: how often, how soon, and when to stop.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay_types::{Fault, NodeError};

/// What all waiting is counted in. Tests have no time to lose.
pub(crate) const MOMENT_MS: u64 = if cfg!(test) { 2 } else { 100 };
/// How long to wait before each further attempt, at most and at least for half of it. What heals within these changes nothing.
/// A node that only wants to be asked more slowly does not come here: whoever asks it waits.
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
        let began = Instant::now();
        while let Some(rest) = how_long.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero() && !self.is_wished())
        {
            std::thread::sleep(Duration::from_millis(20).min(rest));
        }
    }
}

/// Asks until there is an answer, or one that cannot heal, or the attempts are used up.
pub(crate) fn patiently<T>(stop: &Stop, mut ask: impl FnMut() -> Result<T, NodeError>) -> Result<T, NodeError> {
    for pause in PAUSES {
        match ask() {
            Err(error) if error.may_heal() && !stop.is_wished() => {
                tracing::warn!(kind = error.fault().map(Fault::as_str), %error, "asking again");
                stop.pause(jittered(pause));
            }
            answer => return answer,
        }
    }
    ask()
}

/// Half of it and a random part of the other half, so that threads that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let random = RandomState::new().hash_one(0_u8);
    half + half * u32::try_from(random % 1_024).unwrap_or(0) / 1_024
}
