//! The pace at which one node is asked, kept by all who ask it. What it is, [`Limits`] decides; here it is waited for.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::limits::{Asked, Limits, Turn, Wish};
use crate::{Answer, HttpError};

/// For how long a node that only refuses is asked again, unless [`Pace::patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often one request is asked while the node answers others; and one of several questions, of which fewer may do.
const ATTEMPTS: u32 = 30;
const ATTEMPTS_OF_MANY: u32 = 2;

/// How fast a node may be asked, and how fast it bears to be asked. Its clones are one: whoever asks the same node shares it.
#[derive(Clone)]
pub struct Pace {
    shared: Arc<Shared>,
    cap: Option<NonZeroU32>,
    patience: Duration,
}

struct Shared {
    limits: Mutex<Limits>,
    /// Who waits for a turn stands in line; who was refused in one that comes first.
    line: tokio::sync::Mutex<()>,
    again: tokio::sync::Mutex<()>,
    /// One that was under way ended.
    room: Notify,
}

impl Default for Pace {
    /// As fast as the node bears.
    fn default() -> Pace {
        Pace::new(None)
    }
}

impl Pace {
    /// Never more requests in a second than this, if it is given. A JSON-RPC batch counts as many as it has questions, for so
    /// providers count.
    pub fn new(max_requests_per_second: Option<NonZeroU32>) -> Pace {
        let limits = Mutex::new(Limits::new(max_requests_per_second));
        let (line, again) = Default::default();
        let shared = Shared { limits, line, again, room: Notify::new() };
        Pace { shared: Arc::new(shared), cap: max_requests_per_second, patience: PATIENCE }
    }

    /// The same pace for who asks again for no longer than this, while the node refuses everything: where there is another node.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Pace {
        Pace { patience, ..self }
    }

    /// How many questions one batch may have under the cap: a quarter of a second's, so that they go out evenly.
    pub fn largest_batch(&self) -> usize {
        self.cap.map_or(usize::MAX, |cap| usize::try_from(cap.get() / 4).unwrap_or(usize::MAX).max(1))
    }

    /// Has the operator set a cap?
    pub(crate) fn is_capped(&self) -> bool {
        self.cap.is_some()
    }

    /// Has it refused whatever was asked since its last answer?
    pub(crate) fn is_refusing(&self) -> bool {
        self.limits().refusing_since().is_some()
    }

    /// Has it refused everything for so long that it is not asked again?
    pub(crate) fn is_given_up(&self, deadline: Duration) -> bool {
        let since = self.limits().refusing_since();
        since.is_some_and(|since| since.elapsed() >= self.patience.min(deadline))
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.shared.limits.lock()
    }

    /// Waits for a turn for what counts as so many requests, and was refused before if it wants it again. Not for longer than
    /// `silence` after the last answer that anyone had, nor where others find that the node goes on refusing.
    pub(crate) async fn turn(
        &self,
        requests: u32,
        silence: Duration,
        again: Option<Again>,
    ) -> Result<Ticket, HttpError> {
        let mut since = Instant::now();
        let wish = Wish { requests, since, patience: self.patience.min(silence), again: again.is_some() };
        let mut turn = std::pin::pin!(self.stand_in_line(wish, again));
        loop {
            if let Ok(ticket) = timeout_at(since + silence, turn.as_mut()).await {
                return ticket.ok_or(HttpError::Refusing(wish.patience));
            }
            let limits = self.limits();
            match limits.last_sign() {
                Some(sign) if sign > since => since = sign,
                _ => {
                    let refused = limits.refusing_since().map(|since| HttpError::Refusing(since.elapsed()));
                    return Err(refused.unwrap_or(HttpError::Unanswered(silence)));
                }
            }
        }
    }

    async fn stand_in_line(&self, wish: Wish, _again: Option<Again>) -> Option<Ticket> {
        let line = if wish.again { &self.shared.again } else { &self.shared.line };
        let _first = line.lock().await;
        loop {
            let room = self.shared.room.notified(); // of what ends from now on
            let at = Instant::now();
            let turn = self.limits().ask(at, wish);
            match turn {
                Turn::Now => {
                    let asked = Asked { at, requests: wish.requests };
                    return Some(Ticket { pace: self.clone(), asked });
                }
                Turn::Never => return None,
                Turn::At(then) => sleep_until(then).await,
                Turn::WhenOneEnds => room.await,
            }
        }
    }
}

/// A request that is under way, until it is dropped.
pub(crate) struct Ticket {
    pace: Pace,
    asked: Asked,
}

impl Ticket {
    pub(crate) fn answered(&self) {
        self.pace.limits().answered(self.asked, Instant::now());
    }

    /// It took too long.
    pub(crate) fn overdue(&self) {
        self.pace.limits().overdue(self.asked, Instant::now(), jittered);
    }

    /// It was answered, and is not asked again, but is to be asked less.
    pub(crate) fn partly(&self, retry_after: Option<Duration>) {
        self.pace.limits().partly(self.asked, Instant::now(), retry_after, jittered);
    }

    /// It was refused; nothing where it is not worth asking again, after so many attempts.
    pub(crate) fn refused(&self, attempts: u32, retry_after: Option<Duration>, deadline: Duration) -> Option<Again> {
        let (now, patience) = (Instant::now(), self.pace.patience.min(deadline));
        let is_worth_it = if self.asked.requests > 1 {
            self.pace.limits().refused_many(self.asked, now, retry_after, jittered);
            attempts < ATTEMPTS_OF_MANY
        } else {
            let refusing_for = self.pace.limits().refused(self.asked, now, retry_after, jittered);
            attempts < ATTEMPTS && refusing_for < patience
        };
        is_worth_it.then(|| {
            self.pace.limits().wants_again(true);
            Again { pace: self.pace.clone() }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pace.limits().ended(self.asked, Instant::now());
        self.pace.shared.room.notify_waiters();
    }
}

/// The wish to be asked again, until it is dropped.
pub(crate) struct Again {
    pace: Pace,
}

impl Drop for Again {
    fn drop(&mut self) {
        self.pace.limits().wants_again(false);
        self.pace.shared.room.notify_waiters();
    }
}

/// What an answer says of our pace.
pub enum Reply<T> {
    /// Nothing.
    Answered(T),
    /// It was too much in part, or it was refused as too much and can be had in another way: it is not asked for again.
    Partly(T),
    /// All was refused as too much: it is asked for again, and this is what there is where that does not help.
    Refused(T),
}

impl Reply<Answer> {
    /// As the HTTP status has it.
    pub fn by_status(answer: Answer) -> Reply<Answer> {
        match is_refusal(answer.status) {
            true => Reply::Refused(answer),
            false => Reply::Answered(answer),
        }
    }

    /// The same, of what its caller has another way to.
    pub fn once(answer: Answer) -> Reply<Answer> {
        match Reply::by_status(answer) {
            Reply::Refused(answer) => Reply::Partly(answer),
            reply => reply,
        }
    }
}

/// HTTP's words for too much (RFC 6585, section 4; RFC 9110, section 15.6.4).
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// What the header `Retry-After` says: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    Some(match header.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(header.trim()).ok()?.duration_since(now).unwrap_or_default(),
    })
}

/// Half of it, and a random part of the other half.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let random = RandomState::new().hash_one(0_u8);
    half + half * u32::try_from(random % 1_024).unwrap_or(0) / 1_024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let after = |header| retry_after(header, now).map(|wait| wait.as_secs());
        assert_eq!(["0", " 12 ", "3600"].map(after), [Some(0), Some(12), Some(3_600)]);
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT"), Some(23));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(["-1", "soon", "", "1.5"].map(after), [None; 4]);
    }

    #[test]
    fn pauses_differ_and_are_never_shorter_than_half() {
        let pause = Duration::from_secs(1);
        let pauses: std::collections::BTreeSet<_> = (0..100).map(|_| jittered(pause)).collect();
        assert!(pauses.len() > 50 && pauses.iter().all(|it| (pause / 2..=pause).contains(it)), "{pauses:?}");
    }

    #[test]
    fn turns_are_given_in_order_and_not_waited_for_where_nothing_is_answered() {
        let pace = Pace::new(NonZeroU32::new(50));
        let silence = Duration::from_millis(200);
        wait(async {
            let began = Instant::now();
            for _ in 0..10 {
                pace.turn(1, silence, None).await.unwrap().answered();
            }
            let took = began.elapsed();
            assert!((Duration::from_millis(170)..Duration::from_secs(2)).contains(&took), "{took:?}");
            // One is under way and silent, and after a time-out no second one may be.
            let hung = pace.turn(1, silence, None).await.unwrap();
            hung.overdue();
            let Err(HttpError::Unanswered(_)) = pace.turn(1, silence, None).await else { panic!("a second one") };
            drop(hung);
            assert!(pace.turn(1, silence, None).await.is_ok());
        });
    }
}
