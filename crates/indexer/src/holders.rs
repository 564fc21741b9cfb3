//! Tokens that change everyone's balance at once, with nothing to show for it: those that rebase, or that bear interest. Where accounts are too many
//! to be read at every block, one holder of each token is, the largest; and where a balance of a token turns out to have changed without a cause,
//! all who hold it are read at that block.

use std::collections::{BTreeMap, BTreeSet};

use assay_store::{Applier, Pair};
use assay_types::{Account, AccountNo, Amount, Asset, Block, Watch};

use crate::follow::{Break, Indexer};
use crate::patience::patiently;

/// Whoever was seen to hold a token, and how much it was then.
#[derive(Default)]
pub(crate) struct Holders {
    /// Up to which number accounts were looked up.
    next: u32,
    of: BTreeMap<Asset, BTreeMap<AccountNo, Amount>>,
    /// The one of each token that is read at every block.
    largest: BTreeMap<Asset, AccountNo>,
    /// Balances that could not be read where they were to be: at the last block perhaps they can.
    unread: BTreeSet<Pair>,
}

impl Holders {
    fn note(&mut self, (account, asset): Pair, amount: Amount) {
        let Asset::Token(_) = asset else { return };
        match amount {
            Amount::ZERO => {
                self.of.get_mut(&asset).and_then(|holders| holders.remove(&account));
                if self.largest.get(&asset) == Some(&account) {
                    self.largest.remove(&asset);
                }
            }
            amount => _ = self.of.entry(asset).or_default().insert(account, amount),
        }
    }

    fn one_of_each(&mut self) -> Vec<Pair> {
        for (asset, holders) in &self.of {
            if let Some((largest, _)) = holders.iter().max_by_key(|(_, amount)| **amount) {
                self.largest.entry(*asset).or_insert(*largest);
            }
        }
        self.largest.iter().map(|(asset, account)| (*account, *asset)).collect()
    }
}

impl Indexer<'_> {
    /// Looks up who holds tokens among the accounts that came since this was asked last.
    pub(crate) fn find_holders(&self, watch: &Watch) -> Result<(), Break> {
        let mut holders = self.holders.borrow_mut();
        let next = watch.next().0;
        if holders.next < next {
            for (pair, amount) in self.store.token_holders(holders.next..next)? {
                holders.note(pair, amount);
            }
            holders.next = next;
        }
        Ok(())
    }

    /// Reads the largest holder of each token at this block, the last one of a stretch.
    pub(crate) fn read_largest(&self, block: &mut Block) -> Result<(), Break> {
        let largest = self.holders.borrow_mut().one_of_each();
        self.read_beside(block, largest)
    }

    /// Reads what could not be read at a block on the way.
    pub(crate) fn read_unread(&self, block: &mut Block) -> Result<(), Break> {
        let unread = self.holders.borrow().unread.clone();
        self.read_beside(block, unread)
    }

    /// Where a balance of a token is not what the block's movements give: reads all who hold that token.
    pub(crate) fn read_who_holds(&self, block: &mut Block, applier: &mut Applier<'_>) -> Result<(), Break> {
        let changed: BTreeSet<Asset> = applier.surprises(block)?.into_iter().map(|(_, asset)| asset).collect();
        let holders = self.holders.borrow();
        let of_each = changed.into_iter().filter_map(|asset| Some((asset, holders.of.get(&asset)?)));
        let pairs = of_each.flat_map(|(asset, holders)| holders.keys().map(move |account| (*account, asset)));
        self.read_beside(block, pairs)
    }

    /// What blocks say of holders from now on. What could not be read is tried once, at the last block of a stretch.
    pub(crate) fn note_holders(&self, block: &Block, is_last: bool) {
        let mut holders = self.holders.borrow_mut();
        if is_last {
            holders.unread.clear();
        }
        for reading in &block.readings {
            let pair = (reading.account, reading.asset);
            match reading.balance {
                Ok(amount) => holders.note(pair, amount),
                Err(_) => _ = holders.unread.insert(pair),
            }
        }
    }

    /// Adds what these hold to what was read at the block, where it was not; what cannot be read waits for its turn.
    fn read_beside(&self, block: &mut Block, pairs: impl IntoIterator<Item = Pair>) -> Result<(), Break> {
        let read: BTreeSet<Pair> = block.readings.iter().map(|reading| (reading.account, reading.asset)).collect();
        let mut by_asset: BTreeMap<Asset, Vec<(AccountNo, Account, Asset)>> = BTreeMap::new();
        for (account, asset) in pairs.into_iter().filter(|pair| !read.contains(pair)) {
            by_asset.entry(asset).or_default().push((account, self.store.account(account)?, asset));
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
