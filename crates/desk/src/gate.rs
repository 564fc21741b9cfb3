//! The halt signal for an exchange's trading engine, by asset. Pure.
//!
//! A shortage halts at once, on the provisional verdict already. It allows again only when nothing has stood against it for
//! a while, so that a figure at the threshold does not open and shut the gate with every block. What cannot be told for a moment
//! leaves the gate as it was; then the operator's choice for that case is given. What is halted stays so while it cannot be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_types::{Digest, Timestamp};
use assay_verifier::{Finding, Line, Reconciliation, Unknown, Verdict};
use serde::{Deserialize, Serialize};

/// The rule that only the time breaks.
pub(crate) const STALE: &str = "stale-statement";

/// What the trading engine should do with one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Is Assay itself blind, so that the policy's choice for that case is given, or about to be?
    pub blind: bool,
    /// Since when it is blind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<Timestamp>,
    /// Since when nothing stands against it, while it is still halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_since: Option<Timestamp>,
}

/// The signal for each thing that a trading engine does with an asset. What has been halted stays so until the asset as a whole is
/// allowed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// For how many seconds it must not be able to tell before that is said: a block may be named that is still on its way.
    pub blind_after_s: i64,
    /// For how many seconds nothing must stand against an asset before it is allowed again.
    pub clear_after_s: i64,
    /// For how many seconds an answer holds.
    pub holds_s: i64,
}

impl Default for GateSettings {
    fn default() -> GateSettings {
        GateSettings { blind: Signal::Halt, blind_after_s: 30, clear_after_s: 60, holds_s: 30 }
    }
}

/// What is known of an asset now.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The asset's symbol.
    pub asset: &'a str,
    /// What its line in the latest verdict says; `None` without one.
    pub verdict: Option<Verdict>,
    /// Why that is `indeterminate`, if it is.
    pub unknown: Option<&'a str>,
    /// Why nothing is known of the chain now, if so.
    pub behind: Option<&'a str>,
    /// What says that it should halt, the worst first, and of what.
    pub halting: Option<(&'a Finding, Purposes)>,
    /// The statement that was judged.
    pub statement: Option<Digest>,
    /// Is that statement too old to say anything of now?
    pub stale: bool,
    /// Is all that is unknown of it a block on which the statement was judged, and that has left the chain since?
    pub lost: bool,
}

/// What matters to all of an exchange's gates.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// What is found now.
    pub(crate) findings: &'a [Arc<Finding>],
    /// Why nothing is known of a chain now, if so.
    pub(crate) behind: Option<&'a str>,
    /// Why blocks are not known on which the statement was judged, and that have left the chain since.
    pub(crate) lost: &'a [&'a str],
}

/// All of an exchange's gates now, by asset. `before`: in the same order.
pub(crate) fn gates(
    verdict: Option<&Reconciliation>,
    Circumstances { findings, behind, lost }: Circumstances<'_>,
    before: &[Gate],
    settings: GateSettings,
    now: Timestamp,
) -> Vec<Gate> {
    let stale = findings.iter().any(|finding| finding.rule == STALE);
    let mut halting: BTreeMap<Option<&str>, (&Finding, Purposes)> = BTreeMap::new();
    for (finding, of) in findings.iter().filter_map(|finding| Some((finding, halts(finding)?))) {
        let known = halting.entry(finding.asset.as_deref()).or_insert((finding, of));
        known.1 = known.1.and(of);
    }
    let statement = verdict.map(|verdict| verdict.statement.digest);
    let lines = verdict.map_or(&[][..], |verdict| &verdict.lines);
    let mut assets: BTreeMap<&str, (Option<&Line>, Option<&Gate>)> =
        lines.iter().map(|line| (line.asset.as_str(), (Some(line), None))).collect();
    for gate in before {
        match assets.get_mut(gate.asset.as_str()) {
            Some(asset) => asset.1 = Some(gate),
            // What was halted stays so, also while no line speaks of it; and where there is no verdict any more, nobody can tell.
            None if gate.signal == Signal::Halt || verdict.is_none() => {
                assets.insert(&gate.asset, (None, Some(gate)));
            }
            None => {}
        }
    }
    let one = |(asset, (line, before)): (&str, (Option<&Line>, Option<&Gate>))| {
        let halting = match (halting.get(&Some(asset)), halting.get(&None)) {
            (Some(own), Some(all)) => Some((own.0, own.1.and(all.1))),
            (own, all) => own.or(all).copied(),
        };
        let unknown = line.and_then(|line| line.unknown.first()).map(|unknown| unknown.reason.as_str());
        let verdict = line.map(|line| line.verdict);
        let is_lost = |unknown: &Unknown| lost.contains(&unknown.reason.as_str());
        let lost = line.is_some_and(|line| !line.unknown.is_empty() && line.unknown.iter().all(is_lost));
        gate(&Known { asset, verdict, unknown, behind, halting, statement, stale, lost }, before, settings, now)
    };
    assets.into_iter().map(one).collect()
}

/// Does a finding say that trading should halt, in its asset or in all where it is about none?
pub(crate) fn halts(finding: &Finding) -> Option<Purposes> {
    let (allow, halt) = (Signal::Allow, Purposes::all(Signal::Halt));
    match finding.rule {
        "phantom-assets" => Some(halt),
        _ if finding.evidence.at("level") != "halt" => None,
        // Whoever wants their own coins back is not to be kept from them for what others trade.
        "turnover-over-holdings" => Some(Purposes { withdrawals: allow, ..halt }),
        // What leaves is to be stopped; what comes in may.
        "outflow-since-statement" => Some(Purposes { credits: allow, trading: allow, ..halt }),
        _ => Some(halt),
    }
}

/// The signal now, given what it was before.
pub fn gate(known: &Known<'_>, before: Option<&Gate>, settings: GateSettings, now: Timestamp) -> Gate {
    let nothing = Purposes::all(Signal::Allow);
    let halted = before.map_or(nothing, |before| before.purposes);
    let wish = wish(known);
    let blind_since = wish.is_err().then(|| before.and_then(|before| before.blind_since).unwrap_or(now));
    let (wished, reason) = match wish {
        Ok(wished) => wished,
        Err(why) => {
            let since = blind_since.unwrap_or(now);
            // A reorg is nobody's fault: until the next statement, or until this one is too old.
            let is_patient = known.lost && known.behind.is_none() && !known.stale;
            blind(&why, before, since, is_patient || now.seconds_since(since) < settings.blind_after_s, settings)
        }
    };
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
        verdict: known.verdict,
        statement: known.statement,
        since: same.map_or(now, |before| before.since),
        expires_at: Timestamp::from_unix_s(now.unix_s().saturating_add(settings.holds_s)),
        blind: blind_since.is_some(),
        blind_since,
        clear_since: clear_since.filter(|_| still),
    }
}

/// What is said while nobody can tell, and why.
fn blind(
    why: &str,
    before: Option<&Gate>,
    since: Timestamp,
    is_patient: bool,
    settings: GateSettings,
) -> (Purposes, String) {
    let (allow, choice) = (Purposes::all(Signal::Allow), Purposes::all(settings.blind));
    match before {
        // Not to be told is no way out.
        Some(before) if before.purposes != allow => {
            (before.purposes.and(choice), format!("halted before, and now it cannot be told: {why}"))
        }
        Some(_) if is_patient => (allow, format!("cannot be told since {since}: {why}")),
        _ => (choice, format!("cannot be told: {why}")),
    }
}

/// What speaks now, whatever was before: a shortage halts also when the statement is stale, for age covers no debt. An error says
/// why nothing can be told.
fn wish(known: &Known<'_>) -> Result<(Purposes, String), String> {
    if let Some((finding, purposes)) = known.halting {
        return Ok((purposes, finding.message.clone()));
    }
    match known.verdict {
        None => Err("no statement that speaks of it has been judged".into()),
        Some(Verdict::Short) => Ok((Purposes::all(Signal::Halt), "coins that are owed are not there".into())),
        Some(_) if known.behind.is_some() => Err(known.behind.unwrap_or_default().into()),
        Some(_) if known.stale => Err("the latest statement is too old".into()),
        Some(Verdict::Indeterminate) => Err(known.unknown.unwrap_or("holdings are not known well enough").into()),
        Some(Verdict::Backed) => Ok((Purposes::all(Signal::Allow), String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_verifier::Severity;

    fn found(rule: &'static str, level: &str) -> Finding {
        let evidence = serde_json::json!({ "level": level });
        Finding { rule, severity: Severity::Critical, asset: None, message: rule.into(), evidence: evidence.into() }
    }

    fn known(verdict: Option<Verdict>, halting: Option<(&Finding, Purposes)>, lost: bool) -> Known<'_> {
        let (unknown, behind, statement) = (None, None, None);
        Known { asset: "BTC", verdict, unknown, behind, halting, statement, stale: false, lost }
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
        let settings = GateSettings { clear_after_s: 60, ..GateSettings::default() };
        let outflow = found("outflow-since-statement", "halt");
        let mut before: Option<Gate> = None;
        let mut play = |halting: Option<&Finding>, seconds| {
            let halting = halting.and_then(|finding| Some((finding, halts(finding)?)));
            let verdict = Some(Verdict::Backed);
            let now = gate(&known(verdict, halting, false), before.as_ref(), settings, at(seconds));
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

    #[test]
    fn where_no_verdict_is_there_any_more_gates_stay_and_are_blind() {
        let at = |seconds: i64| Timestamp::from_unix_s(1_770_000_000 + seconds);
        let settings = GateSettings { blind_after_s: 30, ..GateSettings::default() };
        let mut before = vec![gate(&known(Some(Verdict::Backed), None, false), None, settings, at(0))];
        let mut play = |seconds| {
            let circumstances = Circumstances { findings: &[], behind: None, lost: &[] };
            before = gates(None, circumstances, &before, settings, at(seconds));
            before.iter().map(|gate| (gate.asset.clone(), gate.signal, gate.blind)).collect::<Vec<_>>()
        };
        assert_eq!(play(1), [("BTC".to_owned(), Signal::Allow, true)]);
        assert_eq!(play(32), [("BTC".to_owned(), Signal::Halt, true)]);
    }

    #[test]
    fn what_cannot_be_told_changes_nothing_for_a_moment_and_lets_nothing_go() {
        let at = |seconds: i64| Timestamp::from_unix_s(1_770_000_000 + seconds);
        use Signal::{Allow, Halt};
        for choice in [Halt, Allow] {
            let settings = GateSettings { blind: choice, blind_after_s: 30, ..GateSettings::default() };
            let outflow = found("outflow-since-statement", "halt");
            // Whether anything stands against it, or nothing can be told, and when.
            let play = |lost: bool, times: &[(Option<bool>, i64)]| {
                let mut before: Option<Gate> = None;
                let mut seen = Vec::new();
                for (stands, seconds) in times {
                    let halting = stands.filter(|stands| *stands).and_then(|_| Some((&outflow, halts(&outflow)?)));
                    let verdict = Some(if stands.is_some() { Verdict::Backed } else { Verdict::Indeterminate });
                    let now = gate(&known(verdict, halting, lost), before.as_ref(), settings, at(*seconds));
                    seen.push((now.signal, now.blind));
                    before = Some(now);
                }
                seen
            };
            let (clear, stands, blind) = (Some(false), Some(true), None);
            let allowed = play(false, &[(clear, 0), (blind, 5), (blind, 34), (blind, 35), (clear, 36)]);
            assert_eq!(allowed[..3], [(Allow, false), (Allow, true), (Allow, true)]);
            assert_eq!(allowed[3], (choice, true));
            let passed = play(false, &[(clear, 0), (blind, 5), (clear, 20), (blind, 25), (blind, 54)]);
            assert!(passed.iter().all(|(signal, _)| *signal == Allow), "each time anew: {passed:?}");
            let lost = play(true, &[(clear, 0), (blind, 5), (blind, 299)]);
            assert!(lost.iter().all(|(signal, _)| *signal == Allow), "until the statement is too old: {lost:?}");
            let halted = play(false, &[(stands, 0), (blind, 5), (blind, 500)]);
            assert!(halted.iter().all(|(signal, _)| *signal == Halt), "{choice:?}: {halted:?}");
            assert_eq!(play(false, &[(blind, 0)]), [(choice, true)], "nothing was ever known");
        }
    }
}
