//! What one node has said lately, so that its answers can be held against each other: an answer of another block is
//! recognised by that block's state root, and a node that is several, on several forks, by what it says of one height.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use assay_types::{BlockHash, BlockRef, Height};
use parking_lot::{Mutex, MutexGuard};

/// How many headers and heights are remembered.
const REMEMBERED: usize = 256;
/// For how long a node that says one thing and another by turns is not believed: a chain may come back to a block that it left, and not again and again.
const UNREST: Duration = Duration::from_secs(30);
/// How often it is looked whether its last block is its last one, while that stays the same.
const PROBE: Duration = Duration::from_secs(10);

/// What it named by its tag of finality.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) highest: Option<u64>,
    /// What it named last that is on its own chain.
    pub(crate) last: Option<BlockRef>,
    /// When it was last told that it names something else now.
    pub(crate) told: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// State roots of headers that hash to their hash.
    roots: VecDeque<(Height, B256)>,
    /// What it said of a height.
    looks: BTreeMap<Height, Look>,
    /// When it last came back to a branch that it had left, and when it last did so soon after the time before.
    back: Option<Instant>,
    again: Option<Instant>,
    /// Its last block, and when it was looked whether there is one above.
    head: Option<(Height, Instant)>,
}

#[derive(Debug)]
struct Look {
    hash: BlockHash,
    /// When that answer was there.
    at: Instant,
    before: Option<BlockHash>,
    /// When it last came back to what it had left.
    back: Option<Instant>,
}

impl Recent {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock()
    }

    /// Takes note of a header.
    pub(crate) fn note(&self, height: Height, state_root: B256) {
        let mut said = self.said();
        if !said.roots.contains(&(height, state_root)) {
            if said.roots.len() == REMEMBERED {
                said.roots.pop_front();
            }
            said.roots.push_back((height, state_root));
        }
    }

    /// The state roots of headers that were seen, the latest first.
    pub(crate) fn roots(&self) -> Vec<(Height, B256)> {
        self.said().roots.iter().rev().copied().collect()
    }

    /// Takes note of what stands at a height, by an answer to a question that was asked then. The other block, if the node
    /// says one thing and the other by turns. Answers that crossed each other say nothing about that.
    pub(crate) fn look(&self, height: Height, hash: BlockHash, asked: Instant, now: Instant) -> Option<BlockHash> {
        let is_lately = |then: Option<Instant>| then.is_some_and(|then| now.duration_since(then) < UNREST);
        let mut said = self.said();
        let Said { looks, back, again, .. } = &mut *said;
        let look = looks.entry(height).or_insert(Look { hash, at: asked, before: None, back: None });
        if look.at <= asked {
            if look.hash != hash {
                if look.before == Some(hash) {
                    // What was last seen here before it came back at another height, it left with that.
                    let with_that = back.filter(|back| look.at < *back);
                    if with_that.is_none() && is_lately(*back) {
                        *again = Some(now);
                    }
                    look.back = with_that.or(Some(now));
                    *back = look.back.max(*back);
                }
                look.before = Some(std::mem::replace(&mut look.hash, hash));
            }
            look.at = now;
        }
        let unrest = look.before.filter(|_| is_lately(look.back) && is_lately(*again));
        if looks.len() > REMEMBERED
            && let Some(oldest) = looks.iter().min_by_key(|(_, look)| look.at).map(|(height, _)| *height)
        {
            looks.remove(&oldest);
        }
        unrest
    }

    /// Did it come back to a branch that it had left? Once may be a reorganisation that was taken back.
    pub(crate) fn has_come_back(&self) -> bool {
        self.said().back.is_some()
    }

    /// Its last block, by what it said last.
    pub(crate) fn head(&self) -> Option<Height> {
        self.said().head.map(|(head, _)| head)
    }

    /// Is it to be looked whether there is a block above this, its head? At first, and while the head does not rise.
    pub(crate) fn must_probe(&self, head: Height, now: Instant) -> bool {
        match self.said().head {
            None => true,
            Some((before, _)) if head > before => false,
            Some((before, looked)) => head < before || now.duration_since(looked) >= PROBE,
        }
    }

    /// Takes note of its head, which is none that something speaks against.
    pub(crate) fn settle(&self, head: Height, probed: bool, now: Instant) {
        let mut said = self.said();
        let looked = said.head.filter(|_| !probed).map_or(now, |(_, looked)| looked);
        said.head = Some((head, looked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BlockHash = BlockHash([1; 32]);
    const B: BlockHash = BlockHash([2; 32]);
    const C: BlockHash = BlockHash([3; 32]);

    #[test]
    fn a_chain_may_come_back_to_a_block_that_it_left_and_not_by_turns() {
        let (recent, start) = (Recent::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let look = |hash, asked, answered| recent.look(Height(7), hash, at(asked), at(answered));
        assert_eq!([look(A, 0, 1), look(A, 1, 2), look(B, 2, 3), look(C, 3, 4), look(C, 4, 5)], [None; 5]);
        // asked before it was known that C stands there: an answer that took its time
        assert_eq!(look(B, 3, 6), None);
        assert_eq!([look(B, 6, 7), look(B, 7, 8)], [None; 2], "a reorganisation may be taken back");
        assert_eq!([look(C, 8, 9), look(B, 9, 10)], [Some(B), Some(C)]);
        assert_eq!(recent.look(Height(8), A, at(10), at(11)), None);
        assert_eq!(look(B, 50, 51), None);
    }

    #[test]
    fn a_branch_that_a_node_came_back_to_is_one_however_long_it_is() {
        let (recent, start) = (Recent::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let look = |height: u64, hash, s| recent.look(Height(height), hash, at(s), at(s));
        assert_eq!([look(7, A, 0), look(8, A, 0), look(7, B, 1), look(8, B, 1)], [None; 4]);
        assert_eq!([look(7, A, 2), look(8, A, 3)], [None; 2], "it came back once");
        assert_eq!([look(7, B, 4), look(8, B, 5), look(7, B, 33)], [Some(A); 3]);
        assert_eq!([look(7, B, 34), look(8, B, 35)], [None; 2], "it has been back for long");
        // What it left again meanwhile is another matter.
        assert_eq!([look(8, A, 36), look(8, B, 37), look(8, A, 38)], [None, Some(A), Some(B)]);
    }

    #[test]
    fn a_head_that_does_not_rise_is_looked_above() {
        let (recent, start) = (Recent::default(), Instant::now());
        let probes = |height: u64, s: u64| {
            let now = start + Duration::from_secs(s);
            let probe = recent.must_probe(Height(height), now);
            recent.settle(Height(height), probe, now);
            probe
        };
        assert_eq!([probes(7, 0), probes(8, 1), probes(8, 2), probes(8, 11)], [true, false, false, true]);
        assert_eq!([probes(8, 12), probes(7, 13), probes(7, 14), probes(9, 15)], [false, true, false, false]);
        // As long as something speaks against it, it is looked again.
        let soon = start + Duration::from_secs(16);
        assert!([8, 8].map(|height| recent.must_probe(Height(height), soon)).iter().all(|probe| *probe));
    }
}
