//! Pages for people: made here, readable without JavaScript, and with nothing from outside. They say what the API says, to whom the
//! API says it.

mod account;
mod alerts;
mod asset;
mod chains;
mod exchange;
mod export;
mod files;
mod filter;
mod frame;
mod overview;
mod report;
mod rules;
mod show;
mod sign_in;
mod verdicts;
mod words;

use askama::Template;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::Shared;
use crate::problem::Problem;

pub(crate) use files::{Lasting, is_file};
pub(crate) use frame::{Reader, failure};
pub(crate) use sign_in::COOKIE;
pub(crate) use words::cookie;

/// Where somebody signs in.
pub(crate) const SIGN_IN: &str = "/sign-in";

/// What browsers may load and do on a page.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The routes.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(overview::page))
        .route("/exchanges/{id}", get(exchange::page))
        .route("/exchanges/{id}/assets/{asset}", get(asset::page))
        .route("/exchanges/{id}/assets/{asset}/course", get(asset::course))
        .route("/exchanges/{id}/verdicts", get(verdicts::page))
        .route("/exchanges/{id}/verdicts/{number}", get(report::page))
        .route("/accounts/{chain}/{address}", get(account::page))
        .route("/accounts/{chain}/{address}/course", get(account::course))
        .route("/accounts/{chain}/{address}/{file}", get(export::page))
        .route("/alerts", get(alerts::page))
        .route("/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/alerts/{id}/silence", post(alerts::silence))
        .route("/silences/{id}/end", post(alerts::unsilence))
        .route("/chains", get(chains::page))
        .route("/rules", get(rules::index))
        .route("/rules/{rule}", get(rules::page))
        .route("/sign-in", get(sign_in::form).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/set/{name}/{choice}", get(sign_in::choose))
        .route("/files/{name}", get(files::one))
}

/// Is this one of the API's paths, or of the probes'? All others are pages.
pub(crate) fn is_page(path: &str) -> bool {
    let others = ["/healthz", "/readyz", "/metrics", "/openapi.json"];
    !path.starts_with("/v1/") && path != "/v1" && !others.contains(&path) && !is_file(path)
}

/// Marks an answer as a page, so that the guard lets the browser load what belongs to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page;

/// A template as an answer.
fn shown(template: &impl Template) -> Result<Response, Problem> {
    let text = template.render().map_err(Problem::internal)?;
    let mut response = Html(text).into_response();
    response.extensions_mut().insert(Page);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie, Accept-Language"));
    Ok(response)
}
