//! A text that somebody wrote, for errors that name its lines.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

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
