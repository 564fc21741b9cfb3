//! Signing in: by the API's tokens, and with the same rights. The browser keeps the token where no script reads it.

use askama::Template;
use assay_types::Timestamp;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::frame::{Frame, Reader};
use super::{shown, words};
use crate::app::{App, Shared};
use crate::problem::Problem;
use assay_desk::clock;

/// The cookie that holds the token.
pub(crate) const COOKIE: &str = "assay";
const LASTS_S: u32 = 12 * 3600;
const YEAR_S: u32 = 365 * 24 * 3600;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    f: Frame,
    to: String,
    wrong: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    token: String,
    to: Option<String>,
}

pub(super) async fn form(reader: Reader, Query(Back { to }): Query<Back>) -> Result<Response, Problem> {
    let title = reader.words.say("sign-in");
    shown(&SignIn { f: Frame::bare(&reader, title), to: local(to.as_deref()).to_owned(), wrong: false })
}

pub(super) async fn enter(
    State(app): State<Shared>,
    reader: Reader,
    Form(Entry { token, to }): Form<Entry>,
) -> Result<Response, Problem> {
    let (to, token) = (local(to.as_deref()), token.trim());
    if !holds(&app, token, clock::now()) {
        let f = Frame::bare(&reader, reader.words.say("sign-in"));
        let mut page = shown(&SignIn { f, to: to.to_owned(), wrong: true })?;
        *page.status_mut() = StatusCode::OK; // the guard makes problems of all others
        return Ok(page);
    }
    let mut answer = Redirect::to(to).into_response();
    set(&mut answer, &cookie(&app, COOKIE, token, LASTS_S, true))?;
    Ok(answer)
}

fn holds(app: &App, token: &str, now: Timestamp) -> bool {
    let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.~+/=".contains(&byte));
    let digest: [u8; 32] = Sha256::digest(token).into();
    plain && app.tokens.as_ref().is_some_and(|tokens| tokens.holder_of(&digest, now).is_some())
}

pub(super) async fn leave(State(app): State<Shared>) -> Result<Response, Problem> {
    let mut answer = Redirect::to("/sign-in").into_response();
    set(&mut answer, &cookie(&app, COOKIE, "", 0, true))?;
    Ok(answer)
}

/// Remembers how somebody likes the pages, and goes back to the one that was open.
pub(super) async fn choose(
    State(app): State<Shared>,
    Path((name, choice)): Path<(String, String)>,
    Query(Back { to }): Query<Back>,
) -> Result<Response, Problem> {
    let known = match name.as_str() {
        "language" => words::languages().iter().any(|one| one.code == choice),
        "theme" => ["light", "dark"].contains(&choice.as_str()),
        _ => false,
    };
    if !known {
        return Err(Problem::not_found());
    }
    let mut answer = Redirect::to(local(to.as_deref())).into_response();
    set(&mut answer, &cookie(&app, &name, &choice, YEAR_S, false))?;
    Ok(answer)
}

fn cookie(app: &App, name: &str, text: &str, lasts_s: u32, strict: bool) -> String {
    let site = if strict { "Strict" } else { "Lax" };
    let secure = if app.tls { "; Secure" } else { "" };
    format!("{name}={text}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite={site}{secure}")
}

fn set(answer: &mut Response, cookie: &str) -> Result<(), Problem> {
    let cookie = HeaderValue::from_str(cookie).map_err(Problem::internal)?;
    answer.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}

/// A path of ours, and nobody else's.
fn local(to: Option<&str>) -> &str {
    let is_ours = |to: &&str| {
        to.starts_with('/')
            && !to.starts_with("//")
            && !to.contains(['\\', '\r', '\n'])
            && to.is_ascii()
            && to.len() < 2000
    };
    to.filter(is_ours).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for elsewhere in ["https://evil", "//evil", "/\\evil", "evil", "", "/a\r\nb"] {
            assert_eq!(local(Some(elsewhere)), "/", "{elsewhere:?}");
        }
        assert_eq!(local(Some("/exchanges/acme?show=wrong")), "/exchanges/acme?show=wrong");
        assert_eq!(local(None), "/");
    }
}
