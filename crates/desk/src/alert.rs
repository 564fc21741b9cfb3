//! Alerts as operations people know them. Pure: what is observed and the clock's reading go in, what changed comes out.
//!
//! One discrepancy is one alert: its id is made of the rule, the exchange and the asset, so that neither a restart nor another
//! statement with the same fault makes it a second one. What could not be judged raises nothing and clears nothing.

use std::collections::BTreeMap;

use assay_types::{Digest, Timestamp};
use assay_verifier::Severity;
use serde::{Deserialize, Serialize};

/// One discrepancy, for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same discrepancy, also across restarts.
    pub id: String,
    /// The rule that observes it.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The exchange that it is about.
    pub exchange: String,
    /// The asset's symbol, where it is about one.
    pub asset: Option<String>,
    /// Where it stands.
    pub state: State,
    /// When it was first observed, this time.
    pub since: Timestamp,
    /// When it was last observed, while it is pending or firing and no longer observed.
    pub unseen_since: Option<Timestamp>,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// How many times it has fired.
    pub episodes: u64,
    /// For people on duty.
    pub message: String,
}

/// Where an alert stands. What is not observed and not remembered is inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Observed, and not yet for as long as is demanded.
    Pending,
    /// Observed for long enough.
    Firing,
    /// No longer observed.
    Resolved,
}

/// Something that a rule observes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The rule.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The exchange.
    pub exchange: String,
    /// The asset's symbol, where it is about one.
    pub asset: Option<String>,
    /// For people on duty.
    pub message: String,
}

/// The operator's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertSettings {
    /// For how many seconds something must be observed before it fires.
    pub raise_after_s: i64,
    /// For how many seconds it must not be observed before it is resolved.
    pub clear_after_s: i64,
}

impl Default for AlertSettings {
    fn default() -> AlertSettings {
        AlertSettings { raise_after_s: 0, clear_after_s: 60 }
    }
}

impl Observation {
    fn id(&self) -> String {
        let parts = [self.rule, &self.exchange, self.asset.as_deref().unwrap_or("")];
        let digest = Digest::of(parts.join("\0").as_bytes()).to_string();
        digest.trim_start_matches("sha256:").chars().take(16).collect()
    }

    fn alert(&self, id: String, now: Timestamp, episodes: u64) -> Alert {
        Alert {
            id,
            rule: self.rule.to_owned(),
            severity: self.severity,
            exchange: self.exchange.clone(),
            asset: self.asset.clone(),
            state: State::Pending,
            since: now,
            unseen_since: None,
            fired_at: None,
            resolved_at: None,
            episodes,
            message: self.message.clone(),
        }
    }
}

/// Brings the alerts, by id, up to what is observed now, and gives those whose state changed. `judged`: could this exchange
/// be judged at all? Of one that could not, nothing changes.
pub fn observe(
    alerts: &mut BTreeMap<String, Alert>,
    observed: &[Observation],
    judged: impl Fn(&str) -> bool,
    settings: AlertSettings,
    now: Timestamp,
) -> Vec<Alert> {
    let mut worst: BTreeMap<String, &Observation> = BTreeMap::new();
    for one in observed.iter().filter(|one| judged(&one.exchange)) {
        let known = worst.entry(one.id()).or_insert(one);
        if one.severity < known.severity {
            *known = one;
        }
    }
    let mut changed = Vec::new();
    for (id, one) in &worst {
        let before = alerts.get(id).filter(|alert| alert.state != State::Resolved).cloned();
        let episodes = alerts.get(id).map_or(0, |alert| alert.episodes);
        let mut alert = before.clone().unwrap_or_else(|| one.alert(id.clone(), now, episodes));
        (alert.severity, alert.message, alert.unseen_since) = (one.severity, one.message.clone(), None);
        if alert.state == State::Pending && now.seconds_since(alert.since) >= settings.raise_after_s {
            alert.state = State::Firing;
            alert.fired_at = Some(now);
            alert.episodes += 1;
        }
        if before.map(|before| before.state) != Some(alert.state) {
            changed.push(alert.clone());
        }
        alerts.insert(id.clone(), alert);
    }
    let gone: Vec<String> = alerts.keys().filter(|id| !worst.contains_key(*id)).cloned().collect();
    for id in gone {
        let Some(alert) = alerts.get_mut(&id).filter(|alert| judged(&alert.exchange)) else { continue };
        let unseen_since = *alert.unseen_since.get_or_insert(now);
        match alert.state {
            State::Resolved => {}
            // What never fired need not be resolved.
            State::Pending => drop(alerts.remove(&id)),
            State::Firing if now.seconds_since(unseen_since) >= settings.clear_after_s => {
                alert.state = State::Resolved;
                alert.resolved_at = Some(now);
                changed.push(alert.clone());
            }
            State::Firing => {}
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AlertSettings = AlertSettings { raise_after_s: 10, clear_after_s: 60 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_s(1_770_000_000 + seconds)
    }

    fn short(severity: Severity) -> Observation {
        let (exchange, asset) = ("acme".to_owned(), Some("BTC".to_owned()));
        Observation { rule: "phantom-assets", severity, exchange, asset, message: "missing".into() }
    }

    /// At which second it is, or is not, observed, or could not be judged.
    type Times<'a> = &'a [(i64, Option<bool>)];

    /// Plays times at which it is, or is not, observed, or could not be judged, and gives what changed when.
    fn play(times: Times<'_>) -> Vec<(i64, State)> {
        let mut alerts = BTreeMap::new();
        let mut seen = Vec::new();
        for (seconds, found) in times {
            let observed = if *found == Some(true) { vec![short(Severity::Critical)] } else { vec![] };
            // As if the process had been killed and started again between any two looks.
            let rows: Vec<u8> = serde_json::to_vec(&alerts).unwrap();
            alerts = serde_json::from_slice(&rows).unwrap();
            let changed = observe(&mut alerts, &observed, |_| found.is_some(), SETTINGS, at(*seconds));
            seen.extend(changed.into_iter().map(|alert| (*seconds, alert.state)));
        }
        seen
    }

    #[test]
    fn an_alert_is_pending_then_fires_once_and_is_resolved_once() {
        use State::{Firing, Pending, Resolved};
        let (yes, no, blind) = (Some(true), Some(false), None);
        let table: &[(Times<'_>, &[(i64, State)])] = &[
            (&[(0, yes), (5, yes), (10, yes), (20, yes)], &[(0, Pending), (10, Firing)]),
            (&[(0, yes), (5, no), (6, yes), (12, yes)], &[(0, Pending), (6, Pending)]),
            (
                &[(0, yes), (10, yes), (20, no), (79, no), (80, no), (200, no)],
                &[(0, Pending), (10, Firing), (80, Resolved)],
            ),
            (&[(0, yes), (10, yes), (20, no), (70, yes), (90, no), (149, no)], &[(0, Pending), (10, Firing)]),
            (&[(0, yes), (10, yes), (20, blind), (500, blind)], &[(0, Pending), (10, Firing)]),
            (
                &[(0, yes), (10, yes), (20, no), (80, no), (90, yes), (100, yes)],
                &[(0, Pending), (10, Firing), (80, Resolved), (90, Pending), (100, Firing)],
            ),
        ];
        for (times, expected) in table {
            assert_eq!(play(times), *expected, "{times:?}");
        }
    }

    #[test]
    fn the_same_discrepancy_is_one_alert_of_its_worst_severity() {
        let mut alerts = BTreeMap::new();
        let observed = [short(Severity::Warning), short(Severity::Critical), short(Severity::Error)];
        let settings = AlertSettings { raise_after_s: 0, ..SETTINGS };
        let changed = observe(&mut alerts, &observed, |_| true, settings, at(0));
        assert_eq!(changed.len(), 1);
        assert_eq!(
            (changed[0].severity, changed[0].state, changed[0].episodes),
            (Severity::Critical, State::Firing, 1)
        );
        assert!(observe(&mut alerts, &observed, |_| true, settings, at(1)).is_empty());
        let other = Observation { asset: Some("ETH".into()), ..short(Severity::Critical) };
        assert_ne!(other.id(), short(Severity::Critical).id());
    }
}
