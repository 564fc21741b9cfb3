//! The accounts that a chain is followed for: looked up by their bytes, millions of times a second.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;

use foldhash::quality::RandomState;

use crate::{Account, AccountNo};

/// The accounts that a chain is followed for, with their numbers in its store, which follow each other.
///
/// Whether an account is there shows in one cache line, nearly always. In memory each takes 10 to 15 bytes for its slot (6, in a table that is
/// four to six tenths full), 8 for its number and length, and its own bytes, to a multiple of 4: 42 to 47 for a pay-to-witness-public-key-hash script, 12 more
/// for a taproot one. Where an account is looked for is this process's secret, so that nobody can declare accounts that slow
/// it down.
#[derive(Clone, Default)]
pub struct Watch {
    hasher: RandomState,
    /// The slots' tags, and beside them where the accounts stand: looked at only for a tag that is right.
    tags: Vec<Tags>,
    places: Vec<[u32; SLOTS]>,
    /// One account after another: its number and its length, of four bytes each, and itself.
    entries: Vec<u8>,
    first: u32,
    count: u32,
}

/// How many tags a cache line holds.
const SLOTS: usize = 32;
const WORD: usize = 4;
/// What an account takes among the entries, mostly: an address.
const USUAL_BYTES: usize = 28;

/// Of slots that are looked at together, filled from the first one on: 16 bits of the hash of the account in each slot, 0 where there
/// is none.
#[derive(Clone)]
#[repr(C, align(64))]
struct Tags([u16; SLOTS]);

impl Tags {
    /// All slots at once: which of them it could be matters only when it is one.
    #[inline]
    fn may_have(&self, tag: u16) -> bool {
        self.0.iter().fold(false, |any, other| any | (*other == tag))
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.0[SLOTS - 1] != 0
    }
}

/// Tells the processor that this cache line is about to be read.
#[inline]
fn prefetch(bucket: &Tags) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: it changes nothing, wherever it points to.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(bucket).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bucket;
}

impl Watch {
    /// Nobody yet, and room for so many; the first one that comes has this number.
    pub fn with_room(first: AccountNo, accounts: usize) -> Watch {
        let entries = Vec::with_capacity(accounts * USUAL_BYTES);
        let mut watch = Watch { first: first.0, entries, ..Watch::default() };
        watch.resize(buckets_for(accounts));
        watch
    }

    /// The number of the account with these bytes, if it is watched.
    #[inline]
    pub fn number(&self, account: &[u8]) -> Option<AccountNo> {
        if self.tags.is_empty() { None } else { self.find(self.hash(account), account) }
    }

    /// The same for many: says of those that are watched which they are, by their place among the hashes. Asked together, the waits for
    /// memory overlap.
    pub fn find_each<'a>(
        &self,
        hashes: &[u64],
        account: impl Fn(usize) -> &'a [u8],
        mut found: impl FnMut(usize, AccountNo),
    ) {
        /// So many cache lines are on their way.
        const AHEAD: usize = 16;
        if self.tags.is_empty() {
            return;
        }
        let home = |hash: &u64| &self.tags[self.home(*hash)];
        hashes.iter().take(AHEAD).for_each(|hash| prefetch(home(hash)));
        for (at, hash) in hashes.iter().enumerate() {
            if let Some(later) = hashes.get(at + AHEAD) {
                prefetch(home(later));
            }
            let bucket = home(hash);
            if (bucket.may_have(tag(*hash)) || bucket.is_full())
                && let Some(number) = self.find(*hash, account(at))
            {
                found(at, number);
            }
        }
    }

    fn find(&self, hash: u64, account: &[u8]) -> Option<AccountNo> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        loop {
            let bucket = &self.tags[at];
            if bucket.may_have(tag) {
                for (other, place) in bucket.0.iter().zip(&self.places[at]) {
                    if *other == tag {
                        let (number, bytes) = self.entry(*place);
                        if bytes == account {
                            return Some(number);
                        }
                    }
                }
            }
            if !bucket.is_full() {
                return None;
            }
            at = if at + 1 == self.tags.len() { 0 } else { at + 1 };
        }
    }

    /// Adds an account under the next number.
    ///
    /// # Panics
    /// When it is there already, or beyond 2^32 accounts or 2^34 bytes of them.
    pub fn push(&mut self, account: &[u8]) {
        if self.tags.len() < buckets_for(self.len() + 1) {
            // The next time when it is six tenths full again.
            self.resize(buckets_for(self.len() * 3 / 2 + 1));
        }
        let place =
            u32::try_from(self.entries.len() / WORD).expect("2^34 bytes of accounts are more than any machine has");
        let length = u32::try_from(account.len()).expect("an account is short");
        let number = self.first.checked_add(self.count).expect("numbers have 32 bits");
        self.entries.extend_from_slice(&number.to_le_bytes());
        self.entries.extend_from_slice(&length.to_le_bytes());
        self.entries.extend_from_slice(account);
        self.entries.resize(self.entries.len().next_multiple_of(WORD), 0);
        self.enter(place);
        self.count += 1;
    }

    /// Every account, by number.
    pub fn by_number(&self) -> impl Iterator<Item = (AccountNo, &[u8])> {
        self.by_place(0).map(|place| self.entry(place))
    }

    /// The accounts with these numbers, by number. Where all have the same length, no other is looked at.
    pub fn among(&self, numbers: Range<u32>) -> impl Iterator<Item = (AccountNo, &[u8])> {
        let stride = if self.is_empty() { 0 } else { 2 + self.entry(0).1.len().div_ceil(WORD) };
        let are_alike = stride * WORD * self.len() == self.entries.len();
        let skipped = (numbers.start.saturating_sub(self.first) as usize).min(self.len());
        let from = if are_alike { skipped * stride } else { 0 };
        let from = u32::try_from(from).expect("a place among the entries");
        let entries = self.by_place(from).map(|place| self.entry(place));
        let start = numbers.start;
        entries.skip_while(move |(number, _)| number.0 < start).take_while(move |(number, _)| number.0 < numbers.end)
    }

    /// Is there an account with this number?
    pub fn has(&self, number: AccountNo) -> bool {
        (self.first..self.first + self.count).contains(&number.0)
    }

    /// The number that the next one gets.
    pub fn next(&self) -> AccountNo {
        AccountNo(self.first + self.count)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What it is looked up by.
    #[inline]
    pub fn hash(&self, account: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(account);
        hasher.finish()
    }

    /// The bucket at which the search for a hash begins: its share of all of them, so that there may be any number.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let share = u128::from(hash) * self.tags.len() as u128;
        usize::try_from(share >> 64).expect("below the number of buckets")
    }

    fn entry(&self, place: u32) -> (AccountNo, &[u8]) {
        let (words, _) = self.entries.as_chunks::<WORD>();
        let [number, length] = [0, 1].map(|n| u32::from_le_bytes(words[place as usize + n]));
        (AccountNo(number), &self.entries[(place as usize + 2) * WORD..][..length as usize])
    }

    /// Where each entry stands, from one on.
    fn by_place(&self, from: u32) -> impl Iterator<Item = u32> {
        let mut next = from;
        std::iter::from_fn(move || {
            let place = next;
            let length = ((place as usize) * WORD < self.entries.len()).then(|| self.entry(place).1.len())?;
            next += 2 + u32::try_from(length.div_ceil(WORD)).expect("an account is short");
            Some(place)
        })
    }

    fn enter(&mut self, place: u32) {
        let account = self.entry(place).1;
        let hash = self.hash(account);
        let tag = tag(hash);
        let mut at = self.home(hash);
        loop {
            let tags = &self.tags[at].0;
            let free = tags.iter().position(|other| *other == 0);
            let mut taken = tags.iter().zip(&self.places[at]).take(free.unwrap_or(SLOTS));
            let is_there = taken.any(|(other, place)| *other == tag && self.entry(*place).1 == account);
            assert!(!is_there, "an account is watched once");
            if let Some(free) = free {
                (self.tags[at].0[free], self.places[at][free]) = (tag, place);
                return;
            }
            at = if at + 1 == self.tags.len() { 0 } else { at + 1 };
        }
    }

    fn resize(&mut self, buckets: usize) {
        (self.tags, self.places) = (vec![Tags([0; SLOTS]); buckets], vec![[0; SLOTS]; buckets]);
        let places: Vec<u32> = self.by_place(0).collect();
        for place in places {
            self.enter(place);
        }
    }
}

/// The bits of a hash that decide least about its bucket; never 0.
#[inline]
fn tag(hash: u64) -> u16 {
    let [low, high, ..] = hash.to_le_bytes();
    u16::from_le_bytes([low, high]).max(1)
}

/// How many buckets so many accounts need: six tenths of them are full then, and hardly a bucket.
fn buckets_for(accounts: usize) -> usize {
    if accounts == 0 { 0 } else { accounts * 10 / 6 / SLOTS + 1 }
}

impl<A: AsRef<[u8]>> FromIterator<(A, AccountNo)> for Watch {
    /// The numbers must follow each other.
    fn from_iter<I: IntoIterator<Item = (A, AccountNo)>>(accounts: I) -> Watch {
        let mut accounts = accounts.into_iter().peekable();
        let first = accounts.peek().map_or(AccountNo(0), |(_, first)| *first);
        let mut watch = Watch::with_room(first, accounts.size_hint().0);
        for (account, number) in accounts {
            assert_eq!(number, watch.next(), "numbers follow each other");
            watch.push(account.as_ref());
        }
        watch
    }
}

impl AsRef<[u8]> for Account {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} accounts from {})", self.count, self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_found_and_nothing_else() {
        let account = |n: u32| -> Vec<u8> { n.to_be_bytes().repeat(1 + n as usize % 9) };
        let mut watch = Watch::with_room(AccountNo(7), 0);
        assert_eq!(watch.number(&account(1)), None);
        for n in 0..10_000 {
            watch.push(&account(n));
        }
        assert_eq!((watch.len(), watch.next()), (10_000, AccountNo(10_007)));
        for n in 0..20_000 {
            assert_eq!(watch.number(&account(n)), (n < 10_000).then_some(AccountNo(n + 7)));
        }
        assert_eq!(watch.number(&[]), None);
        let all: Vec<(AccountNo, &[u8])> = watch.by_number().collect();
        assert_eq!(all.len(), 10_000);
        assert!((0..).zip(&all).all(|(n, (number, bytes))| number.0 == n + 7 && *bytes == account(n)));
        let exact: Watch = (0..1000).map(|n| (account(n), AccountNo(n))).collect();
        assert_eq!(exact.number(&account(999)), Some(AccountNo(999)));
    }

    #[test]
    #[should_panic(expected = "watched once")]
    fn an_account_has_one_number() {
        let mut watch = Watch::default();
        watch.push(b"one");
        watch.push(b"one");
    }
}
