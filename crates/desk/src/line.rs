//! Who waits for accounts to be proven empty.

use std::sync::mpsc::SyncSender;

use assay_indexer::Refusal;
use assay_types::{Account, BlockRef};
use parking_lot::Mutex;

/// They wait in line: one asks the node for all who wait.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) waiting: Mutex<Vec<Waiting>>,
    pub(crate) asking: Mutex<()>,
}

pub(crate) struct Waiting {
    pub(crate) accounts: Vec<Account>,
    pub(crate) reply: SyncSender<Result<BlockRef, Refusal>>,
}
