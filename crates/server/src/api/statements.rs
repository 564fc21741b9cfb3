//! Statements: taking them in, and giving them out as they came.

use std::time::Duration;

use assay_desk::SubmitError;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::answer::{Answer, Asked, Nothing, Page, limit, value};
use crate::api::exchanges::must_exist;
use crate::app::{Shared, blocking};
use crate::caller::Caller;
use crate::cursor::{read_before, write_before};
use crate::problem::Problem;
use crate::scope::Act;
use crate::seats::Use;

const LARGEST_BYTES: usize = 64 << 20;
const RECEIVED_WITHIN: Duration = Duration::from_secs(120);

/// Its statements, the newest first.
#[utoipa::path(get, path = "/v1/exchanges/{id}/statements",
    params(("id" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(page): Asked<Page>,
) -> Result<Answer, Problem> {
    must_exist(&app, &caller, &id)?;
    let question = format!("statements of {id}");
    let before = page.cursor.map(|text| read_before(&question, &text)).transpose()?;
    let (limit, desk) = (limit(page.limit)?, app.desk.clone());
    let rows = blocking(move || desk.statements(&id, before, limit).map_err(Problem::internal)).await?;
    let next = rows.last().filter(|last| rows.len() == limit && last.sequence > 0);
    let next = next.map(|last| write_before(&question, last.sequence));
    Ok(Answer(json!({ "statements": value(&rows)?, "next": next })))
}

/// A statement's bytes as received.
#[utoipa::path(get, path = "/v1/exchanges/{id}/statements/{sequence}",
    params(("id" = String, Path), ("sequence" = u64, Path, format = "uint64")),
    responses((status = 200, content_type = "application/json")))]
pub(crate) async fn one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((id, sequence)): Path<(String, u64)>,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    must_exist(&app, &caller, &id)?;
    let desk = app.desk.clone();
    let bytes = blocking(move || desk.statement(&id, sequence).map_err(Problem::internal)).await?;
    let bytes = bytes.ok_or_else(Problem::not_found)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response())
}

/// Hands in a statement, up to 64 MiB. The same bytes again are no error.
#[utoipa::path(post, path = "/v1/exchanges/{id}/statements",
    params(("id" = String, Path), ("Assay-Signature" = Option<String>, Header)),
    responses((status = 201, content_type = "application/json"), (status = 200, content_type = "application/json"), (status = 409, content_type = "application/problem+json"), (status = 422, content_type = "application/problem+json")))]
pub(crate) async fn submit(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(_): Asked<Nothing>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    must_exist(&app, &caller, &id)?;
    caller.must(&Act::Submit(&id))?;
    let signature = headers.get("assay-signature").map(|text| text.to_str().map(str::to_owned)).transpose();
    let signature = signature.map_err(|_| Problem::bad("Assay-Signature is not text"))?;
    let seat = app.seats.wait(Use::Intake, &caller).await?;
    let bytes = receive(&headers, body).await?;
    let desk = app.desk.clone();
    let receipt = blocking(move || {
        let _seat = seat;
        desk.submit(&id, &bytes, signature.as_deref()).map_err(refusal)
    });
    let receipt = receipt.await?;
    let status = if receipt.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Answer(value(&receipt)?)).into_response())
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<usize>().ok());
    let too_large = || {
        let detail = format!("a statement has at most {LARGEST_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    };
    if announced.is_some_and(|length| length > LARGEST_BYTES) {
        return Err(too_large());
    }
    let slow = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the statement did not arrive in time");
    let received = tokio::time::timeout(RECEIVED_WITHIN, axum::body::to_bytes(body, LARGEST_BYTES)).await;
    received.map_err(slow)?.map_err(|error| {
        let limit = std::error::Error::source(&error).is_some_and(|why| why.to_string().contains("length limit"));
        if limit { too_large() } else { Problem::bad("the body broke off") }
    })
}

fn refusal(error: SubmitError) -> Problem {
    match &error {
        SubmitError::UnknownExchange(_) => Problem::not_found(),
        SubmitError::Refused(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "statement-refused", error.to_string())
        }
        SubmitError::Conflict { .. } => Problem::new(StatusCode::CONFLICT, "conflict", error.to_string()),
        SubmitError::Signature(_) => Problem::new(StatusCode::FORBIDDEN, "signature-refused", error.to_string()),
        SubmitError::Failed(_) => Problem::internal(error),
    }
}
