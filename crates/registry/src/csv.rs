//! Lists of accounts as CSV: a header, then one account a line.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use assay_types::{InputError, InputErrors, suggestion};
use csv::{ReaderBuilder, StringRecord, Trim};

use crate::account::{Context, Declared, Origin, Refused, Written, declare};

const COLUMNS: [&str; 9] = ["chain", "address", "role", "owner", "label", "since", "until", "message", "signature"];
const REQUIRED: [&str; 3] = ["chain", "address", "role"];

/// Reads a CSV file, and adds its accounts.
pub(crate) fn read(
    file: &Arc<Path>,
    text: &str,
    context: &Context<'_>,
    accounts: &mut Vec<Declared>,
    errors: &RefCell<InputErrors>,
) {
    let push = |error: InputError| errors.borrow_mut().push(error);
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let mut lines = Lines::new(text);
    let mut cells = StringRecord::new();
    let mut header: Option<Header> = None;
    loop {
        match reader.read_record(&mut cells) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return push(InputError::new(&**file, error)),
        }
        let line = lines.advance(&cells);
        let Some(header) = &header else {
            match Header::read(&cells) {
                Ok(read) => header = Some(read),
                Err(wrong) => {
                    return wrong.into_iter().for_each(|mut error| {
                        error.file = file.to_path_buf();
                        push(error.line(line));
                    });
                }
            }
            continue;
        };
        let record = Record { file, line, header, cells: &cells, errors };
        if cells.len() == header.cells {
            // What is wrong is reported already, and the next line may have errors of its own.
            let _reported = declare(&record, context, accounts);
        } else {
            push(InputError::new(&**file, wrong_count(cells.len(), header.cells)).line(line));
        }
    }
    if header.is_none() {
        let error = InputError::new(&**file, "is empty");
        push(error.hint("the first line names the columns: chain,address,role"));
    }
}

fn wrong_count(found: usize, expected: usize) -> String {
    format!("has {found} {}, and the header has {expected}", if found == 1 { "cell" } else { "cells" })
}

/// Which column is where.
struct Header {
    columns: [Option<usize>; COLUMNS.len()],
    cells: usize,
}

impl Header {
    fn read(cells: &StringRecord) -> Result<Header, Vec<InputError>> {
        let mut header = Header { columns: [None; COLUMNS.len()], cells: cells.len() };
        let mut wrong = vec![];
        for (nth, name) in cells.iter().enumerate() {
            match COLUMNS.iter().position(|column| *column == name) {
                None => {
                    let error = InputError::new("", "is not a known column").field(name);
                    wrong.push(error.hint(suggestion(name, COLUMNS)));
                }
                Some(column) if header.columns[column].is_some() => {
                    wrong.push(InputError::new("", "is there twice").field(name));
                }
                Some(column) => header.columns[column] = Some(nth),
            }
        }
        for name in REQUIRED.into_iter().filter(|name| header.column(name).is_none()) {
            wrong.push(InputError::new("", "is missing from the header").field(name));
        }
        if wrong.is_empty() { Ok(header) } else { Err(wrong) }
    }

    fn column(&self, name: &str) -> Option<usize> {
        COLUMNS.iter().position(|column| *column == name).and_then(|column| self.columns[column])
    }
}

/// Finds the line on which each record begins. The reader's own count stands before the blank lines that it skips.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Lines<'a> {
        Lines { text: text.as_bytes(), at: 0, line: 1 }
    }

    pub(crate) fn advance(&mut self, record: &StringRecord) -> u64 {
        let start = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        while self.at < self.text.len() && (self.at < start || matches!(self.text[self.at], b'\r' | b'\n')) {
            self.line += u64::from(self.text[self.at] == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// One line, with its place in the file.
struct Record<'a> {
    file: &'a Arc<Path>,
    line: u64,
    header: &'a Header,
    cells: &'a StringRecord,
    errors: &'a RefCell<InputErrors>,
}

impl Written for Record<'_> {
    fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Refused> {
        let cell = self.header.column(name).and_then(|nth| self.cells.get(nth));
        Ok(cell.filter(|cell| !cell.is_empty()).map(Cow::Borrowed))
    }

    fn range(&self) -> Result<Option<(u32, u32)>, Refused> {
        Ok(None)
    }

    fn refuse(&self, name: &str, why: String, hint: Option<String>) -> Refused {
        let mut error = InputError::new(&**self.file, why).line(self.line).field(name);
        error.hint = hint;
        self.errors.borrow_mut().push(error);
        Refused
    }

    fn origin(&self) -> Origin {
        Origin { file: Arc::clone(self.file), line: self.line }
    }
}
