//! Much of one kind, shared among the processors.

use std::thread::{available_parallelism, scope};

/// For so many it is not worth while to start a thread.
const ALONE: usize = 500;

/// Works at parts of it side by side, and gives what each came to, in order.
pub(crate) fn side_by_side<T: Sync, R: Send>(all: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, std::num::NonZero::get).min(all.len().div_ceil(ALONE));
    if threads < 2 {
        return vec![work(all)];
    }
    scope(|scope| {
        let mut parts = all.chunks(all.len().div_ceil(threads));
        let first = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| work(part))).collect();
        let first = first.map(&work);
        let join = |other: std::thread::ScopedJoinHandle<'_, R>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        first.into_iter().chain(others.into_iter().map(join)).collect()
    })
}
