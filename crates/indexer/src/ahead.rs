//! Fetches blocks ahead of the one that is applied, on several threads, and hands them over in order.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use assay_types::{Block, BlockHash, BlockRef, Chain, Fault, Header, Height, NodeError, Watch};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::IndexError;
use crate::breaks::Break;
use crate::patience::{Stop, patiently};
use crate::turns::Turns;

/// How many blocks may wait for each thread, fetched or being fetched, for the one before them: what bounds memory.
const AHEAD: u64 = 6;
/// How many hashes are asked for at once, first and at most. A quick answer doubles the next request, so that neither the first block nor a stop
/// waits long.
const FIRST_HASHES: u64 = 32;
const HASHES: u64 = 2_000;
const MOMENT: Duration = Duration::from_millis(500);

/// What to fetch.
pub(crate) struct Span<'a> {
    pub chain: &'a dyn Chain,
    pub watch: &'a Watch,
    pub from: Height,
    pub to: Height,
    /// How many blocks are read in all, in this span and those that follow it.
    pub coming: u64,
    /// The header at a height, if it is known already.
    pub known: &'a (dyn Fn(Height) -> Option<Header> + Sync),
    /// Of blocks that are known already only those are read that may have moved an account, as their filters have it.
    pub filtered: bool,
    /// How balances are read from state.
    pub turns: Turns,
    /// The last block of the span is the last one there is.
    pub prove_last: bool,
    /// How many processors to use.
    pub threads: usize,
    pub stop: &'a Stop,
}

/// Hands every block of the span over in order; ends at the first error of either side. The calling thread fetches as well while
/// there is nothing to hand over, so that no processor waits and none is shared. Where a stop is wished, what was asked for is still
/// handed over, so that nobody has to ask for it again.
pub(crate) fn each_block(span: &Span<'_>, mut take: impl FnMut(Block) -> Result<(), Break>) -> Result<(), Break> {
    if span.from > span.to {
        return Ok(());
    }
    let threads = span.chain.prepare(span.coming, span.threads).max(1);
    let queue = Queue::new(span, threads);
    let hashes = Hashes { span, known: Mutex::default() };
    std::thread::scope(|scope| {
        // Left early or not, the helpers end.
        let _end = OnDrop(|| queue.end());
        for _ in 1..threads {
            scope.spawn(|| {
                while let Some(height) = queue.wait_for_a_job() {
                    queue.put(height, fetch_safely(span, &hashes, height));
                }
            });
        }
        for next in (span.from.0..=span.to.0).map(Height) {
            let block = loop {
                match queue.next_step(next) {
                    Step::Take(block) => break *block,
                    Step::Fetch(height) if height == next => break fetch_safely(span, &hashes, height),
                    Step::Fetch(height) => queue.put(height, fetch_safely(span, &hashes, height)),
                    Step::Stop => return Err(IndexError::Stopped.into()),
                }
            };
            take(block?)?;
        }
        Ok(())
    })
}

/// Which blocks are asked for, and which are there.
struct Queue<'a> {
    state: Mutex<State>,
    last: Height,
    stop: &'a Stop,
    /// A block came.
    arrived: Condvar,
    /// There is room for more blocks, or none is wanted any more.
    room: Condvar,
}

struct State {
    /// The next one to be handed over.
    next: Height,
    /// The next one to be fetched.
    todo: Height,
    ahead: u64,
    ready: BTreeMap<Height, Fetched>,
    ended: bool,
}

type Fetched = Result<Block, NodeError>;

/// What the thread that hands blocks over does next.
enum Step {
    Take(Box<Fetched>),
    Fetch(Height),
    /// All that was asked for is handed over, and a stop is wished.
    Stop,
}

impl Queue<'_> {
    fn new<'a>(span: &Span<'a>, threads: usize) -> Queue<'a> {
        let ahead = AHEAD * threads as u64;
        let state = State { next: span.from, todo: span.from, ahead, ready: BTreeMap::new(), ended: false };
        let (arrived, room) = (Condvar::new(), Condvar::new());
        Queue { state: Mutex::new(state), last: span.to, stop: span.stop, arrived, room }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn wait_for_a_job(&self) -> Option<Height> {
        let mut state = self.lock();
        loop {
            if state.ended || state.todo > self.last || self.stop.is_wished() {
                return None;
            }
            if let Some(height) = state.job(self.last) {
                return Some(height);
            }
            self.room.wait(&mut state);
        }
    }

    fn put(&self, height: Height, block: Fetched) {
        let mut state = self.lock();
        state.ready.insert(height, block);
        if height == state.next {
            self.arrived.notify_one();
        }
    }

    fn next_step(&self, next: Height) -> Step {
        let mut state = self.lock();
        if state.next < next {
            state.next = next;
            self.room.notify_one();
        }
        loop {
            if let Some(block) = state.ready.remove(&next) {
                return Step::Take(Box::new(block));
            }
            if self.stop.is_wished() {
                if state.todo == next {
                    return Step::Stop;
                }
            } else if let Some(height) = state.job(self.last) {
                return Step::Fetch(height);
            }
            self.arrived.wait(&mut state);
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.room.notify_all();
    }
}

impl State {
    fn job(&mut self, last: Height) -> Option<Height> {
        let height = self.todo;
        (height <= last && height.0 < self.next.0 + self.ahead).then(|| {
            self.todo = height.next();
            height
        })
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The hashes of blocks to come, many at a time.
struct Hashes<'a> {
    span: &'a Span<'a>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The first height, and the hashes from there on.
    first: u64,
    hashes: Vec<BlockHash>,
    /// How many to ask for next.
    next: u64,
}

impl Known {
    fn find(&self, height: Height) -> Option<BlockHash> {
        let place = height.0.checked_sub(self.first).and_then(|place| usize::try_from(place).ok())?;
        self.hashes.get(place).copied()
    }
}

impl Hashes<'_> {
    fn forget(&self) {
        self.known.lock().hashes.clear();
    }

    fn at(&self, height: Height) -> Result<BlockHash, NodeError> {
        if let Some(header) = (self.span.known)(height) {
            return Ok(header.hash);
        }
        // Who comes meanwhile waits for the same answer.
        let mut known = self.known.lock();
        if let Some(hash) = known.find(height) {
            return Ok(hash);
        }
        let count = known.next.clamp(FIRST_HASHES, HASHES).min(self.span.to.0 + 1 - height.0);
        let asked = Instant::now();
        (known.first, known.hashes) = (height.0, self.span.chain.hashes(height, count)?);
        known.next = if asked.elapsed() < MOMENT { 2 * count } else { count / 2 };
        known.find(height).ok_or_else(|| above_the_tip(height))
    }
}

/// A thread that dies would leave whoever waits for its block waiting for ever.
fn fetch_safely(span: &Span<'_>, hashes: &Hashes<'_>, height: Height) -> Fetched {
    let block = std::panic::catch_unwind(AssertUnwindSafe(|| fetch(span, hashes, height)));
    block.unwrap_or_else(|_| Err(not_understood(height)))
}

fn fetch(span: &Span<'_>, hashes: &Hashes<'_>, height: Height) -> Fetched {
    if span.filtered
        && let Some(header) = (span.known)(height)
    {
        match span.chain.may_move(header.at(), span.watch) {
            Ok(false) => return Ok(Block::unread(header)),
            Ok(true) => {}
            Err(error) => tracing::info!(%error, "the block itself is read"),
        }
    }
    let is_last = span.prove_last && height == span.to;
    let reads = span.turns.at(span.watch, height, is_last, span.coming);
    patiently(span.stop, || {
        let hash = hashes.at(height)?;
        let block = span.chain.block(BlockRef { height, hash }, span.watch, &reads);
        // A hash that was wrong is asked for again as well.
        let is_away = |error: &NodeError| matches!(error, NodeError::Unreachable { .. } | NodeError::Limited { .. });
        let block = block.inspect_err(|error| {
            if !is_away(error) {
                hashes.forget()
            }
        })?;
        assert_eq!(block.header.at(), BlockRef { height, hash }, "a chain gives the block that it was asked for");
        Ok(block)
    })
}

/// Reading it panicked. The message went to standard error.
fn not_understood(height: Height) -> NodeError {
    let why = "this program failed on it: please report this".into();
    let (node, subject) = ("the node".into(), format!("block {height}"));
    NodeError::Unreadable { node, subject, why, fault: Fault::Garbled }
}

/// The tip was above this height a moment ago.
fn above_the_tip(height: Height) -> NodeError {
    let why = "the chain became shorter meanwhile".into();
    let (node, subject) = ("the node".into(), format!("block {height}"));
    NodeError::Missing { node, subject, why, fault: None }
}
