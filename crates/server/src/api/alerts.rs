//! Alerts, and what people do about them.

use assay_desk::{Handling, HandlingError, Maintenance, Silence, clock};
use assay_types::Timestamp;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::{Answer, Asked, Nothing, read_body};
use crate::api::exchanges::{dated, find, must_exist};
use crate::app::{Shared, blocking};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::scope::Act;

const LONGEST_BODY: usize = 16 << 10;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// In your words.
    note: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quiet {
    /// Only this exchange's.
    exchange: Option<String>,
    /// Only this rule's.
    rule: Option<String>,
    /// Only this asset's.
    asset: Option<String>,
    /// RFC 3339, at most 30 days from now.
    #[schema(format = DateTime)]
    until: String,
    /// In your words.
    why: String,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// RFC 3339; left out: from now on.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    until: String,
    /// In your words.
    why: String,
}

/// Alerts, the worst first.
#[utoipa::path(get, path = "/v1/alerts", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let view = app.desk.view();
    let alerts = view.alerts.iter().filter(|alert| caller.may(&Act::ReadExchange(&alert.exchange)));
    Ok(dated(&view, json!({ "alerts": alerts.collect::<Vec<_>>() })))
}

/// Takes an alert on: it shows who has, and is told no less.
#[utoipa::path(post, path = "/v1/alerts/{id}/acknowledge", params(("id" = String, Path)), request_body = Note,
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn acknowledge(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let view = app.desk.view();
    let alert = view.alerts.iter().find(|alert| alert.id == id).ok_or_else(Problem::not_found)?;
    caller.must_see(&alert.exchange)?;
    caller.must(&Act::Acknowledge(&alert.exchange))?;
    let Note { note } = read(&body)?;
    handle(&app, Handling::Acknowledge { alert: id, by: caller.name, note }).await.map(Answer)
}

/// What is kept quiet at the moment.
#[utoipa::path(get, path = "/v1/silences",
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn silences(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    caller.must(&Act::Silence)?;
    Ok(Answer(json!({ "silences": app.desk.view().silences })))
}

/// Keeps alerts quiet for a while: they are told to nobody, stay visible, and say so. For regulators alone.
#[utoipa::path(post, path = "/v1/silences", request_body = Quiet,
    responses((status = 201, content_type = "application/json"),
        (status = 422, content_type = "application/problem+json")))]
pub(crate) async fn silence(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.must(&Act::Silence)?;
    let Quiet { exchange, rule, asset, until, why } = read(&body)?;
    let (until, since, by) = (instant("until", &until)?, clock::now(), caller.name);
    let silence = Silence { id: String::new(), exchange, rule, asset, since, until, by, why };
    Ok((StatusCode::CREATED, Answer(handle(&app, Handling::Silence(silence)).await?)).into_response())
}

/// Ends a silence; it stays on record.
#[utoipa::path(delete, path = "/v1/silences/{id}", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn unsilence(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    caller.must(&Act::Silence)?;
    handle(&app, Handling::Unsilence { id }).await.map(Answer)
}

/// The maintenance that it has announced and that is not over.
#[utoipa::path(get, path = "/v1/exchanges/{id}/maintenance", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn maintenance(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let (view, now) = (app.desk.view(), clock::now());
    let exchange = find(&view, &caller, &id)?;
    let ahead: Vec<_> = exchange.maintenance.iter().filter(|one| one.until > now).collect();
    Ok(Answer(json!({ "exchange": id, "maintenance": ahead })))
}

/// Announces maintenance, before it begins: a late statement is then expected, and shown all the same.
#[utoipa::path(post, path = "/v1/exchanges/{id}/maintenance", params(("id" = String, Path)), request_body = Window,
    responses((status = 201, content_type = "application/json"), (status = 422, content_type = "application/problem+json")))]
pub(crate) async fn announce(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
    body: Bytes,
) -> Result<Response, Problem> {
    must_exist(&app, &caller, &id)?;
    caller.must(&Act::Submit(&id))?;
    let Window { from, until, why } = read(&body)?;
    let now = clock::now();
    let (until, from) = (instant("until", &until)?, from.map_or(Ok(now), |text| instant("from", &text))?);
    let announced = Maintenance { exchange: id, from, until, announced_at: now, by: caller.name, why };
    Ok((StatusCode::CREATED, Answer(handle(&app, Handling::Announce(announced)).await?)).into_response())
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    read_body(body, LONGEST_BODY)
}

fn instant(field: &str, text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|error| Problem::bad(format!("{field}: {error}")))
}

pub(crate) async fn handle(app: &Shared, wish: Handling) -> Result<Value, Problem> {
    let desk = app.desk.clone();
    let done = blocking(move || Ok(desk.handle(wish))).await?;
    done.map_err(|error| match &error {
        HandlingError::NotFound => Problem::not_found(),
        HandlingError::Refused(why) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", why),
        HandlingError::Failed(_) => Problem::internal(error),
    })
}
