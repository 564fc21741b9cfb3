//! `assay submit`: hands statements to an `assay serve`, checked and signed here, until they are taken or refused.
//!
//! A statement that lies in a file is sent once, as it is. What a query gives, and everything that is sent continuously, goes through
//! the outgoing folder: kept there first, then sent, in order.

mod database;
mod outgoing;
mod query;
mod receiver;
mod rounds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_indexer::Stop;
use assay_types::{InputError, Statement};
use serde_json::{Value, json};

use crate::args::SubmitArgs;
use crate::failure::{Failure, WRONG_INPUT};
use crate::setup::Setup;
use crate::{output, statement};
use database::Database;
use outgoing::{Mark, Outgoing};
use query::Query;
use receiver::{Patience, Receiver, Trouble};
use rounds::{Source, Submission};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub fn run(setup: &Setup, wished: &SubmitArgs, as_json: bool) -> Result<u8, Failure> {
    setup.exchange(&wished.exchange)?;
    let receiver = Receiver::new(wished)?;
    let source = match (&wished.statement, &wished.query, &wished.database_file) {
        (Some(file), ..) if wished.every.is_none() => return one_file(setup, wished, &receiver, file, as_json),
        (Some(file), ..) => Source::File(file.clone()),
        (None, Some(file), Some(database)) => {
            let database = Database::new(database, wished.database_ca.as_deref())?;
            Source::Query(Box::new(Query::new(file, database)?))
        }
        _ => return Err(Failure::new(WRONG_INPUT, "--query needs --database-file")),
    };
    let folder = wished.spool.clone().unwrap_or_else(|| PathBuf::from("outgoing").join(&wished.exchange));
    let outgoing = Outgoing::open(&folder, &wished.exchange)?;
    let submission = Submission::new(setup, &wished.exchange, source, receiver, outgoing, as_json);
    match wished.every {
        Some(every) => submission.keep_on(Duration::from_secs(every.seconds)),
        None => submission.once(wished.tries),
    }
}

/// Sends the statement that lies in a file, as it is.
fn one_file(setup: &Setup, wished: &SubmitArgs, receiver: &Receiver, file: &Path, json: bool) -> Result<u8, Failure> {
    if wished.spool.is_some() {
        return Err(Failure::new(WRONG_INPUT, "--spool is for --query and --every: a file waits where it is"));
    }
    let (_, bytes) = numbered(setup, &wished.exchange, file)?;
    let patience = Patience::new(Stop::default())?;
    match until_taken(receiver, &patience, &bytes, Some(wished.tries)) {
        Ok(receipt) if json => output::document(&receipt),
        Ok(receipt) => output::data(taken(&receipt)),
        Err(Trouble::Passing(failure)) => {
            let failure = failure.during("the statement could not be handed over");
            return Err(failure.hint("send it again: the same statement twice is no error"));
        }
        Err(Trouble::Refused(failure) | Trouble::Ending(failure)) => return Err(failure),
        Err(Trouble::Stopped) => {}
    }
    Ok(0)
}

/// The statement in a file, with its number: without one a second try could not be told from another statement.
fn numbered(setup: &Setup, exchange: &str, file: &Path) -> Result<(Statement, Vec<u8>), Failure> {
    let (statement, bytes) = statement::read(setup, file)?;
    if statement.exchange != exchange {
        let why = format!("is `{}`, but it is sent for `{exchange}`", statement.exchange);
        return Err(InputError::new(file, why).field("exchange").into());
    }
    if statement.sequence.is_none() {
        let error = InputError::new(file, "is missing: it says which statement this is").field("sequence");
        return Err(error.hint("count the statements: 1, 2, 3, …").into());
    }
    Ok((statement, bytes))
}

/// Sends a statement, the same bytes each time, until it is taken or refused; so often at most, with growing pauses.
fn until_taken(receiver: &Receiver, patience: &Patience, bytes: &[u8], tries: Option<u32>) -> Result<Value, Trouble> {
    let (mut pause, mut tried) = (FIRST_PAUSE, 0);
    loop {
        tried += 1;
        match receiver.send(patience, bytes.to_vec()) {
            Err(Trouble::Passing(failure)) if tries.is_none_or(|tries| tried < tries) => {
                output::warning(format!("{}: once more in {} s", failure.first(), pause.as_secs()));
                patience.stop.pause(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// The receipt, for people.
fn taken(receipt: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("not judged yet").to_owned();
    let (number, digest) = (&receipt["sequence"], word(&receipt["digest"]));
    format!("taken as number {number}, {digest}: {}", word(&receipt["verdict"]["verdict"]))
}

/// The other way it can end: a line for people, or for machines.
fn refused(mark: &Mark, why: &str, as_json: bool) -> String {
    let Mark { sequence, digest, .. } = mark;
    match as_json {
        true => json!({ "sequence": sequence, "digest": digest, "refused": why }).to_string(),
        false => format!("refused as number {sequence}, {digest}: {why}"),
    }
}
