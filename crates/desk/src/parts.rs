//! Much of one kind, shared among the processors.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::{available_parallelism, scope};

/// Asking takes longer than many a part.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));

/// Works at parts of it side by side, and gives what each came to, in order. For fewer than `few` it is not worth while to start a
/// thread.
pub(crate) fn side_by_side<T: Send, R: Send>(all: &mut [T], few: usize, work: impl Fn(&mut [T]) -> R + Sync) -> Vec<R> {
    let threads = PROCESSORS.min(all.len().div_ceil(few));
    if threads < 2 {
        return vec![work(all)];
    }
    let length = all.len().div_ceil(threads);
    let work = &work;
    scope(|scope| {
        let mut parts = all.chunks_mut(length);
        let first = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let first = first.map(work);
        let join = |other: std::thread::ScopedJoinHandle<'_, R>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        first.into_iter().chain(others.into_iter().map(join)).collect()
    })
}
