//! Where a token keeps its balances, and on what it rests that its code returns them.

use crate::state::run::{Grounds, Keys};
use crate::state::slots::layout::Layout;

/// Where a token keeps its balances, and beside what its code has said so: some of its grounds, for blocks are read in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layout: Layout,
    grounds: Vec<Grounds>,
    /// The code was seen to return words of so many bits as they are. A longer one may have something else in it, as who is stopped: of its account
    /// the code is run.
    pub(super) plain_bits: usize,
}

impl Place {
    /// So many different grounds are remembered of a token.
    const MOST: usize = 4;

    pub(super) fn new(layout: Layout) -> Place {
        Place { layout, grounds: Vec::new(), plain_bits: 0 }
    }

    /// Takes note of what the code said so on, and of the length of a word that it returned as it is.
    pub(super) fn note(&mut self, (grounds, bits): (Grounds, usize)) {
        if self.grounds.len() == Place::MOST {
            self.grounds.remove(0);
        }
        self.grounds.push(grounds);
        self.plain_bits = self.plain_bits.max(bits);
    }

    /// Whose code, and what words of their storage, must be as they were.
    pub(super) fn rests_on(&self) -> Keys {
        let mut all = Keys::new();
        for (contract, keys) in self.grounds.iter().flat_map(Grounds::keys) {
            all.entry(contract).or_default().extend(keys);
        }
        all
    }

    /// Is what the code has said so on among this?
    pub(super) fn stands(&self, now: &Grounds) -> bool {
        let is_among = |before: &Grounds| {
            before.codes.iter().all(|(contract, code)| now.codes.get(contract) == Some(code))
                && before.words.iter().all(|(at, word)| now.words.get(at) == Some(word))
        };
        self.grounds.iter().any(is_among)
    }
}
