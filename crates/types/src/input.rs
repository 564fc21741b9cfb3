//! Errors about what people wrote: file, line or field, what is wrong, and what was probably meant.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong in a file that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Its line, from 1, where known.
    pub line: Option<u64>,
    /// The field, such as `assets[0].customers`, where known.
    pub field: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl InputError {
    /// An error about a whole file.
    pub fn new(file: impl Into<PathBuf>, why: impl fmt::Display) -> InputError {
        InputError { file: file.into(), line: None, field: None, why: why.to_string(), hint: None }
    }

    /// Adds the line, from 1.
    #[must_use]
    pub fn line(mut self, line: u64) -> InputError {
        self.line = Some(line);
        self
    }

    /// Adds the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> InputError {
        self.field = Some(field.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> InputError {
        self.hint = Some(hint.into());
        self
    }
}

/// `file:line: field: why`
impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl std::error::Error for InputError {}

/// The candidate that `text` was probably meant to be: at most a third of its letters differ.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = text.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_named() {
        assert_eq!(nearest("customrs", ["customers", "house"]), Some("customers"));
        assert_eq!(nearest("zzz", ["customers", "house"]), None);
    }

    #[test]
    fn an_error_reads_from_the_file_to_the_field() {
        let error = InputError::new("a.json", "is negative").line(3).field("assets[0].customers");
        assert_eq!(error.to_string(), "a.json:3: assets[0].customers: is negative");
    }
}
