//! What people do about alerts: acknowledge one, keep some quiet for a while, announce maintenance. None of it changes a verdict,
//! a finding or a gate, and everything stays on record.

use assay_store::{Records, Row, Table};
use assay_types::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Alert, DeskError};

/// Somebody has taken an alert on. It is told no less for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Whose token.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In their words.
    pub note: String,
}

/// Alerts that are told to nobody until an instant. They stay visible, and say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its name.
    pub id: String,
    /// Only this exchange's.
    pub exchange: Option<String>,
    /// Only this rule's.
    pub rule: Option<String>,
    /// Only this asset's, by symbol.
    pub asset: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The first instant at which it no longer counts.
    pub until: Timestamp,
    /// Whose token.
    pub by: String,
    /// In their words.
    pub why: String,
}

/// A time for which an exchange has announced that no statements will come. What is found then is shown as ever; that the
/// statement is old was to be expected, and raises no alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The exchange.
    pub exchange: String,
    /// From when.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// When it was announced.
    pub announced_at: Timestamp,
    /// Whose token.
    pub by: String,
    /// In their words.
    pub why: String,
}

/// Something that a person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handling {
    /// Takes an alert on.
    Acknowledge {
        /// Its id.
        alert: String,
        /// Whose token.
        by: String,
        /// In their words.
        note: String,
    },
    /// Keeps alerts quiet; id and instant are filled in.
    Silence(Silence),
    /// Ends a silence.
    Unsilence {
        /// Its id.
        id: String,
    },
    /// Announces maintenance.
    Announce(Maintenance),
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum HandlingError {
    /// There is nothing of that name.
    #[error("there is nothing of that name")]
    NotFound,
    /// It is not allowed, and why.
    #[error("{0}")]
    Refused(String),
    /// It could not be kept.
    #[error("it could not be kept: {0}")]
    Failed(String),
}

/// No silence lasts longer.
const LONGEST_SILENCE_S: i64 = 30 * DAY_S;
const DAY_S: i64 = 86_400;
/// The rule that maintenance makes expected.
const EXPECTED: &str = "stale-statement";

const SILENCE: &[u8] = b"silence\0";
const MAINTENANCE: &[u8] = b"maintenance\0";

impl Silence {
    /// With its instant and its name.
    pub(crate) fn begun(self, now: Timestamp) -> Result<Silence, HandlingError> {
        let refused = |why: &str| Err(HandlingError::Refused(why.into()));
        if self.exchange.is_none() && self.rule.is_none() && self.asset.is_none() {
            return refused("a silence names an exchange, a rule or an asset: nobody may silence everything");
        }
        match self.until.seconds_since(now) {
            ..=0 => return refused("`until` is over already"),
            1..=LONGEST_SILENCE_S => {}
            _ => return refused("a silence lasts 30 days at most"),
        }
        let silence = Silence { since: now, ..self };
        let text = serde_json::to_string(&silence).map_err(|error| HandlingError::Failed(error.to_string()))?;
        Ok(Silence { id: short_digest(&text), ..silence })
    }

    pub(crate) fn covers(&self, alert: &Alert, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        self.until > now
            && is(&self.exchange, Some(&alert.exchange))
            && is(&self.rule, Some(&alert.rule))
            && is(&self.asset, alert.asset.as_deref())
    }

    pub(crate) fn row(&self) -> Result<Row, DeskError> {
        row([SILENCE, self.id.as_bytes()].concat(), self)
    }
}

impl Maintenance {
    /// May it be? `known`: what the exchange has announced before; in any day at most `longest_s` of it.
    pub(crate) fn check(&self, known: &[Maintenance], longest_s: i64) -> Result<(), HandlingError> {
        let refused = |why: String| Err(HandlingError::Refused(why));
        if self.from < self.announced_at {
            return refused(format!("`from` is {}: maintenance is announced before it begins", self.from));
        }
        if self.until <= self.from {
            return refused("`until` is not after `from`".into());
        }
        let length_s = |one: &Maintenance| one.until.seconds_since(one.from);
        let near = |one: &&Maintenance| {
            one.from.seconds_since(self.until) < DAY_S && self.from.seconds_since(one.until) < DAY_S
        };
        let sum_s: i64 = known.iter().filter(near).map(length_s).sum::<i64>() + length_s(self);
        if sum_s > longest_s {
            return refused(format!("that makes {sum_s} seconds of maintenance within a day: {longest_s} at most"));
        }
        Ok(())
    }

    pub(crate) fn is_on(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    pub(crate) fn expects(&self, rule: &str, now: Timestamp) -> bool {
        rule == EXPECTED && self.is_on(now)
    }

    pub(crate) fn row(&self) -> Result<Row, DeskError> {
        let from = u64::try_from(self.from.unix_s()).unwrap_or_default().to_be_bytes();
        row([MAINTENANCE, self.exchange.as_bytes(), &[0], &from].concat(), self)
    }
}

/// Every silence on record.
pub(crate) fn silences(records: &Records) -> Result<Vec<Silence>, DeskError> {
    rows(records, SILENCE)
}

/// Every maintenance on record.
pub(crate) fn maintenance(records: &Records) -> Result<Vec<Maintenance>, DeskError> {
    rows(records, MAINTENANCE)
}

/// The first 64 bits of a text's SHA-256: enough to name what people make.
pub(crate) fn short_digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string().trim_start_matches("sha256:").chars().take(16).collect()
}

fn row(key: Vec<u8>, value: &impl Serialize) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(value).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Meta, key, value: Some(value) })
}

fn rows<T: for<'de> Deserialize<'de>>(records: &Records, prefix: &[u8]) -> Result<Vec<T>, DeskError> {
    let rows = records.oldest_first(Table::Meta, prefix, usize::MAX)?;
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| {
        let damaged = |error| records.damaged(format!("a row about alerts cannot be read: {error}"));
        Ok(serde_json::from_slice(value).map_err(damaged)?)
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_s(1_770_000_000 + seconds)
    }

    fn window(from: i64, until: i64) -> Maintenance {
        let (exchange, by, why) = ("acme".into(), "acme".into(), "a new engine".into());
        Maintenance { exchange, from: at(from), until: at(until), announced_at: at(0), by, why }
    }

    #[test]
    fn maintenance_is_announced_before_and_is_not_for_ever() {
        let table = [
            (window(0, 3600), vec![], true),
            (window(-1, 3600), vec![], false),
            (window(60, 60), vec![], false),
            (window(60, 60 + 7201), vec![], false),
            (window(7200, 10_800), vec![window(0, 3600)], true),
            (window(7200, 10_801), vec![window(0, 3600)], false),
            (window(3600 + DAY_S, 10_800 + DAY_S), vec![window(0, 3600)], true),
        ];
        for (wished, known, allowed) in table {
            assert_eq!(wished.check(&known, 7200).is_ok(), allowed, "{wished:?} {known:?}");
        }
        let on = window(10, 20);
        assert_eq!([9, 10, 19, 20].map(|second| on.expects("stale-statement", at(second))), [false, true, true, false]);
        assert!(!on.expects("phantom-assets", at(15)));
    }

    #[test]
    fn a_silence_names_something_and_ends() {
        let silence = |exchange: Option<&str>, seconds| Silence {
            id: String::new(),
            exchange: exchange.map(str::to_owned),
            rule: None,
            asset: None,
            since: at(0),
            until: at(seconds),
            by: "duty".into(),
            why: "known".into(),
        };
        assert!(silence(None, 60).begun(at(0)).is_err());
        assert!(silence(Some("acme"), 0).begun(at(0)).is_err());
        assert!(silence(Some("acme"), LONGEST_SILENCE_S + 1).begun(at(0)).is_err());
        assert_eq!(silence(Some("acme"), 60).begun(at(0)).unwrap().id.len(), 16);
    }
}
