//! Exchanges: what they hold, what is wrong, and whether to go on trading.

use std::sync::Arc;

use assay_desk::{ExchangeView, View};
use axum::Extension;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::answer::{Answer, Asked, Nothing, Page, as_of, complete, limit, troubles, value};
use crate::app::{Shared, blocking};
use crate::caller::Caller;
use crate::cursor::{read_before, write_before};
use crate::problem::Problem;
use crate::scope::Act;

fn seen<'a>(view: &'a View, caller: &Caller) -> impl Iterator<Item = &'a Arc<ExchangeView>> {
    view.exchanges.iter().filter(|exchange| caller.may(&Act::ReadExchange(&exchange.id)))
}

pub(crate) fn find<'a>(view: &'a View, caller: &Caller, id: &str) -> Result<&'a Arc<ExchangeView>, Problem> {
    seen(view, caller).find(|exchange| exchange.id == id).ok_or_else(Problem::not_found)
}

/// The exchange is declared, and the caller may see it.
pub(crate) fn must_exist(app: &Shared, caller: &Caller, id: &str) -> Result<(), Problem> {
    caller.must_see(id)?;
    app.desk.world().exchange(id).map(|_| ()).ok_or_else(Problem::not_found)
}

pub(crate) fn dated(view: &View, mut answer: Value) -> Answer {
    answer["as_of"] = as_of(view);
    answer["complete"] = json!(complete(view));
    Answer(answer)
}

/// The exchanges that the caller may see, each with its latest verdict.
#[utoipa::path(get, path = "/v1/exchanges", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let view = app.desk.view();
    let row = |exchange: &Arc<ExchangeView>| {
        let verdict = exchange.verdict.as_ref();
        json!({
            "id": exchange.id,
            "name": exchange.name,
            "statement": exchange.statement,
            "verdict": verdict.map(|verdict| verdict.verdict),
            "stage": verdict.map(|verdict| verdict.stage),
            "findings": exchange.findings.len(),
        })
    };
    Ok(dated(&view, json!({ "exchanges": seen(&view, &caller).map(row).collect::<Vec<_>>() })))
}

/// One exchange: its latest statement, verdict, findings and gates.
#[utoipa::path(get, path = "/v1/exchanges/{id}", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let view = app.desk.view();
    Ok(dated(&view, value(find(&view, &caller, &id)?.as_ref())?))
}

/// What its declared accounts hold, as `assay holdings --json`.
#[utoipa::path(get, path = "/v1/exchanges/{id}/holdings", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn holdings(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    must_exist(&app, &caller, &id)?;
    let desk = app.desk.clone();
    let holdings = blocking(move || desk.holdings(&id).map_err(Problem::internal)).await?;
    let mut answer = holdings.ok_or_else(Problem::not_found)?;
    let exact = |row: &Value| !row["units"].is_null();
    let known = answer["unknown"].as_array().is_none_or(Vec::is_empty);
    let every = known && answer["holdings"].as_array().is_some_and(|rows| rows.iter().all(exact));
    // What was last known is still shown, and since when it is not known whether it holds.
    let troubles = troubles(&app.desk.view(), |_| true);
    answer["complete"] = json!(every && troubles.is_empty());
    answer["trouble"] = json!(troubles);
    Ok(Answer(answer))
}

/// Its verdicts, the newest first.
#[utoipa::path(get, path = "/v1/exchanges/{id}/verdicts",
    params(("id" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn verdicts(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(page): Asked<Page>,
) -> Result<Answer, Problem> {
    must_exist(&app, &caller, &id)?;
    let question = format!("verdicts of {id}");
    let before = page.cursor.map(|text| read_before(&question, &text)).transpose()?;
    let (limit, desk) = (limit(page.limit)?, app.desk.clone());
    let rows = blocking(move || desk.verdicts(&id, before, limit).map_err(Problem::internal)).await?;
    let next = rows.last().filter(|last| rows.len() == limit && last.number > 1);
    let next = next.map(|last| write_before(&question, last.number));
    Ok(dated(&app.desk.view(), json!({ "verdicts": value(&rows)?, "next": next })))
}

/// What is wrong now, at the exchanges that the caller may see.
#[utoipa::path(get, path = "/v1/findings", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn findings(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Asked(_): Asked<Nothing>,
) -> Result<Answer, Problem> {
    let view = app.desk.view();
    let mut rows = Vec::new();
    for exchange in seen(&view, &caller) {
        for finding in exchange.findings.iter() {
            let mut row = value(finding)?;
            row["exchange"] = json!(exchange.id);
            rows.push(row);
        }
    }
    Ok(dated(&view, json!({ "findings": rows })))
}
