//! JSON that remembers where it stands, so that every error names its line and field.
//!
//! Values are kept as slices of the document, and an offset in it is the distance of their addresses. Nothing is looked
//! at twice but for nesting, of which a statement has four levels.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use assay_types::{Amount, InputError, InputErrors, suggestion};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// So many keys are compared one by one.
const FEW: usize = 16;

/// An error that has been reported already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// A JSON document, and what is wrong with it.
pub(crate) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    errors: RefCell<InputErrors>,
}

impl<'a> Document<'a> {
    /// Reads the bytes as one JSON value, with nothing behind it.
    pub(crate) fn new(file: &'a Path, bytes: &'a [u8]) -> Result<Document<'a>, InputError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = line_of(&bytes[..error.valid_up_to()]);
            InputError::new(file, "is not UTF-8").line(line)
        })?;
        if text.starts_with('\u{feff}') {
            let error = InputError::new(file, "begins with a byte order mark, which is not JSON").line(1);
            return Err(error.hint("save it as UTF-8 without a byte order mark"));
        }
        serde_json::from_str::<&RawValue>(text).map_err(|error| {
            let why = format!("is not JSON: {} (column {})", without_place(&error), error.column());
            InputError::new(file, why).line(u64::try_from(error.line()).unwrap_or(u64::MAX))
        })?;
        Ok(Document { file, text, errors: RefCell::default() })
    }

    /// The whole document as one value.
    pub(crate) fn value(&self) -> Value<'_> {
        Value { document: self, within: None, step: Step::Whole, raw: self.text.trim_start() }
    }

    /// The value, if nothing was found to be wrong.
    pub(crate) fn finish<T>(self, value: Result<T, Refused>) -> Result<T, InputErrors> {
        let errors = self.errors.into_inner();
        match value {
            Ok(value) => errors.or(value),
            Err(Refused) => Err(errors),
        }
    }

    fn refuse(&self, at: &str, field: String, why: String, hint: Option<String>) -> Refused {
        const LONGEST: usize = 400;
        let mut errors = self.errors.borrow_mut();
        let mut error = InputError::new(self.file, "");
        error.field = Some(field).filter(|field| !field.is_empty());
        // Finding the line costs as much as the text is long: only for errors that are kept.
        if !errors.is_full() {
            let offset = at.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
            error = error.line(line_of(self.text.as_bytes().get(..offset).unwrap_or_default()));
            error.why = match why.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{}…", &why[..end]),
                None => why,
            };
            error.hint = hint;
        }
        errors.push(error);
        Refused
    }
}

fn line_of(before: &[u8]) -> u64 {
    1 + before.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>()
}

/// What `serde_json` says, without its own line and column.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(why, _)| why.to_owned())
}

/// A value, not yet looked into.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    document: &'a Document<'a>,
    /// The value that it is in: how that is called is only made out when it is asked for.
    within: Option<Rc<Value<'a>>>,
    step: Step<'a>,
    raw: &'a str,
}

/// Where a value is in another one.
#[derive(Clone)]
enum Step<'a> {
    Whole,
    Key(Cow<'a, str>),
    Nth(usize),
}

impl<'a> Value<'a> {
    /// Such as `assets[0].customers`.
    pub(crate) fn field(&self) -> String {
        let within = self.within.as_ref().map_or_else(String::new, |within| within.field());
        match &self.step {
            Step::Whole => within,
            Step::Key(key) if within.is_empty() => key.to_string(),
            Step::Key(key) => within + "." + key,
            Step::Nth(nth) => format!("{within}[{nth}]"),
        }
    }

    fn key(&self) -> &str {
        if let Step::Key(key) = &self.step { key } else { "" }
    }

    /// Reports what is wrong with it.
    pub(crate) fn refuse(&self, why: impl fmt::Display, hint: Option<String>) -> Refused {
        self.document.refuse(self.raw, self.field(), why.to_string(), hint)
    }

    /// Its members; keys other than the `known` ones are errors.
    pub(crate) fn object(&self, known: &[&str]) -> Result<Object<'a>, Refused> {
        let object = self.map()?;
        for value in object.members.iter().filter(|value| !known.contains(&value.key())) {
            value.refuse("is not a known key", Some(suggestion(value.key(), known.iter().copied())));
        }
        Ok(object)
    }

    /// Its members, whatever their keys; each is there once.
    pub(crate) fn map(&self) -> Result<Object<'a>, Refused> {
        self.must_be('{', "an object")?;
        let Members(raw) = self.read("an object")?;
        let within = Rc::new(self.clone());
        let mut members: Vec<Value<'a>> = Vec::with_capacity(raw.len());
        let mut many = HashSet::new();
        for (key, raw) in raw {
            let is_twice = if members.len() < FEW {
                members.iter().any(|known| known.key() == key)
            } else {
                if many.is_empty() {
                    many.extend(members.iter().map(|known| known.key().to_owned()));
                }
                !many.insert(key.to_string())
            };
            let (within, step) = (Some(within.clone()), Step::Key(key));
            let value = Value { document: self.document, within, step, raw: raw.get() };
            if is_twice {
                value.refuse("is there twice", None);
            } else {
                members.push(value);
            }
        }
        Ok(Object { whole: within, members })
    }

    /// Each of its elements, as `read` reads them; an error in one does not hide those in others.
    pub(crate) fn list<T>(&self, mut read: impl FnMut(Value<'a>) -> Result<T, Refused>) -> Result<Vec<T>, Refused> {
        self.must_be('[', "a list")?;
        let elements: Vec<&'a RawValue> = self.read("a list")?;
        let within = Rc::new(self.clone());
        let each = elements.into_iter().enumerate().map(|(nth, raw)| {
            let (within, step) = (Some(within.clone()), Step::Nth(nth));
            read(Value { document: self.document, within, step, raw: raw.get() })
        });
        let all: Vec<Result<T, Refused>> = each.collect();
        all.into_iter().collect()
    }

    /// A string that is not empty and not longer than that.
    pub(crate) fn text(&self, longest: usize) -> Result<String, Refused> {
        self.must_be('"', "a string")?;
        let plain = self.raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).filter(|raw| !raw.contains('\\'));
        let text: String = plain.map_or_else(|| self.read("a string"), |plain| Ok(plain.to_owned()))?;
        match text.chars().nth(longest) {
            Some(_) => Err(self.refuse(format!("is longer than {longest} characters"), None)),
            None if text.is_empty() => Err(self.refuse("is empty", None)),
            None => Ok(text),
        }
    }

    /// A whole number that is not above `most`.
    pub(crate) fn number(&self, most: u64) -> Result<u64, Refused> {
        let number = self.raw.parse::<u64>().ok().filter(|number| *number <= most);
        number.ok_or_else(|| {
            let found = if self.raw.len() < 40 { self.raw } else { self.kind() };
            self.refuse(format!("is {found}, and should be a whole number from 0 to {most}"), None)
        })
    }

    /// Coins, in base units of an asset with so many decimals.
    pub(crate) fn amount(&self, decimals: u8) -> Result<Amount, Refused> {
        const LONGEST: usize = 160;
        if matches!(self.raw.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
            let hint = if self.raw.len() < 100 { format!("write \"{}\"", self.raw) } else { "quote it".into() };
            return Err(self.refuse("is a number, and should be a string: programs round JSON numbers", Some(hint)));
        }
        Amount::from_coins(&self.text(LONGEST)?, decimals).map_err(|error| self.refuse(error, None))
    }

    fn must_be(&self, first: char, expected: &str) -> Result<(), Refused> {
        if self.raw.starts_with(first) {
            return Ok(());
        }
        let hint = (self.raw == "null").then(|| "leave out what is not known".to_owned());
        Err(self.refuse(format!("is {}, and should be {expected}", self.kind()), hint))
    }

    fn kind(&self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    fn read<T: Deserialize<'a>>(&self, expected: &str) -> Result<T, Refused> {
        serde_json::from_str(self.raw)
            .map_err(|error| self.refuse(format!("is not {expected}: {}", without_place(&error)), None))
    }
}

/// An object's members, each key once.
pub(crate) struct Object<'a> {
    whole: Rc<Value<'a>>,
    members: Vec<Value<'a>>,
}

impl<'a> Object<'a> {
    /// Such as `assets[0]`.
    pub(crate) fn field(&self) -> String {
        self.whole.field()
    }

    /// The value under this key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.members.iter().find(|value| value.key() == key)
    }

    /// The value under this key, which must be there.
    pub(crate) fn required(&self, key: &str) -> Result<&Value<'a>, Refused> {
        self.get(key).ok_or_else(|| self.missing(key, "is missing"))
    }

    /// The value under this key as `read` reads it, if it is there.
    pub(crate) fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Refused>,
    ) -> Result<Option<T>, Refused> {
        self.get(key).map(read).transpose()
    }

    /// Each element of the list under this key; none where it is left out.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        read: impl FnMut(Value<'a>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        self.get(key).map_or(Ok(vec![]), |value| value.list(read))
    }

    /// Reports that something is missing under this key.
    pub(crate) fn missing(&self, key: &str, why: &str) -> Refused {
        let whole = &self.whole;
        let within = whole.field();
        let field = if within.is_empty() { key.to_owned() } else { format!("{within}.{key}") };
        whole.document.refuse(whole.raw, field, why.to_owned(), None)
    }

    /// Every key with its value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.members.iter().map(|value| (value.key(), value))
    }
}

/// An object's members as they stand, also those whose key comes again.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = vec![];
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Each).map(Members)
    }
}

/// A key, as it stands in the document where nothing in it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
