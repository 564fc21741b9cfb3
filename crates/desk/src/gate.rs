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
    /// Of what, where not of everything.
    #[serde(flatten)]
    pub purposes: Purposes,
    /// Why, in words; empty when nothing stands against it.
    pub reason: String,
    /// The asset's verdict in that statement.
    pub verdict: Option<Verdict>,
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

/// The signal for each thing that a trading engine does with an asset. What has been halted stays so until the asset as a whole is
/// allowed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Purposes {
    /// Crediting customers.
    pub credits: Signal,
    /// Paying out.
    pub withdrawals: Signal,
    /// Matching orders.
    pub trading: Signal,
}

impl Purposes {
    /// The same for everything.
    pub fn all(signal: Signal) -> Purposes {
        Purposes { credits: signal, withdrawals: signal, trading: signal }
    }

    /// Halted where either is.
    pub(crate) fn and(self, other: Purposes) -> Purposes {
        let worse = |a, b| if a == Signal::Halt { a } else { b };
        Purposes {
            credits: worse(self.credits, other.credits),
            withdrawals: worse(self.withdrawals, other.withdrawals),
            trading: worse(self.trading, other.trading),
        }
    }
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
    /// What says that it should halt, the worst first, and of what.
    pub halting: Option<(&'a Finding, Purposes)>,
    /// The statement that was judged.
    pub statement: Option<Digest>,
    /// Is that statement too old to say anything of now?
    pub stale: bool,
}

/// Does a finding say that trading should halt, in its asset or in all where it is about none?
pub(crate) fn halts(finding: &Finding) -> Option<Purposes> {
    let (allow, halt) = (Signal::Allow, Purposes::all(Signal::Halt));
    match finding.rule {
        "phantom-assets" => Some(halt),
        _ if finding.evidence["level"] != "halt" => None,
        // Whoever wants their own coins back is not to be kept from them for what others trade.
        "turnover-over-holdings" => Some(Purposes { withdrawals: allow, ..halt }),
        // What leaves is to be stopped; what comes in may.
        "outflow-since-statement" => Some(Purposes { credits: allow, trading: allow, ..halt }),
        _ => Some(halt),
    }
}

/// The signal now, given what it was before.
pub fn gate(known: &Known<'_>, before: Option<&Gate>, settings: GateSettings, now: Timestamp) -> Gate {
    let (wished, reason, blind) = wish(known, settings);
    let nothing = Purposes::all(Signal::Allow);
    let halted = before.map_or(nothing, |before| before.purposes);
    let waits = halted != nothing && wished == nothing;
    let clear_since = waits.then(|| before.and_then(|before| before.clear_since).unwrap_or(now));
    let still = clear_since.is_some_and(|since| now.seconds_since(since) < settings.clear_after_s);
    let reason = match still {
        true => format!("nothing stands against it any more; allowed after {} s of that", settings.clear_after_s),
        false => reason,
    };
    let purposes = if wished == nothing && !still { nothing } else { halted.and(wished) };
    let signal = if purposes == nothing { Signal::Allow } else { Signal::Halt };
    let same = before.filter(|before| before.signal == signal);
    Gate {
        asset: known.asset.to_owned(),
        signal,
        purposes,
        reason,
        verdict: known.line.map(|line| line.verdict),
        statement: known.statement,
        since: same.map_or(now, |before| before.since),
        expires_at: Timestamp::from_unix_s(now.unix_s().saturating_add(settings.holds_s)),
        blind,
        clear_since: clear_since.filter(|_| still),
    }
}

/// What speaks now, whatever was before: a shortage halts also when the statement is stale, for age covers no debt.
fn wish(known: &Known<'_>, settings: GateSettings) -> (Purposes, String, bool) {
    if let Some((finding, purposes)) = known.halting {
        return (purposes, finding.message.clone(), false);
    }
    let blind = |why: &str| (Purposes::all(settings.blind), format!("cannot be told: {why}"), true);
    match known.line {
        None => blind("no statement has been judged yet"),
        Some(line) if line.verdict == Verdict::Short => {
            (Purposes::all(Signal::Halt), "coins that are owed are not there".into(), false)
        }
        Some(_) if known.stale => blind("the latest statement is too old"),
        Some(line) if line.verdict == Verdict::Indeterminate => {
            let why = line.unknown.first().map_or("holdings are not known well enough", |unknown| &unknown.reason);
            blind(why)
        }
        Some(_) => (Purposes::all(Signal::Allow), String::new(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_verifier::Severity;

    fn found(rule: &'static str, level: &str) -> Finding {
        let evidence = serde_json::json!({ "level": level });
        Finding { rule, severity: Severity::Critical, asset: None, message: rule.into(), evidence }
    }

    #[test]
    fn each_finding_halts_what_it_is_about() {
        use Signal::{Allow, Halt};
        let table = [
            ("phantom-assets", "", Some([Halt, Halt, Halt])),
            ("ledger-over-holdings", "halt", Some([Halt, Halt, Halt])),
            ("ledger-over-holdings", "alert", None),
            ("turnover-over-holdings", "halt", Some([Halt, Allow, Halt])),
            ("outflow-since-statement", "halt", Some([Allow, Halt, Allow])),
        ];
        for (rule, level, expected) in table {
            let halted = halts(&found(rule, level)).map(|of| [of.credits, of.withdrawals, of.trading]);
            assert_eq!(halted, expected, "{rule} {level}");
        }
    }

    #[test]
    fn what_is_halted_stays_so_until_nothing_has_stood_against_it_for_long_enough() {
        let at = |seconds: i64| Timestamp::from_unix_s(1_770_000_000 + seconds);
        let settings = GateSettings { blind: Signal::Allow, clear_after_s: 60, holds_s: 30 };
        let outflow = found("outflow-since-statement", "halt");
        let mut before: Option<Gate> = None;
        let mut play = |halting: Option<&Finding>, seconds| {
            let halting = halting.and_then(|finding| Some((finding, halts(finding)?)));
            let known = Known { asset: "BTC", line: None, halting, statement: None, stale: false };
            let now = gate(&known, before.as_ref(), settings, at(seconds));
            before = Some(now.clone());
            (now.signal, now.purposes.withdrawals, now.purposes.trading, now.since.seconds_since(at(0)))
        };
        use Signal::{Allow, Halt};
        assert_eq!(play(None, 0), (Allow, Allow, Allow, 0));
        assert_eq!(play(Some(&outflow), 5), (Halt, Halt, Allow, 5));
        assert_eq!(play(None, 10), (Halt, Halt, Allow, 5));
        assert_eq!(play(Some(&found("phantom-assets", "")), 20), (Halt, Halt, Halt, 5));
        assert_eq!(play(Some(&outflow), 30), (Halt, Halt, Halt, 5), "not let go one by one");
        assert_eq!(play(None, 40), (Halt, Halt, Halt, 5));
        assert_eq!(play(None, 99), (Halt, Halt, Halt, 5));
        assert_eq!(play(None, 100), (Allow, Allow, Allow, 100));
    }
}
