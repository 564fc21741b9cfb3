//! `exchange.toml`: an exchange's id and name, and its `[[wallet]]` tables.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use assay_types::{InputErrors, suggestion};
use toml::de::{DeTable, DeValue};

use crate::Source;
use crate::account::{Context, Declared, Origin, Ranged, Refused, Written, declare};
use crate::signature::{SignatureError, StatementKey};

/// More accounts than this are declared by several wallets.
const LONGEST_RANGE: u32 = 1_000_000;

const EXCHANGE_KEYS: [&str; 4] = ["id", "name", "statement_keys", "wallet"];
const WALLET_KEYS: [&str; 11] =
    ["chain", "role", "owner", "address", "descriptor", "range", "label", "since", "until", "message", "signature"];

/// What an `exchange.toml` says.
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) id_line: u64,
    pub(crate) statement_keys: Vec<StatementKey>,
    pub(crate) ranges: Vec<Ranged>,
}

/// Reads an `exchange.toml`, and adds the accounts of its wallets.
pub(crate) fn read(
    file: &Arc<Path>,
    text: &str,
    context: &Context<'_>,
    accounts: &mut Vec<Declared>,
    errors: &RefCell<InputErrors>,
) -> Result<Head, Refused> {
    let source = &Source::new(file, text);
    let document = DeTable::parse(text).map_err(|error| {
        errors.borrow_mut().push(source.toml_error(text, &error));
        Refused
    })?;
    let top = Table { source, file, errors, path: String::new(), at: 0, table: document.get_ref() };
    top.only(&EXCHANGE_KEYS);
    let (id, name) = (id(&top), top.text("name").map(|name| name.map(Cow::into_owned)));
    let statement_keys = statement_keys(&top);
    let mut ranges = Vec::new();
    for wallet in top.tables("wallet")? {
        wallet.only(&WALLET_KEYS);
        // What is wrong is reported already, and the next wallet may have errors of its own.
        let before = accounts.len();
        let reported = declare(&wallet, context, accounts);
        if reported.is_ok()
            && let Ok(Some(range)) = wallet.range()
        {
            ranges.extend(Ranged::of(&accounts[before..], range));
        }
    }
    let (id, name, statement_keys) = (id?, name?, statement_keys?);
    let id_line = source.line(top.at_key("id"));
    Ok(Head { name: name.unwrap_or_else(|| id.clone()), id, id_line, statement_keys, ranges })
}

/// Several while one replaces another.
fn statement_keys(top: &Table<'_>) -> Result<Vec<StatementKey>, Refused> {
    const HINT: &str = "statement_keys = [\"ed25519:…\"], as `assay keys new` prints it";
    let refuse = |why: String| Err(top.refuse("statement_keys", why, Some(HINT.into())));
    match top.value("statement_keys") {
        None => Ok(vec![]),
        Some(DeValue::Array(array)) => array
            .iter()
            .map(|value| match value.get_ref() {
                DeValue::String(text) => text.parse().or_else(|error: SignatureError| refuse(error.to_string())),
                other => refuse(format!("holds {}, and should hold keys", a(other.type_str()))),
            })
            .collect::<Result<Vec<StatementKey>, Refused>>(),
        Some(other) => {
            refuse(format!("is {}, and should be a list", a(other.type_str()))).map(|_: StatementKey| vec![])
        }
    }
}

fn id(top: &Table<'_>) -> Result<String, Refused> {
    const LONGEST: usize = 64;
    let id = top.text("id")?.ok_or_else(|| top.refuse("id", "is missing".into(), None))?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if id.is_empty() || id.len() > LONGEST || !id.bytes().all(plain) {
        let why = format!("`{id}` is not an id: 1 to {LONGEST} of a-z, 0-9, `-` and `_`");
        return Err(top.refuse("id", why, None));
    }
    Ok(id.into_owned())
}

/// A TOML table with its place in the file.
struct Table<'a> {
    source: &'a Source<'a>,
    file: &'a Arc<Path>,
    errors: &'a RefCell<InputErrors>,
    /// Such as `wallet[2].`, empty for the document.
    path: String,
    at: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Refuses every other key.
    fn only(&self, known: &[&str]) {
        for key in self.table.keys().map(|key| key.get_ref()).filter(|key| !known.contains(&key.as_ref())) {
            self.refuse(key, "is not a known key".into(), Some(suggestion(key, known.iter().copied())));
        }
    }

    /// Where the key stands, or else the table.
    fn at_key(&self, key: &str) -> usize {
        self.table.get_key_value(key).map_or(self.at, |(key, _)| key.span().start)
    }

    fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.table.get(key).map(|value| value.get_ref())
    }

    /// The tables of an array; none where it is left out.
    fn tables(&self, key: &str) -> Result<Vec<Table<'a>>, Refused> {
        let array = match self.value(key) {
            None => return Ok(vec![]),
            Some(DeValue::Array(array)) => array,
            Some(other) => {
                let why = format!("is one {}, and should be a list of tables", other.type_str());
                return Err(self.refuse(key, why, Some(format!("write [[{key}]]"))));
            }
        };
        let each = array.iter().enumerate().map(|(nth, value)| {
            let path = format!("{}{key}[{nth}]", self.path);
            match value.get_ref() {
                DeValue::Table(table) => Ok(Table { path: format!("{path}."), at: value.span().start, table, ..*self }),
                other => Err(self.refuse(key, format!("holds a {}, and should hold tables", other.type_str()), None)),
            }
        });
        each.collect()
    }
}

impl Written for Table<'_> {
    fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Refused> {
        match self.value(name) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(DeValue::Datetime(time)) if matches!(name, "since" | "until") => Ok(Some(time.to_string().into())),
            Some(other) => Err(self.refuse(name, format!("is {}, and should be text", a(other.type_str())), None)),
        }
    }

    fn range(&self) -> Result<Option<(u32, u32)>, Refused> {
        let Some(value) = self.value("range") else { return Ok(None) };
        let number = |value: &DeValue<'_>| {
            let number = value.as_integer()?;
            u32::from_str_radix(number.as_str(), number.radix()).ok()
        };
        let range = value.as_array().and_then(|range| match range.as_ref() {
            [first, last] => Some((number(first.get_ref())?, number(last.get_ref())?)),
            _ => None,
        });
        match range {
            Some((first, last)) if first > last => {
                Err(self.refuse("range", format!("{first} to {last} is an empty range"), None))
            }
            Some((first, last)) if last - first >= LONGEST_RANGE => {
                let why = format!("{first} to {last} is too long: at most {LONGEST_RANGE} accounts in one wallet");
                Err(self.refuse("range", why, Some("declare it as several wallets".into())))
            }
            Some(range) => Ok(Some(range)),
            None => {
                let why = "is not a range: two whole numbers, the first and the last, such as [0, 999]";
                Err(self.refuse("range", why.into(), None))
            }
        }
    }

    fn refuse(&self, name: &str, why: String, hint: Option<String>) -> Refused {
        let mut error = self.source.error(self.at_key(name), why).field(format!("{}{name}", self.path));
        error.hint = hint;
        self.errors.borrow_mut().push(error);
        Refused
    }

    fn origin(&self) -> Origin {
        Origin { file: Arc::clone(self.file), line: self.source.line(self.at) }
    }
}

fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
