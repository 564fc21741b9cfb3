//! Where the state of the chain and the sum of movements have parted, the blocks in which that happened are searched for, as far back as
//! the node keeps state: between two blocks at which a balance is known and differs, the one in the middle is read, and both halves are searched
//! where their ends differ. Equal ends prove nothing about what lies between; nobody says that they do: such a stretch is as well known as its ends.

use std::collections::{BTreeMap, BTreeSet};

use assay_store::{Coverage, Seen};
use assay_types::{Account, AccountNo, Amount, Asset, Header, Height, Pair, Reading, Reads, TxId, Watch};

use crate::Indexer;
use crate::breaks::Break;
use crate::patience::patiently;
use crate::traced::is_all_told;

/// So many blocks are read again at most for what was found at a time.
const BLOCKS_AGAIN: usize = 16;

/// What state said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub amount: Amount,
    pub proven: bool,
}

/// Blocks in which an account had no movement, and after which it holds something else than before.
#[derive(Debug, Clone)]
struct Stretch {
    pair: Pair,
    account: Account,
    /// The block after which the balance is as it was, or of which the node keeps no state.
    low: Height,
    /// The last block after which it is known to be as it was.
    known: Height,
    before: Held,
    high: Height,
    after: Held,
}

/// What the search has found out, by account and asset, from the first block to the last.
type Found = BTreeMap<Pair, BTreeMap<Height, Seen>>;

impl Indexer<'_> {
    /// Finds out where the balances of these, which state contradicts after this block of ours, came to differ, and notes it. Where nothing
    /// was between the last known block and this one, an earlier answer was wrong. Says whether there was anything.
    pub(crate) fn explain_parted(&self, at: &Header, pairs: &[(AccountNo, Account, Asset)]) -> Result<bool, Break> {
        let mut stretches = Vec::new();
        for Reading { account: number, asset, balance, proven, .. } in self.read_again(at, pairs)? {
            let (Ok(amount), pair) = (balance, (number, asset)) else { continue };
            let ours = self.store.balance(number, asset, at.height)?;
            let (Some(known), true) = (self.store.last_known(pair, at.height)?, amount != ours) else { continue };
            if known == at.height {
                match self.wrong_answer(at, pair, ours, Held { amount, proven })? {
                    Some(why) => return Err(Break::Doubt(vec![pair], Box::new(why))),
                    None => continue,
                }
            }
            let account = self.store.account(number)?;
            let (before, after) = (Held { amount: ours, proven: false }, Held { amount, proven });
            stretches.push(Stretch { pair, account, low: known, known, before, high: at.height, after });
        }
        if stretches.is_empty() {
            return Ok(false);
        }
        let mut found = self.search(stretches)?;
        found.extend(self.search(self.changed_beside(at, &found)?)?);
        self.check_beginnings(&found)?;
        let blocks = self.read_blocks_again(&found)?;
        for (pair, seen) in found {
            for (height, seen) in &seen {
                let txids = blocks.get(height).map_or(&[][..], Vec::as_slice);
                self.store.correct(pair, *height, seen, txids)?;
            }
            let (account, height) = (pair.0.0, at.height.0);
            tracing::info!(
                account,
                height,
                points = seen.len(),
                "a balance changed without a cause that blocks show: its blocks were searched for"
            );
        }
        Ok(true)
    }

    /// Where a token changed with nothing to show for it, it may have changed for everyone, also for those whose balance was the same again later: who holds
    /// it is read at these blocks too.
    fn changed_beside(&self, at: &Header, found: &Found) -> Result<Vec<Stretch>, Break> {
        let mut heights: BTreeMap<Height, BTreeSet<Asset>> = BTreeMap::new();
        for ((_, asset), seen) in found.iter().filter(|((_, asset), _)| *asset != Asset::Native) {
            let changed = seen.iter().filter(|(_, seen)| seen.since.is_none());
            changed.for_each(|(height, _)| _ = heights.entry(*height).or_default().insert(*asset));
        }
        let mut to_read: BTreeMap<Height, BTreeSet<Pair>> = BTreeMap::new();
        for (height, assets) in heights.into_iter().take(BLOCKS_AGAIN) {
            let pairs = self.holders_that_changed(height, &assets, found)?;
            to_read.entry(at.height).or_default().extend(&pairs);
            to_read.entry(height).or_default().extend(pairs);
        }
        let mut points: BTreeMap<Pair, Vec<(Height, Held)>> = BTreeMap::new();
        for (height, pairs) in to_read {
            let header = self.store.header(height)?.ok_or(Break::Reorganised)?;
            let pairs: Vec<Pair> = pairs.into_iter().collect();
            for reading in self.read_again(&header, &self.with_bytes(&pairs)?)? {
                let (pair, proven) = (reading.pair(), reading.proven);
                if let Ok(amount) = reading.balance {
                    points.entry(pair).or_default().push((height, Held { amount, proven }));
                }
            }
        }
        let mut stretches = Vec::new();
        for (pair, points) in points {
            let known = self.store.last_known(pair, points[0].0)?.filter(|known| *known < points[0].0);
            let Some(mut low) = known else { continue };
            let mut before = Held { amount: self.store.balance(pair.0, pair.1, low)?, proven: false };
            for (high, after) in points {
                if after.amount != before.amount {
                    let account = self.store.account(pair.0)?;
                    stretches.push(Stretch { pair, account, low, known: low, before, high, after });
                }
                (low, before) = (high, after);
            }
        }
        Ok(stretches)
    }

    /// Those who hold one of these tokens, of whom nothing was found, and who have something else after this block than is known: where that is so of one
    /// of its largest holders, and of all who did not move since, for whoever moves is read.
    fn holders_that_changed(
        &self,
        height: Height,
        assets: &BTreeSet<Asset>,
        found: &Found,
    ) -> Result<Vec<Pair>, Break> {
        let at = self.store.header(height)?.ok_or(Break::Reorganised)?;
        let changed_of = |pairs: &[Pair]| -> Result<Vec<Pair>, Break> {
            let pairs = self.with_bytes(pairs)?;
            let mut changed = Vec::new();
            for reading in patiently(&self.stop, || self.chain.balances(&at, &pairs))? {
                let ours = self.store.balance(reading.account, reading.asset, height)?;
                let is_other = reading.balance.as_ref().is_ok_and(|amount| *amount != ours);
                changed.extend(is_other.then(|| reading.pair()));
            }
            Ok(changed)
        };
        let (holders, those) = (self.holders.borrow(), found.keys().copied().collect());
        let mut changed = Vec::new();
        for asset in assets {
            if changed_of(&holders.largest_but(*asset, &those))?.is_empty() {
                continue;
            }
            let others: Vec<Pair> = holders.all(*asset).filter(|pair| !those.contains(pair)).collect();
            for pair in changed_of(&others)? {
                if self.store.movements(pair.0, pair.1, height, Height(u64::MAX))?.next().is_none() {
                    changed.push(pair);
                }
            }
        }
        Ok(changed)
    }

    /// Reads the blocks where something changed again, with everything checked that a long stretch leaves to state: were these movements hidden?
    /// Gives their transactions.
    fn read_blocks_again(&self, found: &Found) -> Result<BTreeMap<Height, Vec<TxId>>, Break> {
        let mut read = BTreeMap::new();
        let changed = found.values().flat_map(|seen| seen.iter().filter(|(_, seen)| seen.since.is_none()));
        let heights: BTreeSet<Height> = changed.map(|(height, _)| *height).collect();
        for height in heights.into_iter().take(BLOCKS_AGAIN) {
            let header = self.store.header(height)?.ok_or(Break::Reorganised)?;
            let block = patiently(&self.stop, || self.chain.block(header.at(), &Watch::default(), &Reads::ALL))?;
            if is_all_told(&block) {
                for (pair, seen) in
                    found.iter().filter(|((_, asset), seen)| *asset == Asset::Native && seen.contains_key(&height))
                {
                    self.note_left_out(pair.0, height, seen)?;
                }
            }
            read.insert(height, block.txids);
        }
        Ok(read)
    }

    /// Where all that a block's transactions called is told, and yet an account has less after it, a call is left out.
    fn note_left_out(&self, account: AccountNo, at: Height, seen: &BTreeMap<Height, Seen>) -> Result<(), Break> {
        let before = match seen.range(..at).next_back() {
            Some((_, before)) => before.balance,
            None => self.store.balance(account, Asset::Native, at)?,
        };
        if seen.get(&at).is_some_and(|seen| seen.balance < before) {
            self.tell_left_out(at, account);
        }
        Ok(())
    }

    fn search(&self, stretches: Vec<Stretch>) -> Result<Found, Break> {
        let (mut found, mut open) = (Found::new(), BTreeMap::<Height, Vec<Stretch>>::new());
        let mut sort = |stretch: Stretch, open: &mut BTreeMap<Height, Vec<Stretch>>| {
            if stretch.high.0 - stretch.low.0 > 1 {
                let middle = Height(stretch.low.0 + (stretch.high.0 - stretch.low.0) / 2);
                open.entry(middle).or_default().push(stretch);
            } else {
                note(&mut found, &stretch);
            }
        };
        for stretch in stretches {
            sort(stretch, &mut open);
        }
        while let Some((middle, stretches)) = open.pop_last() {
            if self.stop.is_wished() {
                return Err(crate::IndexError::Stopped.into());
            }
            let header = self.store.header(middle)?.ok_or(Break::Reorganised)?;
            let pairs: Vec<_> = stretches.iter().map(|one| (one.pair.0, one.account.clone(), one.pair.1)).collect();
            let readings = self.read_again(&header, &pairs)?;
            let seen: BTreeMap<Pair, Held> = readings
                .into_iter()
                .filter_map(|it| Some((it.pair(), Held { amount: it.balance.ok()?, proven: it.proven })))
                .collect();
            for stretch in stretches {
                let Some(held) = seen.get(&stretch.pair).copied() else {
                    // What lies below is not to be had: the search goes on above.
                    sort(Stretch { low: middle, ..stretch }, &mut open);
                    continue;
                };
                if held.amount != stretch.before.amount {
                    sort(Stretch { high: middle, after: held, ..stretch.clone() }, &mut open);
                }
                if held.amount != stretch.after.amount {
                    sort(Stretch { low: middle, known: middle, before: held, ..stretch }, &mut open);
                }
            }
        }
        Ok(found)
    }

    /// Where a balance changed right behind the block at which it was last known, and nothing proved it there, it is read there again: it may
    /// be that what was said then was wrong.
    fn check_beginnings(&self, found: &Found) -> Result<(), Break> {
        for (pair, seen) in found {
            let Some((first, below)) = seen.keys().next().and_then(|first| Some((first, first.previous()?))) else {
                continue;
            };
            let is_told = self.store.last_known(*pair, below)? == Some(below);
            if !is_told
                || seen.contains_key(&below)
                || self.store.noted_coverage(pair.0, pair.1, below)? == Coverage::Verified
            {
                continue;
            }
            let header = self.store.header(below)?.ok_or(Break::Reorganised)?;
            let before = self.store.balance(pair.0, pair.1, *first)?;
            for reading in self.read_again(&header, &self.with_bytes(&[*pair])?)? {
                if let Ok(amount) = reading.balance
                    && amount != before
                    && let state = (Held { amount, proven: reading.proven })
                    && let Some(why) = self.wrong_answer(&header, *pair, before, state)?
                {
                    return Err(Break::Doubt(vec![*pair], Box::new(why)));
                }
            }
        }
        Ok(())
    }
}

/// A stretch of one block, or of those that the node keeps no state of. The block before it was read as well, or was known before.
fn note(found: &mut Found, stretch: &Stretch) {
    let Stretch { pair, low, known, before, high, after, .. } = stretch;
    let (seen, since) = (found.entry(*pair).or_default(), (known < low).then_some(*known));
    if before.proven {
        seen.entry(*known).or_insert(Seen { balance: before.amount, proven: true, since: None });
    }
    seen.insert(*high, Seen { balance: after.amount, proven: after.proven, since });
}
