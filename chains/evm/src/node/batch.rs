//! How many questions go into one JSON-RPC batch: as many as the node takes. Half as many where it refuses, and slowly more again.

use parking_lot::{Mutex, MutexGuard};
/// No batch has more questions.
const MOST: usize = 50;
/// After so many full batches were answered in a row, one is tried that has an eighth more.
const GOOD: u32 = 20;

#[derive(Debug)]
pub(crate) struct BatchSize {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    good: u32,
}

impl BatchSize {
    /// Never more than this.
    pub(crate) fn new(most: usize) -> BatchSize {
        let most = most.clamp(1, MOST);
        BatchSize { most, state: Mutex::new(State { size: most, good: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// How many questions the next one may have; 1 means none but by themselves.
    pub(crate) fn size(&self) -> usize {
        self.state().size
    }

    /// One of so many questions was more than the node takes. Of several of one size the first one counts.
    pub(crate) fn refused(&self, questions: usize) {
        let mut state = self.state();
        *state = State { size: state.size.min((questions / 2).max(1)), good: 0 };
    }

    /// One of so many questions was answered.
    pub(crate) fn answered(&self, questions: usize) {
        let mut state = self.state();
        if questions < state.size || state.size == self.most {
            return;
        }
        state.good += 1;
        if state.good == GOOD {
            *state = State { size: (state.size + (state.size / 8).max(1)).min(self.most), good: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_by_a_refusal_and_grows_slowly() {
        let batch = BatchSize::new(1_000);
        assert_eq!(batch.size(), MOST);
        batch.refused(50);
        batch.refused(50);
        assert_eq!(batch.size(), 25);
        // A short one says nothing of long ones.
        (0..GOOD).for_each(|_| batch.answered(24));
        assert_eq!(batch.size(), 25);
        (0..GOOD).for_each(|_| batch.answered(25));
        assert_eq!(batch.size(), 28);
        (0..10).for_each(|_| batch.refused(batch.size()));
        assert_eq!(batch.size(), 1);
        (0..2 * GOOD).for_each(|_| batch.answered(batch.size()));
        assert_eq!(batch.size(), 3);
        (0..100 * GOOD).for_each(|_| batch.answered(batch.size()));
        assert_eq!(batch.size(), MOST);
        assert_eq!([0, 5].map(|most| BatchSize::new(most).size()), [1, 5]);
    }
}
