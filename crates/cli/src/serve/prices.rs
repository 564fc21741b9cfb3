//! Prices while the daemon runs: from a file when it changes, from a URL again and again. What cannot be read leaves those
//! that were read before in force, until they are too old.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use assay_desk::Priced;

use super::Shared;
use crate::config::{PricesConfig, PricesFrom};
use crate::{output, prices};

const LOOK: Duration = Duration::from_secs(1);
/// When a URL that gave no prices is asked again, at the latest.
const AGAIN: Duration = Duration::from_secs(60);

/// Watches until the process stops.
pub fn watch(shared: &Shared) {
    let (mut config, mut turn) = (None, Turn::default());
    let mut priced = Priced::NotYet;
    while !shared.stop.is_wished() {
        let now = shared.setup().config.prices.clone();
        if priced == Priced::NotYet || now != config {
            (config, turn, priced) = (now, Turn::default(), Priced::NotYet);
        }
        let next = match &config {
            None if priced == Priced::NotYet => Some(Priced::Missing("assay.toml has no [prices]".into())),
            Some(config) if turn.is_due(config) => read(config, &mut turn, &priced),
            _ => None,
        };
        if let Some(next) = next {
            priced = next.clone();
            shared.desk.reprice(next);
        }
        shared.stop.pause(LOOK);
    }
}

/// What is known after reading them; nothing where that is what was known before.
fn read(config: &PricesConfig, turn: &mut Turn, before: &Priced) -> Option<Priced> {
    let read = prices::read(config);
    turn.pause =
        if read.is_ok() { Duration::from_secs(config.every_s) } else { AGAIN.min(Duration::from_secs(config.every_s)) };
    match (read, before) {
        (Ok(prices), _) => Some(Priced::Known(Arc::new(prices))),
        (Err(failure), Priced::Known(_)) => {
            output::message(
                "prices could not be read: those that were read before stay in force until they are too old",
            );
            output::failure(&failure);
            None
        }
        (Err(failure), _) => {
            let why = Priced::Missing(failure.first().into());
            if why == *before {
                return None;
            }
            output::failure(&failure);
            Some(why)
        }
    }
}

/// When it is time to read them.
#[derive(Default)]
struct Turn {
    /// Length and time of the file as it was read.
    read: Option<Print>,
    /// The same as it was last looked at.
    seen: Option<Print>,
    asked: Option<Instant>,
    pause: Duration,
}

type Print = (u64, Option<SystemTime>);

impl Turn {
    fn is_due(&mut self, config: &PricesConfig) -> bool {
        match &config.from {
            PricesFrom::Url(_) => {
                let due = self.asked.is_none_or(|asked| asked.elapsed() >= self.pause);
                if due {
                    self.asked = Some(Instant::now());
                }
                due
            }
            PricesFrom::File(file) => {
                let print = std::fs::metadata(file).map(|meta| (meta.len(), meta.modified().ok())).unwrap_or((0, None));
                // A file that is still being written changes again: it is read once it has rested for a look.
                let rests = self.seen.replace(print).is_none_or(|seen| seen == print);
                let due = rests && self.read != Some(print);
                if due {
                    self.read = Some(print);
                }
                due
            }
        }
    }
}
