//! What is said of exchanges: their ledgers, verdicts, wallets, gates, and what happens to them as it happens.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use assay_desk::{Event, SubmitError};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::App;
use crate::access::Act;
use crate::layers::Who;
use crate::problem::Problem;

type Asked = Query<HashMap<String, String>>;
type Answer = Result<Response, Problem>;

/// Rows on a page, unless asked otherwise, and at most.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 1_000;
/// How often a silent stream says that it is alive, and a revoked token is noticed on it.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(crate) async fn all(State(app): State<App>, Extension(who): Extension<Who>) -> Answer {
    let view = app.desk.view();
    let each = view.exchanges.iter().filter(|exchange| who.may(Act::ReadExchange(&exchange.id)));
    let each = each.map(|exchange| {
        json!({
            "id": exchange.id, "name": exchange.name, "statement": exchange.statement, "trouble": exchange.trouble,
            "verdict": exchange.verdict.as_ref().map(|verdict| verdict.verdict),
            "stage": exchange.verdict.as_ref().map(|verdict| verdict.stage),
        })
    });
    Ok(Json(json!({ "at": view.at, "exchanges": each.collect::<Vec<_>>() })).into_response())
}

pub(crate) async fn one(State(app): State<App>, Extension(who): Extension<Who>, Path(id): Path<String>) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    let view = app.desk.view();
    let exchange = view.exchanges.iter().find(|exchange| exchange.id == id).ok_or_else(Problem::not_found)?;
    Ok(Json(json!(exchange)).into_response())
}

pub(crate) async fn gate(State(app): State<App>, Extension(who): Extension<Who>, Path(id): Path<String>) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    let view = app.desk.view();
    let exchange = view.exchanges.iter().find(|exchange| exchange.id == id).ok_or_else(Problem::not_found)?;
    Ok(Json(json!({ "exchange": id, "at": view.at, "gates": exchange.gates })).into_response())
}

pub(crate) async fn holdings(State(app): State<App>, Extension(who): Extension<Who>, Path(id): Path<String>) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    let found = tokio::task::spawn_blocking(move || app.desk.holdings(&id)).await??;
    Ok(Json(found.ok_or_else(Problem::not_found)?).into_response())
}

pub(crate) async fn wallets(State(app): State<App>, Extension(who): Extension<Who>, Path(id): Path<String>) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    let declared = app.desk.wallets(&id).ok_or_else(Problem::not_found)?;
    let directory = app.desk.directory();
    let each = declared.iter().map(|wallet| {
        let chain = directory.chain(wallet.chain.as_str()).map_or(wallet.chain.as_str(), |chain| &chain.name);
        json!({
            "chain": chain, "address": wallet.address, "role": wallet.role.as_str(), "owner": wallet.owner.as_str(),
            "label": wallet.label, "since": wallet.since, "until": wallet.until,
        })
    });
    Ok(Json(json!({ "exchange": id, "wallets": each.collect::<Vec<_>>() })).into_response())
}

pub(crate) async fn findings(State(app): State<App>, Extension(who): Extension<Who>) -> Answer {
    let view = app.desk.view();
    let exchanges = view.exchanges.iter().filter(|exchange| who.may(Act::ReadExchange(&exchange.id)));
    let mut each: Vec<_> = exchanges
        .flat_map(|exchange| exchange.findings.iter().map(move |finding| (finding.severity, &exchange.id, finding)))
        .collect();
    each.sort_by(|(one, a, _), (other, b, _)| (one, a).cmp(&(other, b)));
    let each = each.iter().map(|(_, id, finding)| json!({ "exchange": id, "finding": finding }));
    Ok(Json(json!({ "at": view.at, "findings": each.collect::<Vec<_>>() })).into_response())
}

pub(crate) async fn statements(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    Query(asked): Asked,
) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    declared(&app, &id)?;
    let (before, limit) = page(&asked)?;
    let exchange = id.clone();
    let rows = tokio::task::spawn_blocking(move || app.desk.statements(&exchange, before, limit)).await??;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.sequence.to_string())).flatten();
    Ok(Json(json!({ "exchange": id, "statements": rows, "next": next })).into_response())
}

pub(crate) async fn verdicts(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    Query(asked): Asked,
) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    declared(&app, &id)?;
    let (before, limit) = page(&asked)?;
    let exchange = id.clone();
    let rows = tokio::task::spawn_blocking(move || app.desk.verdicts(&exchange, before, limit)).await??;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.number.to_string())).flatten();
    Ok(Json(json!({ "exchange": id, "verdicts": rows, "next": next })).into_response())
}

/// A statement as it was received, byte for byte.
pub(crate) async fn statement(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path((id, sequence)): Path<(String, String)>,
) -> Answer {
    who.must(Act::ReadExchange(&id))?;
    let sequence = sequence.parse().map_err(|_| Problem::bad("a statement's sequence is a whole number"))?;
    let bytes = tokio::task::spawn_blocking(move || app.desk.statement(&id, sequence)).await??;
    let bytes = bytes.ok_or_else(Problem::not_found)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response())
}

pub(crate) async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    who.must(Act::Submit(&id))?;
    let signature = headers.get("assay-signature").and_then(|text| text.to_str().ok()).map(str::to_owned);
    let work = move || app.desk.submit(&id, &body, signature.as_deref());
    let receipt = tokio::task::spawn_blocking(work).await?.map_err(refusal)?;
    let status = if receipt.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(json!(receipt))).into_response())
}

fn refusal(error: SubmitError) -> Problem {
    match error {
        SubmitError::UnknownExchange(_) => Problem::not_found(),
        SubmitError::Refused(errors) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the statement is refused").errors(errors)
        }
        SubmitError::Conflict { .. } => Problem::new(StatusCode::CONFLICT, error),
        SubmitError::Signature(_) => Problem::new(StatusCode::UNAUTHORIZED, error),
        SubmitError::Failed(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// What happens from here on, to whom one may read.
pub(crate) async fn events(
    State(app): State<App>,
    Extension(who): Extension<Who>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let listening = (app.desk.subscribe(), app, who);
    let events = stream::unfold(listening, |(mut events, app, who)| async move {
        loop {
            let next = tokio::time::timeout(HEARTBEAT, events.recv()).await;
            if !who.still(app.tokens.as_deref()) {
                return None;
            }
            let event = match next {
                Err(_) => sse::Event::default().comment("alive"),
                Ok(Ok(event)) if concerns(&who, &event) => {
                    let said = json!({ "exchange": event.exchange, "event": event.json });
                    sse::Event::default().id(event.id.to_string()).event(event.kind).data(said.to_string())
                }
                Ok(Ok(_)) => continue,
                Ok(Err(RecvError::Lagged(missed))) => {
                    sse::Event::default().event("missed").data(json!({ "events": missed }).to_string())
                }
                Ok(Err(RecvError::Closed)) => return None,
            };
            return Some((Ok(event), (events, app, who)));
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn concerns(who: &Who, event: &Event) -> bool {
    match &event.exchange {
        Some(exchange) => who.may(Act::ReadExchange(exchange)),
        None => who.may(Act::ReadChains),
    }
}

fn declared(app: &App, id: &str) -> Result<(), Problem> {
    app.desk.world().exchange(id).map(|_| ()).ok_or_else(Problem::not_found)
}

/// `?before=N&limit=N`
fn page(asked: &HashMap<String, String>) -> Result<(Option<u64>, usize), Problem> {
    if let Some(unknown) = asked.keys().find(|key| !["before", "limit"].contains(&key.as_str())) {
        return Err(Problem::bad(format!("`{unknown}` is not understood here: before and limit are")));
    }
    let number = |key: &str| {
        let wrong = || Problem::bad(format!("{key} must be a whole number"));
        asked.get(key).map(|text| text.parse::<u64>().map_err(|_| wrong())).transpose()
    };
    let limit = number("limit")?.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(LONGEST_PAGE));
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::bad(format!("limit must be 1 to {LONGEST_PAGE}")));
    }
    Ok((number("before")?, limit))
}
