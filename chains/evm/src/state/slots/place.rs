//! Where a token keeps its balances, and on what it rests that its code returns them.

use crate::state::run::{Grounds, Keys};
use crate::state::slots::layout::Layout;

/// Where a token keeps its balances, and beside what its code has said so: some of its grounds, for blocks are read in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layout: Layout,
    /// With how many bits the longest word had that the code was seen to return as it is. A longer one may have something else in it, as who is stopped.
    grounds: Vec<(Grounds, usize)>,
}

impl Place {
    /// So many different grounds are remembered of a token.
    const MOST: usize = 4;

    pub(super) fn new(layout: Layout) -> Place {
        Place { layout, grounds: Vec::new() }
    }

    /// Takes note of what the code said so on, and of the length of a word that it returned as it is.
    pub(super) fn note(&mut self, grounds: (Grounds, usize)) {
        if self.grounds.len() == Place::MOST {
            self.grounds.remove(0);
        }
        self.grounds.push(grounds);
    }

    /// Whose code, and what words of their storage, must be as they were.
    pub(super) fn rests_on(&self) -> Keys {
        let mut all = Keys::new();
        for (contract, keys) in self.grounds.iter().flat_map(|(grounds, _)| grounds.keys()) {
            all.entry(contract).or_default().extend(keys);
        }
        all
    }

    /// Where what the code has said so on is among this: words of how many bits it returns as they are.
    pub(super) fn stands(&mut self, now: &Grounds) -> Option<&mut usize> {
        let is_among = |before: &Grounds| {
            before.codes.iter().all(|(contract, code)| now.codes.get(contract) == Some(code))
                && before.words.iter().all(|(at, word)| now.words.get(at) == Some(word))
        };
        self.grounds.iter_mut().find(|(grounds, _)| is_among(grounds)).map(|(_, bits)| bits)
    }
}
