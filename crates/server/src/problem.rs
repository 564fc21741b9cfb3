//! What went wrong, as RFC 9457 problems.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// One problem. The guard writes it out, since only that knows the request's path.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    slug: &'static str,
    pub(crate) detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, slug: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, slug, detail: detail.into(), header: None }
    }

    /// The same for what does not exist and for what the caller must not know to exist.
    pub(crate) fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(crate) fn forbidden() -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "this token does not allow it")
    }

    pub(crate) fn unauthorized(detail: &str) -> Problem {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// Our own failure: the details are for the log, since they may name files.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Problem {
        tracing::error!(%error, "a request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it failed here; the server's log says why")
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.header = Some((name, value));
        self
    }

    /// What an error without words means.
    pub(crate) fn of(status: StatusCode) -> Problem {
        let slug = match status {
            StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::NOT_FOUND => return Problem::not_found(),
            status if status.is_server_error() => "internal",
            _ => "bad-request",
        };
        Problem::new(status, slug, status.canonical_reason().unwrap_or("the request failed"))
    }

    /// The answer, for a request of this path.
    pub(crate) fn render(&self, path: &str) -> Response {
        let body = json!({
            "type": format!("urn:assay:problem:{}", self.slug),
            "title": self.slug.replace('-', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": path,
        });
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some((name, value)) = &self.header {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
