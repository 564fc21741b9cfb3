//! Stories about following a chain: whatever the chain and its node do, the store ends as a straight index of it does.

mod announced;
mod doubts;
mod fake;
mod faults;
mod filters;
mod late;
mod quorum;
mod reorgs;
mod turns;

use std::collections::BTreeMap;
use std::path::Path;

use assay_store::{Mode, Store};
use assay_types::{Account, Chain};

use crate::{IndexError, Indexer, Progress, Reached, Settings, Stop, Turns};
use fake::Fake;

/// Every row by family and key.
type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// A store with its folder: in memory where that can be had.
struct Kept {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Kept {
    fn new(chain: &Fake) -> Kept {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Kept { store: Store::open(folder.path(), chain.id(), Mode::Write).unwrap(), _folder: folder }
    }

    /// All rows but how often something was amended, and where everyone was read.
    fn rows(&self) -> Dump {
        let mut rows = Dump::new();
        self.store.each_row(|family, key, value| drop(rows.insert((family, key.to_vec()), value.to_vec()))).unwrap();
        for key in [&b"amended"[..], b"all-read"] {
            rows.remove(&("meta", key.to_vec()));
        }
        rows
    }

    /// All rows but undo: what a late account changed stands behind what its block changed, in another order.
    fn rows_but_undo(&self) -> Dump {
        let mut rows = self.rows();
        rows.retain(|(family, _), _| *family != "undo");
        rows
    }
}

fn accounts(numbers: std::ops::Range<u8>) -> Vec<Account> {
    numbers.map(fake::account).collect()
}

const SETTINGS: Settings = Settings { undo_depth: 1000, accept_reorg: None, threads: 2, turns: EVERYONE };
/// All accounts are read at every block.
const EVERYONE: Turns = Turns { few: 500, more: 5_000, within: 300 };

fn indexer<'a>(chain: &'a Fake, kept: &'a Kept) -> Indexer<'a> {
    Indexer::new(chain, &kept.store, SETTINGS, Stop::default())
}

fn catch_up(chain: &Fake, kept: &Kept) -> Result<Reached, IndexError> {
    indexer(chain, kept).catch_up(&|_: Progress| ())
}

/// The same where the chain may change at every block, and too often for one attempt.
fn catch_up_in_unrest(chain: &Fake, kept: &Kept, progress: &dyn Fn(Progress)) {
    for _ in 0..20 {
        match indexer(chain, kept).catch_up(progress) {
            Ok(_) => break,
            Err(IndexError::Restless) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The active chain as it is now, indexed from an empty store without a disturbance.
fn straight(chain: &Fake, declared: &[Account]) -> Kept {
    let calm = chain.calm();
    let kept = Kept::new(&calm);
    indexer(&calm, &kept).declare(&[declared]).unwrap();
    catch_up(&calm, &kept).unwrap();
    kept
}

fn assert_same(left: &Dump, right: &Dump, what: &str) {
    for (key, value) in left {
        assert_eq!(right.get(key), Some(value), "{what}: {key:02x?}");
    }
    assert_eq!(right.keys().find(|key| !left.contains_key(*key)), None, "{what}: a row too many");
}
