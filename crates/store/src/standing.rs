//! How accounts stand, many at a time: what whoever keeps sums over accounts needs to follow the blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use assay_types::{AccountNo, Amount, BlockRef, Height, Pair};

use crate::blank::Blanks;
use crate::bytes::Reader;
use crate::changes::each_undone;
use crate::declare::PUBLISHED_KEY;
use crate::near::Near;
use crate::rows::{Movement, account_prefix, height_key, height_of};
use crate::{Coverage, Family, Store, StoreError};

/// How an account stands in an asset after a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Base units; says nothing where the coverage is unknown.
    pub balance: Amount,
    /// How well it is known.
    pub coverage: Coverage,
}

/// Looks up one pair after another in what the store held when this was made: that it need not find its way in anew makes each
/// several times as quick.
pub struct Lookup<'a> {
    store: &'a Store,
    blanks: Blanks,
    coverage: Near<'a>,
    movements: Near<'a>,
}

/// What the last blocks changed, and what was there before them.
#[derive(Debug, Clone)]
pub struct Past {
    /// The height before these blocks.
    at: Height,
    /// The pairs that each block changed.
    touched: BTreeSet<Pair>,
    /// The keys of the first and the last movement in these blocks, where they added some.
    moved: BTreeMap<Pair, (Vec<u8>, Vec<u8>)>,
    /// Coverage rows that they replaced, made (`None`) or took away, as they were before.
    coverage: BTreeMap<(Pair, Height), Option<Coverage>>,
}

/// How it begins, in words, that something was not followed.
pub(crate) const NOT_FOLLOWED: &str = "not followed";
pub(crate) const UNFOLLOWED: &str = "not followed at this height";

impl Store {
    /// How many accounts are followed: their numbers are below.
    ///
    /// # Errors
    /// When the database fails.
    pub fn published(&self) -> Result<u32, StoreError> {
        self.counter(PUBLISHED_KEY)
    }

    /// How an account stands in an asset after the block at this height.
    ///
    /// # Errors
    /// When the database fails.
    pub fn standing(&self, pair: Pair, at: Height) -> Result<Standing, StoreError> {
        self.lookup()?.standing(pair, at)
    }

    /// To look up many pairs.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lookup(&self) -> Result<Lookup<'_>, StoreError> {
        let rows = |family| Ok::<_, StoreError>(Near::new(self.db.raw_iterator_cf(self.family(family)?)));
        Ok(Lookup {
            store: self,
            blanks: self.blanks()?,
            coverage: rows(Family::Coverage)?,
            movements: rows(Family::Movements)?,
        })
    }

    /// The same, but only if this is the last block: then that is what is looked up, whatever comes meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lookup_of(&self, tip: BlockRef) -> Result<Option<Lookup<'_>>, StoreError> {
        let lookup = self.lookup()?;
        let is_still = self.tip()?.is_some_and(|header| header.at() == tip);
        Ok(is_still.then_some(lookup))
    }

    fn has_moved(&self, rows: &mut rocksdb::DBRawIterator<'_>, account: AccountNo) -> Result<bool, StoreError> {
        let prefix = account.0.to_be_bytes();
        rows.seek(prefix);
        rows.status().map_err(|error| self.database(error))?;
        Ok(rows.key().is_some_and(|key| key.starts_with(&prefix)))
    }

    pub(crate) fn seek_balance(
        &self,
        rows: &mut rocksdb::DBRawIterator<'_>,
        (account, asset): Pair,
        at: Height,
    ) -> Result<Amount, StoreError> {
        let prefix = account_prefix(account, asset);
        rows.seek_for_prev(Movement::key_at(&prefix, at, u32::MAX));
        rows.status().map_err(|error| self.database(error))?;
        match rows.item() {
            Some(row) if row.0.starts_with(&prefix) => self.read_balance(&prefix, row),
            _ => Ok(Amount::ZERO),
        }
    }

    /// What is known up to a height of every pair of these accounts, in order.
    fn each_coverage(
        &self,
        rows: &mut rocksdb::DBRawIterator<'_>,
        blanks: &Blanks,
        numbers: Range<u32>,
        at: Height,
        mut see: impl FnMut(Pair, Coverage) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut blanks = blanks.pairs(numbers.clone(), at).peekable();
        let mut last: Option<(Pair, Option<Coverage>)> = None;
        rows.seek(numbers.start.to_be_bytes());
        while let Some((key, value)) = rows.item() {
            let row = self.read(Family::Coverage, key, coverage_key(key).zip(Coverage::read(value)))?;
            let ((pair, from), grade) = row;
            if pair.0.0 >= numbers.end {
                break;
            }
            if last.as_ref().is_none_or(|(before, _)| *before != pair) {
                if let Some((before, Some(grade))) = last.take() {
                    see(before, grade)?;
                }
                while let Some(blank) = blanks.next_if(|blank| *blank < pair) {
                    see(blank, Coverage::Unproven)?;
                }
                last = Some((pair, blanks.next_if_eq(&pair).map(|_| Coverage::Unproven)));
            }
            if from <= at {
                last = Some((pair, Some(grade)));
            }
            rows.next();
        }
        rows.status().map_err(|error| self.database(error))?;
        if let Some((pair, Some(grade))) = last {
            see(pair, grade)?;
        }
        blanks.try_for_each(|blank| see(blank, Coverage::Unproven))
    }

    /// The balance after a movement. `prefix`: that of the account and asset.
    fn read_balance(&self, prefix: &[u8], (key, value): (&[u8], &[u8])) -> Result<Amount, StoreError> {
        let movement = Movement::read(&key[prefix.len()..], value);
        self.read(Family::Movements, key, movement).map(|movement| movement.balance)
    }

    /// The pairs that the block at this height changed: their movements, or how well they are known. `None` when no undo is
    /// kept for it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn touched(&self, height: Height) -> Result<Option<BTreeSet<Pair>>, StoreError> {
        let key = height_key(height);
        let Some(row) = self.get(Family::Undo, &key)? else { return Ok(None) };
        let mut touched = BTreeSet::new();
        for undone in each_undone(&row) {
            let (family, row, _) = self.read(Family::Undo, &key, undone)?;
            if matches!(family, Family::Movements | Family::Coverage) {
                touched.insert(self.read(Family::Undo, &key, pair_of(row))?);
            }
        }
        Ok(Some(touched))
    }

    /// The balances that were proven after the block at this height: each has a row of coverage that begins behind it. `None` when no undo is kept
    /// for it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn proven_at(&self, height: Height) -> Result<Option<BTreeSet<Pair>>, StoreError> {
        let key = height_key(height);
        let Some(row) = self.get(Family::Undo, &key)? else { return Ok(None) };
        let mut proven = BTreeSet::new();
        for undone in each_undone(&row) {
            let (family, row, _) = self.read(Family::Undo, &key, undone)?;
            if family == Family::Coverage {
                let (pair, from) = self.read(Family::Undo, &key, coverage_key(row))?;
                proven.extend((from == height.next()).then_some(pair));
            }
        }
        Ok(Some(proven))
    }

    /// What the blocks above this height, up to `to`, changed. `None` when undo is not kept for all of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn past(&self, at: Height, to: Height) -> Result<Option<Past>, StoreError> {
        let mut past = Past::after(at);
        for height in at.0 + 1..=to.0 {
            if !past.add(self, Height(height))? {
                return Ok(None);
            }
        }
        Ok(Some(past))
    }
}

impl Lookup<'_> {
    /// How an account stands in an asset after the block at this height.
    ///
    /// # Errors
    /// When the database fails.
    pub fn standing(&mut self, pair: Pair, at: Height) -> Result<Standing, StoreError> {
        let last = self.last_coverage(pair, at)?;
        let coverage = last.map_or_else(|| Coverage::Unknown(UNFOLLOWED.into()), |(_, grade)| grade);
        self.with_balance(pair, coverage, at)
    }

    /// Every pair of the accounts with these numbers of which something is said after the block at this height, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn each_standing(
        &mut self,
        numbers: Range<u32>,
        at: Height,
        mut see: impl FnMut(Pair, Standing),
    ) -> Result<(), StoreError> {
        let (store, coverage, movements) = (self.store, self.coverage.rows(), self.movements.rows());
        let mut still: Option<AccountNo> = None;
        store.each_coverage(coverage, &self.blanks, numbers, at, |pair, coverage| {
            let balance = match coverage {
                Coverage::Unknown(_) => Amount::ZERO,
                _ if still == Some(pair.0) => Amount::ZERO,
                _ => {
                    let balance = store.seek_balance(movements, pair, at)?;
                    // Most deposit addresses never move: then one look tells it for all assets.
                    if balance.is_zero() && !store.has_moved(movements, pair.0)? {
                        still = Some(pair.0);
                    }
                    balance
                }
            };
            see(pair, Standing { balance, coverage });
            Ok(())
        })
    }

    /// The same without the balances, which takes a fraction of the time.
    ///
    /// # Errors
    /// When the database fails.
    pub fn each_coverage(
        &mut self,
        numbers: Range<u32>,
        at: Height,
        mut see: impl FnMut(Pair, Coverage),
    ) -> Result<(), StoreError> {
        let see = |pair, coverage| {
            see(pair, coverage);
            Ok(())
        };
        self.store.each_coverage(self.coverage.rows(), &self.blanks, numbers, at, see)
    }

    /// The block below this height after which an unproven balance was proven last, where it did not move since.
    ///
    /// # Errors
    /// When the database fails.
    pub fn last_proof(&mut self, pair: Pair, at: Height) -> Result<Option<Height>, StoreError> {
        let Some((from, Coverage::Unproven)) = self.last_coverage(pair, at)? else { return Ok(None) };
        let Some(last) = from.previous() else { return Ok(None) };
        if !matches!(self.last_coverage(pair, last)?, Some((_, Coverage::Verified))) {
            return Ok(None);
        }
        Ok((!self.store.moved_between(pair, last, at)?).then_some(last))
    }

    /// Is this where a stretch of verified heights begins or ends? Then the balance was proven there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn ends_proven(&mut self, pair: Pair, at: Height) -> Result<bool, StoreError> {
        let Some((begins, Coverage::Verified)) = self.last_coverage(pair, at)? else { return Ok(false) };
        let ends = self.last_coverage(pair, at.next())?.is_some_and(|(next, _)| next == at.next());
        Ok(begins == at || ends)
    }

    /// The balance alone, whatever is known of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn balance(&mut self, pair: Pair, at: Height) -> Result<Amount, StoreError> {
        let prefix = account_prefix(pair.0, pair.1);
        let row = self.movements.last(pair, &prefix, &Movement::key_at(&prefix, at, u32::MAX));
        let row = row.map_err(|error| self.store.database(error))?;
        row.map_or(Ok(Amount::ZERO), |row| self.store.read_balance(&prefix, row))
    }

    /// Is it known at one height as it is at another above, if nothing moved between?
    ///
    /// # Errors
    /// When the database fails.
    pub fn is_as_known(&mut self, pair: Pair, from: Height, to: Height) -> Result<bool, StoreError> {
        Ok(self.last_coverage(pair, to)?.is_none_or(|(row, _)| row <= from))
    }

    /// From which height on a balance is unknown, if it is after the block at this one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unknown_since(&mut self, pair: Pair, at: Height) -> Result<Option<Height>, StoreError> {
        if let Some(above) = self.store.unsettled_above()?.filter(|above| *above < at) {
            return Ok(Some(above.next()));
        }
        let last = self.last_coverage(pair, at)?;
        Ok(last.and_then(|(from, grade)| matches!(grade, Coverage::Unknown(_)).then_some(from)))
    }

    fn last_coverage(&mut self, pair: Pair, at: Height) -> Result<Option<(Height, Coverage)>, StoreError> {
        let prefix = account_prefix(pair.0, pair.1);
        let row = self.coverage.last(pair, &prefix, &Coverage::key(&prefix, at));
        let row = row.map_err(|error| self.store.database(error))?;
        match row {
            Some(row) => self.store.read_coverage(&prefix, row).map(Some),
            None => Ok(self.blanks.of(pair, at)),
        }
    }

    /// The same, where it is at hand how well the balance is known after that block.
    ///
    /// # Errors
    /// When the database fails.
    pub fn with_balance(&mut self, pair: Pair, coverage: Coverage, at: Height) -> Result<Standing, StoreError> {
        let balance = match coverage {
            Coverage::Unknown(_) => Amount::ZERO,
            _ => self.balance(pair, at)?,
        };
        Ok(Standing { balance, coverage })
    }
}

impl Past {
    fn after(at: Height) -> Past {
        Past { at, touched: BTreeSet::new(), moved: BTreeMap::new(), coverage: BTreeMap::new() }
    }

    /// Adds a block; those below it are there already.
    fn add(&mut self, store: &Store, height: Height) -> Result<bool, StoreError> {
        let key = height_key(height);
        let Some(row) = store.get(Family::Undo, &key)? else { return Ok(false) };
        for undone in each_undone(&row) {
            let (family, row, before) = store.read(Family::Undo, &key, undone)?;
            match family {
                Family::Movements => {
                    let pair = store.read(Family::Undo, &key, pair_of(row))?;
                    self.touched.insert(pair);
                    let (first, last) = self.moved.entry(pair).or_insert_with(|| (row.to_vec(), row.to_vec()));
                    if row < first.as_slice() {
                        *first = row.to_vec();
                    } else if row > last.as_slice() {
                        *last = row.to_vec();
                    }
                }
                Family::Coverage => {
                    let (pair, from) = store.read(Family::Undo, &key, coverage_key(row))?;
                    let before = before.map(|before| store.read(Family::Undo, &key, Coverage::read(before)));
                    let before = before.transpose()?;
                    self.touched.insert(pair);
                    // The lowest block comes first, and what was there before it stays.
                    self.coverage.entry((pair, from)).or_insert(before);
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// The pairs that these blocks changed.
    pub fn touched(&self) -> &BTreeSet<Pair> {
        &self.touched
    }

    /// The pairs of which these blocks changed how well they are known below them: a block may show that what was taken for known
    /// is not, or the other way round.
    pub fn rewritten(&self) -> impl Iterator<Item = Pair> {
        self.coverage.keys().filter(|(_, from)| *from <= self.at).map(|(pair, _)| *pair)
    }

    /// How a pair stood after the block before these blocks, as far as was known then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn standing(&self, now: &mut Lookup<'_>, pair: Pair) -> Result<Standing, StoreError> {
        let coverage = self.coverage_before(now, pair)?;
        now.with_balance(pair, coverage, self.at)
    }

    /// How a pair stood before these blocks, as [`Past::standing`] says, and how it stands after them, up to `to`: much quicker than
    /// to look up both. `known`: how well it was known before, where that is at hand and the block before these did not touch the
    /// pair: what that proved may hold for itself alone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn change(
        &self,
        now: &mut Lookup<'_>,
        pair: Pair,
        to: Height,
        known: Option<Coverage>,
    ) -> Result<(Standing, Standing), StoreError> {
        let replaced = self.coverage.range((pair, Height(0))..=(pair, to)).next().is_some();
        let (before, after) = match known {
            Some(known) if !replaced => (known.clone(), known),
            _ => {
                let last = now.last_coverage(pair, to)?;
                let is_old = last.as_ref().is_none_or(|(from, _)| *from <= self.at);
                let after = last.map_or_else(|| Coverage::Unknown(UNFOLLOWED.into()), |(_, grade)| grade);
                (if is_old && !replaced { after.clone() } else { self.coverage_before(now, pair)? }, after)
            }
        };
        let (was, is) = match self.moved.get(&pair) {
            Some((first, last)) => {
                let earliest = self.movement(now.store, first)?;
                let latest = if first == last { earliest.clone() } else { self.movement(now.store, last)? };
                match (earliest, latest) {
                    (Some(earliest), Some(latest)) => (earliest.balance_before(), Some(latest.balance)),
                    _ => (None, None),
                }
            }
            None => {
                let balance = now.balance(pair, to)?;
                (Some(balance), Some(balance))
            }
        };
        let (Some(was), Some(is)) = (was, is) else { return Ok((self.standing(now, pair)?, now.standing(pair, to)?)) };
        let stands = |balance: Amount, coverage: Coverage| {
            let balance = if matches!(coverage, Coverage::Unknown(_)) { Amount::ZERO } else { balance };
            Standing { balance, coverage }
        };
        Ok((stands(was, before), stands(is, after)))
    }

    fn movement(&self, store: &Store, key: &[u8]) -> Result<Option<Movement>, StoreError> {
        let Some(row) = store.get(Family::Movements, key)? else { return Ok(None) };
        let mut rest = Reader(key);
        let rest = rest.account().and_then(|_| rest.asset()).and_then(|_| Movement::read(rest.0, &row));
        store.read(Family::Movements, key, rest).map(Some)
    }

    /// The last row up to that block, of those that are there now and were then, and of those that were there only then.
    fn coverage_before(&self, rows: &mut Lookup<'_>, pair: Pair) -> Result<Coverage, StoreError> {
        let mut replaced = self.coverage.range((pair, Height(0))..=(pair, self.at)).rev();
        let then = replaced.find_map(|((_, from), before)| Some((*from, before.clone()?)));
        let (mut to, mut now) = (Some(self.at), None);
        while let Some(height) = to {
            now = rows.last_coverage(pair, height)?;
            let Some((from, _)) = &now else { break };
            if !self.coverage.contains_key(&(pair, *from)) {
                break;
            }
            (to, now) = (from.previous(), None);
        }
        let last = match (then, now) {
            (Some(then), Some(now)) => Some(if then.0 > now.0 { then } else { now }),
            (then, now) => then.or(now),
        };
        Ok(last.map_or_else(|| Coverage::Unknown(UNFOLLOWED.into()), |(_, grade)| grade))
    }
}

/// The pair with which keys of movements and of coverage begin.
pub(crate) fn pair_of(key: &[u8]) -> Option<Pair> {
    let mut row = Reader(key);
    Some((row.account()?, row.asset()?))
}

fn coverage_key(key: &[u8]) -> Option<(Pair, Height)> {
    let mut row = Reader(key);
    let pair = (row.account()?, row.asset()?);
    Some((pair, height_of(row.0)?))
}
