//! What stands around every route: who asks, how often, under which id, and what every answer carries.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use assay_types::Timestamp;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use crate::access::{Act, Scope, may};
use crate::problem::Problem;
use crate::{App, Tokens};

/// Requests that one address may send at once, and how many it regains each second.
const BURST: u64 = 2_000;
const EACH_SECOND: u64 = 1_000;
/// Of so many addresses it is known how often they ask; beyond that all begin anew.
const ADDRESSES: usize = 10_000;
/// Answers up to this length carry a tag.
const LONGEST_TAGGED_BYTES: usize = 16 << 20;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The clock.
pub(crate) fn clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_s(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// Who asks. Without a file of tokens everyone may do everything: such a server listens on loopback only.
#[derive(Clone)]
pub(crate) struct Who {
    scope: Option<Scope>,
    secret: Option<String>,
}

impl Who {
    pub(crate) fn may(&self, act: Act<'_>) -> bool {
        self.scope.as_ref().is_none_or(|scope| may(scope, act))
    }

    /// Refuses what is not allowed.
    pub(crate) fn must(&self, act: Act<'_>) -> Result<(), Problem> {
        match (self.may(act), act) {
            (true, _) => Ok(()),
            (false, Act::ReadExchange(_) | Act::Submit(_)) => Err(Problem::not_found()),
            (false, _) => Err(Problem::new(StatusCode::FORBIDDEN, "this token is not good for that")),
        }
    }

    /// Is the token still good? Asked again and again on streams.
    pub(crate) fn still(&self, tokens: Option<&Tokens>) -> bool {
        match (tokens, &self.secret) {
            (None, _) => true,
            (Some(tokens), Some(secret)) => {
                tokens.scope(secret, clock()).is_some_and(|(_, scope)| Some(scope) == self.scope)
            }
            (Some(_), None) => false,
        }
    }
}

/// Finds out who asks.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let who = match &app.tokens {
        None => Some(Who { scope: None, secret: None }),
        Some(tokens) => bearer(&request).and_then(|secret| {
            let (_, scope) = tokens.scope(&secret, clock())?;
            Some(Who { scope: Some(scope), secret: Some(secret) })
        }),
    };
    let Some(who) = who else {
        return Problem::new(StatusCode::UNAUTHORIZED, "send Authorization: Bearer and a token that is good")
            .into_response();
    };
    request.extensions_mut().insert(who);
    next.run(request).await
}

fn bearer(request: &Request) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim().to_owned())
}

/// How much each address may still ask.
#[derive(Default)]
pub(crate) struct Limits(Mutex<HashMap<IpAddr, (u64, Instant)>>);

impl Limits {
    /// Takes one request from what the address has left.
    fn take(&self, address: IpAddr, now: Instant) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= ADDRESSES && !left.contains_key(&address) {
            left.clear();
        }
        let (tokens, since) = left.entry(address).or_insert((BURST, now));
        let gained =
            u64::try_from(now.duration_since(*since).as_millis()).unwrap_or(u64::MAX).saturating_mul(EACH_SECOND)
                / 1000;
        if gained > 0 {
            *tokens = tokens.saturating_add(gained).min(BURST);
            *since = now;
        }
        let allowed = *tokens > 0;
        *tokens = tokens.saturating_sub(1);
        allowed
    }
}

/// Refuses who asks too often.
pub(crate) async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    match peer {
        Some(peer) if !app.limits.take(peer, Instant::now()) => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address")
                .retry_after(1)
                .into_response()
        }
        _ => next.run(request).await,
    }
}

/// Gives answers to GET a strong tag, and says "not modified" to who has that already.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_get || response.status() != StatusCode::OK || !is_json {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LONGEST_TAGGED_BYTES).await else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer is too long: ask for less at once")
            .into_response();
    };
    let digest: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let Ok(tag) = HeaderValue::from_str(&format!("\"{digest}\"")) else {
        return Response::from_parts(head, Body::from(bytes));
    };
    head.headers.insert(header::ETAG, tag.clone());
    let same = known.is_some_and(|known| {
        known
            .to_str()
            .is_ok_and(|known| known == "*" || known.split(',').any(|one| one.trim().as_bytes() == tag.as_bytes()))
    });
    if same {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(bytes))
}

/// Gives the request an id, and every answer the headers that keep browsers from doing harm.
pub(crate) async fn dress(State(tls): State<bool>, request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id)).cloned();
    let id = given.unwrap_or_else(new_id);
    let span = tracing::info_span!("request", id = ?id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

fn is_plain(id: &HeaderValue) -> bool {
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn new_id() -> HeaderValue {
    let mut bytes = [0; 16];
    let text: String = match getrandom::fill(&mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => "unknown".into(),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_that_asks_too_often_waits_and_others_do_not() {
        let (limits, now) = (Limits::default(), Instant::now());
        let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!((0..BURST + 5).filter(|_| limits.take(one, now)).count() as u64, BURST);
        assert!(limits.take(other, now));
        let later = now + Duration::from_millis(10);
        assert_eq!((0..100).filter(|_| limits.take(one, later)).count() as u64, EACH_SECOND / 100);
    }
}
