//! What every page has: whose it is, in which language, and whether Assay itself can be believed now.

use askama::Template;
use assay_desk::{ChainView, View, clock};
use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use super::show::{self, Html, escaped};
use super::words::{Words, cookie, languages};
use super::{SIGN_IN, files, shown};
use crate::app::Shared;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::scope::Act;

/// Whoever reads: their rights, and how they like it.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(super) caller: Option<Caller>,
    pub(super) words: &'static Words,
    theme: Option<&'static str>,
    /// The path and query that were asked for.
    here: String,
    /// Is there anybody to sign out?
    signed_in: bool,
}

impl Reader {
    pub(crate) fn of(headers: &HeaderMap, here: String, caller: Option<Caller>) -> Reader {
        let theme = match cookie(headers, "theme") {
            Some("dark") => Some("dark"),
            Some("light") => Some("light"),
            _ => None,
        };
        let signed_in = caller.as_ref().is_some_and(|caller| caller.digest.is_some());
        Reader { caller, words: Words::asked(headers), theme, here, signed_in }
    }

    /// Who it is; pages that all may see ask nobody.
    pub(super) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(|| Problem::unauthorized("sign in"))
    }
}

impl FromRequestParts<Shared> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Reader, Problem> {
        let caller = Extension::<Caller>::from_request_parts(parts, state).await.ok().map(|Extension(caller)| caller);
        let here = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok(Reader::of(&parts.headers, here, caller))
    }
}

/// One choice of a few, such as a language.
pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) chosen: bool,
}

/// The frame around a page.
pub(super) struct Frame {
    pub(super) w: &'static Words,
    pub(super) title: String,
    pub(super) theme: Option<&'static str>,
    pub(super) other_theme: &'static str,
    pub(super) here: String,
    pub(super) here_encoded: String,
    pub(super) languages: Vec<Choice>,
    pub(super) signed_in: bool,
    pub(super) now: String,
    pub(super) state: Vec<Html>,
    pub(super) firing: usize,
    pub(super) sees_chains: bool,
    pub(super) sees_accounts: bool,
    pub(super) program: &'static str,
    /// Does anything on it come again by itself?
    pub(super) live: bool,
    pub(super) charts: bool,
}

impl Frame {
    /// Around a page about now.
    pub(super) fn of(reader: &Reader, title: impl Into<String>, view: &View) -> Frame {
        let caller = reader.caller.as_ref();
        let may = |act: &Act<'_>| caller.is_some_and(|caller| caller.may(act));
        let mut state = Vec::new();
        let exchanges = view.exchanges.iter().filter(|one| may(&Act::ReadExchange(&one.id))).count();
        if exchanges > 0 {
            state.push(escaped(&match exchanges {
                1 => reader.words.say("exchanges-one").to_owned(),
                many => reader.words.fill("exchanges-many", &[&show::count(many as u64)]),
            }));
        }
        if caller.is_some() {
            state.extend(view.chains.iter().map(|chain| chain_state(reader.words, chain, view)));
            let is_well = |chain: &ChainView| chain.trouble.is_none() && chain.dissenting_nodes == 0;
            if view.chains.iter().all(is_well) && !view.chains.is_empty() {
                state.push(escaped(reader.words.say("nodes-agree")));
            }
        }
        let firing = |alert: &&assay_desk::Alert| {
            alert.state == assay_desk::State::Firing && may(&Act::ReadExchange(&alert.exchange))
        };
        let firing = view.alerts.iter().filter(firing).count();
        let (sees_chains, sees_accounts) = (may(&Act::ReadChains), may(&Act::ReadAccounts));
        Frame {
            state,
            firing,
            sees_chains,
            sees_accounts,
            now: view.at.to_string(),
            live: true,
            ..Frame::bare(reader, title)
        }
    }

    /// Around a page that says nothing about now.
    pub(super) fn bare(reader: &Reader, title: impl Into<String>) -> Frame {
        let languages = languages().iter().map(|one| Choice {
            name: one.code,
            text: one.say("language"),
            chosen: one.code == reader.words.code,
        });
        Frame {
            w: reader.words,
            title: title.into(),
            theme: reader.theme,
            other_theme: if reader.theme == Some("dark") { "light" } else { "dark" },
            here: reader.here.clone(),
            here_encoded: show::segment(&reader.here),
            languages: languages.collect(),
            signed_in: reader.signed_in,
            now: clock::now().to_string(),
            state: Vec::new(),
            firing: 0,
            sees_chains: false,
            sees_accounts: false,
            program: env!("CARGO_PKG_VERSION"),
            live: false,
            charts: false,
        }
    }

    pub(super) fn with_charts(self) -> Frame {
        Frame { charts: true, ..self }
    }

    pub(super) fn file(&self, stem: &str) -> String {
        files::place(stem)
    }
}

/// Where one chain stands, in a few words.
fn chain_state(words: &Words, chain: &ChainView, view: &View) -> Html {
    let stale = |said: &str| Html(format!(r#"<b class="stale">{}</b>"#, escaped(said)));
    if let Some(trouble) = &chain.trouble {
        let since = show::age(trouble.since, view.at);
        let said = escaped(&words.fill("chain-trouble", &[&chain.name]));
        return Html(format!(r#"<b class="stale" title="{}">{said} {since}</b>"#, escaped(&trouble.why)));
    }
    if chain.dissenting_nodes > 0 {
        return stale(&words.fill("chain-disagree", &[&chain.name]));
    }
    if let Some(one) = chain.catching_up.filter(|one| one.to.0 > one.from.0 + 1) {
        let what = if one.filling_in { "chain-filling" } else { "chain-catching-up" };
        let left = one.left_s(view.at).and_then(|left| i64::try_from(left).ok()).map_or("?".into(), show::lasting);
        return stale(&words.fill(what, &[chain.name.as_str(), &one.percent().to_string(), &left]));
    }
    let behind =
        chain.head.zip(chain.indexed.as_ref()).map_or(0, |(head, indexed)| head.0.saturating_sub(indexed.height.0));
    if behind > 1 {
        return stale(&words.fill("chain-behind", &[&chain.name, &show::count(behind)]));
    }
    escaped(&match chain.final_height {
        Some(height) => words.fill("chain-final", &[&chain.name, &show::count(height.0)]),
        None => words.fill("chain-none", &[&chain.name]),
    })
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure {
    f: Frame,
    said: String,
}

/// What went wrong, as a page.
pub(crate) fn failure(reader: &Reader, problem: &Problem, method: &Method) -> Response {
    let status = problem.status;
    if status == StatusCode::UNAUTHORIZED && method == Method::GET {
        let to = show::segment(&reader.here);
        return Redirect::to(&format!("{SIGN_IN}?to={to}")).into_response();
    }
    let said = match status.as_u16() {
        number @ (404 | 403 | 429 | 500) => reader.words.say(&format!("err-{number}")).to_owned(),
        503 => reader.words.fill("err-503", &[&problem.detail]),
        _ => reader.words.fill("err-other", &[&problem.detail]),
    };
    let page = Failure { f: Frame::bare(reader, status.as_str()), said };
    let mut page = shown(&page).unwrap_or_else(|problem| problem.render(&reader.here));
    *page.status_mut() = status;
    page
}
