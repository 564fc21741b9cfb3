//! What a trading engine should do: asked for, or told as it changes.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use assay_desk::{Gate, Purposes};
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::sse::{self, Sse};
use futures_util::stream::{Stream, unfold};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Asked};
use crate::api::exchanges::{dated, find};
use crate::app::Shared;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::seats::{Seat, Use};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what has not changed is told again, so that it does not expire.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The asset's symbol.
    asset: Option<String>,
    #[serde(rename = "for")]
    purpose: Option<Purpose>,
}

/// What the engine is about to do.
#[derive(Deserialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    Credits,
    Withdrawals,
    Trading,
}

/// What its trading engine should do, by asset: `signal` is for what was asked for, or, where nothing was, for anything at all.
#[utoipa::path(get, path = "/v1/exchanges/{id}/gate",
    params(("id" = String, Path), ("asset" = Option<String>, Query), ("for" = inline(Option<Purpose>), Query)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Answer, Problem> {
    answer(&app, &caller, &id, &which)
}

/// The same as a stream of server-sent events: at once, when it changes, and every five seconds so that it does not expire.
#[utoipa::path(get, path = "/v1/exchanges/{id}/gate/stream",
    params(("id" = String, Path), ("asset" = Option<String>, Query), ("for" = inline(Option<Purpose>), Query)),
    responses((status = 200, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    answer(&app, &caller, &id, &which)?;
    let seat = app.seats.take(Use::Listen, &caller)?;
    let listener = Listener { app, caller, id, which, told: None, _seat: seat };
    Ok(Sse::new(unfold(listener, async |mut listener| listener.next().await.map(|event| (Ok(event), listener)))))
}

struct Listener {
    app: Shared,
    caller: Caller,
    id: String,
    which: Which,
    told: Option<(Instant, Vec<(String, Purposes)>)>,
    _seat: Seat,
}

impl Listener {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if !self.app.still_knows(&self.caller) {
                return None;
            }
            let now = signals(&self.app, &self.id, &self.which);
            if self.told.as_ref().is_none_or(|(at, told)| *told != now || at.elapsed() >= AGAIN) {
                let Answer(document) = answer(&self.app, &self.caller, &self.id, &self.which).ok()?;
                self.told = Some((Instant::now(), now));
                return Some(sse::Event::default().event("gate").data(document.to_string()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn signals(app: &Shared, id: &str, which: &Which) -> Vec<(String, Purposes)> {
    let view = app.desk.view();
    let exchange = view.exchanges.iter().find(|exchange| exchange.id == id);
    let gates =
        exchange.map_or(&[][..], |exchange| exchange.gates.as_slice()).iter().filter(|gate| which.asset_is(gate));
    gates.map(|gate| (gate.asset.clone(), gate.purposes)).collect()
}

fn answer(app: &Shared, caller: &Caller, id: &str, which: &Which) -> Result<Answer, Problem> {
    let view = app.desk.view();
    let exchange = find(&view, caller, id)?;
    let gates = exchange.gates.iter().filter(|gate| which.asset_is(gate)).map(|gate| which.show(gate));
    let gates: Vec<Value> = gates.collect();
    match &which.asset {
        // An engine must not take silence for a yes.
        Some(asset) if gates.is_empty() => Err(Problem::bad(format!("no statement speaks of an asset `{asset}`"))),
        _ => Ok(dated(&view, json!({ "exchange": id, "gates": gates }))),
    }
}

impl Which {
    fn asset_is(&self, gate: &Gate) -> bool {
        self.asset.as_ref().is_none_or(|asset| *asset == gate.asset)
    }

    fn show(&self, gate: &Gate) -> Value {
        let mut shown = json!(gate);
        let signal = self.purpose.map(|purpose| match purpose {
            Purpose::Credits => gate.purposes.credits,
            Purpose::Withdrawals => gate.purposes.withdrawals,
            Purpose::Trading => gate.purposes.trading,
        });
        if let Some(signal) = signal {
            shown["signal"] = json!(signal);
        }
        shown
    }
}
