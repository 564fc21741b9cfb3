//! What happens, as it happens: server-sent events.
//!
//! Who listens is judged again before every event and every second, so that a token that was struck out hears no more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_desk::Event;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::answer::{Asked, Nothing};
use crate::app::Shared;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::scope::Act;
use crate::seats::{Seat, Use};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(15);

struct Listener {
    app: Shared,
    caller: Caller,
    events: Receiver<Arc<Event>>,
    missed: VecDeque<Arc<Event>>,
    last: u64,
    spoke_at: Instant,
    _seat: Seat,
}

/// Verdicts, statements, alerts, gates and blocks that the caller may see. `Last-Event-ID` is honoured as far as events
/// are remembered; `lagged` says that some were lost.
#[utoipa::path(get, path = "/v1/events", params(("Last-Event-ID" = Option<u64>, Header, format = "uint64")),
    responses((status = 200, content_type = "text/event-stream")))]
pub(crate) async fn events(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(_): Asked<Nothing>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let seat = app.seats.take(Use::Listen, &caller)?;
    let events = app.desk.subscribe();
    let last = headers.get("last-event-id").and_then(|text| text.to_str().ok()?.parse().ok());
    let missed = last.map_or_else(VecDeque::new, |last| app.events_after(last));
    let (last, spoke_at) = (0, Instant::now());
    let listener = Listener { app, caller, events, missed, last, spoke_at, _seat: seat };
    Ok(Sse::new(unfold(listener, async |mut listener| listener.next().await.map(|event| (Ok(event), listener)))))
}

impl Listener {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            let heard = match self.missed.pop_front() {
                Some(event) => Ok(Ok(event)),
                None => tokio::time::timeout(LOOK_EVERY, self.events.recv()).await,
            };
            if !self.app.still_knows(&self.caller) {
                return None;
            }
            let said = match heard {
                Ok(Ok(event)) => self.show(&event),
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(lost))) => Some(sse::Event::default().event("lagged").data(lost.to_string())),
                Err(_) if self.spoke_at.elapsed() >= HEARTBEAT => Some(sse::Event::default().comment("")),
                Err(_) => None,
            };
            if said.is_some() {
                self.spoke_at = Instant::now();
                return said;
            }
        }
    }

    /// An event that the caller may see and has not seen.
    fn show(&mut self, event: &Event) -> Option<sse::Event> {
        let act = event.exchange.as_deref().map_or(Act::ReadChains, Act::ReadExchange);
        if event.id <= self.last || !self.caller.may(&act) {
            return None;
        }
        self.last = event.id;
        let data = serde_json::json!({ "exchange": event.exchange, "event": event.json });
        Some(sse::Event::default().id(event.id.to_string()).event(event.kind).data(data.to_string()))
    }
}
