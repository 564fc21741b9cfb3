//! Every route, with its documentation.

use axum::Router;
use axum::middleware;
use utoipa::OpenApi;
use utoipa::openapi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{accounts, alerts, events, exchanges, gate, probes, statements};
use crate::app::Shared;
use crate::guard::guard;
use crate::problem::Problem;

#[derive(OpenApi)]
#[openapi(info(
    title = "Assay",
    description = "Does an exchange hold on chain what its ledger says? Amounts are decimal \
    strings, times RFC 3339 in UTC, errors RFC 9457 problems."
))]
struct Document;

/// The routes, and what describes them.
pub(crate) fn routes() -> (Router<Shared>, openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(exchanges::list))
        .routes(routes!(exchanges::one))
        .routes(routes!(exchanges::holdings))
        .routes(routes!(exchanges::verdicts))
        .routes(routes!(exchanges::wallets))
        .routes(routes!(gate::one))
        .routes(routes!(gate::stream))
        .routes(routes!(exchanges::findings))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::silences, alerts::silence))
        .routes(routes!(alerts::unsilence))
        .routes(routes!(alerts::maintenance, alerts::announce))
        .routes(routes!(statements::list, statements::submit))
        .routes(routes!(statements::one))
        .routes(routes!(accounts::balance))
        .routes(routes!(accounts::history))
        .routes(routes!(accounts::chains))
        .routes(routes!(events::events))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(probes::openapi))
        .split_for_parts()
}

/// The whole service.
pub(crate) fn service(app: Shared, routes: Router<Shared>) -> Router {
    let guarded = routes.fallback(async || Problem::not_found());
    guarded.layer(middleware::from_fn_with_state(app.clone(), guard)).with_state(app)
}
