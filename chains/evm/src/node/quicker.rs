//! Which of `debug_traceBlockByHash` and `trace_block` this node answers faster. anvil lists in a millisecond what it takes a second to
//! execute again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

/// What is known of that.
#[derive(Debug, Default)]
pub(crate) struct Quicker {
    /// Nothing as long as nobody had reason to ask.
    pub(crate) is_listed: OnceLock<bool>,
    /// Did something come quickly the other way?
    pub(crate) is_quick: AtomicBool,
    first: Mutex<()>,
}

impl Quicker {
    /// What takes longer is worth a second try.
    pub(crate) const SOON: Duration = Duration::from_millis(300);

    /// Until it is known how long they take, one block's traces are asked for at a time: many may be more than a node bears.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let is_known = || self.is_quick.load(Ordering::Relaxed) || self.is_listed.get().is_some();
        if is_known() {
            return None;
        }
        let turn = self.first.lock().await;
        (!is_known()).then_some(turn)
    }

    pub(crate) fn is_listed(&self) -> Option<bool> {
        self.is_listed.get().copied()
    }
}
