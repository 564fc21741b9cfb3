//! Completions for shells, and man pages: made from the command line's own description.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::{Failure, WRONG_INPUT};
use crate::output;

/// Writes the shell's completions to standard output.
pub fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "assay", &mut text);
    output::data(String::from_utf8_lossy(&text).trim_end());
    Ok(0)
}

/// Writes a man page for `assay` and one for each of its commands into the folder.
pub fn pages(folder: &Path) -> Result<u8, Failure> {
    let named = |error: std::io::Error| Failure::new(WRONG_INPUT, format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(named)?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(named)?;
    output::message(format!("man pages are in {}", folder.display()));
    Ok(0)
}
