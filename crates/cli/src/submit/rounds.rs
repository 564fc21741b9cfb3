//! Statements one after the other: made at their times, kept, and sent in order.
//!
//! Two threads: one makes a statement at each round and puts it into the outgoing folder, the other sends what waits there, the
//! oldest first. So a server that is away, or slow, holds up no statement; and a statement that is slow to make holds up none that
//! waits.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assay_indexer::Stop;
use assay_types::InputError;
use parking_lot::{Mutex, MutexGuard};

use super::outgoing::{Mark, Outgoing};
use super::query::Query;
use super::receiver::{Patience, Receiver, Trouble};
use super::{numbered, refused, taken, until_taken};
use crate::failure::{Failure, INTEGRITY, WRONG_INPUT};
use crate::index::stop_on_signals;
use crate::setup::Setup;
use crate::{output, statement};

/// How soon the sender sees what was made.
const LOOK: Duration = Duration::from_millis(100);

/// Where statements come from.
pub enum Source {
    /// Another program writes them, one over the other.
    File(PathBuf),
    Query(Box<Query>),
}

/// Everything that the two threads share.
pub struct Submission<'a> {
    setup: &'a Setup,
    exchange: &'a str,
    source: Source,
    receiver: Receiver,
    outgoing: Mutex<Outgoing>,
    as_json: bool,
}

impl<'a> Submission<'a> {
    pub fn new(
        setup: &'a Setup,
        exchange: &'a str,
        source: Source,
        receiver: Receiver,
        outgoing: Outgoing,
        as_json: bool,
    ) -> Submission<'a> {
        Submission { setup, exchange, source, receiver, outgoing: Mutex::new(outgoing), as_json }
    }

    /// One statement now, after those that still wait.
    pub fn once(&self, tries: u32) -> Result<u8, Failure> {
        let patience = Patience::new(Stop::default())?;
        let made = self.make(&patience);
        let sent = self.send_waiting(&patience, Some(tries));
        let mut code = 0;
        for done in [made.map(|()| true), sent] {
            match done {
                Ok(true) | Err(Trouble::Stopped) => {}
                Ok(false) => code = WRONG_INPUT,
                Err(Trouble::Passing(failure) | Trouble::Refused(failure) | Trouble::Ending(failure)) => {
                    return Err(failure);
                }
            }
        }
        Ok(code)
    }

    /// A statement at each round, until a signal or something that only people can mend.
    pub fn keep_on(&self, every: Duration) -> Result<u8, Failure> {
        let patience = Patience::new(stop_on_signals("stopping")?)?;
        let (made, sent) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let _together = StopAtEnd(&patience.stop);
                self.keep_sending(&patience)
            });
            let together = StopAtEnd(&patience.stop);
            let made = self.keep_making(&patience, every);
            drop(together);
            (made, sending.join())
        });
        let sent = sent.unwrap_or_else(|_| Err(Failure::new(INTEGRITY, "a thread ended by itself")));
        let outgoing = self.outgoing();
        if outgoing.waiting() > 0 {
            let (count, folder) = (outgoing.waiting(), outgoing.folder().display());
            output::message(format!("{count} statements wait in {folder}: the next start sends them"));
        }
        made.and(sent).map(|()| 0)
    }

    fn keep_making(&self, patience: &Patience, every: Duration) -> Result<(), Failure> {
        let mut due = Instant::now();
        while !patience.stop.is_wished() {
            match self.make(patience) {
                Ok(()) | Err(Trouble::Stopped) => {}
                Err(Trouble::Ending(failure)) => return Err(failure),
                // Said at each round; what was wrong may be right then.
                Err(Trouble::Passing(failure) | Trouble::Refused(failure)) => output::failure(&failure),
            }
            let left_out = missed(due.elapsed(), every);
            if left_out > 0 {
                output::warning(format!("making a statement took so long that {left_out} rounds are left out"));
            }
            due += every * left_out.saturating_add(1);
            patience.stop.pause(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn keep_sending(&self, patience: &Patience) -> Result<(), Failure> {
        while !patience.stop.is_wished() {
            match self.send_waiting(patience, None) {
                Ok(_) | Err(Trouble::Stopped) => {}
                Err(Trouble::Passing(failure) | Trouble::Refused(failure) | Trouble::Ending(failure)) => {
                    return Err(failure);
                }
            }
            patience.stop.pause(LOOK);
        }
        Ok(())
    }

    /// Sends what waits, the oldest first, each until it is taken. One that is refused is put away and does not hold up those after
    /// it, which may be right. Was every one taken?
    fn send_waiting(&self, patience: &Patience, tries: Option<u32>) -> Result<bool, Trouble> {
        let mut all_taken = true;
        loop {
            let Some((mark, bytes)) = self.outgoing().oldest()? else { return Ok(all_taken) };
            match until_taken(&self.receiver, patience, &bytes, tries) {
                Ok(receipt) => {
                    self.outgoing().taken(mark)?;
                    output::data(if self.as_json { receipt.to_string() } else { taken(&receipt) });
                }
                Err(Trouble::Refused(failure)) => {
                    all_taken = false;
                    self.outgoing().refused(&mark, &failure.first())?;
                    output::data(refused(&mark, &failure.first(), self.as_json));
                    output::failure(&failure);
                }
                Err(Trouble::Passing(failure)) => {
                    let failure = failure.during("the statement could not be handed over");
                    let folder = self.outgoing().folder().display().to_string();
                    return Err(Trouble::Passing(failure.hint(format!("it waits in {folder}: the next run sends it"))));
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Makes a statement, checks it, and lets it wait.
    fn make(&self, patience: &Patience) -> Result<(), Trouble> {
        self.outgoing().must_have_room()?;
        let bytes = match &self.source {
            Source::File(file) => self.changed(file)?,
            Source::Query(query) => Some(self.asked(query, patience)?),
        };
        if let Some(bytes) = bytes {
            self.outgoing().add(&bytes)?;
        }
        Ok(())
    }

    /// The statement in the file, if it is another one than before.
    fn changed(&self, file: &Path) -> Result<Option<Vec<u8>>, Trouble> {
        let (statement, bytes) = numbered(self.setup, self.exchange, file)?;
        let outgoing = self.outgoing();
        let (number, newest) = (statement.sequence.unwrap_or_default(), outgoing.newest());
        match newest {
            Some(newest) if newest.digest == statement.digest => Ok(None),
            Some(newest) if number <= newest.sequence => {
                let why = format!("is {number}, and {} was given to another statement already", newest.sequence);
                let error = InputError::new(file, why).field("sequence");
                Err(error.hint("a statement that says something else has a higher number").into())
            }
            _ => Ok(Some(bytes)),
        }
    }

    /// What the query gives now, as the statement after the last one.
    fn asked(&self, query: &Query, patience: &Patience) -> Result<Vec<u8>, Trouble> {
        let (before, newest) = {
            let outgoing = self.outgoing();
            (outgoing.before().cloned(), outgoing.newest().map_or(0, |newest| newest.sequence))
        };
        let before = match before {
            Some(before) => Some(before),
            // This folder knows of none; the server may.
            None => self.receiver.last(patience).map_err(unnumbered)?,
        };
        let highest = before.as_ref().map_or(0, |before| before.sequence).max(newest);
        let sequence = highest.checked_add(1).ok_or_else(|| Failure::new(WRONG_INPUT, "there are no numbers left"))?;
        let since = before.as_ref().map_or("", |before: &Mark| &before.as_of);
        let ledger = patience.wait(query.ledger(since))??;
        let bytes = ledger.statement(self.exchange, sequence, before.as_ref().map(|before| before.digest))?;
        let checked = statement::parse(self.setup, &query.file, &bytes);
        checked.map_err(|errors| errors.map(|error| query.tell(error)))?;
        Ok(bytes)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock()
    }
}

/// The two threads end together, however one of them ends.
struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.now();
    }
}

/// No statement is made before it is known which number it has.
fn unnumbered(trouble: Trouble) -> Trouble {
    let what = "which statement was the last one is not known here, and cannot be asked";
    match trouble {
        Trouble::Passing(failure) => Trouble::Passing(failure.during(what)),
        other => other,
    }
}

/// How many rounds are over that came due while one took so long. None of them is made up for: each statement is of its own instant.
fn missed(took: Duration, every: Duration) -> u32 {
    u32::try_from(took.as_millis() / every.as_millis().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_takes_too_long_leaves_others_out() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        for (took, every, expected) in
            [(second, minute, 0), (59 * second, minute, 0), (61 * second, minute, 1), (3 * minute + second, minute, 3)]
        {
            assert_eq!(missed(took, every), expected, "{took:?}");
        }
    }
}
