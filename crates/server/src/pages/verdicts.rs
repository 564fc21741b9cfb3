//! An exchange's verdicts, the newest first, each with its page to print.

use askama::Template;
use assay_desk::KeptVerdict;
use assay_verifier::Verdict;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Reader};
use super::show::{self, Html};
use super::shown;
use crate::answer::Asked;
use crate::api::exchanges::must_exist;
use crate::app::{Shared, blocking};
use crate::problem::Problem;

/// So many are on a page.
const ROWS: usize = 25;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// The first number that is not asked for.
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "verdicts.html")]
struct Verdicts {
    f: Frame,
    name: String,
    exchange: String,
    rows: Vec<Row>,
    older: Option<String>,
}

struct Row {
    link: String,
    number: u64,
    given_at: Html,
    statement: u64,
    verdict: Html,
    stage: String,
    short: String,
}

/// What is shown of a verdict.
#[derive(Deserialize)]
struct Head {
    verdict: Verdict,
    stage: String,
    lines: Vec<LineHead>,
}

#[derive(Deserialize)]
struct LineHead {
    asset: String,
    verdict: Verdict,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path(id): Path<String>,
    Asked(Before { before }): Asked<Before>,
) -> Result<Response, Problem> {
    must_exist(&app, reader.caller()?, &id)?;
    let exchange = show::exchange_page(&id);
    let (desk, asked, place, words) = (app.desk.clone(), id.clone(), exchange.clone(), reader.words);
    let row = move |kept: &KeptVerdict| -> Result<Row, Problem> {
        let head: Head = serde_json::from_str(kept.verdict.get()).map_err(Problem::internal)?;
        let short = head.lines.iter().filter(|line| line.verdict == Verdict::Short).map(|line| line.asset.as_str());
        Ok(Row {
            link: format!("{place}/verdicts/{}", kept.number),
            number: kept.number,
            given_at: show::time(kept.given_at),
            statement: kept.sequence,
            verdict: show::verdict(head.verdict, words),
            stage: head.stage,
            short: short.collect::<Vec<_>>().join(", "),
        })
    };
    let (rows, more) = blocking(move || {
        let kept = desk.verdicts(&asked, before, ROWS + 1).map_err(Problem::internal)?;
        Ok((kept.iter().take(ROWS).map(row).collect::<Result<Vec<_>, _>>()?, kept.len() > ROWS))
    })
    .await?;
    let older = rows.last().filter(|_| more).map(|last| format!("?before={}", last.number));
    let name = app.desk.world().exchange(&id).map_or_else(|| id.clone(), |exchange| exchange.name.clone());
    let title = format!("{name} · {}", reader.words.say("verdicts"));
    shown(&Verdicts { f: Frame::of(&reader, title, &app.desk.view()), name, exchange, rows, older })
}
