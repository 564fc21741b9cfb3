//! Whose state is read at which block. Those that it moves always are; few accounts all are, at every block; more at the last one that there is, and at
//! every one of a stretch that is short for so many; many in turn, so that each has been read within a set number of blocks, in which all but few are
//! proven too.

use std::ops::Range;

use assay_types::{Height, Reads, Watch};

/// How state is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Up to so many accounts are read at every block, and proven at the last one.
    pub few: u32,
    /// Up to so many are read at the last one, and at every block of a stretch in which that is no more to read than of few accounts within the set
    /// number of blocks.
    pub more: u32,
    /// Those that are not few are proven, and those that are more than that read too, in turn: each within so many blocks.
    pub within: u64,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { few: 500, more: 5_000, within: 300 }
    }
}

/// Up to so many accounts have their last proofs kept. One of the Ethereum main network takes some 5 KB, and one of a token 9: of a million accounts
/// that would be gigabytes for each asset, of these it is some ten megabytes.
const PROOFS_KEPT: u32 = 5_000;
/// Of so many accounts it is looked at a time what all of them hold.
pub(crate) const AT_A_TIME: u32 = 5_000;

impl Turns {
    /// Are all of them read at every block?
    pub(crate) fn are_few(self, watch: &Watch) -> bool {
        watch.len() as u64 <= u64::from(self.few)
    }

    /// Are all of them read at every block of a stretch of so many?
    pub(crate) fn are_all_read(self, watch: &Watch, blocks: u64) -> bool {
        let (accounts, few) = (watch.len() as u64, u64::from(self.few));
        let is_no_more = || accounts.saturating_mul(blocks) <= few.saturating_mul(self.within);
        self.are_few(watch) || accounts <= u64::from(self.more) && is_no_more()
    }

    /// Are blocks that many that turns wait for the last one, after which everyone is read?
    pub(crate) fn is_long(self, blocks: u64) -> bool {
        blocks >= self.within
    }

    /// Whose state is read at this block, the last of a stretch of so many or not. Of a long stretch only those that blocks moved.
    pub(crate) fn at(self, watch: &Watch, height: Height, is_last: bool, blocks: u64) -> Reads {
        if self.are_few(watch) {
            let keep = is_last && watch.next().0 <= PROOFS_KEPT;
            return if is_last { Reads { keep, ..Reads::ALL_PROVEN } } else { Reads::ALL };
        }
        let turn = self.turn(numbers(watch), height);
        if self.is_long(blocks) {
            let remark = match is_last {
                false => 0..0,
                true if watch.len() <= AT_A_TIME as usize => numbers(watch),
                true => turn,
            };
            // Who always comes so late proves some all the same, others each time.
            let some = if is_last { self.some(numbers(watch), height) } else { 0..0 };
            return Reads { read: some.clone(), prove: some, remark, signed: false, ..Reads::MOVED };
        }
        // As many as the chain follows: accounts that were declared late are read by themselves, and are no fewer for that.
        let are_read = self.are_all_read(watch, blocks) || is_last && watch.len() as u64 <= u64::from(self.more);
        Reads {
            read: if are_read { numbers(watch) } else { turn.clone() },
            prove: turn.clone(),
            remark: turn,
            keep: watch.next().0 <= PROOFS_KEPT,
            signed: true,
        }
    }

    /// From which block of such a stretch on all of them are read; `None`: not even at its last one.
    pub(crate) fn all_read_from(self, watch: &Watch, from: Height, to: Height) -> Option<Height> {
        match self.are_all_read(watch, to.0 + 1 - from.0) {
            true => Some(from),
            false => (watch.len() as u64 <= u64::from(self.more)).then_some(to),
        }
    }

    /// The last block of such a stretch after which not all of them are read. Behind a long one they are.
    pub(crate) fn skimmed(self, watch: &Watch, from: Height, to: Height) -> Option<Height> {
        let all_from = match self.is_long(to.0 + 1 - from.0) && !self.are_few(watch) {
            true => Some(to),
            false => self.all_read_from(watch, from, to),
        };
        all_from.map_or(Some(to), Height::previous).filter(|last| *last >= from)
    }

    /// As many of these as are few, at another place for each height.
    fn some(self, all: Range<u32>, height: Height) -> Range<u32> {
        let few = self.few.max(1);
        let parts = u64::from((all.end - all.start).div_ceil(few)).max(1);
        let place = height.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) % parts; // whatever heights have in common
        let from = all.start + few * u32::try_from(place).unwrap_or(0);
        from..all.end.min(from + few)
    }

    /// The share of these accounts whose turn it is at a height: after so many blocks all of them had it.
    fn turn(self, all: Range<u32>, height: Height) -> Range<u32> {
        let (count, within) = (u64::from(all.end - all.start), self.within.max(1));
        let turn = height.0 % within;
        // at most `count`
        let place = |turn: u64| {
            all.start + u32::try_from(u128::from(count) * u128::from(turn) / u128::from(within)).unwrap_or(0)
        };
        place(turn)..place(turn + 1)
    }
}

/// The numbers of those that are followed.
pub(crate) fn numbers(watch: &Watch) -> Range<u32> {
    let end = watch.next().0;
    end - u32::try_from(watch.len()).unwrap_or(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_among_some_at_last_however_far_apart_the_heights_are() {
        let turns = Turns { few: 500, more: 0, within: 20 };
        for (accounts, stride) in [(501, 20), (1_000, 300), (10_000, 7_200), (20_000, 256), (600, 1 << 16)] {
            let mut seen = vec![false; accounts as usize];
            for run in 0..400 {
                let some = turns.some(10..10 + accounts, Height(1_000 + run * stride));
                assert!(some.len() <= 500 && some.end <= 10 + accounts, "{some:?}");
                some.for_each(|number| seen[number as usize - 10] = true);
            }
            assert!(seen.iter().all(|seen| *seen), "{accounts} {stride}");
        }
    }

    #[test]
    fn everyone_has_a_turn_and_nobody_two() {
        for (accounts, within) in [(1_000u32, 300u64), (7, 300), (5, 3), (1, 1), (1_000_000, 300)] {
            let turns = Turns { few: 0, more: 0, within };
            for start in [0, 299, 12_345] {
                let mut next = 0;
                let first = (start..start + within).find(|height| height % within == 0).unwrap();
                for height in first..first + within {
                    let turn = turns.turn(10..10 + accounts, Height(height));
                    assert_eq!(turn.start, 10 + next);
                    next = turn.end - 10;
                }
                assert_eq!(next, accounts);
            }
        }
    }
}
