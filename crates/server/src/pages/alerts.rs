//! Alerts for whoever is on duty: what, since when, how bad, what to do first; taking one on, and keeping one quiet.

use askama::Template;
use assay_desk::{Alert, Handling, Silence, State as AlertState, clock};
use assay_types::Timestamp;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::exchange::Found;
use super::frame::{Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::{Asked, Nothing};
use crate::api::alerts::handle;
use crate::app::Shared;
use crate::problem::Problem;
use crate::scope::Act;

/// For how many hours something can be kept quiet from here.
const HOURS: [u16; 4] = [1, 4, 24, 168];

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    f: Frame,
    rows: Vec<Row>,
    hours: [u16; 4],
    may_silence: bool,
    silences: Vec<Quiet>,
}

struct Row {
    id: String,
    state: &'static str,
    severity: &'static str,
    exchange: String,
    link: String,
    asset: String,
    rule: String,
    message: String,
    since: Html,
    age: Html,
    owner: Option<String>,
    notes: Option<String>,
    first_steps: Option<Html>,
    acknowledged: Option<(String, String)>,
    silenced: Option<(Html, String)>,
    may_acknowledge: bool,
    evidence: Option<String>,
}

struct Quiet {
    id: String,
    what: String,
    until: Html,
    by: String,
    why: String,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    let (view, caller) = (app.desk.view(), reader.caller()?);
    let mut alerts: Vec<&Alert> =
        view.alerts.iter().filter(|alert| caller.may(&Act::ReadExchange(&alert.exchange))).collect();
    alerts.sort_by_key(|alert| state(alert.state).1); // and else the worst first, as they are
    let row = |alert: &&Alert| {
        let exchange = view.exchanges.iter().find(|one| one.id == alert.exchange);
        let is_it = |one: &&std::sync::Arc<assay_verifier::Finding>| one.rule == alert.rule && one.asset == alert.asset;
        let finding = exchange.and_then(|exchange| exchange.findings.iter().find(is_it));
        let ended = alert.resolved_at.filter(|_| alert.state == AlertState::Resolved);
        Row {
            id: segment(&alert.id),
            state: state(alert.state).0,
            severity: alert.severity.as_str(),
            exchange: exchange.map_or_else(|| alert.exchange.clone(), |exchange| exchange.name.clone()),
            link: match &alert.asset {
                Some(asset) => show::asset_page(&alert.exchange, asset),
                None => show::exchange_page(&alert.exchange),
            },
            asset: alert.asset.clone().unwrap_or_default(),
            rule: alert.rule.clone(),
            message: alert.message.clone(),
            since: show::time(alert.since),
            age: show::age(ended.unwrap_or(alert.since), view.at),
            owner: alert.duty.owner.clone(),
            notes: alert.duty.notes.clone(),
            first_steps: alert
                .duty
                .first_steps
                .as_deref()
                .map(|steps| show::steps(steps, &alert.exchange, alert.asset.as_deref())),
            acknowledged: alert.acknowledged.as_ref().map(|one| (one.by.clone(), one.note.clone())),
            silenced: alert.silenced.as_ref().map(|one| (show::time(one.until), one.why.clone())),
            may_acknowledge: alert.state != AlertState::Resolved && caller.may(&Act::Acknowledge(&alert.exchange)),
            evidence: finding.map(|finding| Found::of(finding).evidence),
        }
    };
    let may_silence = caller.may(&Act::Silence);
    let quiet = |one: &Silence| Quiet {
        id: segment(&one.id),
        what: [&one.exchange, &one.rule, &one.asset].into_iter().flatten().cloned().collect::<Vec<_>>().join(" · "),
        until: show::time(one.until),
        by: one.by.clone(),
        why: one.why.clone(),
    };
    let page = Alerts {
        f: Frame::of(&reader, reader.words.say("alerts"), &view),
        rows: alerts.iter().map(row).collect(),
        hours: HOURS,
        may_silence,
        silences: if may_silence { view.silences.iter().map(quiet).collect() } else { Vec::new() },
    };
    shown(&page)
}

fn state(state: AlertState) -> (&'static str, u8) {
    match state {
        AlertState::Firing => ("firing", 0),
        AlertState::Pending => ("pending", 1),
        AlertState::Resolved => ("resolved", 2),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hush {
    hours: u16,
    why: String,
}

/// Takes an alert on.
pub(super) async fn acknowledge(
    State(app): State<Shared>,
    reader: Reader,
    Path(id): Path<String>,
    Form(Note { note }): Form<Note>,
) -> Result<Response, Problem> {
    let caller = reader.caller()?;
    let alert = find(&app, &reader, &id)?;
    caller.must(&Act::Acknowledge(&alert.exchange))?;
    handle(&app, Handling::Acknowledge { alert: id, by: caller.name.clone(), note }).await?;
    Ok(Redirect::to("/alerts").into_response())
}

/// Keeps what an alert is about quiet for some hours.
pub(super) async fn silence(
    State(app): State<Shared>,
    reader: Reader,
    Path(id): Path<String>,
    Form(Hush { hours, why }): Form<Hush>,
) -> Result<Response, Problem> {
    let caller = reader.caller()?;
    let Alert { exchange, rule, asset, .. } = find(&app, &reader, &id)?;
    caller.must(&Act::Silence)?;
    let (since, by) = (clock::now(), caller.name.clone());
    let until = Timestamp::from_unix_s(since.unix_s().saturating_add(i64::from(hours).saturating_mul(3600)));
    let silence =
        Silence { id: String::new(), exchange: Some(exchange), rule: Some(rule), asset, since, until, by, why };
    handle(&app, Handling::Silence(silence)).await?;
    Ok(Redirect::to("/alerts").into_response())
}

/// Ends a silence.
pub(super) async fn unsilence(
    State(app): State<Shared>,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    reader.caller()?.must(&Act::Silence)?;
    handle(&app, Handling::Unsilence { id }).await?;
    Ok(Redirect::to("/alerts").into_response())
}

fn find(app: &Shared, reader: &Reader, id: &str) -> Result<Alert, Problem> {
    let view = app.desk.view();
    let alert = view.alerts.iter().find(|alert| alert.id == id).cloned().ok_or_else(Problem::not_found)?;
    reader.caller()?.must_see(&alert.exchange)?;
    Ok(alert)
}
