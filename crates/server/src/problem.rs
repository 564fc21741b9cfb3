//! Errors as RFC 9457 problems.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What went wrong with a request, and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<String>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl ToString) -> Problem {
        Problem { status, detail: detail.to_string(), errors: Vec::new(), retry_after_s: None }
    }

    /// Also said of what is there and not for the one who asks: nobody learns that it is there.
    pub(crate) fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "there is nothing here for you")
    }

    pub(crate) fn bad(detail: impl ToString) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn errors(mut self, errors: Vec<String>) -> Problem {
        self.errors = errors;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<assay_desk::DeskError> for Problem {
    fn from(error: assay_desk::DeskError) -> Problem {
        tracing::error!(%error, "a request could not be answered");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be read from the database; see the log")
    }
}

impl From<assay_store::StoreError> for Problem {
    fn from(error: assay_store::StoreError) -> Problem {
        assay_desk::DeskError::from(error).into()
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Problem {
        tracing::error!(%error, "a request ended by itself");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request ended by itself; see the log")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
