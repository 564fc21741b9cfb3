//! The outgoing folder: statements that are made and not yet taken. It is what a kill at any instant leaves whole.
//!
//! `<number>.json` waits to be sent; it gets its name when it is whole and on the disk. The one that was taken last stays as
//! `last.json`, and what is refused for good goes to `refused/`, with the reason beside it. A number is given once, whatever became
//! of its statement; the next one names the last that was not refused as the one before it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use assay_types::Digest;
use serde::Deserialize;

use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::verify::LONGEST_STATEMENT_BYTES;

/// A week of one each minute.
const MOST_WAITING: usize = 7 * 24 * 60;
const MOST_WAITING_BYTES: u64 = 1 << 30;
const LAST: &str = "last.json";
const REFUSED: &str = "refused";
const UNFINISHED: &str = "unfinished";

/// What those after a statement need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub exchange: String,
    pub sequence: u64,
    pub digest: Digest,
    /// Its instant, as it is written there.
    pub as_of: String,
}

#[derive(Deserialize)]
struct Head {
    exchange: String,
    #[serde(default)]
    sequence: u64,
    as_of: AsOf,
}

#[derive(Deserialize)]
struct AsOf {
    time: String,
}

impl Mark {
    /// Of a statement's bytes. One without a number has the number 0, which is before all others.
    pub fn of(file: &Path, bytes: &[u8]) -> Result<Mark, Failure> {
        let unreadable = |error| Failure::new(WRONG_INPUT, format!("{}: is no statement: {error}", file.display()));
        let Head { exchange, sequence, as_of } = serde_json::from_slice(bytes).map_err(unreadable)?;
        Ok(Mark { exchange, sequence, digest: Digest::of(bytes), as_of: as_of.time })
    }
}

/// The folder, for one process at a time.
pub struct Outgoing {
    folder: PathBuf,
    /// Those that wait, with their sizes in bytes.
    waiting: BTreeMap<u64, u64>,
    taken: Option<Mark>,
    /// The one before the next.
    before: Option<Mark>,
    /// The one with the highest number, also if it was refused.
    newest: Option<Mark>,
    _lock: File,
}

impl Outgoing {
    /// Opens the folder of this exchange's statements, or makes it.
    pub fn open(folder: &Path, exchange: &str) -> Result<Outgoing, Failure> {
        let named = |error: io::Error| wrong(folder, error);
        let mut private = fs::DirBuilder::new();
        private.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
        private.create(folder.join(REFUSED)).map_err(named)?;
        let lock = File::create(folder.join("lock")).map_err(named)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                wrong(folder, "another assay submit sends from there").hint("one for each exchange; see --spool")
            }
            TryLockError::Error(error) => wrong(folder, error),
        })?;
        // What was not whole when the process ended was not sent by anyone.
        let _ = fs::remove_file(folder.join(UNFINISHED));
        let waiting = numbers(folder)?;
        let taken = read(&folder.join(LAST))?.map(|(mark, _)| mark);
        let marked = |path: PathBuf| Ok::<_, Failure>(read(&path)?.map(|(mark, _)| mark));
        let before = match waiting.last_key_value() {
            Some((sequence, _)) => marked(folder.join(name(*sequence)))?,
            None => taken.clone(),
        };
        let refused = match numbers(&folder.join(REFUSED))?.last_key_value() {
            Some((sequence, _)) => marked(folder.join(REFUSED).join(name(*sequence)))?,
            None => None,
        };
        let newest = [&before, &refused].into_iter().flatten().max_by_key(|mark| mark.sequence).cloned();
        if let Some(foreign) = newest.as_ref().filter(|newest| newest.exchange != exchange) {
            let why = format!("holds statements of `{}`, and not of `{exchange}`", foreign.exchange);
            return Err(wrong(folder, why).hint("one folder for each exchange; see --spool"));
        }
        Ok(Outgoing { folder: folder.into(), waiting, taken, before, newest, _lock: lock })
    }

    /// The statement that the next one names as the one before it; nothing: this folder knows of none.
    pub fn before(&self) -> Option<&Mark> {
        self.before.as_ref()
    }

    /// The statement with the highest number, also if it was refused.
    pub fn newest(&self) -> Option<&Mark> {
        self.newest.as_ref()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// None that was made is ever thrown away to make room: every one of them is owed to whoever watches.
    pub fn must_have_room(&self) -> Result<(), Failure> {
        let (count, bytes) = (self.waiting.len(), self.waiting.values().sum::<u64>());
        if count < MOST_WAITING && bytes < MOST_WAITING_BYTES {
            return Ok(());
        }
        let why = format!("{}: {count} statements wait ({bytes} bytes): no more are made", self.folder.display());
        Err(Failure::new(UNKNOWN, why).hint("see why none is taken; those that wait are sent once it is mended"))
    }

    /// Lets a statement wait. It is on the disk when this returns.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let unfinished = self.folder.join(UNFINISHED);
        let mark = Mark::of(&unfinished, bytes)?;
        assert!(self.newest.as_ref().is_none_or(|newest| newest.sequence < mark.sequence), "a number is given once");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.folder.join(name(mark.sequence)))?;
            sync(&self.folder)
        };
        write().map_err(|error| wrong(&self.folder, error))?;
        self.waiting.insert(mark.sequence, bytes.len() as u64);
        self.before = Some(mark.clone());
        self.newest = Some(mark);
        Ok(())
    }

    /// The one that is to be sent first.
    pub fn oldest(&self) -> Result<Option<(Mark, Vec<u8>)>, Failure> {
        let Some((sequence, _)) = self.waiting.first_key_value() else { return Ok(None) };
        let path = self.folder.join(name(*sequence));
        match read(&path)? {
            Some((mark, bytes)) if mark.sequence == *sequence => Ok(Some((mark, bytes))),
            _ => {
                Err(wrong(&path, "is not the statement that was put there").hint("nobody else may change this folder"))
            }
        }
    }

    /// Takes note that this one, the oldest, was taken.
    pub fn taken(&mut self, mark: Mark) -> Result<(), Failure> {
        let path = self.folder.join(name(mark.sequence));
        let moved = fs::rename(&path, self.folder.join(LAST)).and_then(|()| sync(&self.folder));
        moved.map_err(|error| wrong(&path, error))?;
        self.waiting.remove(&mark.sequence);
        self.taken = Some(mark);
        Ok(())
    }

    /// Puts this one, the oldest, away: it is never taken, for this reason.
    pub fn refused(&mut self, mark: &Mark, why: &str) -> Result<(), Failure> {
        let (path, folder) = (self.folder.join(name(mark.sequence)), self.folder.join(REFUSED));
        let put_away = || {
            fs::write(folder.join(name(mark.sequence) + ".error"), format!("{why}\n"))?;
            fs::rename(&path, folder.join(name(mark.sequence)))?;
            sync(&folder)?;
            sync(&self.folder)
        };
        put_away().map_err(|error| wrong(&path, error))?;
        self.waiting.remove(&mark.sequence);
        if self.waiting.is_empty() {
            self.before = self.taken.clone();
        }
        Ok(())
    }
}

/// So many digits that names sort as numbers do.
fn name(sequence: u64) -> String {
    format!("{sequence:016}.json")
}

/// The statements in a folder, by number, with their sizes.
fn numbers(folder: &Path) -> Result<BTreeMap<u64, u64>, Failure> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
        let entry = entry.map_err(|error| wrong(folder, error))?;
        let file = entry.file_name();
        let number = file.to_str().and_then(|file| file.strip_suffix(".json")?.parse().ok());
        if let Some(number) = number.filter(|number| *name(*number) == *file) {
            found.insert(number, entry.metadata().map_err(|error| wrong(folder, error))?.len());
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Option<(Mark, Vec<u8>)>, Failure> {
    if !file.try_exists().map_err(|error| wrong(file, error))? {
        return Ok(None);
    }
    let bytes = assay_registry::read_bytes(file, LONGEST_STATEMENT_BYTES)?;
    Ok(Some((Mark::of(file, &bytes)?, bytes)))
}

/// A name that was given lasts once its folder is on the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(WRONG_INPUT, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sequence: u64) -> Vec<u8> {
        format!(r#"{{"exchange":"acme","sequence":{sequence},"as_of":{{"time":"2026-02-06T10:00:{sequence:02}Z"}}}}"#)
            .into_bytes()
    }

    fn mark(sequence: u64) -> Mark {
        Mark::of(Path::new("x"), &statement(sequence)).unwrap()
    }

    fn oldest(outgoing: &Outgoing) -> Option<u64> {
        outgoing.oldest().unwrap().map(|(mark, _)| mark.sequence)
    }

    #[test]
    fn what_waits_is_there_again_after_any_end_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Outgoing::open(dir.path(), "acme").unwrap();
        let mut outgoing = open();
        assert_eq!((outgoing.before(), outgoing.newest(), oldest(&outgoing)), (None, None, None));
        (1..=3).for_each(|sequence| outgoing.add(&statement(sequence)).unwrap());
        assert!(Outgoing::open(dir.path(), "acme").is_err(), "one process at a time");
        drop(outgoing);
        assert!(Outgoing::open(dir.path(), "beta").is_err(), "one exchange");
        // As a kill in the middle of the next one leaves it.
        fs::write(dir.path().join(UNFINISHED), "{\"seq").unwrap();
        let mut outgoing = open();
        assert_eq!((outgoing.waiting(), outgoing.before(), oldest(&outgoing)), (3, Some(&mark(3)), Some(1)));
        outgoing.taken(mark(1)).unwrap();
        outgoing.taken(mark(2)).unwrap();
        drop(outgoing);
        let mut outgoing = open();
        assert_eq!((outgoing.waiting(), outgoing.before(), oldest(&outgoing)), (1, Some(&mark(3)), Some(3)));
        outgoing.taken(mark(3)).unwrap();
        drop(outgoing);
        let outgoing = open();
        assert_eq!((outgoing.waiting(), outgoing.before(), outgoing.newest()), (0, Some(&mark(3)), Some(&mark(3))));
    }

    #[test]
    fn a_refused_number_is_not_given_again_and_nothing_follows_its_statement() {
        let dir = tempfile::tempdir().unwrap();
        let mut outgoing = Outgoing::open(dir.path(), "acme").unwrap();
        (1..=2).for_each(|sequence| outgoing.add(&statement(sequence)).unwrap());
        outgoing.taken(mark(1)).unwrap();
        outgoing.refused(&mark(2), "no such asset").unwrap();
        for again in 0..2 {
            assert_eq!((outgoing.before(), outgoing.newest()), (Some(&mark(1)), Some(&mark(2))), "{again}");
            drop(outgoing);
            outgoing = Outgoing::open(dir.path(), "acme").unwrap();
        }
        let why = fs::read_to_string(dir.path().join("refused/0000000000000002.json.error")).unwrap();
        assert_eq!(why, "no such asset\n");
    }

    #[test]
    fn a_week_waits_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        for sequence in 1..MOST_WAITING as u64 {
            fs::write(dir.path().join(name(sequence)), statement(sequence)).unwrap();
        }
        let mut outgoing = Outgoing::open(dir.path(), "acme").unwrap();
        outgoing.must_have_room().unwrap();
        outgoing.add(&statement(MOST_WAITING as u64)).unwrap();
        let full = outgoing.must_have_room().unwrap_err();
        assert!(full.first().contains("10080 statements wait"), "{}", full.first());
        outgoing.taken(mark(1)).unwrap();
        outgoing.must_have_room().unwrap();
    }
}
