//! One receiver of alerts: messages in order, each until it is taken; and, when nothing waits, that the watch is kept.

use std::time::{Duration, Instant};

use assay_desk::{Desk, Message, clock, sign};
use assay_indexer::Stop;
use reqwest::Client;
use serde_json::json;

use crate::config::WebhookConfig;
use crate::failure::{Failure, WRONG_INPUT};
use crate::setup::PROGRAM;

const LOOK: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_FILE_BYTES: u64 = 4096;

/// Where to, and signed how.
pub struct Receiver {
    name: String,
    url: String,
    secret: String,
    watchdog_every: Duration,
    client: Client,
}

impl Receiver {
    /// Reads the secrets; a wrong one is said at the start and not at the first alert.
    pub fn new(config: &WebhookConfig, watchdog_every: Duration) -> Result<Receiver, Failure> {
        let read = |file| assay_registry::read_text(file, LONGEST_FILE_BYTES).map(|text| text.trim().to_owned());
        let (url, secret) = (read(&config.url_file)?, read(&config.secret_file)?);
        let wrong =
            |file: &std::path::Path, why: String| Failure::new(WRONG_INPUT, format!("{}: {why}", file.display()));
        sign(&secret, "", 0, "").map_err(|why| wrong(&config.secret_file, why))?;
        let is_url = reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_url {
            return Err(wrong(&config.url_file, "holds no URL".into()));
        }
        let client = Client::builder().timeout(DEADLINE).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::new(WRONG_INPUT, error.without_url().to_string()))?;
        Ok(Receiver { name: config.name.clone(), url, secret, watchdog_every, client })
    }

    /// Sends what waits, until the process stops. A receiver that is away holds up nobody else.
    pub fn serve(&self, desk: &Desk, stop: &Stop) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(receiver = self.name, %error, "alerts cannot be sent"),
        };
        let (mut pause, mut barked): (_, Option<Instant>) = (FIRST_PAUSE, None);
        while !stop.is_wished() {
            let sent = match desk.next_message(&self.name) {
                Ok(None) if barked.is_some_and(|at| at.elapsed() < self.watchdog_every) || !keeps_watch(desk) => {
                    stop.pause(LOOK);
                    continue;
                }
                Ok(None) => runtime.block_on(self.send(&watchdog())).map(|()| barked = Some(Instant::now())),
                Ok(Some(message)) => runtime.block_on(self.send(&message)).and_then(|()| {
                    let number = message.number;
                    desk.message_taken(&self.name, number).map_err(|error| error.to_string())
                }),
                Err(error) => Err(error.to_string()),
            };
            match sent {
                Ok(()) => pause = FIRST_PAUSE,
                Err(why) => {
                    tracing::warn!(receiver = self.name, why, "an alert could not be handed over: again later");
                    stop.pause(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn send(&self, message: &Message) -> Result<(), String> {
        let now = clock::now().unix_s();
        let signature = sign(&self.secret, &message.id, now, &message.body)?;
        let request = self.client.post(&self.url).header("content-type", "application/json");
        let request = request.header("webhook-id", &message.id).header("webhook-timestamp", now.to_string());
        let request = request.header("webhook-signature", signature).body(message.body.clone());
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

/// Does the desk still look at everything?
pub fn keeps_watch(desk: &Desk) -> bool {
    const OLDEST_PICTURE_S: i64 = 60;
    clock::now().seconds_since(desk.view().at) <= OLDEST_PICTURE_S
}

/// Sent again and again: whoever no longer gets it knows that alerts would not come either.
fn watchdog() -> Message {
    let now = clock::now();
    let body = json!({ "type": "watchdog", "timestamp": now, "data": { "program": PROGRAM } });
    Message { number: 0, id: format!("watchdog-{}", now.unix_s()), body: body.to_string() }
}
