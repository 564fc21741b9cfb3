//! Metrics, taken from the picture when they are asked for. What is not known is left out rather than zero, and no address
//! is ever a label.

use std::sync::atomic::AtomicU64;

use assay_desk::View;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::App;
use crate::access::Act;
use crate::layers::{Who, clock};
use crate::problem::Problem;

type Labels = Vec<(&'static str, String)>;
type Whole = Family<Labels, Gauge>;
type Fraction = Family<Labels, Gauge<f64, AtomicU64>>;

pub(crate) async fn metrics(State(app): State<App>, Extension(who): Extension<Who>) -> Result<Response, Problem> {
    who.must(Act::ReadMetrics)?;
    let mut text = String::new();
    let failed = |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    encode(&mut text, &registry(&app.desk.view())).map_err(failed)?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn registry(view: &View) -> Registry {
    let mut registry = Registry::with_prefix("assay");
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program's version", build);
    chains(view, &mut registry);
    exchanges(view, &mut registry);
    registry
}

fn chains(view: &View, registry: &mut Registry) {
    let (head, indexed, lag) = (Whole::default(), Whole::default(), Whole::default());
    let (reorgs, errors) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let disagreements = Family::<Labels, Counter>::default();
    let now = clock();
    for chain in &view.chains {
        let labels = vec![("chain", chain.name.clone())];
        let set = |family: &Whole, value: u64| {
            let _ = family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        if let Some(height) = chain.head {
            set(&head, height.0);
        }
        if let Some(block) = &chain.indexed {
            set(&indexed, block.height.0);
            // At the node's last block nothing is missing, however long ago that was.
            let behind = chain.head.is_none_or(|head| head > block.height) || chain.trouble.is_some();
            let seconds = if behind { now.seconds_since(block.time).max(0) } else { 0 };
            lag.get_or_create(&labels).set(seconds);
        }
        reorgs.get_or_create(&labels).inc_by(chain.reorgs);
        for (kind, count) in &chain.source_errors {
            let labels = vec![("chain", chain.name.clone()), ("kind", (*kind).to_owned())];
            errors.get_or_create(&labels).inc_by(*count);
            if *kind == "contradiction" {
                disagreements.get_or_create(&vec![("chain", chain.name.clone())]).inc_by(*count);
            }
        }
    }
    registry.register("chain_head_height", "The node's last block", head);
    registry.register("indexed_height", "The last indexed block", indexed);
    registry.register("index_lag_seconds", "How far the index is behind the chain", lag);
    registry.register("reorgs", "How many times blocks were taken back", reorgs);
    registry.register("source_errors", "Answers of nodes that could not be used", errors);
    registry.register(
        "node_disagreements",
        "Answers of nodes that contradict each other or their proofs",
        disagreements,
    );
}

fn exchanges(view: &View, registry: &mut Registry) {
    let (verified, age, ratio) = (Whole::default(), Whole::default(), Fraction::default());
    let (verdicts, alerts) = (Whole::default(), Whole::default());
    let now = clock();
    let count = |family: &Whole, labels: Labels| {
        let _ = family.get_or_create(&labels).inc();
    };
    for exchange in &view.exchanges {
        let labels = vec![("exchange", exchange.id.clone())];
        if let Some(statement) = &exchange.statement {
            age.get_or_create(&labels).set(now.seconds_since(statement.as_of));
        }
        let Some(verdict) = &exchange.verdict else { continue };
        verified.get_or_create(&labels).set(verdict.evaluated_at.unix_s());
        count(&verdicts, vec![("verdict", word(&verdict.verdict))]);
        for line in &verdict.lines {
            // The gauge is for pictures; the exact ratio is in the verdict.
            if let Some(value) = line.coverage_ratio.as_ref().and_then(|ratio| ratio.parse().ok()) {
                let labels = vec![("exchange", exchange.id.clone()), ("asset", line.asset.clone())];
                ratio.get_or_create(&labels).set(value);
            }
        }
    }
    for alert in &view.alerts {
        count(&alerts, vec![("state", word(&alert.state))]);
    }
    registry.register("verdicts", "Exchanges, by the verdict on their latest statement", verdicts);
    registry.register("last_verified_timestamp_seconds", "When the latest statement was judged", verified);
    registry.register("statement_age_seconds", "How old the latest statement is", age);
    registry.register("coverage_ratio", "What is there over what is owed", ratio);
    registry.register("alerts", "Alerts, by state", alerts);
}

/// The word by which a value goes in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
