//! What goes to standard output and standard error. Nothing else prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::failure::Failure;

/// Are colours wanted there? `NO_COLOR` and pipes are respected.
pub fn colours(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && stream.is_terminal()
}

/// `error: what failed: why`, then `hint: what to do`.
pub fn failure(failure: &Failure) {
    for (error, hint) in &failure.errors {
        eprintln!("error: {}", plain(error));
        if let Some(hint) = hint {
            eprintln!("hint: {}", plain(hint));
        }
    }
}

/// A message for people, beside the data.
pub fn message(text: impl AsRef<str>) {
    eprintln!("{}", plain(text.as_ref()));
}

/// A warning for people, beside the data.
pub fn warning(text: impl AsRef<str>) {
    eprintln!("warning: {}", plain(text.as_ref()));
}

/// Data. A reader that has gone, such as `head`, is no failure; a full disk is.
pub fn data(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let text = text.as_ref();
    let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
        true => Ok(()),
        false => out.write_all(b"\n"),
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            std::process::exit(i32::from(crate::failure::UNKNOWN));
        }
        _ => {}
    }
}

/// One JSON document.
pub fn document(document: &impl serde::Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => data(text),
        Err(error) => eprintln!("error: the result cannot be written as JSON: {error}"),
    }
}

/// A table with these headings; columns named in `numbers` are aligned to the right.
pub fn table(headings: &[&str], numbers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.iter().map(|cell| Cell::new(plain(cell))));
    }
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if numbers.contains(heading) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What is what, a row each.
pub fn pairs(rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// What came from outside cannot steer the terminal: control characters are shown, not sent.
fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}
