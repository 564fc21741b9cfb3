//! For those who run it: is it alive, is it ready, what does it count, what does it offer?

use assay_desk::{View, clock};
use assay_types::Timestamp;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::answer::{Answer, Asked, Nothing};
use crate::app::Shared;
use crate::caller::Caller;
use crate::metrics;
use crate::problem::Problem;
use crate::scope::Act;

const OLDEST_PICTURE_S: i64 = 60;
/// A node that is away may come back; for so long nobody needs to be called.
const LONGEST_TROUBLE_S: i64 = 120;

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn healthz(Asked(_): Asked<Nothing>) -> Answer {
    Answer(json!({ "status": "ok" }))
}

/// It knows what it should; why not is told to those who may scrape metrics.
#[utoipa::path(get, path = "/readyz",
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn readyz(
    State(app): State<Shared>,
    caller: Option<Extension<Caller>>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let reasons = reasons(&app.desk.view(), clock::now());
    if reasons.is_empty() {
        return Ok(Answer(json!({ "status": "ready" })));
    }
    let told = caller.is_some_and(|Extension(caller)| caller.may(&Act::ReadMetrics));
    Err(Problem::unavailable(if told { reasons.join("; ") } else { "not ready".into() }))
}

/// Why it is not ready.
fn reasons(view: &View, now: Timestamp) -> Vec<String> {
    let age_s = now.seconds_since(view.at);
    let old = (age_s > OLDEST_PICTURE_S).then(|| format!("the picture is {age_s} seconds old"));
    let chains = view.chains.iter().filter_map(|chain| match (&chain.trouble, &chain.indexed) {
        (Some(trouble), _) if trouble.lasting || now.seconds_since(trouble.since) > LONGEST_TROUBLE_S => {
            Some(format!("{}: {}", chain.name, trouble.why))
        }
        (_, None) => Some(format!("{}: no block is indexed yet", chain.name)),
        _ => None,
    });
    old.into_iter().chain(chains).collect()
}

/// Metrics, in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    caller.must(&Act::ReadMetrics)?;
    let text = metrics::text(&app.desk.view(), &app.verdicts(), clock::now()).map_err(Problem::internal)?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn openapi(State(app): State<Shared>, Asked(_): Asked<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], app.openapi.clone()).into_response()
}
