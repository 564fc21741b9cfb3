//! One exchange: every asset that it reports, what is found of it, and its statements.

use askama::Template;
use assay_desk::{Signal, StatementView};
use assay_verifier::{Finding, Stage};
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Reader};
use super::show::{self, Html, segment};
use super::shown;
use crate::answer::Asked;
use crate::api::exchanges::find;
use crate::app::{Shared, blocking};
use crate::problem::Problem;

/// So many of its last statements are listed.
const STATEMENTS: usize = 20;
/// So many assets are on a page, and so many findings with their evidence.
const ASSETS: usize = 100;
pub(super) const FINDINGS: usize = 25;

#[derive(Template)]
#[template(path = "exchange.html")]
struct ExchangePage {
    f: Frame,
    name: String,
    verdict: Option<Html>,
    stage: Option<&'static str>,
    trouble: Option<(String, Html)>,
    rows: Vec<Row>,
    findings: Vec<Found>,
    more: usize,
    next: Option<String>,
    statements: Vec<Stated>,
    verdicts: String,
    maintenance: Vec<(Html, Html, String)>,
}

struct Row {
    link: String,
    asset: String,
    verdict: Html,
    coverage: String,
    holds: Html,
    owed: Html,
    missing: Html,
    difference: Html,
    gate: &'static str,
    halted: bool,
}

/// One thing wrong.
pub(super) struct Found {
    pub(super) severity: &'static str,
    pub(super) rule: &'static str,
    pub(super) asset: String,
    pub(super) message: String,
    pub(super) evidence: String,
}

impl Found {
    pub(super) fn of(finding: &Finding) -> Found {
        Found {
            severity: finding.severity.as_str(),
            rule: finding.rule,
            asset: finding.asset.clone().unwrap_or_default(),
            message: finding.message.clone(),
            evidence: serde_json::to_string_pretty(&finding.evidence.json()).unwrap_or_default(),
        }
    }
}

/// One statement.
pub(super) struct Stated {
    pub(super) sequence: u64,
    pub(super) as_of: Html,
    pub(super) received: Html,
    pub(super) digest: String,
    pub(super) signed_by: Option<String>,
    pub(super) link: String,
}

impl Stated {
    pub(super) fn of(exchange: &str, one: &StatementView) -> Stated {
        Stated {
            sequence: one.sequence,
            as_of: show::time(one.as_of),
            received: show::time(one.received_at),
            digest: one.digest.to_string(),
            signed_by: one.signed_by.clone(),
            link: format!("/v1/exchanges/{}/statements/{}", segment(exchange), one.sequence),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The first asset that is shown, counted from the worst.
    from: Option<usize>,
}

pub(super) async fn page(
    State(app): State<Shared>,
    reader: Reader,
    Path(id): Path<String>,
    Asked(part): Asked<Part>,
) -> Result<Response, Problem> {
    let view = app.desk.view();
    let exchange = find(&view, reader.caller()?, &id)?.clone();
    let (desk, asked) = (app.desk.clone(), id.clone());
    let statements = blocking(move || desk.statements(&asked, None, STATEMENTS).map_err(Problem::internal)).await?;
    let lines = exchange.verdict.as_ref().map_or(&[][..], |verdict| &verdict.lines);
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.verdict)); // and else in the statement's order
    let from = part.from.unwrap_or(0);
    let row = |line: &&assay_verifier::Line| {
        let (asset, gate) = (&line.asset, exchange.gates.iter().find(|gate| gate.asset == line.asset));
        let halted = gate.is_some_and(|gate| gate.signal == Signal::Halt);
        Row {
            link: show::asset_page(&id, asset),
            asset: asset.clone(),
            verdict: show::verdict(line.verdict, reader.words),
            coverage: line.coverage_ratio.clone().unwrap_or_else(|| "–".into()),
            holds: show::holdings(&line.holdings, asset),
            owed: show::amount(&line.owed, asset),
            missing: if line.missing.is_zero() { Html("–".into()) } else { show::amount(&line.missing, asset) },
            difference: line.difference.as_ref().map_or_else(|| Html("?".into()), |one| show::signed(one, asset)),
            gate: gate.map_or("–", |_| if halted { "halt" } else { "allow" }),
            halted,
        }
    };
    let ahead = exchange.maintenance.iter().filter(|one| one.until > view.at);
    let page = ExchangePage {
        f: Frame::of(&reader, &exchange.name, &view),
        name: exchange.name.clone(),
        verdict: exchange.verdict.as_ref().map(|one| show::verdict(one.verdict, reader.words)),
        stage: exchange.verdict.as_ref().map(|one| if one.stage == Stage::Final { "final" } else { "provisional" }),
        trouble: exchange.trouble.as_ref().map(|trouble| (trouble.why.clone(), show::age(trouble.since, view.at))),
        rows: lines.iter().skip(from).take(ASSETS).map(row).collect(),
        next: (from.saturating_add(ASSETS) < lines.len()).then(|| format!("?from={}", from + ASSETS)),
        findings: exchange.findings.iter().take(FINDINGS).map(|one| Found::of(one)).collect(),
        more: exchange.findings.len().saturating_sub(FINDINGS),
        statements: statements.iter().map(|one| Stated::of(&id, one)).collect(),
        verdicts: show::exchange_page(&id) + "/verdicts",
        maintenance: ahead.map(|one| (show::time(one.from), show::time(one.until), one.why.clone())).collect(),
    };
    shown(&page)
}
