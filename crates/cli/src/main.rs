//! The binary `assay`: arguments become settings once, commands do one thing each, and only this crate prints or exits.

mod args;
mod balance;
mod check;
mod config;
mod demo;
mod evidence;
mod failure;
mod history;
mod holdings;
mod index;
mod init;
mod output;
mod place;
mod progress;
mod setup;
mod verify;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use failure::Failure;

fn main() -> ExitCode {
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
    let config = &arguments.config;
    let json = arguments.json;
    match &arguments.command {
        Command::Demo(wishes) => demo::run(wishes, json),
        Command::Init { dir } => init::run(dir),
        Command::Check { deep } => check::run(&setup::Setup::load(config)?, *deep, json),
        Command::Index(index) => index::run(&setup::Setup::load(config)?, index, json),
        Command::Balance(question) => balance::run(&setup::Setup::load(config)?, question, json),
        Command::History(question) => history::run(&setup::Setup::load(config)?, question, json),
        Command::Holdings { exchange, at } => {
            holdings::run(&setup::Setup::load(config)?, exchange, at.as_deref(), json)
        }
        Command::Verify(question) => verify::run(&setup::Setup::load(config)?, question, json),
    }
}

/// Warnings by default; `ASSAY_LOG=info` or `debug` says more.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ASSAY_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::colours(&std::io::stderr()))
        .with_target(false)
        .init();
}
