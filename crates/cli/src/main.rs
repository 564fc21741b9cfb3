//! The binary `assay`: arguments become settings once, commands do one thing each, and only this crate prints or exits.

mod args;
mod balance;
mod check;
mod config;
mod demo;
mod explain;
mod failure;
mod history;
mod holdings;
mod index;
mod init;
mod keys;
mod manual;
mod memory;
mod output;
mod place;
mod prices;
mod progress;
mod proof;
mod serve;
mod setup;
mod statement;
mod submit;
mod token;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use args::{Arguments, Command, KeysCommand, ProofCommand, StatementCommand, TokenCommand};
use clap::Parser;
use failure::{Failure, WRONG_INPUT};
use setup::Setup;

fn main() -> ExitCode {
    memory::keep_what_was_freed();
    let arguments = Arguments::parse();
    log_to_standard_error();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let longest = matches!(arguments.command, Command::Balance(_)).then_some(balance::NODE_DEADLINE);
    set_node_deadline(longest)?;
    match &arguments.command {
        Command::Demo(wishes) => demo::run(wishes, arguments.json),
        Command::Init { dir } => init::run(dir),
        Command::Keys { command: KeysCommand::New { file } } => keys::new(file),
        Command::Proof { command: ProofCommand::Check { file } } => proof::check(file, arguments.json),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::pages(dir),
        command => with_setup(&Setup::load(&arguments.config)?, command, arguments.json),
    }
}

fn with_setup(setup: &Arc<Setup>, command: &Command, json: bool) -> Result<u8, Failure> {
    match command {
        Command::Demo(_)
        | Command::Init { .. }
        | Command::Keys { .. }
        | Command::Proof { .. }
        | Command::Completions { .. }
        | Command::Man { .. } => Err(Failure::new(WRONG_INPUT, "needs no configuration")),
        Command::Check { deep } => check::run(setup, *deep, json),
        Command::Index(index) => index::run(setup, index, json),
        Command::Balance(question) => balance::run(setup, question, json),
        Command::History(question) => history::run(setup, question, json),
        Command::Holdings { exchange, at } => holdings::run(setup, exchange, at.as_deref(), json),
        Command::Statement { command: StatementCommand::Check { file } } => statement::check(setup, file, json),
        Command::Submit(wished) => submit::run(setup, wished, json),
        Command::Serve => serve::run(setup),
        Command::Token { command: TokenCommand::New(wished) } => token::new(setup, wished),
        Command::Token { command: TokenCommand::List } => token::list(setup, json),
        Command::Token { command: TokenCommand::Revoke { id } } => token::revoke(setup, id),
        Command::Explain(wished) => explain::run(setup, wished, json),
        Command::Verify(question) => verify::run(setup, question, json),
    }
}

/// How long a node may take for one answer: `ASSAY_NODE_DEADLINE_S`, in seconds, 30 where it is not set, and never longer than
/// what the command allows.
fn set_node_deadline(longest: Option<Duration>) -> Result<(), Failure> {
    const NAME: &str = "ASSAY_NODE_DEADLINE_S";
    let read = |text: std::ffi::OsString| {
        let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| (1..=3600).contains(seconds));
        let wrong = || Failure::new(WRONG_INPUT, format!("{NAME}: {} is not 1 to 3600 seconds", text.display()));
        seconds.map(Duration::from_secs).ok_or_else(wrong)
    };
    let wished = std::env::var_os(NAME).filter(|text| !text.is_empty()).map(read).transpose()?;
    wished.into_iter().chain(longest).min().into_iter().for_each(assay_http::set_deadline);
    Ok(())
}

/// Warnings by default; `ASSAY_LOG=info` or `debug` says more. `ASSAY_LOG_FORMAT=json`: an object a line, for machines.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ASSAY_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match std::env::var("ASSAY_LOG_FORMAT").as_deref() {
        Ok("json") => log.json().flatten_event(true).with_span_list(false).init(),
        _ => log.with_ansi(output::colours(&std::io::stderr())).init(),
    }
}
