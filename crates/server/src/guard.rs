//! What happens to every request before and after its handler: who asks, how often, under which id, and what every answer
//! carries.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;

use crate::answer::Tagged;
use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::pages::{self, Reader};
use crate::problem::Problem;
use crate::scope::Scope;
use assay_desk::clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];

/// The middleware.
pub(crate) async fn guard(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let id = request_id(request.headers());
    let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
    let reader = page_reader(&request);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, path);
    let answer = async {
        match admit(&app, &mut request) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let began = Instant::now();
    let answer = answer.instrument(span.clone()).await;
    let mut answer = finish(answer, &path, &method, wanted.as_ref(), reader.as_ref());
    let (status, took_us) = (answer.status().as_u16(), began.elapsed().as_micros());
    span.in_scope(|| tracing::info!(status, took_us, "answered"));
    let is_page = answer.extensions().get::<pages::Page>().is_some();
    let lasts = answer.extensions().get::<pages::Lasting>().is_some();
    dress(answer.headers_mut(), app.tls);
    if is_page {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(pages::POLICY));
        // Without it a browser does not say from where a form comes.
        answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    if lasts {
        let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
        answer.headers_mut().insert(header::CACHE_CONTROL, for_ever);
    }
    answer.headers_mut().insert(REQUEST_ID, id);
    answer
}

/// Notes who asks, or refuses.
fn admit(app: &App, request: &mut Request) -> Result<(), Problem> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let peer = format!("peer {}", peer.map_or_else(|| "unknown".into(), network));
    let permit = |caller: &str| {
        app.rate.take(caller, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "ask less often");
            problem.with(header::RETRY_AFTER, HeaderValue::from(seconds))
        })
    };
    let Some(tokens) = &app.tokens else {
        permit(&peer)?;
        asked_locally(request)?;
        request.extensions_mut().insert(Caller { name: "local".into(), scope: Scope::Local, digest: None });
        return Ok(());
    };
    let secret = secret(request)?;
    let secret = secret.as_deref();
    let digest: Option<[u8; 32]> = secret.map(|secret| Sha256::digest(secret).into());
    match digest.and_then(|digest| Some((digest, tokens.holder_of(&digest, clock::now())?))) {
        Some((digest, holder)) => {
            permit(&format!("token {}", holder.id))?;
            request.extensions_mut().insert(Caller { name: holder.id, scope: holder.scope, digest: Some(digest) });
            Ok(())
        }
        None => {
            permit(&peer)?;
            match (is_open(request.uri().path()), secret) {
                (true, _) => Ok(()),
                (false, None) => Err(Problem::unauthorized("send a token: Authorization: Bearer assay_...")),
                (false, Some(_)) => Err(Problem::unauthorized("this token does not count, or no longer")),
            }
        }
    }
}

/// What is there for everybody: nothing of it is about anybody.
fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path == pages::SIGN_IN || pages::is_file(path) || path.starts_with("/set/")
}

/// The token that comes with the request, or that the browser was given when somebody signed in. The latter changes nothing but from
/// our own pages.
fn secret(request: &Request) -> Result<Option<String>, Problem> {
    if let Some(secret) = bearer(request.headers()) {
        return Ok(Some(secret.to_owned()));
    }
    let Some(secret) = pages::cookie(request.headers(), pages::COOKIE).filter(|secret| !secret.is_empty()) else {
        return Ok(None);
    };
    let text = |name: &str| request.headers().get(name).and_then(|text| text.to_str().ok());
    let host = text("host").unwrap_or_default();
    let is_ours = |origin: &str| origin.split_once("://").is_some_and(|(_, name)| name == host);
    let asks = request.method() == Method::GET || request.method() == Method::HEAD;
    if asks || text("origin").is_some_and(is_ours) {
        return Ok(Some(secret.to_owned()));
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "this came from another site's page"))
}

/// Whoever asks for a page with a browser.
fn page_reader(request: &Request) -> Option<Reader> {
    let wants = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_browser = wants.is_some_and(|accept| accept.contains("text/html"));
    let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
    (is_browser && pages::is_page(request.uri().path())).then(|| Reader::of(request.headers(), here.to_owned(), None))
}

/// A page of another site that a browser on this machine shows must not reach us under its own name.
fn asked_locally(request: &Request) -> Result<(), Problem> {
    let Some(host) = request.headers().get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let local = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if local { Ok(()) } else { Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "ask for localhost")) }
}

/// An address, or where one party has many of them, its network.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// The id that the request brings, if it is a plain one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |text: &HeaderValue| {
        let bytes = text.as_bytes();
        (1..=64).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    headers.get(REQUEST_ID).filter(|text| plain(text)).cloned().unwrap_or_else(|| {
        let mut bytes = [0; 16];
        let _ = getrandom::fill(&mut bytes); // an id that is not unique spoils a log line, no more
        HeaderValue::from_str(&const_hex::encode(bytes)).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Errors become problems, and what the caller has already is not sent again.
fn finish(
    answer: Response,
    path: &str,
    method: &Method,
    wanted: Option<&HeaderValue>,
    reader: Option<&Reader>,
) -> Response {
    let status = answer.status();
    if status.is_client_error() || status.is_server_error() {
        let problem = answer.extensions().get::<Problem>().cloned().unwrap_or_else(|| Problem::of(status));
        let mut rendered = match reader {
            Some(reader) => pages::failure(reader, &problem, method),
            None => problem.render(path),
        };
        if let Some(allow) = answer.headers().get(header::ALLOW) {
            rendered.headers_mut().insert(header::ALLOW, allow.clone());
        }
        return rendered;
    }
    let Some(Tagged(tag)) = answer.extensions().get::<Tagged>().cloned() else { return answer };
    let known = wanted.and_then(|wanted| wanted.to_str().ok()).is_some_and(|wanted| {
        wanted.split(',').map(str::trim).any(|one| one == "*" || tag == one.trim_start_matches("W/").as_bytes())
    });
    if known && (method == Method::GET || method == Method::HEAD) && status == StatusCode::OK {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    answer
}

/// What every answer carries.
fn dress(headers: &mut HeaderMap, tls: bool) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, text) in fixed {
        headers.insert(name, HeaderValue::from_static(text));
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}
