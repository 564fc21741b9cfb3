//! Alerts as operations people know them. Pure: what is observed and the clock's reading go in, what changed comes out.
//!
//! One discrepancy is one alert: its id is made of the rule, the exchange and the asset, so that neither a restart nor another
//! statement with the same fault makes it a second one. What could not be judged raises nothing and clears nothing.

use std::collections::{BTreeMap, BTreeSet};

use assay_types::Timestamp;
use assay_verifier::{Severity, first_steps};
use serde::{Deserialize, Serialize};

use crate::handling::{Acknowledged, Silence, short_digest};

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
    /// Who has taken it on, this time.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
    /// What keeps it quiet at the moment.
    #[serde(default)]
    pub silenced: Option<Silence>,
    /// As how bad the receivers have been told that it fires; `None` where they have not, or have been told that it is resolved.
    #[serde(default)]
    pub told_as: Option<Severity>,
    /// Whose it is to look after, and what they do.
    #[serde(default)]
    pub duty: Duty,
    /// While it is pending, what it was when it was last resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Box<Alert>>,
}

/// What people on duty are told beside the fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duty {
    /// Who looks after it.
    pub owner: Option<String>,
    /// The operator's notes.
    pub notes: Option<String>,
    /// What to do first.
    pub first_steps: Option<String>,
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
    /// What it is about, where a rule may find several things at one exchange.
    pub subject: String,
    /// May it be of a moment? Then it must last before it fires.
    pub patient: bool,
    /// Does it raise nothing, and only keep up what fires already?
    pub holds: bool,
}

/// The operator's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// For how many seconds something must be observed before it fires.
    pub raise_after_s: i64,
    /// For how many seconds it must not be observed before it is resolved.
    pub clear_after_s: i64,
    /// How many seconds of maintenance an exchange may announce within a day.
    pub longest_maintenance_s: i64,
    /// What is chosen otherwise for single rules.
    pub rules: BTreeMap<String, RuleSettings>,
}

/// The operator's choices for one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// In place of [`AlertSettings::raise_after_s`].
    pub raise_after_s: Option<i64>,
    /// In place of [`AlertSettings::clear_after_s`].
    pub clear_after_s: Option<i64>,
    /// What people on duty are told.
    pub duty: Duty,
}

/// How long what may be of a moment must last, unless the operator chooses otherwise: longer than from one statement to the next.
const PATIENCE_S: i64 = 120;

impl Default for AlertSettings {
    fn default() -> AlertSettings {
        AlertSettings { raise_after_s: 0, clear_after_s: 60, longest_maintenance_s: 4 * 3600, rules: BTreeMap::new() }
    }
}

impl AlertSettings {
    fn raise_after_s(&self, one: &Observation) -> i64 {
        let least_s = if one.patient { PATIENCE_S } else { 0 };
        let chosen = self.rules.get(one.rule).and_then(|rule| rule.raise_after_s);
        chosen.unwrap_or(self.raise_after_s.max(least_s))
    }

    fn clear_after_s(&self, rule: &str) -> i64 {
        self.rules.get(rule).and_then(|rule| rule.clear_after_s).unwrap_or(self.clear_after_s)
    }

    fn duty(&self, rule: &str) -> Duty {
        let chosen = self.rules.get(rule).map(|rule| rule.duty.clone()).unwrap_or_default();
        let first_steps = chosen.first_steps.or_else(|| first_steps(rule).map(str::to_owned));
        Duty { first_steps, ..chosen }
    }
}

impl Observation {
    fn id(&self) -> String {
        let parts = [self.rule, &self.exchange, self.asset.as_deref().unwrap_or(""), &self.subject];
        let parts = if self.subject.is_empty() { &parts[..3] } else { &parts };
        short_digest(&parts.join("\0"))
    }

    /// `last`: the same when it was last resolved, if it ever was. Its episodes are counted on.
    fn alert(&self, id: String, now: Timestamp, last: Option<&Alert>) -> Alert {
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
            episodes: last.map_or(0, |last| last.episodes),
            message: self.message.clone(),
            acknowledged: None,
            silenced: None,
            told_as: None,
            duty: Duty::default(),
            last: last.cloned().map(Box::new),
        }
    }
}

/// Brings the alerts, by id, up to what is observed now, and gives those whose state changed. `judged`: could this exchange
/// be judged by this rule at all? Where it could not, nothing changes.
pub fn observe(
    alerts: &mut BTreeMap<String, Alert>,
    observed: &[Observation],
    judged: impl Fn(&str, &str) -> bool,
    settings: &AlertSettings,
    now: Timestamp,
) -> Vec<Alert> {
    let mut worst: BTreeMap<String, &Observation> = BTreeMap::new();
    let known = observed.iter().filter(|one| judged(&one.exchange, one.rule));
    let (held, seen): (Vec<_>, Vec<_>) = known.partition(|one| one.holds);
    for one in seen {
        let known = worst.entry(one.id()).or_insert(one);
        if one.severity < known.severity {
            *known = one;
        }
    }
    let mut changed = Vec::new();
    for (id, one) in &worst {
        let before = alerts.get(id).filter(|alert| alert.state != State::Resolved).cloned();
        let mut alert = before.clone().unwrap_or_else(|| one.alert(id.clone(), now, alerts.get(id)));
        (alert.severity, alert.message, alert.unseen_since) = (one.severity, one.message.clone(), None);
        if alert.state == State::Pending && now.seconds_since(alert.since) >= settings.raise_after_s(one) {
            alert.state = State::Firing;
            (alert.fired_at, alert.last) = (Some(now), None);
            alert.episodes += 1;
        }
        if before.map(|before| before.state) != Some(alert.state) {
            changed.push(alert.clone());
        }
        alerts.insert(id.clone(), alert);
    }
    let held: BTreeSet<String> = held.into_iter().map(Observation::id).collect();
    let gone: Vec<String> = alerts.keys().filter(|id| !worst.contains_key(*id)).cloned().collect();
    for id in gone {
        let Some(alert) = alerts.get_mut(&id).filter(|alert| judged(&alert.exchange, &alert.rule)) else { continue };
        if alert.state == State::Firing && held.contains(&id) {
            alert.unseen_since = None;
            continue;
        }
        let unseen_since = *alert.unseen_since.get_or_insert(now);
        match alert.state {
            State::Resolved => {}
            // What never fired need not be resolved. What fired before is kept as it was: receivers know its episodes by number.
            State::Pending => match alert.last.take() {
                Some(last) => *alert = *last,
                None => drop(alerts.remove(&id)),
            },
            State::Firing if now.seconds_since(unseen_since) >= settings.clear_after_s(&alert.rule) => {
                alert.state = State::Resolved;
                alert.resolved_at = Some(now);
                changed.push(alert.clone());
            }
            State::Firing => {}
        }
    }
    changed
}

/// Says what each alert's duty is and which silence covers it, and gives those that the receivers are told of now: that an
/// alert fires, once it is not silenced, and again when it becomes worse; and that it is resolved, if it was told that it fires.
pub fn to_tell(
    alerts: &mut BTreeMap<String, Alert>,
    silences: &[Silence],
    settings: &AlertSettings,
    now: Timestamp,
) -> Vec<Alert> {
    let mut due = Vec::new();
    for alert in alerts.values_mut() {
        alert.silenced = silences.iter().find(|silence| silence.covers(alert, now)).cloned();
        if alert.state != State::Resolved {
            alert.duty = settings.duty(&alert.rule);
        }
        let tells = match alert.state {
            State::Pending => false,
            State::Firing => alert.silenced.is_none() && alert.told_as.is_none_or(|told| alert.severity < told),
            State::Resolved => alert.told_as.is_some(),
        };
        if tells {
            alert.told_as = (alert.state == State::Firing).then_some(alert.severity);
            due.push(alert.clone());
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AlertSettings {
        AlertSettings { raise_after_s: 10, ..AlertSettings::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_s(1_770_000_000 + seconds)
    }

    fn short(severity: Severity) -> Observation {
        let (exchange, asset) = ("acme".to_owned(), Some("BTC".to_owned()));
        Observation {
            rule: "phantom-assets",
            severity,
            exchange,
            asset,
            message: "missing".into(),
            subject: String::new(),
            patient: false,
            holds: false,
        }
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
            let changed = observe(&mut alerts, &observed, |_, _| found.is_some(), &settings(), at(*seconds));
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
    fn episodes_are_counted_on_also_after_one_that_never_fired() {
        let mut alerts = BTreeMap::new();
        let mut look = |seconds: i64, found: bool| {
            let observed = if found { vec![short(Severity::Critical)] } else { vec![] };
            observe(&mut alerts, &observed, |_, _| true, &settings(), at(seconds));
            alerts.values().next().map(|alert| (alert.state, alert.episodes, alert.fired_at, alert.resolved_at))
        };
        let (first, resolved) = (Some(at(10)), Some(at(80)));
        assert_eq!((look(0, true), look(1, false)), (Some((State::Pending, 0, None, None)), None));
        look(0, true);
        assert_eq!(look(10, true), Some((State::Firing, 1, first, None)));
        assert_eq!((look(20, false), look(80, false)).1, Some((State::Resolved, 1, first, resolved)));
        assert_eq!(look(90, true), Some((State::Pending, 1, None, None)));
        assert_eq!(look(91, false), Some((State::Resolved, 1, first, resolved)));
        look(100, true);
        assert_eq!(look(110, true), Some((State::Firing, 2, Some(at(110)), None)));
    }

    #[test]
    fn the_same_discrepancy_is_one_alert_of_its_worst_severity() {
        let mut alerts = BTreeMap::new();
        let observed = [short(Severity::Warning), short(Severity::Critical), short(Severity::Error)];
        let settings = AlertSettings::default();
        let changed = observe(&mut alerts, &observed, |_, _| true, &settings, at(0));
        assert_eq!(changed.len(), 1);
        assert_eq!(
            (changed[0].severity, changed[0].state, changed[0].episodes),
            (Severity::Critical, State::Firing, 1)
        );
        assert!(observe(&mut alerts, &observed, |_, _| true, &settings, at(1)).is_empty());
        let other = Observation { asset: Some("ETH".into()), ..short(Severity::Critical) };
        assert_ne!(other.id(), short(Severity::Critical).id());
    }

    #[test]
    fn a_rule_may_wait_longer_and_what_holds_neither_raises_nor_clears() {
        let rule = RuleSettings { raise_after_s: Some(100), clear_after_s: Some(5), ..RuleSettings::default() };
        let settings = AlertSettings { rules: BTreeMap::from([("phantom-assets".into(), rule)]), ..settings() };
        let mut alerts = BTreeMap::new();
        let (found, held) = ([short(Severity::Error)], [Observation { holds: true, ..short(Severity::Notice) }]);
        let mut play = |observed: &[Observation], seconds| -> Vec<State> {
            let changed = observe(&mut alerts, observed, |_, _| true, &settings, at(seconds));
            changed.into_iter().map(|alert| alert.state).collect()
        };
        assert_eq!(play(&held, 0), []);
        assert_eq!(play(&found, 1), [State::Pending]);
        assert_eq!(play(&found, 100), []);
        assert_eq!(play(&found, 101), [State::Firing]);
        assert_eq!(play(&held, 102), []);
        assert_eq!(play(&held, 500), []);
        assert_eq!(play(&[], 501), []);
        assert_eq!(play(&held, 505), []);
        assert_eq!(play(&[], 506), []);
        assert_eq!(play(&[], 511), [State::Resolved]);
    }

    #[test]
    fn what_is_silenced_is_told_when_the_silence_ends_if_it_still_fires() {
        let silence = Silence {
            id: "s".into(),
            exchange: Some("acme".into()),
            rule: None,
            asset: None,
            since: at(0),
            until: at(100),
            by: "duty".into(),
            why: "known".into(),
        };
        let settings = AlertSettings { clear_after_s: 0, ..AlertSettings::default() };
        let mut alerts = BTreeMap::new();
        let mut play = |observed: &[Observation], silences: &[Silence], seconds| -> Vec<State> {
            observe(&mut alerts, observed, |_, _| true, &settings, at(seconds));
            let told = to_tell(&mut alerts, silences, &settings, at(seconds));
            let steps = |alert: &Alert| alert.duty.first_steps.as_ref().is_some_and(|steps| steps.contains("explain"));
            assert!(told.iter().all(steps));
            told.into_iter().map(|alert| alert.state).collect()
        };
        let (found, silences) = ([short(Severity::Error)], [silence]);
        assert_eq!(play(&found, &silences, 1), []);
        assert_eq!(play(&[], &silences, 2), []); // never told, so not taken back
        assert_eq!(play(&found, &silences, 3), []);
        assert_eq!(play(&found, &silences, 99), []);
        assert_eq!(play(&found, &silences, 100), [State::Firing]);
        assert_eq!(play(&found, &silences, 101), []);
        assert_eq!(play(&[], &silences, 102), [State::Resolved]);
        assert_eq!(play(&[], &silences, 103), []);
    }

    #[test]
    fn what_becomes_worse_is_told_again_and_what_becomes_better_is_not() {
        let (settings, mut alerts) = (AlertSettings::default(), BTreeMap::new());
        let mut play = |severity, seconds| -> Vec<Severity> {
            observe(&mut alerts, &[short(severity)], |_, _| true, &settings, at(seconds));
            let told = to_tell(&mut alerts, &[], &settings, at(seconds));
            told.into_iter().map(|alert| alert.severity).collect()
        };
        use Severity::{Critical, Error, Warning};
        assert_eq!(play(Warning, 0), [Warning]);
        assert_eq!(play(Critical, 1), [Critical]);
        assert_eq!(play(Error, 2), []);
        assert_eq!(play(Critical, 3), []);
    }
}
