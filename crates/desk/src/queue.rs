//! What waits for its turn.

use std::collections::BTreeSet;
use std::ops::Bound;

/// Each once. They are taken in order, from where the last one was taken: however often the first come again, the last have their
/// turn.
#[derive(Default)]
pub(crate) struct Queue<T> {
    waiting: BTreeSet<T>,
    last: Option<T>,
}

impl<T: Ord + Clone> Queue<T> {
    pub(crate) fn add(&mut self, more: impl IntoIterator<Item = T>) {
        self.waiting.extend(more);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self, few: usize) -> Vec<T> {
        (0..few).map_while(|_| self.next()).collect()
    }

    fn next(&mut self) -> Option<T> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next().or_else(|| self.waiting.first()).cloned()?;
        self.waiting.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn the_first_that_come_again_wait_for_the_last() {
        let mut queue = Queue { waiting: [1, 2, 3].into(), last: None };
        assert_eq!(queue.take(2), [1, 2]);
        queue.add([1, 2, 3]);
        assert_eq!(queue.take(2), [3, 1]);
        assert_eq!(queue.take(9), [2]);
        assert!(queue.is_empty());
    }
}
