//! The `assay serve` that statements are handed to: what is asked of it, and what its answers mean for the sender.

use std::future::Future;
use std::time::Duration;

use assay_indexer::Stop;
use assay_registry::SecretKey;
use assay_types::Digest;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::outgoing::Mark;
use crate::args::SubmitArgs;
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::keys;

const DEADLINE: Duration = Duration::from_secs(120);
const LONGEST_TOKEN_BYTES: u64 = 4096;

/// Why it did not go as wished, and what that means for what comes after.
#[derive(Debug)]
pub enum Trouble {
    /// It may go better later.
    Passing(Failure),
    /// This statement is never taken. Others may be.
    Refused(Failure),
    /// Nothing is taken until somebody has mended it.
    Ending(Failure),
    /// A stop is wished.
    Stopped,
}

/// What was done wrong in making a statement can be done right the next time.
impl<T: Into<Failure>> From<T> for Trouble {
    fn from(failure: T) -> Trouble {
        Trouble::Passing(failure.into())
    }
}

/// Waits for what takes time, unless a stop is wished.
pub struct Patience {
    runtime: Runtime,
    pub stop: Stop,
}

impl Patience {
    pub fn new(stop: Stop) -> Result<Patience, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Patience { runtime, stop })
    }

    /// Waits for the end of this work; with a stop it is dropped where it stands.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        const LOOK: Duration = Duration::from_millis(50);
        let wished = async {
            while !self.stop.is_wished() {
                tokio::time::sleep(LOOK).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Ok(done),
                () = wished => Err(Trouble::Stopped),
            }
        })
    }
}

/// Where to, as whom, signed by which key.
pub struct Receiver {
    exchange: String,
    statements: Url,
    token: Option<String>,
    key: Option<SecretKey>,
    client: Client,
}

impl Receiver {
    /// Reads the secrets. Nothing is sent yet.
    pub fn new(wished: &SubmitArgs) -> Result<Receiver, Failure> {
        let wrong = |why: String| Failure::new(WRONG_INPUT, format!("--to {}: {why}", wished.to));
        let url = format!("{}/v1/exchanges/{}/statements", wished.to.trim_end_matches('/'), wished.exchange);
        let statements = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let statements = statements.ok_or_else(|| wrong("is no URL".into()).hint("such as https://assay.example"))?;
        let key = wished.key.as_deref().map(keys::read).transpose()?;
        let token = wished.token_file.as_ref();
        let token = token.map(|file| assay_registry::read_text(file, LONGEST_TOKEN_BYTES)).transpose()?;
        let client = Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| wrong(error.without_url().to_string()))?;
        Ok(Receiver { exchange: wished.exchange.clone(), statements, token, key, client })
    }

    /// Hands over a statement's bytes, and gives the receipt. Ed25519 signs the same bytes the same way whenever it does.
    pub fn send(&self, patience: &Patience, bytes: Vec<u8>) -> Result<Value, Trouble> {
        let digest = Digest::of(&bytes);
        let mut request = self.client.post(self.statements.clone()).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("assay-signature", key.sign(&self.exchange, digest));
        }
        let receipt = patience.wait(self.ask(request.body(bytes)))??;
        Ok(serde_json::from_slice(&receipt).unwrap_or_default())
    }

    /// The statement with the highest number that it has.
    pub fn last(&self, patience: &Patience) -> Result<Option<Mark>, Trouble> {
        #[derive(Deserialize)]
        struct Statements {
            statements: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            sequence: u64,
        }
        let mut newest = self.statements.clone();
        newest.set_query(Some("limit=1"));
        let listed = patience.wait(self.ask(self.client.get(newest)))??;
        let unreadable = |error| Failure::new(UNKNOWN, format!("{}: its list of statements: {error}", self.statements));
        let listed: Statements = serde_json::from_slice(&listed).map_err(unreadable)?;
        let Some(Listed { sequence }) = listed.statements.into_iter().next() else { return Ok(None) };
        let one = format!("{}/{sequence}", self.statements);
        let bytes = patience.wait(self.ask(self.client.get(&one)))??;
        Ok(Some(Mark { sequence, ..Mark::of(one.as_ref(), &bytes)? }))
    }

    /// The body of an answer that says yes.
    async fn ask(&self, mut request: RequestBuilder) -> Result<Vec<u8>, Trouble> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.trim());
        }
        let passing = |error: reqwest::Error| Trouble::Passing(Failure::new(UNKNOWN, root_cause(error)));
        let answer = request.send().await.map_err(passing)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(passing)?;
        if status.is_success() { Ok(body.into()) } else { Err(self.refusal(status, &body)) }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Trouble {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let why = problem["detail"].as_str().or_else(|| problem["title"].as_str()).unwrap_or("no reason is given");
        let refused = |what: &str| Failure::new(WRONG_INPUT, format!("{what}: {status}: {why}"));
        let ending = |hint: String| Trouble::Ending(refused("refused").hint(hint));
        let passing = || Trouble::Passing(Failure::new(UNKNOWN, format!("{status}: {why}")));
        let of_signature = problem["type"].as_str().is_some_and(|kind| kind.ends_with(":signature-refused"));
        let exchange = &self.exchange;
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => passing(),
            _ if status.is_server_error() => passing(),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
                Trouble::Refused(refused("the statement is refused"))
            }
            StatusCode::UNAUTHORIZED => {
                ending("--token-file: ask whoever runs assay serve for a token that counts".into())
            }
            StatusCode::FORBIDDEN if of_signature => {
                ending("--key: sign with a key of statement_keys in exchange.toml, as assay serve has it".into())
            }
            StatusCode::FORBIDDEN => {
                ending(format!("--token-file: a token of scope exchange, for `{exchange}`, is needed"))
            }
            StatusCode::NOT_FOUND => {
                ending(format!("does assay serve know `{exchange}`, is the token for it, and --to right?"))
            }
            StatusCode::CONFLICT => {
                ending("somebody else numbers this exchange's statements too, or these are old ones".into())
            }
            _ => ending("is --to where assay serve listens?".into()),
        }
    }
}

/// What lies below, without the URL, which may carry a secret: `connection refused` says more than `error sending request`.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(below) = cause {
        text = format!("{error}: {below}");
        cause = below.source();
    }
    text
}
