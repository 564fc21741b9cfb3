//! The halt signal for an exchange's trading engine, by asset. Pure.
//!
//! A shortage halts at once, on the provisional verdict already. It allows again only when nothing has stood against it for
//! a while, so that a figure at the threshold does not open and shut the gate with every block.

use assay_types::{Digest, Timestamp};
use assay_verifier::{Finding, Line, Verdict};
use serde::{Deserialize, Serialize};

/// What the trading engine should do with one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The asset's symbol.
    pub asset: String,
    /// What to do.
    pub signal: Signal,
    /// Why, in words; empty when nothing stands against it.
    pub reason: String,
    /// The statement whose verdict it rests on.
    pub statement: Option<Digest>,
    /// When it last changed.
    pub since: Timestamp,
    /// After this instant it says nothing any more: ask again.
    pub expires_at: Timestamp,
    /// Is Assay itself blind, so that the policy's choice for that case is given?
    pub blind: bool,
    /// Since when nothing stands against it, while it is still halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_since: Option<Timestamp>,
}

/// `allow` or `halt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Go on.
    Allow,
    /// Stop.
    Halt,
}

/// The operator's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    /// What to say while Assay cannot tell.
    pub blind: Signal,
    /// For how many seconds nothing must stand against an asset before it is allowed again.
    pub clear_after_s: i64,
    /// For how many seconds an answer holds.
    pub holds_s: i64,
}

impl Default for GateSettings {
    fn default() -> GateSettings {
        GateSettings { blind: Signal::Halt, clear_after_s: 60, holds_s: 30 }
    }
}

/// What is known of an asset now.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The asset's symbol.
    pub asset: &'a str,
    /// Its line in the latest verdict; `None` without one.
    pub line: Option<&'a Line>,
    /// What says that it should halt, the worst first.
    pub halting: Option<&'a Finding>,
    /// The statement that was judged.
    pub statement: Option<Digest>,
    /// Is that statement too old to say anything of now?
    pub stale: bool,
}

/// Does a finding say that trading should halt, in its asset or in all where it is about none?
pub(crate) fn halts(finding: &Finding) -> bool {
    finding.rule == "phantom-assets" || finding.evidence["level"] == "halt"
}

/// The signal now, given what it was before.
pub fn gate(known: &Known<'_>, before: Option<&Gate>, settings: GateSettings, now: Timestamp) -> Gate {
    let (wished, reason, blind) = wish(known, settings);
    let halted = before.is_some_and(|before| before.signal == Signal::Halt);
    let waits = halted && wished == Signal::Allow;
    let clear_since = waits.then(|| before.and_then(|before| before.clear_since).unwrap_or(now));
    let still = clear_since.is_some_and(|since| now.seconds_since(since) < settings.clear_after_s);
    let (signal, reason) = match still {
        true => (
            Signal::Halt,
            format!("nothing stands against it any more; allowed after {} s of that", settings.clear_after_s),
        ),
        false => (wished, reason),
    };
    let same = before.filter(|before| before.signal == signal);
    Gate {
        asset: known.asset.to_owned(),
        signal,
        reason,
        statement: known.statement,
        since: same.map_or(now, |before| before.since),
        expires_at: Timestamp::from_unix_s(now.unix_s().saturating_add(settings.holds_s)),
        blind,
        clear_since: clear_since.filter(|_| still),
    }
}

/// What speaks now, whatever was before: a shortage halts also when the statement is stale, for age covers no debt.
fn wish(known: &Known<'_>, settings: GateSettings) -> (Signal, String, bool) {
    if let Some(finding) = known.halting {
        return (Signal::Halt, finding.message.clone(), false);
    }
    let blind = |why: &str| (settings.blind, format!("cannot be told: {why}"), true);
    match known.line {
        None => blind("no statement has been judged yet"),
        Some(line) if line.verdict == Verdict::Short => {
            (Signal::Halt, "coins that are owed are not there".into(), false)
        }
        Some(_) if known.stale => blind("the latest statement is too old"),
        Some(line) if line.verdict == Verdict::Indeterminate => {
            let why = line.unknown.first().map_or("holdings are not known well enough", |unknown| &unknown.reason);
            blind(why)
        }
        Some(_) => (Signal::Allow, String::new(), false),
    }
}
