//! Questions in a query string, and answers as JSON with a strong ETag.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use assay_desk::{ChainView, View};

use crate::problem::Problem;

/// A query string in which every key is known.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Asked<T>, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Asked(asked))
            .map_err(|error| Problem::bad(format!("the query cannot be read: {}", error.body_text())))
    }
}

/// No query at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Which page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<usize>,
}

/// How many rows of a list are given at once.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        limit => Err(Problem::bad(format!("`limit` is {limit}: 1 to 1000 are possible"))),
    }
}

/// What was sent, as JSON in which every key is known.
pub(crate) fn read_body<T: DeserializeOwned>(body: &[u8], longest: usize) -> Result<T, Problem> {
    if body.len() > longest {
        return Err(Problem::of(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let bad = |why: &dyn std::fmt::Display| Problem::bad(format!("the body cannot be read: {why}"));
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| bad(&error))?;
    json.end().map_err(|error| bad(&error))?;
    Ok(read)
}

/// A JSON document.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Value);

/// Marks an answer whose body the `ETag` names, so that the guard may leave the body out.
#[derive(Clone)]
pub(crate) struct Tagged(pub(crate) HeaderValue);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = self.0.to_string();
        let tag = format!("\"{}\"", const_hex::encode(Sha256::digest(&body)));
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (kind, body).into_response();
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(header::ETAG, tag.clone());
            response.extensions_mut().insert(Tagged(tag));
        }
        response
    }
}

/// As JSON; ours always can be written so.
pub(crate) fn value(shown: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(shown).map_err(Problem::internal)
}

/// The block of each chain as of which a picture is.
pub(crate) fn as_of(view: &View) -> Value {
    let block = |chain: &ChainView| {
        let at = chain.indexed.as_ref();
        json!({
            "chain": chain.name,
            "height": at.map(|at| at.height),
            "hash": at.map(|at| &at.hash),
            "final": at.is_some_and(|at| at.is_final),
        })
    };
    view.chains.iter().map(block).collect()
}

/// What troubles the chains, where an answer is about now: since when, and why.
pub(crate) fn troubles(view: &View, concerns: impl Fn(&str) -> bool) -> Vec<Value> {
    let chains = view.chains.iter().filter(|chain| concerns(&chain.name));
    let each = chains.filter_map(|chain| Some((chain, chain.trouble.as_ref()?)));
    each.map(|(chain, trouble)| json!({ "chain": chain.name, "since": trouble.since, "why": trouble.why })).collect()
}

/// Is every chain followed?
pub(crate) fn complete(view: &View) -> bool {
    view.chains.iter().all(|chain| chain.indexed.is_some() && chain.trouble.is_none())
}
