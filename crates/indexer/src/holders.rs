//! Whoever holds tokens, as far as it is known: among them is looked where one of a token's balances changes by itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use assay_types::{AccountNo, Amount, Asset, Pair};

/// So many holders tell whether a change is everyone's.
const SAMPLE: usize = 8;

/// Whoever was seen to hold a token, and how much it was then.
#[derive(Default)]
pub(crate) struct Holders {
    /// Up to which number accounts were looked up.
    pub(crate) next: u32,
    of: BTreeMap<Asset, BTreeMap<AccountNo, Amount>>,
    /// The one of each token that is read at every block.
    largest: BTreeMap<Asset, AccountNo>,
    /// Balances that are not known, or could not be read where they were to be: at the last block perhaps they can.
    pub(crate) unread: BTreeSet<Pair>,
}

impl Holders {
    pub(crate) fn note(&mut self, (account, asset): Pair, amount: Amount) {
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

    pub(crate) fn all(&self, asset: Asset) -> impl Iterator<Item = Pair> {
        self.of.get(&asset).into_iter().flatten().map(move |(account, _)| (*account, asset))
    }

    /// Some that hold the most of this token, and are not these.
    pub(crate) fn largest_but(&self, asset: Asset, these: &BTreeSet<Pair>) -> Vec<Pair> {
        let mut others: Vec<_> = self.of.get(&asset).into_iter().flatten().collect();
        others.retain(|(account, _)| !these.contains(&(**account, asset)));
        others.sort_unstable_by_key(|(account, amount)| (Reverse(**amount), **account));
        others.into_iter().take(SAMPLE).map(|(account, _)| (*account, asset)).collect()
    }

    pub(crate) fn one_of_each(&mut self) -> Vec<Pair> {
        let Holders { of, largest, .. } = self;
        for (asset, holders) in &*of {
            if let Entry::Vacant(none) = largest.entry(*asset)
                && let Some((most, _)) = holders.iter().max_by_key(|(_, amount)| **amount)
            {
                none.insert(*most);
            }
        }
        self.largest.iter().map(|(asset, account)| (*account, *asset)).collect()
    }
}
