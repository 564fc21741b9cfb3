//! The routes, and what stands around each of them.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use serde_json::json;

use crate::access::Act;
use crate::layers::{self, Who};
use crate::problem::Problem;
use crate::{App, accounts, exchanges, metrics};

/// No statement is longer: 100,000 items in flight fit.
const LONGEST_STATEMENT_BYTES: usize = 64 << 20;
/// A picture older than this is no picture of now.
const LATEST_VIEW_S: i64 = 60;

pub(crate) fn router(app: App, tls: bool) -> Router {
    let statements = get(exchanges::statements).post(exchanges::submit);
    let statements = statements.layer(DefaultBodyLimit::max(LONGEST_STATEMENT_BYTES));
    Router::new()
        .route("/v1/exchanges", get(exchanges::all))
        .route("/v1/exchanges/{id}", get(exchanges::one))
        .route("/v1/exchanges/{id}/holdings", get(exchanges::holdings))
        .route("/v1/exchanges/{id}/statements", statements)
        .route("/v1/exchanges/{id}/statements/{sequence}", get(exchanges::statement))
        .route("/v1/exchanges/{id}/verdicts", get(exchanges::verdicts))
        .route("/v1/exchanges/{id}/wallets", get(exchanges::wallets))
        .route("/v1/exchanges/{id}/gate", get(exchanges::gate))
        .route("/v1/findings", get(exchanges::findings))
        .route("/v1/events", get(exchanges::events))
        .route("/v1/accounts/{chain}/{address}/balance", get(accounts::balance))
        .route("/v1/accounts/{chain}/{address}/history", get(accounts::history))
        .route("/v1/chains", get(chains))
        .route("/metrics", get(metrics::metrics))
        .layer(middleware::from_fn_with_state(app.clone(), layers::identify))
        .route("/healthz", get(async || Json(json!({ "alive": true }))))
        .route("/readyz", get(ready))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method"))
        .layer(middleware::from_fn_with_state(app.clone(), layers::limit))
        .layer(middleware::from_fn(layers::tag))
        .layer(middleware::from_fn_with_state(tls, layers::dress))
        .with_state(app)
}

async fn chains(State(app): State<App>, Extension(who): Extension<Who>) -> Result<Response, Problem> {
    who.must(Act::ReadChains)?;
    let view = app.desk.view();
    Ok(Json(json!({ "at": view.at, "chains": view.chains })).into_response())
}

/// Ready: every chain has an index that is not in lasting trouble, and the desk is at work. Without detail, for anyone may ask.
async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    let view = app.desk.view();
    let unindexed = view.chains.iter().any(|chain| chain.indexed.is_none());
    let in_trouble = view.chains.iter().any(|chain| chain.trouble.as_ref().is_some_and(|trouble| trouble.lasting));
    let late = layers::clock().seconds_since(view.at) > LATEST_VIEW_S;
    let reasons = [
        (view.chains.is_empty() || unindexed, "a chain has no index yet"),
        (in_trouble, "a chain cannot be followed until an operator sees to it"),
        (late, "the desk does not keep up"),
    ];
    let reasons: Vec<String> = reasons.iter().filter(|(holds, _)| *holds).map(|(_, why)| (*why).to_owned()).collect();
    match reasons.is_empty() {
        true => Ok(Json(json!({ "ready": true })).into_response()),
        false => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not ready").errors(reasons)),
    }
}
