//! Every route, with its documentation.

use axum::Router;
use axum::middleware;
use utoipa::OpenApi;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{self, ContentBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{accounts, alerts, events, exchanges, gate, probes, statements, wallets};
use crate::app::Shared;
use crate::guard::guard;
use crate::pages;
use crate::problem::Problem;

const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(info(
    title = "Assay",
    description = "Does an exchange hold on chain what its ledger says? Amounts are decimal \
    strings, times RFC 3339 in UTC, errors RFC 9457 problems."
))]
struct Document;

/// The routes, and what describes them.
pub(crate) fn routes() -> (Router<Shared>, openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(exchanges::list))
        .routes(routes!(exchanges::one))
        .routes(routes!(exchanges::holdings))
        .routes(routes!(exchanges::verdicts))
        .routes(routes!(wallets::list, wallets::announce))
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
        .split_for_parts();
    describe_problems(&mut document);
    (router, document)
}

/// What any route may answer, said once: the query has an unknown key, nobody is known by that token, and so on.
fn describe_problems(document: &mut openapi::OpenApi) {
    let any = [
        ("400", "The request cannot be read"),
        ("401", "No token that counts"),
        ("403", "This token does not allow it"),
        ("404", "There is nothing here, or nothing that this token may see"),
        ("413", "The body is too large"),
        ("429", "Asked too often: Retry-After says how long to wait"),
        ("500", "It failed here"),
        ("503", "Not now"),
    ];
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let problem = ObjectBuilder::new()
        .property("type", text().description(Some("A URN that names the kind")))
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text().description(Some("For people")))
        .property("instance", text().description(Some("The path that was asked for")));
    let problem = ["type", "title", "status", "detail", "instance"].into_iter().fold(problem, ObjectBuilder::required);
    document.components.get_or_insert_default().schemas.insert("Problem".into(), problem.into());
    let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            // What a route says of itself stays, and gets the schema.
            for (status, response) in &mut operation.responses.responses {
                if let (RefOr::T(response), true) = (response, status.starts_with(['4', '5'])) {
                    response.content.insert(PROBLEM.into(), content().into());
                }
            }
            for (status, description) in any {
                let response = ResponseBuilder::new().description(description).content(PROBLEM, content());
                operation.responses.responses.entry(status.into()).or_insert(response.into());
            }
        }
    }
}

/// The whole service.
pub(crate) fn service(app: Shared, routes: Router<Shared>) -> Router {
    let guarded = routes.merge(pages::routes()).fallback(async || Problem::not_found());
    guarded.layer(middleware::from_fn_with_state(app.clone(), guard)).with_state(app)
}
