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

/// A text of so many bytes is read in parts, side by side.
const LONG: usize = if cfg!(test) { 100 } else { 1 << 20 };

/// Reads a CSV file, and adds its accounts.
pub(crate) fn read(
    file: &Arc<Path>,
    text: &str,
    context: &Context<'_>,
    accounts: &mut Vec<Declared>,
    errors: &RefCell<InputErrors>,
) {
    let push = |error: InputError| errors.borrow_mut().push(error);
    let (mut reader, mut cells) = (records(text.as_bytes()), StringRecord::new());
    match reader.read_record(&mut cells) {
        Ok(true) => {}
        Ok(false) => {
            let error = InputError::new(&**file, "is empty");
            return push(error.hint("the first line names the columns: chain,address,role"));
        }
        Err(error) => return push(InputError::new(&**file, error)),
    }
    let header = match Header::read(&cells) {
        Ok(header) => header,
        Err(wrong) => {
            let line = Lines::new(text).advance(&cells);
            return wrong.into_iter().for_each(|mut error| {
                error.file = file.to_path_buf();
                push(error.line(line));
            });
        }
    };
    let (head, rest) = text.split_at(usize::try_from(reader.position().byte()).unwrap_or(text.len()));
    let mut next = 1 + lines(head);
    let parts = parts(rest).into_iter().map(|part| {
        let line = next;
        next += lines(part);
        Lines { text: part.as_bytes(), at: 0, line }
    });
    let (directory, timezone) = (context.directory, context.timezone);
    let read = |lines| read_part(file, lines, &header, &Context::new(directory, timezone));
    std::thread::scope(|scope| {
        let read = &read;
        let reading: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        for part in reading {
            let (some, wrong) = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            accounts.extend(some);
            errors.borrow_mut().append(wrong);
        }
    });
}

fn records(text: &[u8]) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text)
}

fn lines(text: &str) -> u64 {
    text.bytes().map(|byte| u64::from(byte == b'\n')).sum()
}

/// About as long as each other, as many as there are processors; but what is in quotes may go on on the next line.
fn parts(text: &str) -> Vec<&str> {
    let is_whole = text.len() < LONG || text.contains('"');
    let count = if is_whole { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let (mut rest, mut parts) = (text, Vec::with_capacity(count));
    for left in (2..=count).rev() {
        let middle = rest.len() / left;
        let Some(end) = rest.as_bytes()[middle..].iter().position(|byte| *byte == b'\n') else { break };
        let (part, others) = rest.split_at(middle + end + 1);
        parts.push(part);
        rest = others;
    }
    parts.push(rest);
    parts
}

/// The accounts of a part of the lines behind the header, and what is wrong there.
fn read_part(
    file: &Arc<Path>,
    mut lines: Lines<'_>,
    header: &Header,
    context: &Context<'_>,
) -> (Vec<Declared>, InputErrors) {
    let (mut accounts, errors) = (Vec::new(), RefCell::<InputErrors>::default());
    let push = |error: InputError| errors.borrow_mut().push(error);
    let (mut reader, mut cells) = (records(lines.text), StringRecord::new());
    loop {
        match reader.read_record(&mut cells) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                push(InputError::new(&**file, error));
                break;
            }
        }
        let line = lines.advance(&cells);
        let record = Record { file, line, header, cells: &cells, errors: &errors };
        if cells.len() == header.cells {
            // What is wrong is reported already, and the next line may have errors of its own.
            let _reported = declare(&record, context, &mut accounts);
        } else {
            push(InputError::new(&**file, wrong_count(cells.len(), header.cells)).line(line));
        }
    }
    (accounts, errors.into_inner())
}

fn wrong_count(found: usize, expected: usize) -> String {
    format!("has {found} {}, and the header has {expected}", if found == 1 { "cell" } else { "cells" })
}

/// Which column is where, of those that are there.
struct Header {
    columns: Vec<(&'static str, usize)>,
    cells: usize,
}

impl Header {
    fn read(cells: &StringRecord) -> Result<Header, Vec<InputError>> {
        let mut header = Header { columns: Vec::new(), cells: cells.len() };
        let mut wrong = vec![];
        for (nth, name) in cells.iter().enumerate() {
            match COLUMNS.into_iter().find(|column| *column == name) {
                None => {
                    let error = InputError::new("", "is not a known column").field(name);
                    wrong.push(error.hint(suggestion(name, COLUMNS)));
                }
                Some(column) if header.column(column).is_some() => {
                    wrong.push(InputError::new("", "is there twice").field(name));
                }
                Some(column) => header.columns.push((column, nth)),
            }
        }
        for name in REQUIRED.into_iter().filter(|name| header.column(name).is_none()) {
            wrong.push(InputError::new("", "is missing from the header").field(name));
        }
        if wrong.is_empty() { Ok(header) } else { Err(wrong) }
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().find(|(column, _)| *column == name).map(|(_, nth)| *nth)
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
