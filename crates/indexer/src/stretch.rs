//! A stretch of blocks: fetched and checked ahead on several threads, applied in order, written behind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use assay_store::{Applier, Scratch, Store, StoreError, Window};
use assay_types::{Ancestors, Block, Header, Height};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ahead::{Span, each_block};
use crate::breaks::Break;

/// From so many blocks on it is worth while to keep in memory what the database would be asked for.
pub(crate) const MANY: u64 = if cfg!(test) { 6 } else { 50 };
/// What is written at once when many blocks come: beyond that nothing gets faster.
const WINDOW_BYTES: usize = 8 << 20;
/// For no longer is anything unwritten while blocks come: what a process that is killed has not written is asked for again.
const LONGEST: Duration = Duration::from_secs(2);
/// How many headers below the next one its checks need at most: one period of the difficulty rule.
const RECENT: usize = 2_017;

/// Applies the blocks of a span. `check` is called on each one before it is applied, with the headers below it and what applies it; `done` afterwards.
pub(crate) fn apply_each(
    store: &Store,
    span: &Span<'_>,
    applier: &mut Applier<'_>,
    mut check: impl FnMut(&mut Block, &Below<'_>, &mut Applier<'_>) -> Result<(), Break>,
    mut done: impl FnMut(Height),
) -> Result<(), Break> {
    std::thread::scope(|scope| {
        let mut writing = Writing::new(store, (span.threads > 1).then_some(scope));
        let mut below = Below { store, recent: VecDeque::new() };
        let mut broken = false;
        let (mut waiting, mut since) = (0, Instant::now());
        let walked = each_block(span, |mut block| {
            check(&mut block, &below, applier)?;
            // Where this block, or a window before it, could not be written, nothing that comes later may be.
            broken = true;
            applier.apply(&block)?;
            let height = block.header.height;
            below.push(block.header);
            waiting += 1;
            let is_overdue = since.elapsed() >= LONGEST;
            if applier.must_write() {
                writing.wait()?;
                store.write(&applier.give(), height == span.to)?;
                (waiting, since) = (0, Instant::now());
            } else if is_overdue
                || is_enough(applier.waiting_bytes(), waiting, span.to.0 - height.0, || writing.is_free())
            {
                writing.wait()?;
                writing.write(applier)?;
                (waiting, since) = (0, Instant::now());
            }
            broken = false;
            done(height);
            Ok(())
        });
        writing.wait()?;
        // Whatever ended the walk, the blocks before it are good.
        if !broken && !applier.is_written() {
            writing.write(applier)?;
            writing.wait()?;
        }
        walked
    })
}

/// Is it time to write what so many blocks wrote? The fewer windows, the closer stand the rows of each in the database, and the quicker
/// is each row's place found. Only of the last one's worth they become shorter, so that little is left to write when the end is there.
fn is_enough(bytes: usize, blocks: u64, left: u64, is_free: impl FnOnce() -> bool) -> bool {
    let is_the_last = bytes as u64 * left < WINDOW_BYTES as u64 * blocks;
    bytes >= WINDOW_BYTES || is_the_last && 3 * blocks >= left && is_free()
}

/// Writes one window while the next one grows.
struct Writing<'s> {
    store: &'s Store,
    beside: Option<Beside>,
    is_running: bool,
}

/// A thread that writes windows. The same one for all: what they take in memory is used again.
struct Beside {
    windows: Sender<Arc<Window>>,
    written: Receiver<Result<(), StoreError>>,
}

impl<'s> Writing<'s> {
    fn new<'scope>(store: &'s Store, beside: Option<&'scope Scope<'scope, '_>>) -> Writing<'s>
    where
        's: 'scope,
    {
        let beside = beside.map(|scope| {
            let ((windows, given), (done, written)) = (bounded::<Arc<Window>>(1), bounded(1));
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                for window in given {
                    let result = store.write_in(&mut scratch, &window, true);
                    drop(window);
                    // Who does not wait for it has failed otherwise.
                    let _ = done.send(result);
                }
            });
            Beside { windows, written }
        });
        Writing { store, beside, is_running: false }
    }

    fn write(&mut self, applier: &mut Applier<'_>) -> Result<(), StoreError> {
        let window = applier.give();
        match &self.beside {
            Some(beside) => {
                beside.windows.send(window).expect("it takes windows as long as it is asked");
                self.is_running = true;
                Ok(())
            }
            None => self.store.write(&window, true),
        }
    }

    /// Would another window be written beside the walk, and at once?
    fn is_free(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| !self.is_running || !beside.written.is_empty())
    }

    fn wait(&mut self) -> Result<(), StoreError> {
        match &self.beside {
            Some(beside) if std::mem::take(&mut self.is_running) => {
                beside.written.recv().expect("it answers each time")
            }
            _ => Ok(()),
        }
    }
}

/// The headers below the next block: the last ones, which may not be written yet, and those in the store.
pub(crate) struct Below<'a> {
    store: &'a Store,
    recent: VecDeque<Header>,
}

impl Below<'_> {
    fn push(&mut self, header: Header) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(header);
    }

    /// The one right below.
    pub(crate) fn parent(&self, height: Height) -> Option<Header> {
        height.previous().and_then(|below| self.header(below))
    }
}

impl Ancestors for Below<'_> {
    fn header(&self, height: Height) -> Option<Header> {
        let first = self.recent.front().map(|header| header.height);
        match first.and_then(|first| height.0.checked_sub(first.0)) {
            Some(place) => self.recent.get(usize::try_from(place).ok()?).cloned(),
            None => self.store.header(height).ok().flatten(),
        }
    }
}
