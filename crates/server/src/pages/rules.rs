//! What each rule catches and what it cannot: the documentation itself, as pages.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::frame::{Frame, Reader};
use super::show::Html;
use super::shown;
use crate::answer::{Asked, Nothing};
use crate::app::Shared;
use crate::problem::Problem;

macro_rules! page {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../docs/rules/", $name, ".md")))
    };
}

/// Every rule's own page; a test says that none is left out.
const PAGES: &[(&str, &str)] = &[
    page!("beyond-finality"),
    page!("cold-ratio"),
    page!("credits-over-inventory"),
    page!("deposits-not-on-chain"),
    page!("dropped-account"),
    page!("dropped-asset"),
    page!("elsewhere-not-accepted"),
    page!("frozen-account"),
    page!("ledger-jump"),
    page!("ledger-over-holdings"),
    page!("nodes-disagree"),
    page!("not-covered"),
    page!("not-reported"),
    page!("not-segregated"),
    page!("outflow-since-statement"),
    page!("phantom-assets"),
    page!("range-exhausting"),
    page!("rewritten-history"),
    page!("roll-forward-broken"),
    page!("same-kind"),
    page!("shared-account"),
    page!("stale-index"),
    page!("stale-statement"),
    page!("token-code-changed"),
    page!("turnover-over-holdings"),
    page!("unexplained-difference"),
    page!("unproven"),
    page!("unsettled-item"),
    page!("wallet-shortfall"),
];
const ALL: &str = include_str!("../../../../docs/rules/README.md");

/// The rules that have a page.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(name, _)| *name)
}

#[derive(Template)]
#[template(path = "rules.html")]
struct Rule {
    f: Frame,
    text: Html,
    is_one: bool,
}

/// All of them in a table.
pub(super) async fn index(
    State(app): State<Shared>,
    reader: Reader,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    reader.caller()?;
    let f = Frame::of(&reader, reader.words.say("rules"), &app.desk.view());
    shown(&Rule { f, text: made(ALL), is_one: false })
}

/// One of them.
pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path(rule): Path<String>,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    reader.caller()?;
    let (name, text) = PAGES.iter().find(|(name, _)| *name == rule).ok_or_else(Problem::not_found)?;
    let f = Frame::of(&reader, reader.words.rule(name), &app.desk.view());
    shown(&Rule { f, text: made(text), is_one: true })
}

/// As HTML. Links lead to the pages here, or nowhere; tables can be scrolled.
fn made(markdown: &str) -> Html {
    let mut leads = Vec::new();
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let to = page_of(&dest_url).map(CowStr::from);
            leads.push(to.is_some());
            Some(Event::Start(Tag::Link { link_type, dest_url: to?, title, id }))
        }
        Event::End(TagEnd::Link) => leads.pop().filter(|leads| *leads).map(|_| Event::End(TagEnd::Link)),
        Event::Start(Tag::Table(_)) => Some(Event::Html(r#"<div class="wide" tabindex="0"><table>"#.into())),
        Event::End(TagEnd::Table) => Some(Event::Html("</tbody></table></div>".into())),
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        other => Some(other),
    });
    let mut text = String::new();
    html::push_html(&mut text, events);
    Html(text)
}

fn page_of(link: &str) -> Option<String> {
    match link.strip_suffix(".md")? {
        "README" => Some("/rules".into()),
        rule => PAGES.iter().any(|(name, _)| *name == rule).then(|| format!("/rules/{rule}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_its_page_and_every_link_leads_to_one() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rules");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> = files.filter_map(|file| file.strip_suffix(".md").map(str::to_owned)).collect();
        let pages: BTreeSet<String> = all().map(str::to_owned).chain(["README".to_owned()]).collect();
        assert_eq!(pages, files);
        let index = made(ALL).0;
        assert!(all().all(|rule| index.contains(&format!(r#"<a href="/rules/{rule}">"#))), "{index}");
        for (name, text) in PAGES {
            assert!(made(text).0.starts_with(&format!("<h1><code>{name}</code></h1>")), "{name}");
        }
        assert_eq!(made("x <b>[a](https://b.example) [c](../x.md)").0, "<p>x &lt;b&gt;a c</p>\n");
    }
}
