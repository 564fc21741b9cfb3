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

/// Everything wrong in what somebody wrote, in order: the first [`InputErrors::KEPT`], and how many more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputErrors {
    errors: Vec<InputError>,
    more: usize,
}

impl InputErrors {
    /// How many are kept; the others are counted.
    pub const KEPT: usize = 20;

    /// Adds one.
    pub fn push(&mut self, error: InputError) {
        match self.is_full() {
            false => self.errors.push(error),
            true => self.more += 1,
        }
    }

    /// Adds those of another file.
    pub fn append(&mut self, other: InputErrors) {
        other.errors.into_iter().for_each(|error| self.push(error));
        self.more += other.more;
    }

    /// Those that are kept.
    pub fn errors(&self) -> &[InputError] {
        &self.errors
    }

    /// How many there are beyond those.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Will the next one only be counted?
    pub fn is_full(&self) -> bool {
        self.errors.len() >= Self::KEPT
    }

    /// Nothing wrong?
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The same errors, told otherwise.
    #[must_use]
    pub fn map(mut self, tell: impl FnMut(InputError) -> InputError) -> InputErrors {
        self.errors = self.errors.into_iter().map(tell).collect();
        self
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// These, if there are any.
    pub fn or<T>(self, value: T) -> Result<T, InputErrors> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<InputError> for InputErrors {
    fn from(error: InputError) -> InputErrors {
        InputErrors { errors: vec![error], more: 0 }
    }
}

/// One error a line.
impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if nth == 0 { "" } else { "\n" })?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

impl std::error::Error for InputErrors {}

/// A hint: what `text` was probably meant to be, or else what there is to choose from.
pub fn suggestion<'a>(text: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    const LISTED: usize = 20;
    if let Some(meant) = nearest(text, known.clone()) {
        return format!("did you mean `{meant}`?");
    }
    let mut known = known.into_iter();
    let listed: Vec<String> = known.by_ref().take(LISTED).map(|word| format!("`{word}`")).collect();
    match (listed.is_empty(), known.count()) {
        (true, _) => "none is known".into(),
        (false, 0) => format!("known: {}", listed.join(", ")),
        (false, more) => format!("known: {} and {more} more", listed.join(", ")),
    }
}

/// The candidate that `text` was probably meant to be: at most a third of its letters differ, beyond their case.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 100;
    let bound = text.chars().take(LONGEST).count().div_ceil(3);
    let lower = text.chars().take(LONGEST).collect::<String>().to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
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
        assert_eq!(nearest("btc", ["ETH", "BTC"]), Some("BTC"));
        assert_eq!(nearest("zzz", ["customers", "house"]), None);
        assert_eq!(suggestion("hose", ["customers", "house"]), "did you mean `house`?");
        assert_eq!(suggestion("zzz", ["customers", "house"]), "known: `customers`, `house`");
    }

    #[test]
    fn many_errors_are_counted_and_not_kept() {
        let mut errors = InputErrors::default();
        assert_eq!(errors.clone().or(7), Ok(7));
        (0..InputErrors::KEPT + 3).for_each(|nth| errors.push(InputError::new("a.csv", nth)));
        assert!(errors.to_string().ends_with("\na.csv: 19\nand 3 more"));
        assert!(errors.or(7).is_err());
    }

    #[test]
    fn an_error_reads_from_the_file_to_the_field() {
        let error = InputError::new("a.json", "is negative").line(3).field("assets[0].customers");
        assert_eq!(error.to_string(), "a.json:3: assets[0].customers: is negative");
    }
}
