//! A statement from a query: what it may give, column by column, and that every amount stays as exact as the database has it.
//!
//! The query is prepared first: so it is one command, and its columns have names and types before it runs. Then its rows are read
//! in PostgreSQL's own text, in which a `numeric` loses nothing.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use assay_types::{Digest, InputError, InputErrors, suggestion};
use futures_util::TryStreamExt as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio_postgres::types::{Kind as TypeKind, Type};
use tokio_postgres::{Client, Column, Error, SimpleQueryMessage, SimpleQueryRow};

use super::database::{self, Database};
use crate::failure::{Failure, UNKNOWN};
use crate::verify::LONGEST_STATEMENT_BYTES;

const LONGEST_QUERY_BYTES: u64 = 1 << 20;
const MOST_ROWS: usize = 100_000;
/// However long the database may work at it, somewhere it ends.
const DEADLINE: Duration = Duration::from_secs(600);

/// What a column's values become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The asset's name.
    Name,
    /// Coins.
    Amount,
    /// Coins, under `flows`.
    Flow,
    /// A list, in the statement's own form.
    Items,
}

/// The columns that a query may have, by name, in the order of the statement's fields.
const COLUMNS: [(&str, Kind); 15] = [
    ("asset", Kind::Name),
    ("customers", Kind::Amount),
    ("house", Kind::Amount),
    ("negative", Kind::Amount),
    ("pending_withdrawals", Kind::Items),
    ("uncredited_deposits", Kind::Items),
    ("unconfirmed_credits", Kind::Items),
    ("elsewhere", Kind::Items),
    ("deposits", Kind::Flow),
    ("withdrawals", Kind::Flow),
    ("rewards", Kind::Flow),
    ("fees", Kind::Flow),
    ("corrections", Kind::Flow),
    ("inventory", Kind::Amount),
    ("volume", Kind::Items),
];
const REQUIRED: [&str; 2] = ["asset", "customers"];

/// A query, and where to ask it.
pub struct Query {
    pub file: PathBuf,
    sql: String,
    database: Database,
}

/// What it gave: the ledger as of one instant of the database.
#[derive(Debug)]
pub struct Ledger {
    as_of: String,
    assets: Vec<Fields>,
}

impl Query {
    pub fn new(file: &Path, database: Database) -> Result<Query, Failure> {
        let sql = assay_registry::read_text(file, LONGEST_QUERY_BYTES)?;
        Ok(Query { file: file.into(), sql, database })
    }

    /// Asks it, in a transaction that can only read and sees one instant. `since` is the instant of the statement before, for the
    /// query to know as `current_setting('assay.since')`: empty where there is none.
    pub async fn ledger(&self, since: &str) -> Result<Ledger, Failure> {
        let said = |error: Error| database::failure(&error, &self.file, &self.sql);
        let asked = tokio::time::timeout(DEADLINE, async {
            let (client, driver) = self.database.connect().await.map_err(said)?;
            let work = async move { self.ask(&client, since).await }; // the client goes, and with it the driver
            let (ledger, _) = tokio::join!(work, driver);
            ledger
        });
        let late = |_| Failure::new(UNKNOWN, format!("the database: no answer in {} s", DEADLINE.as_secs()));
        asked.await.map_err(late)?
    }

    async fn ask(&self, client: &Client, since: &str) -> Result<Ledger, Failure> {
        let said = |error: Error| database::failure(&error, &self.file, &self.sql);
        client.batch_execute("begin isolation level repeatable read, read only").await.map_err(said)?;
        let begun = client.query_one(BEGIN, &[&since]).await.map_err(said)?;
        let as_of = begun.try_get("as_of").map_err(said)?;
        let prepared = client.prepare(&self.sql).await.map_err(said)?;
        let columns = self.columns(prepared.columns())?;
        let mut assets: Vec<Fields> = Vec::new();
        let mut bytes = 0;
        let mut rows = pin!(client.simple_query_raw(&self.sql).await.map_err(said)?);
        while let Some(message) = rows.try_next().await.map_err(said)? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let fields = self.fields(&columns, &row, assets.len() + 1)?;
            bytes += fields.bytes();
            assets.push(fields);
            if assets.len() > MOST_ROWS || bytes > LONGEST_STATEMENT_BYTES {
                let why = format!("gives more than {MOST_ROWS} rows or {LONGEST_STATEMENT_BYTES} bytes");
                return Err(self.wrong(why).hint("a row is an asset, and not an account: sum them up").into());
            }
        }
        Ok(Ledger { as_of, assets })
    }

    /// What its columns are, or everything that is wrong with them.
    fn columns(&self, found: &[Column]) -> Result<Vec<(&'static str, Kind, Type)>, InputErrors> {
        let mut errors = InputErrors::default();
        let mut columns: Vec<(&'static str, Kind, Type)> = Vec::new();
        for column in found {
            let wrong = |why: String| self.wrong(why).field(format!("column {}", column.name()));
            let Some((name, kind)) = COLUMNS.into_iter().find(|(name, _)| *name == column.name()) else {
                let hint = suggestion(column.name(), COLUMNS.into_iter().map(|(name, _)| name));
                errors.push(wrong("is none that a statement has".into()).hint(hint));
                continue;
            };
            if columns.iter().any(|(before, ..)| *before == name) {
                errors.push(wrong("is there twice".into()));
            } else if let Err((why, hint)) = suits(kind, column.type_()) {
                errors.push(wrong(why).hint(hint));
            }
            columns.push((name, kind, column.type_().clone()));
        }
        for missing in REQUIRED.iter().filter(|required| !columns.iter().any(|(name, ..)| name == *required)) {
            let hint = "a row for each asset: select asset, customers, house, … ; see assay submit --help";
            errors.push(self.wrong("is missing").field(format!("column {missing}")).hint(hint));
        }
        errors.or(columns)
    }

    /// A row as a report of one asset. What is NULL is not reported, which is not the same as nothing.
    fn fields(
        &self,
        columns: &[(&'static str, Kind, Type)],
        row: &SimpleQueryRow,
        number: usize,
    ) -> Result<Fields, InputError> {
        let wrong = |name: &str, why: String| self.wrong(why).field(format!("row {number}: {name}"));
        let (mut fields, mut flows) = (Fields::default(), Fields::default());
        for (nth, (name, kind, of_type)) in columns.iter().enumerate() {
            let Some(text) = row.get(nth) else {
                if REQUIRED.contains(name) {
                    let hint = "nothing is said with 0: coalesce(sum(…), 0)";
                    return Err(wrong(name, "is NULL, and a statement says it of every asset".into()).hint(hint));
                }
                continue;
            };
            let value = match kind {
                Kind::Items => RawValue::from_string(text.to_owned()),
                _ if *of_type == Type::NUMERIC => serde_json::value::to_raw_value(without_scale(text)),
                _ => serde_json::value::to_raw_value(text),
            };
            let value = value.map_err(|error| wrong(name, error.to_string()))?;
            if *kind == Kind::Flow { flows.push(name, value) } else { fields.push(name, value) }
        }
        if !flows.0.is_empty() {
            let flows = serde_json::value::to_raw_value(&flows).map_err(|error| wrong("flows", error.to_string()))?;
            fields.push("flows", flows);
        }
        Ok(fields)
    }

    /// An error of the statement that the query gave, as one of the query: `assets[2].flows.fees` is column `fees` of row 3.
    pub fn tell(&self, mut error: InputError) -> InputError {
        let of_row = error.field.as_deref().and_then(|field| {
            let (nth, rest) = field.strip_prefix("assets[")?.split_once(']')?;
            let rest = rest.strip_prefix(".flows").unwrap_or(rest).trim_start_matches('.');
            let row = format!("row {}", nth.parse::<usize>().ok()?.checked_add(1)?);
            Some(if rest.is_empty() { row } else { format!("{row}: {rest}") })
        });
        error.field = of_row.or(error.field);
        error.line = None;
        error
    }

    fn wrong(&self, why: impl std::fmt::Display) -> InputError {
        InputError::new(&self.file, why)
    }
}

/// Begins: what the query may know, how long it may take (unless the connection says otherwise), and the instant that it sees. From
/// here on the transaction cannot be made one that writes.
const BEGIN: &str = "
    select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as as_of,
           set_config('assay.since', $1, true),
           set_config('statement_timeout', coalesce(nullif(current_setting('statement_timeout'), '0'), '30s'), true)";

/// Can a column of this type be that? Otherwise why not, and what to do.
fn suits(kind: Kind, of_type: &Type) -> Result<(), (String, &'static str)> {
    let name = of_type.name();
    let is_text = [Type::TEXT, Type::VARCHAR, Type::NAME].contains(of_type);
    let good = match kind {
        Kind::Name => is_text || matches!(of_type.kind(), TypeKind::Enum(_)),
        Kind::Amount | Kind::Flow => is_text || [Type::NUMERIC, Type::INT2, Type::INT4, Type::INT8].contains(of_type),
        Kind::Items => [Type::JSON, Type::JSONB].contains(of_type),
    };
    match *of_type {
        _ if good => Ok(()),
        Type::FLOAT4 | Type::FLOAT8 if kind != Kind::Name => {
            let why = format!("is {name} in every row, which rounds: money is never a float");
            Err((why, "keep amounts as numeric; a cast here would only hide what was rounded before"))
        }
        _ => match kind {
            Kind::Name => Err((format!("is {name}, and should be text"), "cast it: asset::text")),
            Kind::Amount | Kind::Flow => Err((format!("is {name}, and should be numeric"), "numeric, bigint or text")),
            Kind::Items => {
                Err((format!("is {name}, and should be jsonb"), "a list as the statement has it: jsonb_agg(…)"))
            }
        },
    }
}

/// `1.500000000000000000` is 1.5: how many digits a column stores says nothing of the amount.
fn without_scale(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The members of an object, in order.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Box<RawValue>)>);

impl Fields {
    fn push(&mut self, name: &'static str, value: Box<RawValue>) {
        self.0.push((name, value));
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(name, value)| (name.len() + value.get().len()) as u64).sum()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Ledger {
    /// The statement's bytes.
    pub fn statement(&self, exchange: &str, sequence: u64, previous: Option<Digest>) -> Result<Vec<u8>, Failure> {
        #[derive(Serialize)]
        struct Statement<'a> {
            format: &'static str,
            exchange: &'a str,
            sequence: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            previous: Option<Digest>,
            as_of: AsOf<'a>,
            assets: &'a [Fields],
        }
        #[derive(Serialize)]
        struct AsOf<'a> {
            time: &'a str,
        }
        let as_of = AsOf { time: &self.as_of };
        let (format, assets) = (assay_ledger::FORMAT, &self.assets[..]);
        let statement = Statement { format, exchange, sequence, previous, as_of, assets };
        serde_json::to_vec(&statement).map_err(|error| Failure::new(UNKNOWN, format!("the statement: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_keeps_its_value_and_loses_its_scale() {
        for (text, expected) in [
            ("0", "0"),
            ("0.000", "0"),
            ("100", "100"),
            ("100.00", "100"),
            ("1.500000000000000000", "1.5"),
            ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(without_scale(text), expected);
        }
    }

    #[test]
    fn every_field_of_a_report_has_a_column() {
        let schema: serde_json::Value = serde_json::from_str(assay_ledger::SCHEMA).unwrap();
        let properties = |of: &str| schema["$defs"][of]["properties"].as_object().unwrap().keys().cloned();
        let fields = properties("report").filter(|field| field != "flows").chain(properties("flows"));
        let mut fields: Vec<String> = fields.collect();
        let mut columns: Vec<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        fields.sort();
        columns.sort();
        assert_eq!(columns, fields);
    }
}
