//! Can Assay itself be believed now? Where each chain's index stands, and what its nodes did wrong.

use askama::Template;
use assay_desk::{ChainView, Dissent};
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, Reader};
use super::show::{self, Html};
use super::shown;
use crate::answer::{Asked, Nothing};
use crate::app::Shared;
use crate::problem::Problem;
use crate::scope::Act;

#[derive(Template)]
#[template(path = "chains.html")]
struct Chains {
    f: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    id: String,
    source: String,
    head: String,
    indexed: String,
    behind: String,
    hash: String,
    time: Html,
    last: String,
    reorgs: u64,
    errors: String,
    trouble: Option<(Html, String)>,
    dissent: Vec<Vec<String>>,
    /// Each node of a quorum, and how it stands to the others.
    nodes: Vec<(String, String)>,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Asked(_): Asked<Nothing>,
) -> Result<Response, Problem> {
    reader.caller()?.must(&Act::ReadChains)?;
    let view = app.desk.view();
    let row = |chain: &ChainView| {
        let height = |height: Option<u64>| height.map_or_else(|| "?".into(), show::count);
        let indexed = chain.indexed.as_ref();
        let behind = chain.head.zip(indexed).map(|(head, block)| head.0.saturating_sub(block.height.0));
        let dissent = chain.dissent.iter().map(|one| {
            let Dissent { node, from, ours, theirs } = one;
            vec![chain.name.clone(), node.to_string(), show::count(*from), theirs.clone(), ours.clone()]
        });
        let errors = chain.source_errors.iter().map(|(kind, number)| format!("{kind} {number}"));
        let nodes = chain.nodes.iter().map(|one| {
            let why = one.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
            (one.node.clone(), format!("{}{why}", one.state))
        });
        Row {
            nodes: nodes.collect(),
            name: chain.name.clone(),
            id: chain.id.to_string(),
            source: chain.source.clone().unwrap_or_else(|| "?".into()),
            behind: height(behind),
            dissent: dissent.collect(),
            head: height(chain.head.map(|height| height.0)),
            indexed: height(indexed.map(|block| block.height.0)),
            hash: indexed.map_or_else(String::new, |block| block.hash.clone()),
            time: indexed.map(|block| show::time(block.time)).unwrap_or_default(),
            last: height(chain.final_height.map(|height| height.0)),
            reorgs: chain.reorgs,
            errors: errors.collect::<Vec<_>>().join(", "),
            trouble: chain.trouble.as_ref().map(|one| (show::age(one.since, view.at), one.why.clone())),
        }
    };
    let f = Frame::of(&reader, reader.words.say("chains"), &view);
    shown(&Chains { f, rows: view.chains.iter().map(row).collect() })
}
