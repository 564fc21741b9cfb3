//! What the desk keeps, row by row: statements as received, verdicts as given, and which statements still wait for a final
//! one. Keys begin with the exchange's id and a zero byte, so that one exchange's rows lie together in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use assay_store::{Records, Row, Table};
use assay_types::{Amount, Statement, Timestamp};
use assay_verifier::rules::{Before, Dissent, Unreported};
use assay_verifier::{Coins, Ordinary, Reconciliation, Stage, Verdict, Wide};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::moment::Moment;
use crate::{Alert, DeskError, Gate, Signal, StatementView, Trouble};

/// A verdict as it was given.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptVerdict {
    /// Its number, counted for each exchange from 1.
    pub number: u64,
    /// The statement's.
    pub sequence: u64,
    /// When it was given.
    pub given_at: Timestamp,
    /// The verdict, as `assay verify --json` gives it, byte for byte as it was kept.
    pub verdict: Box<RawValue>,
}

/// The last final verdict, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastFinal {
    /// Its number.
    pub number: u64,
    /// The statement's.
    pub sequence: u64,
    /// When it was given.
    pub given_at: Timestamp,
    /// What it said.
    pub verdict: Verdict,
}

impl KeptVerdict {
    /// Was every block final?
    pub(crate) fn is_final(&self) -> bool {
        self.as_final().is_some()
    }

    /// In short, if every block was final.
    pub(crate) fn as_final(&self) -> Option<LastFinal> {
        #[derive(Deserialize)]
        struct Head {
            stage: Stage,
            verdict: Verdict,
        }
        let head: Head = serde_json::from_str(self.verdict.get()).ok()?;
        let KeptVerdict { number, sequence, given_at, .. } = *self;
        (head.stage == Stage::Final).then_some(LastFinal { number, sequence, given_at, verdict: head.verdict })
    }
}

/// A verdict's row: the whole of it, or, where it says what an earlier one said of blocks that were not final yet, that one's
/// number and what is different. So most final verdicts take a few hundred bytes.
#[derive(Serialize, Deserialize)]
struct VerdictRow {
    number: u64,
    sequence: u64,
    given_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeats: Option<Repeats>,
}

#[derive(Serialize, Deserialize)]
struct Repeats {
    /// The number of a verdict that is kept whole.
    number: u64,
    stage: Box<RawValue>,
    evaluated_at: Box<RawValue>,
    blocks: Box<RawValue>,
}

/// A verdict's fields, in the order in which they are written.
#[derive(Serialize, Deserialize)]
struct Fields {
    exchange: Box<RawValue>,
    verdict: Box<RawValue>,
    stage: Box<RawValue>,
    evaluated_at: Box<RawValue>,
    statement: Box<RawValue>,
    policy: Box<RawValue>,
    program: Box<RawValue>,
    blocks: Box<RawValue>,
    lines: Box<RawValue>,
    findings: Box<RawValue>,
}

/// A statement as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStatement {
    /// What is said of it.
    pub view: StatementView,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Another statement came under a number that was taken: what it would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The number.
    pub sequence: u64,
    /// What was kept.
    pub kept: String,
    /// What came instead.
    pub came: String,
    /// When.
    pub at: Timestamp,
}

const OPEN: &[u8] = b"open\0";
const REWRITTEN: &[u8] = b"rewritten\0";
const TRADED: &[u8] = b"traded\0";
const UNREPORTED: &[u8] = b"unreported\0";
const GATE: &[u8] = b"gate\0";
const DISSENT: &[u8] = b"dissent\0";
const TROUBLE: &[u8] = b"trouble\0";
const AS_OF: &[u8] = b"as-of\0";

/// The statement that was the latest at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InForce {
    /// The instant that it speaks of.
    pub(crate) as_of: Timestamp,
    /// Its number.
    pub(crate) sequence: u64,
    /// The number of its last verdict that was kept.
    pub(crate) verdict: Option<u64>,
}

/// Instants in order, also those before 1970.
fn as_of_key(exchange: &str, as_of: Timestamp) -> Vec<u8> {
    [AS_OF, exchange.as_bytes(), &[0], &(as_of.unix_s() ^ i64::MIN).to_be_bytes()].concat()
}

/// The row by which a statement is found by its instant, with the number of its last verdict and what that came to.
pub(crate) fn as_of_row(exchange: &str, as_of: Timestamp, sequence: u64, verdict: Option<Moment>) -> Row {
    let key = [as_of_key(exchange, as_of), sequence.to_be_bytes().to_vec()].concat();
    let value = verdict.map_or_else(Vec::new, |moment| {
        let verdict = VERDICTS.iter().position(|one| *one == moment.verdict).and_then(|place| u8::try_from(place).ok());
        let ratio = moment.ratio.unwrap_or(u32::MAX).to_be_bytes();
        [&moment.number.to_be_bytes()[..], &[verdict.unwrap_or(u8::MAX)], &ratio].concat()
    });
    Row { table: Table::Meta, key, value: Some(value) }
}

/// As they are numbered in rows.
const VERDICTS: [Verdict; 3] = [Verdict::Backed, Verdict::Indeterminate, Verdict::Short];

/// What an exchange's statements came to since an instant, the newest first. Those that are not
/// judged are left out, and those of earlier versions, which did not keep it.
pub(crate) fn moments(
    records: &Records,
    exchange: &str,
    from: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<Moment>, DeskError> {
    let prefix = [AS_OF, exchange.as_bytes(), &[0]].concat();
    let mut moments = Vec::new();
    for (key, value) in records.newest_first(Table::Meta, &prefix, &[&prefix[..], &[u8::MAX; 17]].concat(), limit)? {
        let (as_of, sequence) = read_as_of(records, &prefix, &key)?;
        if from.is_some_and(|from| as_of < from) {
            break;
        }
        let Some((number, [verdict, ratio @ ..])) = value.split_first_chunk() else { continue };
        let (Some(verdict), Ok(ratio)) = (VERDICTS.get(usize::from(*verdict)), ratio.try_into()) else { continue };
        let ratio = Some(u32::from_be_bytes(ratio)).filter(|ratio| *ratio < u32::MAX);
        moments.push(Moment { as_of, sequence, number: u64::from_be_bytes(*number), verdict: *verdict, ratio });
    }
    Ok(moments)
}

fn read_as_of(records: &Records, prefix: &[u8], key: &[u8]) -> Result<(Timestamp, u64), DeskError> {
    let damaged = || records.damaged("where a statement is found by its instant is cut short");
    let (instant, sequence) = key.strip_prefix(prefix).and_then(|rest| rest.split_first_chunk()).ok_or_else(damaged)?;
    let as_of = Timestamp::from_unix_s(i64::from_be_bytes(*instant) ^ i64::MIN);
    Ok((as_of, u64::from_be_bytes(sequence.try_into().map_err(|_| damaged())?)))
}

/// The statement of the latest instant up to this one; of several the one with the highest number.
pub(crate) fn in_force(records: &Records, exchange: &str, at: Timestamp) -> Result<Option<InForce>, DeskError> {
    let prefix = [AS_OF, exchange.as_bytes(), &[0]].concat();
    let end = as_of_key(exchange, Timestamp::from_unix_s(at.unix_s() + 1));
    let found = records.newest_first(Table::Meta, &prefix, &end, 1)?;
    let Some((key, value)) = found.first() else { return Ok(None) };
    let (as_of, sequence) = read_as_of(records, &prefix, key)?;
    let verdict = value.first_chunk().map(|number| u64::from_be_bytes(*number));
    Ok(Some(InForce { as_of, sequence, verdict }))
}

/// The rows by which a statement is kept, and waits for its final verdict.
pub(crate) fn statement_rows(exchange: &str, kept: &KeptStatement) -> Result<Vec<Row>, DeskError> {
    let head = serde_json::to_vec(&kept.view).map_err(|error| DeskError::Damaged(error.to_string()))?;
    let length = u32::try_from(head.len()).map_err(|error| DeskError::Damaged(error.to_string()))?;
    let value = [&length.to_be_bytes()[..], &head, &kept.bytes].concat();
    let key = key(exchange, kept.view.sequence);
    let open = [OPEN, &key].concat();
    Ok(vec![
        Row { table: Table::Statements, key, value: Some(value) },
        Row { table: Table::Meta, key: open, value: Some(Vec::new()) },
        as_of_row(exchange, kept.view.as_of, kept.view.sequence, None),
    ])
}

/// The row by which a verdict is kept. `repeats`: the number of a whole one that it repeats.
pub(crate) fn verdict_row(
    number: u64,
    sequence: u64,
    given_at: Timestamp,
    verdict: &Reconciliation,
    repeats: Option<u64>,
) -> Result<Row, DeskError> {
    fn raw(value: &impl Serialize) -> Result<Box<RawValue>, DeskError> {
        serde_json::value::to_raw_value(value).map_err(|error| DeskError::Damaged(error.to_string()))
    }
    let (whole, repeats) = match repeats {
        None => (Some(raw(verdict)?), None),
        Some(number) => {
            let (stage, evaluated_at) = (raw(&verdict.stage)?, raw(&verdict.evaluated_at)?);
            (None, Some(Repeats { number, stage, evaluated_at, blocks: raw(&verdict.blocks)? }))
        }
    };
    let row = VerdictRow { number, sequence, given_at, verdict: whole, repeats };
    let value = serde_json::to_vec(&row).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Verdicts, key: key(&verdict.exchange, number), value: Some(value) })
}

/// A verdict from its row, and from the row that it repeats.
fn read_verdict(records: &Records, exchange: &str, value: &[u8]) -> Result<KeptVerdict, DeskError> {
    let VerdictRow { number, sequence, given_at, verdict, repeats } = read(records, "a verdict", value)?;
    let verdict = match (verdict, repeats) {
        (Some(whole), _) => whole,
        (None, Some(repeats)) => {
            let missing =
                || records.damaged(format!("verdict {number} repeats {}, which is not whole", repeats.number));
            let row = records.get(Table::Verdicts, &key(exchange, repeats.number))?.ok_or_else(missing)?;
            let row: VerdictRow = read(records, "a verdict", &row)?;
            let whole = row.verdict.ok_or_else(missing)?;
            let fields: Fields = read(records, "a verdict", whole.get().as_bytes())?;
            let Repeats { stage, evaluated_at, blocks, .. } = repeats;
            let fields = Fields { stage, evaluated_at, blocks, ..fields };
            serde_json::value::to_raw_value(&fields).map_err(|error| DeskError::Damaged(error.to_string()))?
        }
        (None, None) => return Err(records.damaged("a verdict's row is empty").into()),
    };
    Ok(KeptVerdict { number, sequence, given_at, verdict })
}

/// What the lines of a kept verdict on this statement came to, by symbol.
pub(crate) fn lines_before(
    records: &Records,
    kept: &KeptVerdict,
    statement: &Statement,
) -> Result<BTreeMap<String, Before>, DeskError> {
    #[derive(Deserialize)]
    struct Lines {
        lines: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        asset: String,
        owed: String,
        deductions: String,
        house: Option<String>,
        negative: String,
        unconfirmed_in_mempool: String,
        pending_withdrawals: String,
        uncredited_deposits: String,
        holdings: Low,
    }
    #[derive(Deserialize)]
    struct Low {
        low: String,
    }
    let Lines { lines } = read(records, "a verdict", kept.verdict.get().as_bytes())?;
    let decimals: BTreeMap<&str, u8> =
        statement.assets.iter().map(|report| (report.symbol.as_str(), report.decimals)).collect();
    let before = |line: &Line| {
        let decimals = *decimals.get(line.asset.as_str())?;
        let units = |text: &str| Amount::from_coins(text, decimals).ok().map(|amount| Wide::from(amount.0));
        let house = line.house.as_deref().map(units);
        let house = if house == Some(None) { return None } else { house.flatten() };
        let there = units(&line.holdings.low)? + units(&line.deductions)?;
        let in_flight = units(&line.pending_withdrawals)? + units(&line.uncredited_deposits)?;
        let (owed, negative) = (units(&line.owed)?, units(&line.negative)?);
        let in_mempool = units(&line.unconfirmed_in_mempool)?;
        let coins = |units| Coins::of(units, decimals);
        Some(Before {
            owed: coins(owed),
            house: house.map(coins),
            negative: coins(negative),
            there: coins(there),
            in_mempool: coins(in_mempool),
            in_flight: coins(in_flight),
        })
    };
    // A line that can no longer be read in these units is left out: without it nothing is concluded.
    Ok(lines.iter().filter_map(|line| Some((line.asset.clone(), before(line)?))).collect())
}

/// The row of what an exchange's statements of one day traded; days are counted from the epoch.
pub(crate) fn day_row(exchange: &str, day: u64, traded: &Ordinary) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(traded).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Meta, key: [TRADED, &key(exchange, day)].concat(), value: Some(value) })
}

/// What an exchange's statements traded on the days from one to another, the last excluded.
pub(crate) fn days(records: &Records, exchange: &str, days: Range<u64>) -> Result<Ordinary, DeskError> {
    let mut sum = Ordinary::default();
    for day in days {
        if let Some(value) = records.get(Table::Meta, &[TRADED, &key(exchange, day)].concat())? {
            sum.add_all(&read(records, "what was traded on a day", &value)?);
        }
    }
    Ok(sum)
}

/// The row of what an exchange owed when it was last reported, and does not report any more.
pub(crate) fn unreported_row(exchange: &str, unreported: &BTreeMap<String, Unreported>) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(unreported).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Meta, key: [UNREPORTED, exchange.as_bytes()].concat(), value: Some(value) })
}

/// What an exchange owed when it was last reported, and does not report any more.
pub(crate) fn unreported(records: &Records, exchange: &str) -> Result<BTreeMap<String, Unreported>, DeskError> {
    let row = records.get(Table::Meta, &[UNREPORTED, exchange.as_bytes()].concat())?;
    row.map_or_else(|| Ok(BTreeMap::new()), |value| read(records, "what is not reported any more", &value))
}

/// The row by which a gate is remembered as halted, or no longer.
pub(crate) fn gate_row(exchange: &str, gate: &Gate) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(gate).map_err(|error| DeskError::Damaged(error.to_string()))?;
    let value = (gate.signal == Signal::Halt).then_some(value);
    Ok(Row { table: Table::Meta, key: [GATE, exchange.as_bytes(), &[0], gate.asset.as_bytes()].concat(), value })
}

/// The gates that were halted, by exchange.
pub(crate) fn gates(records: &Records) -> Result<BTreeMap<String, Arc<Vec<Gate>>>, DeskError> {
    let mut gates: BTreeMap<String, Arc<Vec<Gate>>> = BTreeMap::new();
    for (key, value) in records.oldest_first(Table::Meta, GATE, usize::MAX)? {
        let exchange = key[GATE.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
        let each = gates.entry(String::from_utf8_lossy(exchange).into_owned()).or_default();
        Arc::make_mut(each).push(read(records, "a gate", &value)?);
    }
    Ok(gates)
}

/// The row of the nodes that have other final blocks on a chain.
pub(crate) fn dissent_row(chain: &str, dissent: &[Dissent]) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(dissent).map_err(|error| DeskError::Damaged(error.to_string()))?;
    let value = (!dissent.is_empty()).then_some(value);
    Ok(Row { table: Table::Meta, key: [DISSENT, chain.as_bytes()].concat(), value })
}

/// The nodes that had other final blocks on a chain when that was last asked.
pub(crate) fn dissent(records: &Records, chain: &str) -> Result<Vec<Dissent>, DeskError> {
    let row = records.get(Table::Meta, &[DISSENT, chain.as_bytes()].concat())?;
    row.map_or_else(|| Ok(Vec::new()), |value| read(records, "which nodes disagree", &value))
}

/// The row of what keeps a chain from being followed.
pub(crate) fn trouble_row(chain: &str, trouble: Option<&Trouble>) -> Result<Row, DeskError> {
    let value = trouble.map(serde_json::to_vec).transpose();
    let value = value.map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Meta, key: [TROUBLE, chain.as_bytes()].concat(), value })
}

/// What kept a chain from being followed when that was last known.
pub(crate) fn trouble(records: &Records, chain: &str) -> Result<Option<Trouble>, DeskError> {
    let row = records.get(Table::Meta, &[TROUBLE, chain.as_bytes()].concat())?;
    row.map(|value| read(records, "what troubled a chain", &value)).transpose()
}

/// The row by which a statement waits no more.
pub(crate) fn closed_row(exchange: &str, sequence: u64) -> Row {
    Row { table: Table::Meta, key: [OPEN, &key(exchange, sequence)].concat(), value: None }
}

/// The row by which a rewrite is remembered: once for each number and content.
pub(crate) fn rewrite_row(exchange: &str, rewrite: &Rewrite) -> Result<Row, DeskError> {
    let key = [REWRITTEN, &key(exchange, rewrite.sequence), rewrite.came.as_bytes()].concat();
    let value = serde_json::to_vec(rewrite).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Meta, key, value: Some(value) })
}

/// The row of an alert.
pub(crate) fn alert_row(alert: &Alert) -> Result<Row, DeskError> {
    let value = serde_json::to_vec(alert).map_err(|error| DeskError::Damaged(error.to_string()))?;
    Ok(Row { table: Table::Alerts, key: alert.id.as_bytes().to_vec(), value: Some(value) })
}

/// The row by which an alert that never fired is forgotten.
pub(crate) fn no_alert_row(id: &str) -> Row {
    Row { table: Table::Alerts, key: id.as_bytes().to_vec(), value: None }
}

/// Every alert that is kept, by id.
pub(crate) fn alerts(records: &Records) -> Result<BTreeMap<String, Alert>, DeskError> {
    let rows = records.oldest_first(Table::Alerts, b"", usize::MAX)?;
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| {
        let alert: Alert = read(records, "an alert", value)?;
        Ok((alert.id.clone(), alert))
    };
    rows.iter().map(read).collect()
}

/// Every rewrite of an exchange.
pub(crate) fn rewrites(records: &Records, exchange: &str) -> Result<Vec<Rewrite>, DeskError> {
    let prefix = [REWRITTEN, exchange.as_bytes(), &[0]].concat();
    let rows = records.oldest_first(Table::Meta, &prefix, usize::MAX)?;
    rows.iter().map(|(_, value)| read(records, "a rewrite", value)).collect()
}

/// The numbers of the statements that wait for a final verdict, in order.
pub(crate) fn open(records: &Records, exchange: &str) -> Result<Vec<u64>, DeskError> {
    let prefix = [OPEN, exchange.as_bytes(), &[0]].concat();
    let rows = records.oldest_first(Table::Meta, &prefix, usize::MAX)?;
    rows.iter().map(|(key, _)| sequence_of(records, key)).collect()
}

/// A statement.
pub(crate) fn statement(records: &Records, exchange: &str, sequence: u64) -> Result<Option<KeptStatement>, DeskError> {
    let row = records.get(Table::Statements, &key(exchange, sequence))?;
    row.map(|value| read_statement(records, &value)).transpose()
}

/// A verdict.
pub(crate) fn verdict(records: &Records, exchange: &str, number: u64) -> Result<Option<KeptVerdict>, DeskError> {
    let row = records.get(Table::Verdicts, &key(exchange, number))?;
    row.map(|value| read_verdict(records, exchange, &value)).transpose()
}

/// Statements with numbers below `before`, the newest first.
pub(crate) fn statements(
    records: &Records,
    exchange: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<KeptStatement>, DeskError> {
    let rows = newest(records, Table::Statements, exchange, before, limit)?;
    rows.iter().map(|value| read_statement(records, value)).collect()
}

/// Verdicts with numbers below `before`, the newest first.
pub(crate) fn verdicts(
    records: &Records,
    exchange: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<KeptVerdict>, DeskError> {
    let rows = newest(records, Table::Verdicts, exchange, before, limit)?;
    rows.iter().map(|value| read_verdict(records, exchange, value)).collect()
}

fn newest(
    records: &Records,
    table: Table,
    exchange: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, DeskError> {
    let prefix = [exchange.as_bytes(), &[0]].concat();
    // Numbers end below the largest, so that it stands for "all".
    let end = key(exchange, before.unwrap_or(u64::MAX));
    Ok(records.newest_first(table, &prefix, &end, limit)?.into_iter().map(|(_, value)| value).collect())
}

fn read_statement(records: &Records, value: &[u8]) -> Result<KeptStatement, DeskError> {
    let split = || {
        let (length, rest) = value.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    };
    let (head, bytes) = split().ok_or_else(|| records.damaged("a statement's row is cut short"))?;
    Ok(KeptStatement { view: read(records, "a statement", head)?, bytes: bytes.to_vec() })
}

fn read<T: for<'de> Deserialize<'de>>(records: &Records, what: &str, value: &[u8]) -> Result<T, DeskError> {
    let damaged = |error| records.damaged(format!("{what} cannot be read: {error}"));
    Ok(serde_json::from_slice(value).map_err(damaged)?)
}

fn key(exchange: &str, number: u64) -> Vec<u8> {
    [exchange.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn sequence_of(records: &Records, key: &[u8]) -> Result<u64, DeskError> {
    let last = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    last.ok_or_else(|| records.damaged("a key is cut short").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_in_force_is_that_of_the_latest_instant_whenever_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let at = Timestamp::from_unix_s;
        let found = |seconds| {
            let found = in_force(&records, "acme", at(seconds)).unwrap();
            found.map(|found| (found.as_of.unix_s(), found.sequence, found.verdict))
        };
        let judged = |seconds, sequence, number| {
            let (verdict, ratio) = (Verdict::Short, Some(645));
            Some(Moment { as_of: at(seconds), sequence, number, verdict, ratio })
        };
        // Instants do not come in the order of the numbers, and one is of before 1970.
        let rows =
            [(100, 1), (300, 2), (200, 3), (200, 4), (-5, 9)].map(|(s, number)| as_of_row("acme", at(s), number, None));
        records.write(&rows).unwrap();
        records
            .write(&[as_of_row("acme-2", at(150), 7, None), as_of_row("acm", at(150), 8, judged(150, 8, 1))])
            .unwrap();
        let table = [
            (-6, None),
            (-5, Some((-5, 9, None))),
            (99, Some((-5, 9, None))),
            (100, Some((100, 1, None))),
            (199, Some((100, 1, None))),
            (200, Some((200, 4, None))),
            (299, Some((200, 4, None))),
            (5000, Some((300, 2, None))),
        ];
        for (seconds, expected) in table {
            assert_eq!(found(seconds), expected, "{seconds}");
        }
        records.write(&[as_of_row("acme", at(200), 4, judged(200, 4, 12))]).unwrap();
        assert_eq!(found(250), Some((200, 4, Some(12))), "its last verdict");
        records.write(&[as_of_row("acme", at(-5), 9, judged(-5, 9, 3))]).unwrap();
        let came_to = |from| {
            let moments = moments(&records, "acme", from, 100).unwrap();
            moments.iter().map(|moment| (moment.sequence, moment.ratio, moment.number)).collect::<Vec<_>>()
        };
        assert_eq!(came_to(None), [(4, Some(645), 12), (9, Some(645), 3)], "those that are judged, the newest first");
        assert_eq!(came_to(Some(at(200))), [(4, Some(645), 12)]);
        assert_eq!(in_force(&records, "nobody", at(5000)).unwrap(), None);
    }
}
