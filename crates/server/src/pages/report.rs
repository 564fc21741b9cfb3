//! A verdict to be printed: one A4 page with everything from which somebody else can compute it again.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::frame::{Frame, Reader};
use super::show::{self, Html};
use super::shown;
use crate::answer::Asked;
use crate::api::exchanges::must_exist;
use crate::app::{Shared, blocking};
use crate::problem::Problem;

/// So many findings fit on the page; the rest are counted.
const FINDINGS: usize = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    asset: Option<String>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Report {
    f: Frame,
    back: String,
    title: String,
    verdict: String,
    stage: String,
    sum: Vec<(String, Html, bool)>,
    unknown: Vec<String>,
    findings: Vec<(String, String)>,
    more: usize,
    blocks: Vec<(String, String)>,
    facts: Vec<(&'static str, String)>,
    exchange: String,
    statement: u64,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path((id, number)): Path<(String, u64)>,
    Asked(of): Asked<Of>,
) -> Result<Response, Problem> {
    must_exist(&app, reader.caller()?, &id)?;
    let (desk, asked) = (app.desk.clone(), id.clone());
    let next = number.checked_add(1);
    let kept = blocking(move || desk.verdicts(&asked, next, 1).map_err(Problem::internal)).await?;
    let kept = kept.into_iter().find(|kept| kept.number == number).ok_or_else(Problem::not_found)?;
    let verdict: Value = serde_json::from_str(kept.verdict.get()).map_err(Problem::internal)?;
    let lines = verdict["lines"].as_array().map_or(&[][..], Vec::as_slice);
    let rank = |line: &&Value| ["backed", "indeterminate", "short"].iter().position(|one| line["verdict"] == *one);
    let line = match &of.asset {
        Some(asset) => lines.iter().find(|line| line["asset"] == **asset),
        None => lines.iter().rev().max_by_key(rank),
    };
    let line = line.ok_or_else(Problem::not_found)?;
    let name = app.desk.world().exchange(&id).map_or_else(|| id.clone(), |exchange| exchange.name.clone());
    shown(&report(&reader, (&id, name), (kept.sequence, kept.given_at.to_string()), &verdict, line))
}

fn report(
    reader: &Reader,
    (id, name): (&str, String),
    (statement, given_at): (u64, String),
    verdict: &Value,
    line: &Value,
) -> Report {
    let words = reader.words;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (asset, said) = (text(&line["asset"]), text(&line["verdict"]));
    let amount = |value: &Value| show::exact(value.as_str().unwrap_or("?"), &asset);
    let blocks: Vec<(String, String)> = verdict["blocks"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|block| {
            let height = block["height"].as_u64().map_or_else(|| "?".into(), show::count);
            let hash = block["hash"].as_str().or(block["unknown"].as_str()).unwrap_or("?").to_owned();
            (words.fill("block-n", &[&text(&block["chain"]), &height]), hash)
        })
        .collect();
    let at = blocks.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
    let title = match said.as_str() {
        "short" => words.fill("was-short", &[&name, &show::grouped(&text(&line["missing"])), &asset, &at]),
        "backed" => words.fill("was-backed", &[&name, &asset, &at]),
        _ => words.fill("was-indeterminate", &[&name, &asset, &at]),
    };
    let high = &line["holdings"]["high"];
    let holdings = match (&line["holdings"]["low"], high) {
        (low, high) if low == high => amount(low),
        (low, Value::Null) => Html(format!("≥ {}", amount(low))),
        (low, high) => Html(format!("{} – {}", amount(low), amount(high))),
    };
    let term = |sign: &str, key: &str, value: Html| (format!("{sign} {}", words.say(key)), value, sign == "=");
    let missing = if said == "indeterminate" { &line["missing_at_most"] } else { &line["missing"] };
    let findings = verdict["findings"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let findings = findings.filter(|one| one["asset"].is_null() || one["asset"] == line["asset"]);
    let findings: Vec<_> = findings.map(|one| (text(&one["rule"]), text(&one["message"]))).collect();
    let unknown = line["unknown"].as_array().map_or(&[][..], Vec::as_slice).iter();
    Report {
        f: Frame::bare(reader, &title),
        back: show::asset_page(id, &asset),
        title,
        verdict: said,
        stage: text(&verdict["stage"]),
        sum: vec![
            term(" ", "customers", amount(&line["customers"])),
            term("+", "pending-withdrawals", amount(&line["pending_withdrawals"])),
            term("+", "uncredited-deposits", amount(&line["uncredited_deposits"])),
            term("=", "owed", amount(&line["owed"])),
            term("−", "holdings", holdings),
            term("−", "unconfirmed-credits", amount(&line["unconfirmed_credits"])),
            term("−", "elsewhere", amount(&line["elsewhere"])),
            term("−", "tolerance", amount(&line["tolerance"])),
            term("=", "missing", amount(missing)),
        ],
        unknown: unknown.map(|one| format!("{} ({})", text(&one["reason"]), one["accounts"])).collect(),
        more: findings.len().saturating_sub(FINDINGS),
        findings: findings.into_iter().take(FINDINGS).collect(),
        blocks,
        facts: vec![
            (
                "statement",
                words.fill("from-statement", &[&statement.to_string(), &text(&verdict["statement"]["digest"])]),
            ),
            ("as-of", text(&verdict["statement"]["as_of"])),
            ("policy", text(&verdict["policy"]["digest"])),
            ("program", text(&verdict["program"])),
            ("given-at", given_at),
        ],
        exchange: id.to_owned(),
        statement,
    }
}
