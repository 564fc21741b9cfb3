//! A text that somebody wrote, for errors that name its lines.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};
use assay_types::InputError;

/// Reads a file that somebody wrote, and no more than this of it: a size is not known before it is read where the file
/// is a pipe or a device.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_bytes(file: &Path, longest_bytes: u64) -> Result<Vec<u8>, InputError> {
    let read = || -> io::Result<Vec<u8>> {
        let opened = File::open(file)?;
        let mut bytes = Vec::new();
        if opened.metadata()?.len() <= longest_bytes {
            opened.take(longest_bytes + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 <= longest_bytes {
                return Ok(bytes);
            }
        }
        Err(io::ErrorKind::FileTooLarge.into())
    };
    read().map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => InputError::new(file, format!("is longer than {longest_bytes} bytes")),
        _ => InputError::new(file, format!("cannot be read: {error}")),
    })
}

/// The same, as text.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn read_text(file: &Path, longest_bytes: u64) -> Result<String, InputError> {
    String::from_utf8(read_bytes(file, longest_bytes)?).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        InputError::new(file, "is not UTF-8").line(line).hint("save it as UTF-8")
    })
}

/// A file's name, and where its lines begin.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The file, as errors name it.
    pub file: &'a Path,
    /// Where each line ends, but for the last.
    ends: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Of the file with this name and text.
    pub fn new(file: &'a Path, text: &str) -> Source<'a> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset);
        Source { file, ends: ends.collect() }
    }

    /// The line, from 1, of the byte at `offset`.
    pub fn line(&self, offset: usize) -> u64 {
        1 + self.ends.partition_point(|end| *end < offset) as u64
    }

    /// An error about what stands at `offset`.
    pub fn error(&self, offset: usize, why: impl std::fmt::Display) -> InputError {
        InputError::new(self.file, why).line(self.line(offset))
    }

    /// What the TOML parser says of the text, with line and field.
    pub fn toml_error(&self, text: &str, error: &::toml::de::Error) -> InputError {
        let why = error.message().trim_end().replace('\n', ", ");
        // Whoever writes a file knows no such types.
        let why = ["u64", "u32", "u8"].iter().fold(why, |why, of| {
            why.replace(&format!("expected {of}"), "expected a whole number that is not negative")
        });
        let Some(at) = error.span().map(|span| span.start) else { return InputError::new(self.file, why) };
        let table = DeTable::parse_recoverable(text).0;
        let field = field_at(table.get_ref(), at).or_else(|| key_of_line(text, at));
        let (field, why) = match (field, why.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))) {
            (Some(table), Some(missing)) => (Some(format!("{table}.{missing}")), "is missing".into()),
            (None, Some(missing)) => (Some(missing.to_owned()), "is missing".into()),
            (field, None) => (field, why),
        };
        let error = self.error(at, why);
        match field {
            Some(field) => error.field(field),
            None => error,
        }
    }
}

/// The field that stands at this offset, such as `chain[0].start`. A table's span is that of its head: what it holds is looked at first.
fn field_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let within = value_at(value, at).or_else(|| key.span().contains(&at).then(String::new))?;
        Some(format!("{}{within}", key.get_ref()))
    })
}

/// The same behind a field's name.
fn value_at(value: &Spanned<DeValue<'_>>, at: usize) -> Option<String> {
    let within = match value.get_ref() {
        DeValue::Table(table) => field_at(table, at).map(|field| format!(".{field}")),
        DeValue::Array(each) => {
            each.iter().enumerate().find_map(|(nth, one)| Some(format!("[{nth}]{}", value_at(one, at)?)))
        }
        _ => None,
    };
    within.or_else(|| value.span().contains(&at).then(String::new))
}

/// Where the text is no TOML: the key of the line.
fn key_of_line(text: &str, at: usize) -> Option<String> {
    let begins = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text[begins..].lines().next()?.split_once('=')?;
    let is_bare = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    Some(key.trim()).filter(|key| is_bare(key)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one() {
        let source = Source::new(Path::new("a"), "a\n\nb");
        assert_eq!([0, 1, 2, 3, 4].map(|offset| source.line(offset)), [1, 1, 2, 3, 3]);
    }
}
