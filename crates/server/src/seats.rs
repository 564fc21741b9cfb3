//! Who takes up how much for long: listeners, and statements on their way in. Each caller has some seats of its own and no more, so that
//! none can keep another out.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderValue, header};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use crate::caller::Caller;
use crate::problem::Problem;

/// What a seat is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// A stream that stays open.
    Listen,
    /// A history that is being sent as a file: it may be large, and whoever reads it slow.
    Export,
    /// A statement that is being received: it may be large, and slow.
    Intake,
    /// Accounts that are being proven empty: the node may take minutes.
    Announce,
}

impl Use {
    /// How many there are for one caller, and for all together.
    fn limits(self) -> (usize, usize) {
        match self {
            Use::Listen => (64, 1024),
            Use::Export => (4, 32),
            Use::Intake => (2, 32),
            Use::Announce => (2, 64),
        }
    }
}

/// How long a statement waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The seats that are taken, by whom; and who waits until one is free.
#[derive(Clone, Default)]
pub(crate) struct Seats {
    taken: Arc<Mutex<HashMap<(Use, String), usize>>>,
    freed: Arc<Notify>,
}

/// A seat; it is free again when this goes.
pub(crate) struct Seat {
    seats: Seats,
    taken: (Use, String),
}

impl Seats {
    /// A seat for this caller, once there is one: who sends several things at once need not send them again.
    pub(crate) async fn wait(&self, wanted: Use, caller: &Caller) -> Result<Seat, Problem> {
        let until = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable(); // before looking, so that none is missed
            match self.take(wanted, caller) {
                Err(problem) if timeout_at(until, freed).await.is_err() => return Err(problem),
                Err(_) => {}
                Ok(seat) => return Ok(seat),
            }
        }
    }

    /// A seat for this caller.
    pub(crate) fn take(&self, wanted: Use, caller: &Caller) -> Result<Seat, Problem> {
        let (own, all) = wanted.limits();
        let taken = (wanted, caller.name.clone());
        let mut seats = self.taken.lock();
        let sum: usize = seats.iter().filter(|((one, _), _)| *one == wanted).map(|(_, count)| count).sum();
        let mine = seats.get(&taken).copied().unwrap_or(0);
        if mine >= own || sum >= all {
            let problem = Problem::unavailable(match wanted {
                Use::Listen => "too many streams are open already",
                Use::Export => "other histories are being sent: wait until they are there",
                Use::Intake => "other statements are being received: send it again",
                Use::Announce => "others of yours are being proven: wait",
            });
            return Err(problem.with(header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        seats.insert(taken.clone(), mine + 1);
        Ok(Seat { seats: self.clone(), taken })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.taken.lock();
        match seats.get_mut(&self.taken) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(seats.remove(&self.taken)),
        }
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;

    #[test]
    fn nobody_keeps_another_out_and_a_seat_is_free_again() {
        let caller = |name: &str| Caller { name: name.into(), scope: Scope::Analyst, digest: None };
        let seats = Seats::default();
        let held: Vec<Seat> = (0..2).map(|_| seats.take(Use::Intake, &caller("beta")).ok().unwrap()).collect();
        assert!(seats.take(Use::Intake, &caller("beta")).is_err());
        assert!(seats.take(Use::Intake, &caller("acme")).is_ok());
        assert!(seats.take(Use::Listen, &caller("beta")).is_ok());
        drop(held);
        assert!(seats.take(Use::Intake, &caller("beta")).is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_seat_that_becomes_free() {
        let caller = Caller { name: "acme".into(), scope: Scope::Analyst, digest: None };
        let seats = Seats::default();
        let held: Vec<Seat> = (0..2).map(|_| seats.take(Use::Intake, &caller).ok().unwrap()).collect();
        let (waiting, theirs) = (seats.clone(), caller.clone());
        let waits = tokio::spawn(async move { waiting.wait(Use::Intake, &theirs).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(held);
        assert!(waits.await.unwrap());
    }
}
