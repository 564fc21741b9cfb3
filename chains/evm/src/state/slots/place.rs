//! Where a token keeps its balances, and what its code looks at beside.

use alloy::primitives::Address;

use crate::state::run::{Grounds, Keys};
use crate::state::slots::layout::Layout;

/// Where a token keeps its balances, and beside each one's own word what its code was seen to look at, which it is likely to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layout: Layout,
    pub(super) beside: Keys,
}

impl Place {
    /// So many contracts, and so many words of each, are remembered of a token.
    const MOST: usize = 16;

    pub(super) fn new(layout: Layout) -> Place {
        Place { layout, beside: Keys::new() }
    }

    /// Takes note of what the token's code looked at for this account; says whether that is more than is known.
    pub(super) fn note(&mut self, token: Address, account: Address, saw: &Grounds) -> bool {
        let (own, mut is_news) = (self.layout.key(account), false);
        for (contract, keys) in saw.keys() {
            if self.beside.len() == Place::MOST && !self.beside.contains_key(&contract) {
                continue;
            }
            is_news |= !self.beside.contains_key(&contract);
            let known = self.beside.entry(contract).or_default();
            for key in keys.into_iter().filter(|key| (contract, *key) != (token, own)) {
                is_news |= known.len() < Place::MOST && known.insert(key);
            }
        }
        is_news
    }
}
