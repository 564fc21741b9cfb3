//! One Prometheus Alertmanager, by its API v2: what fires is told again and again with the instant at which it may be forgotten,
//! so that neither side's restart loses an alert, and what is resolved is told for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use assay_desk::{Alert, Desk, State, View, clock};
use assay_indexer::Stop;
use assay_types::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use super::webhook::keeps_watch;
use crate::config::AlertmanagerConfig;
use crate::failure::{Failure, WRONG_INPUT};

const LOOK: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(15);
const LONGEST_TOKEN_BYTES: u64 = 4096;
/// How often what has not changed is told again.
const AGAIN: Duration = Duration::from_secs(30);
/// What is not told again for so long is resolved by the Alertmanager itself.
const FORGOTTEN_AFTER_S: i64 = 180;
/// For how long it is told that an alert is resolved.
const RESOLVED_FOR_S: i64 = 900;

/// Where to.
pub struct Alertmanager {
    name: String,
    url: String,
    token: Option<String>,
    client: Client,
}

/// Alerts as the Alertmanager knows them: by their labels.
type Told = BTreeMap<String, Value>;

impl Alertmanager {
    /// Reads the token, if there is one.
    pub fn new(config: &AlertmanagerConfig) -> Result<Alertmanager, Failure> {
        let read = |file: &std::path::PathBuf| assay_registry::read_text(file, LONGEST_TOKEN_BYTES);
        let token = config.token_file.as_ref().map(read).transpose()?.map(|text| text.trim().to_owned());
        let client = Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::new(WRONG_INPUT, error.without_url().to_string()))?;
        let url = format!("{}/api/v2/alerts", config.url.trim_end_matches('/'));
        Ok(Alertmanager { name: config.name.clone(), url, token, client })
    }

    /// Tells until the process stops.
    pub fn serve(&self, desk: &Desk, stop: &Stop) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(receiver = self.name, %error, "alerts cannot be sent"),
        };
        let started = clock::now();
        let (mut before, mut sent_at): (Told, Option<Instant>) = Default::default();
        while !stop.is_wished() {
            let told = told(&desk.view(), started, keeps_watch(desk));
            let due = told != before || sent_at.is_none_or(|at| at.elapsed() >= AGAIN);
            if due {
                match runtime.block_on(self.send(&alerts(&told, &before, clock::now()))) {
                    Ok(()) => (before, sent_at) = (told, Some(Instant::now())),
                    Err(why) => {
                        tracing::warn!(receiver = self.name, why, "the Alertmanager could not be told: again soon");
                        stop.pause(LOOK * 4);
                    }
                }
            }
            stop.pause(LOOK);
        }
    }

    async fn send(&self, alerts: &[Value]) -> Result<(), String> {
        let mut request = self.client.post(&self.url).json(alerts);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

/// What is to be known now, by labels; what is silenced here is not told.
fn told(view: &View, started: Timestamp, keeps_watch: bool) -> Told {
    let recent = |alert: &&Alert| match alert.state {
        State::Pending => false,
        State::Firing => alert.silenced.is_none(),
        State::Resolved => alert.resolved_at.is_some_and(|at| view.at.seconds_since(at) < RESOLVED_FOR_S),
    };
    let mut told: Told = view.alerts.iter().filter(recent).map(entry).collect();
    if keeps_watch {
        let labels = json!({ "alertname": "Watchdog", "severity": "none", "source": "assay" });
        let annotations = json!({ "summary": "always fires: without it no alert would come either" });
        let watchdog = json!({ "labels": labels, "annotations": annotations, "startsAt": started });
        told.insert(labels.to_string(), watchdog);
    }
    told
}

fn entry(alert: &Alert) -> (String, Value) {
    let mut labels =
        json!({ "alertname": alert.rule, "exchange": alert.exchange, "severity": alert.severity, "source": "assay" });
    let mut annotations = json!({ "summary": alert.message, "alert": alert.id });
    let mut note = |name: &str, text: Option<&String>| {
        if let Some(text) = text {
            annotations[name] = json!(text);
        }
    };
    note("owner", alert.duty.owner.as_ref());
    note("notes", alert.duty.notes.as_ref());
    note("first_steps", alert.duty.first_steps.as_ref());
    note("acknowledged_by", alert.acknowledged.as_ref().map(|acknowledged| &acknowledged.by));
    if let Some(asset) = &alert.asset {
        labels["asset"] = json!(asset);
    }
    let mut entry = json!({ "labels": labels, "annotations": annotations, "startsAt": alert.fired_at });
    if let Some(at) = alert.resolved_at {
        entry["endsAt"] = json!(at);
    }
    (labels.to_string(), entry)
}

/// What is sent: what fires, until when it counts; and what is no longer to be known, as ended.
fn alerts(told: &Told, before: &Told, now: Timestamp) -> Vec<Value> {
    let until = Timestamp::from_unix_s(now.unix_s().saturating_add(FORGOTTEN_AFTER_S));
    let with_end = |alert: &Value, at: Timestamp| {
        let mut alert = alert.clone();
        if alert["endsAt"].is_null() {
            alert["endsAt"] = json!(at);
        }
        alert
    };
    let gone = before.iter().filter(|(labels, _)| !told.contains_key(*labels));
    told.values().map(|alert| with_end(alert, until)).chain(gone.map(|(_, alert)| with_end(alert, now))).collect()
}
