//! `assay demo`: the day of 6 February 2026, at a tenth of its size, on real nodes.
//!
//! An exchange is played: its wallets are real wallets on a real `bitcoind` and a real `anvil`, its ledger is kept beside
//! them to the unit. What is said of it comes from Assay, which is set up as anyone would set it up, and knows no more
//! than its nodes and the statements. The play knows what is true; an answer that is not what it must be is told, and the
//! exit code is 4.

mod bitcoin;
mod book;
mod ethereum;
mod exchange;
mod figures;
mod files;
mod judge;
mod live;
mod others;
mod show;
mod stage;
mod story;
mod told;

use std::time::Instant;

use assay_indexer::Stop;
use assay_testnodes::TestNodeError;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::DemoArgs;
use crate::failure::{Failure, INTEGRITY, UNKNOWN, WRONG_INPUT};
use crate::output;
use crate::setup::Setup;
use exchange::Exchange;
use stage::Stage;
use story::Play;
use told::Told;

/// Plays the story; 0 when it went as told, 4 when not.
pub fn run(arguments: &DemoArgs, json: bool) -> Result<u8, Failure> {
    let stop = stop_on_signals()?;
    let result = play(arguments, json, &stop);
    match result {
        // What fails after that only fails because of it.
        Err(_) if stop.is_wished() => Err(Failure::new(UNKNOWN, "the demo was stopped before its end")),
        result => result,
    }
}

fn play(arguments: &DemoArgs, json: bool, stop: &Stop) -> Result<u8, Failure> {
    let since = Instant::now();
    live::must_be_free(arguments.port)?;
    let told = Told::new(json, figures::kst(15, 0, 0));
    let stage = Stage::build(&told, stop)?;
    let config = files::write(&stage, arguments.port)?;
    let setup = Setup::load(&config)?;
    let mut exchange = Exchange::new(stage);
    story::prologue(&mut exchange, &told)?;
    let mut play = Play { exchange, told: &told, setup: &setup, stop, issued: vec![], verdicts: vec![], wrong: vec![] };
    play.acts()?;
    if json {
        output::document(&serde_json::json!({ "verdicts": play.verdicts }));
    }
    end(&play, since);
    let outcome = if play.wrong.is_empty() { 0 } else { INTEGRITY };
    if !arguments.once {
        live::go_on(play, &config)?;
    }
    Ok(outcome)
}

/// The first signal asks for a stop, which removes everything; the second ends the process.
fn stop_on_signals() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let wished = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if wished.is_wished() {
                std::process::exit(130);
            }
            wished.now();
        }
    });
    Ok(stop)
}

fn end(play: &Play<'_>, since: Instant) {
    let tenths = since.elapsed().as_millis() / 100;
    for wrong in &play.wrong {
        output::warning(wrong);
    }
    let outcome = match play.wrong.len() {
        0 => "every verdict was what the books and the play know to be true".to_owned(),
        many => format!("{many} answers were not what they must be, see standard error"),
    };
    play.told.below("");
    play.told.line(format!("the end: {outcome} ({}.{} s of real time)", tenths / 10, tenths % 10));
}

/// Something in the play itself went wrong.
fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::new(UNKNOWN, why).during("the demo cannot go on")
}

/// A node's answer that must be a text.
fn text(value: &Value) -> Result<String, Failure> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| broken(format!("a node answered {value} where a text was expected")))
}

fn joined<T>(result: std::thread::Result<Result<T, Failure>>) -> Result<T, Failure> {
    result.unwrap_or_else(|_| Err(broken("a thread ended by itself")))
}

impl From<TestNodeError> for Failure {
    fn from(error: TestNodeError) -> Failure {
        match error {
            TestNodeError::NotInstalled { .. } => {
                Failure::new(WRONG_INPUT, error).hint("make nodes installs both; BITCOIND= and ANVIL= name your own")
            }
            error => broken(error),
        }
    }
}
