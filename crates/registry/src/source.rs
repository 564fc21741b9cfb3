//! A text that somebody wrote, for errors that name its lines.

use std::path::Path;

use assay_types::InputError;

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

    /// What the TOML parser says, with its line.
    pub fn toml_error(&self, error: &::toml::de::Error) -> InputError {
        let why = error.message().trim_end().replace('\n', ", ");
        match error.span() {
            Some(span) => self.error(span.start, why),
            None => InputError::new(self.file, why),
        }
    }
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
