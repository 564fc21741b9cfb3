//! `assay submit`: hands a statement to an `assay serve`, checked and signed here, until it is taken or refused.

use std::time::Duration;

use assay_types::InputError;
use reqwest::{Client, StatusCode};

use crate::args::SubmitArgs;
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::setup::Setup;
use crate::{keys, output, statement};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(120);
const LONGEST_TOKEN_BYTES: u64 = 4096;

/// How it went, once.
enum Sent {
    Taken(String),
    Refused(String),
    /// It may go better later.
    Failed(String),
}

pub fn run(setup: &Setup, wished: &SubmitArgs, as_json: bool) -> Result<u8, Failure> {
    let (statement, bytes) = statement::read(setup, &wished.statement)?;
    if statement.exchange != wished.exchange {
        let why = format!("is `{}`, but it is sent for `{}`", statement.exchange, wished.exchange);
        return Err(InputError::new(&wished.statement, why).field("exchange").into());
    }
    if statement.sequence.is_none() {
        // Without a number a second try could not be told from another statement.
        let error = InputError::new(&wished.statement, "is missing: it says which statement this is").field("sequence");
        return Err(error.hint("count the statements: 1, 2, 3, …").into());
    }
    let key = wished.key.as_deref().map(keys::read).transpose()?;
    let signature = key.map(|key| key.sign(&wished.exchange, statement.digest));
    let token =
        wished.token_file.as_ref().map(|file| assay_registry::read_text(file, LONGEST_TOKEN_BYTES)).transpose()?;
    let url = format!("{}/v1/exchanges/{}/statements", wished.to.trim_end_matches('/'), wished.exchange);
    let wrong = |error: reqwest::Error| Failure::new(WRONG_INPUT, format!("{}: {error}", wished.to));
    let client =
        Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build().map_err(wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let send = || {
        let mut request = client.post(&url).header("content-type", "application/json").body(bytes.clone());
        if let Some(signature) = &signature {
            request = request.header("assay-signature", signature);
        }
        if let Some(token) = &token {
            request = request.bearer_auth(token.trim());
        }
        runtime.block_on(once(request))
    };
    let mut pause = FIRST_PAUSE;
    for left in (0..wished.tries.max(1)).rev() {
        match send() {
            Sent::Taken(receipt) => return Ok(taken(&receipt, as_json)),
            Sent::Refused(why) => {
                return Err(Failure::new(WRONG_INPUT, format!("the statement is refused: {why}")));
            }
            Sent::Failed(why) if left == 0 => {
                let failure = Failure::new(UNKNOWN, format!("the statement could not be handed over: {why}"));
                return Err(failure.hint("send it again: the same statement twice is no error"));
            }
            Sent::Failed(why) => {
                output::warning(format!("{why}: once more in {} s", pause.as_secs()));
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    Ok(UNKNOWN)
}

async fn once(request: reqwest::RequestBuilder) -> Sent {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Sent::Failed(error.without_url().to_string()),
    };
    let status = answer.status();
    let body = match answer.text().await {
        Ok(body) => body,
        Err(error) => return Sent::Failed(error.without_url().to_string()),
    };
    if status.is_success() {
        return Sent::Taken(body);
    }
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let why = problem["detail"].as_str().or_else(|| problem["title"].as_str()).unwrap_or("no reason is given");
    let why = format!("{status}: {why}");
    let passes = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    if status.is_server_error() || passes { Sent::Failed(why) } else { Sent::Refused(why) }
}

fn taken(receipt: &str, as_json: bool) -> u8 {
    let receipt: serde_json::Value = serde_json::from_str(receipt).unwrap_or_default();
    if as_json {
        output::document(&receipt);
    } else {
        let word = |value: &serde_json::Value| value.as_str().unwrap_or("not judged yet").to_owned();
        let (number, digest) = (&receipt["sequence"], word(&receipt["digest"]));
        let verdict = word(&receipt["verdict"]["verdict"]);
        output::data(format!("taken as number {number}, {digest}: {verdict}"));
    }
    0
}
