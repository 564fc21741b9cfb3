//! Metrics, made afresh from the picture at each scrape. What is not known is left out: a zero would be a lie.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;

use assay_desk::{Alert, State, View};
use assay_types::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter>;
type Whole = Family<Labels, Gauge>;
type Ratio = Family<Labels, Gauge<f64, AtomicU64>>;

/// What is scraped.
pub(crate) fn text(view: &View, verdicts: &BTreeMap<String, u64>, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register("assay_build", "The program", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    chains(&mut registry, view, now);
    exchanges(&mut registry, view, now);
    let counts = Counts::default();
    for (verdict, count) in verdicts {
        counts.get_or_create(&vec![("verdict", verdict.clone())]).inc_by(*count);
    }
    registry.register("assay_verdicts", "Verdicts since the start", counts);
    let alerts = Whole::default();
    for name in ["pending", "firing", "silenced", "acknowledged", "resolved"] {
        let count = view.alerts.iter().filter(|alert| state(alert) == name).count();
        alerts.get_or_create(&vec![("state", name.into())]).set(whole(count as u64));
    }
    registry.register("assay_alerts", "Alerts by state", alerts);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn chains(registry: &mut Registry, view: &View, now: Timestamp) {
    let (head, indexed, lag) = (Whole::default(), Whole::default(), Whole::default());
    let (reorgs, errors, disagreements) = (Counts::default(), Counts::default(), Counts::default());
    for chain in &view.chains {
        let labels = vec![("chain", chain.name.clone())];
        if let Some(height) = chain.head {
            head.get_or_create(&labels).set(whole(height.0));
        }
        if let Some(block) = &chain.indexed {
            indexed.get_or_create(&labels).set(whole(block.height.0));
            lag.get_or_create(&labels).set(now.seconds_since(block.time).max(0));
        }
        reorgs.get_or_create(&labels).inc_by(chain.reorgs);
        for (kind, count) in &chain.source_errors {
            errors.get_or_create(&vec![("chain", chain.name.clone()), ("kind", (*kind).into())]).inc_by(*count);
            if *kind == "disagreement" {
                disagreements.get_or_create(&labels).inc_by(*count);
            }
        }
    }
    registry.register("assay_chain_head_height", "The last block that the node told of", head);
    registry.register("assay_indexed_height", "The last indexed block", indexed);
    registry.register("assay_index_lag_seconds", "Age of the last indexed block's time", lag);
    registry.register("assay_reorgs", "Times that blocks were taken back", reorgs);
    registry.register("assay_source_errors", "Answers of nodes that could not be used", errors);
    registry.register("assay_node_disagreements", "Times that nodes contradicted each other", disagreements);
}

fn exchanges(registry: &mut Registry, view: &View, now: Timestamp) {
    let (verified, age, coverage) = (Whole::default(), Whole::default(), Ratio::default());
    for exchange in &view.exchanges {
        let labels = vec![("exchange", exchange.id.clone())];
        if let Some(verdict) = &exchange.last_final {
            verified.get_or_create(&labels).set(verdict.given_at.unix_s());
        }
        if let Some(statement) = &exchange.statement {
            age.get_or_create(&labels).set(now.seconds_since(statement.as_of));
        }
        for line in exchange.verdict.iter().flat_map(|verdict| verdict.lines.iter()) {
            if let Some(ratio) = line.coverage_ratio.as_ref().and_then(|text| text.parse().ok()) {
                let labels = vec![("exchange", exchange.id.clone()), ("asset", line.asset.clone())];
                coverage.get_or_create(&labels).set(ratio);
            }
        }
    }
    registry.register("assay_last_verified_timestamp_seconds", "When the last final verdict was given", verified);
    registry.register("assay_statement_age_seconds", "Age of the latest statement's instant", age);
    registry.register("assay_coverage_ratio", "Holdings shown to be there, of what is owed", coverage);
}

/// One word for each alert, so that the states add up: of what fires, what is silenced or taken on is counted apart.
fn state(alert: &Alert) -> &'static str {
    match alert.state {
        State::Pending => "pending",
        State::Firing if alert.silenced.is_some() => "silenced",
        State::Firing if alert.acknowledged.is_some() => "acknowledged",
        State::Firing => "firing",
        State::Resolved => "resolved",
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
