//! Tokens that change everyone's balance at once, with nothing to show for it: those that rebase, or that bear interest. Where accounts are too many
//! to be read at every block, one holder of each token is, the largest; and where balances of a token turn out to have changed without a cause, all who
//! hold it are read at that block.

use std::collections::{BTreeMap, BTreeSet};

use assay_store::{Applier, Coverage, known};
use assay_types::{Account, AccountNo, Asset, Block, Pair, Watch};

use crate::Indexer;
use crate::breaks::Break;
use crate::patience::patiently;

/// So many balances that are not known are read at a block.
const UNREAD: usize = 50_000;
/// Up to so many balances are read by one call, whatever assets they are in.
const ONE_CALL: usize = 64;

impl Indexer<'_> {
    /// Looks up who holds tokens among the accounts that came since this was asked last, and of what they hold is not known.
    pub(crate) fn find_holders(&self, watch: &Watch) -> Result<(), Break> {
        let mut holders = self.holders.borrow_mut();
        let new = holders.next..watch.next().0;
        if let (false, Some(tip)) = (new.is_empty(), self.store.tip()?) {
            let mut lookup = self.store.lookup()?;
            for (pair, amount) in self.store.token_holders(new.clone())? {
                if !matches!(lookup.standing(pair, tip.height)?.coverage, Coverage::Unknown(_)) {
                    holders.note(pair, amount);
                }
            }
            let (assets, unread) = (self.chain.assets(), &mut holders.unread);
            let pairs = new.clone().flat_map(|number| assets.iter().map(move |asset| (AccountNo(number), *asset)));
            let mut pairs = pairs.peekable();
            lookup.each_coverage(new, tip.height, |pair, coverage| {
                unread.extend(std::iter::from_fn(|| pairs.next_if(|next| *next < pair)));
                let is_followed = pairs.next_if_eq(&pair).is_some();
                unread.extend((is_followed && matches!(coverage, Coverage::Unknown(_))).then_some(pair));
            })?;
            unread.extend(pairs);
        }
        holders.next = watch.next().0;
        Ok(())
    }

    /// Reads at this block whom its movements and turns leave out: at the last one of a stretch who could not be read on the way; and the largest holder of
    /// each token, and all holders of one that changed by itself. Behind a long stretch everyone is read anyway.
    pub(crate) fn read_more(
        &self,
        block: &mut Block,
        applier: &mut Applier<'_>,
        is_last: bool,
        is_long: bool,
    ) -> Result<(), Break> {
        if is_last {
            let unread: Vec<Pair> = self.holders.borrow().unread.iter().take(UNREAD).copied().collect();
            self.read_beside(block, unread)?;
        }
        if is_long {
            return Ok(());
        }
        let largest = self.holders.borrow_mut().one_of_each();
        self.read_beside(block, largest)?;
        self.read_who_holds(block, applier)
    }

    /// Where a balance of a token is not what the block's movements give, it may be that of one account, as with ether that is wrapped, or everyone's: some
    /// others are read, and where one of them changed as well, all.
    fn read_who_holds(&self, block: &mut Block, applier: &mut Applier<'_>) -> Result<(), Break> {
        let surprised = |block: &Block, applier: &mut Applier<'_>| -> Result<BTreeSet<Pair>, Break> {
            Ok(known(&applier.parted(block)?).filter(|(_, asset)| matches!(asset, Asset::Token(_))).collect())
        };
        let first = surprised(block, applier)?;
        if first.is_empty() {
            return Ok(());
        }
        let holders = self.holders.borrow();
        let changed: BTreeSet<Asset> = first.iter().map(|(_, asset)| *asset).collect();
        self.read_beside(block, changed.iter().flat_map(|asset| holders.largest_but(*asset, &first)))?;
        let others = surprised(block, applier)?;
        let changed: BTreeSet<Asset> = others.difference(&first).map(|(_, asset)| *asset).collect();
        self.read_beside(block, changed.iter().flat_map(|asset| holders.all(*asset)))
    }

    /// What blocks say of holders from now on. What is not known is tried once, at the last block of a stretch.
    pub(crate) fn note_holders(&self, block: &Block, is_last: bool) {
        let mut holders = self.holders.borrow_mut();
        if is_last {
            let next = holders.unread.iter().nth(UNREAD).copied();
            holders.unread = next.map_or_else(BTreeSet::new, |next| holders.unread.split_off(&next));
        }
        for reading in &block.readings {
            let pair = reading.pair();
            match reading.balance {
                Ok(amount) => holders.note(pair, amount),
                Err(_) => _ = holders.unread.insert(pair),
            }
        }
    }

    /// Adds what these hold to what was read at the block, where it was not; what cannot be read waits for its turn.
    fn read_beside(&self, block: &mut Block, pairs: impl IntoIterator<Item = Pair>) -> Result<(), Break> {
        let read: BTreeSet<Pair> = block.readings.iter().map(|reading| reading.pair()).collect();
        let unread: Vec<Pair> = pairs.into_iter().filter(|pair| !read.contains(pair)).collect();
        // One call reads each of some accounts in each of some assets.
        let is_one = unread.len() <= ONE_CALL;
        let mut by_asset: BTreeMap<Option<Asset>, Vec<(AccountNo, Account, Asset)>> = BTreeMap::new();
        for (account, asset) in unread {
            let whole = (account, self.store.account(account)?, asset);
            by_asset.entry((!is_one).then_some(asset)).or_default().push(whole);
        }
        let header = &block.header;
        let mut more = Vec::new();
        for pairs in by_asset.values() {
            more.extend(patiently(&self.stop, || self.chain.balances(header, pairs))?);
        }
        block.readings.extend(more.into_iter().filter(|reading| reading.balance.is_ok()));
        Ok(())
    }
}
