//! Whose state is read at a block: those that it moved, in what it moved and in what may follow from that, and those whose turn it is, in everything.

use std::collections::{BTreeSet, HashSet};

use alloy::primitives::{Address, Log};
use assay_types::{AccountNo, Asset, Effect, Pair, Reads, Watch};

use crate::movements::digest::{Digest, token_transfer};
use crate::state::Prove;

pub(crate) struct Wanted<'a> {
    reads: &'a Reads,
    /// The balances that the block touched, as far as that is known.
    moved: HashSet<Pair>,
    /// Of whom.
    movers: BTreeSet<u32>,
    /// Tokens whose balances may be made of anything, as of native coins.
    derived: BTreeSet<Address>,
}

impl Wanted<'_> {
    pub(crate) fn new<'a>(
        reads: &'a Reads,
        effects: &[Effect],
        digest: &Digest,
        watch: &Watch,
        tokens: &HashSet<Address>,
        is_stored: impl Fn(Address) -> bool,
    ) -> Wanted<'a> {
        let paid = watch.number(digest.beneficiary.as_slice()).map(|account| (account, Asset::Native));
        let mut moved: HashSet<_> =
            effects.iter().map(|effect| (effect.leg().account, effect.leg().asset)).chain(paid).collect();
        for log in digest.transactions.iter().flat_map(|tx| &tx.logs).filter(|log| tokens.contains(&log.address)) {
            let asset = Asset::Token(log.address.into());
            moved.extend(mentioned(log).filter_map(|address| Some((watch.number(address)?, asset))));
        }
        let movers = moved.iter().map(|(account, _)| account.0).collect();
        let derived = tokens.iter().copied().filter(|token| !is_stored(*token)).collect();
        Wanted { reads, moved, movers, derived }
    }

    pub(crate) fn accounts(&self, watch: &Watch) -> Vec<(AccountNo, Address)> {
        let mut accounts = addresses(watch.among(self.reads.read.clone()));
        let others = self.movers.iter().filter(|number| !self.reads.read.contains(number));
        accounts.extend(others.flat_map(|number| addresses(watch.among(*number..number + 1))));
        accounts
    }

    /// Of these tokens.
    pub(crate) fn tokens(&self, all: &[Address]) -> Vec<Address> {
        let moved: HashSet<Asset> = self.moved.iter().map(|(_, asset)| *asset).collect();
        let is_derived = |token: &Address| !self.movers.is_empty() && self.derived.contains(token);
        let is_wanted = |token: &&Address| moved.contains(&Asset::Token((**token).into())) || is_derived(token);
        all.iter().filter(|token| !self.reads.read.is_empty() || is_wanted(token)).copied().collect()
    }

    pub(crate) fn prove(&self) -> Prove<'_> {
        Prove { whose: self.reads.prove.clone(), these: &self.moved }
    }

    /// Did the block move something of its?
    pub(crate) fn is_moved(&self, account: AccountNo) -> bool {
        self.movers.contains(&account.0)
    }

    pub(crate) fn has(&self, (account, asset): Pair) -> bool {
        let is_derived = || match asset {
            Asset::Token(token) => self.movers.contains(&account.0) && self.derived.contains(&Address::from(token)),
            _ => false,
        };
        self.reads.read.contains(&account.0) || self.moved.contains(&(account, asset)) || is_derived()
    }
}

/// The accounts that are addresses. Others cannot hold coins on this chain; declarations do not let them in.
pub(crate) fn addresses<'a>(accounts: impl Iterator<Item = (AccountNo, &'a [u8])>) -> Vec<(AccountNo, Address)> {
    accounts.filter_map(|(number, account)| Some((number, Address::try_from(account).ok()?))).collect()
}

/// Whom a token's event names that is not a transfer: what it did to them is not known, and so they are looked at.
fn mentioned(log: &Log) -> impl Iterator<Item = &[u8]> {
    /// No event that says more is read further.
    const MOST_WORDS: usize = 64;
    let is_plain = token_transfer(log).is_some();
    let topics = log.topics().iter().skip(1).map(|topic| &topic[..]);
    let words = topics.chain(log.data.data.chunks_exact(32).take(MOST_WORDS)).filter(move |_| !is_plain);
    words.filter_map(|word| word.strip_prefix(&[0; 12])).filter(|address| address.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::movements::digest::Transfer;
    use alloy::primitives::{B256, Bytes, U256};
    use alloy::sol_types::SolEvent;

    #[test]
    fn events_that_are_no_transfers_name_whom_to_look_at() {
        let (one, two, token) = (Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3));
        let value = B256::from(U256::MAX);
        let log = |topics: Vec<B256>, data: &[B256]| {
            let data: Bytes = data.iter().flat_map(|word| word.0).collect::<Vec<u8>>().into();
            Log::new_unchecked(token, topics, data)
        };
        let named = |log: Log| mentioned(&log).map(Address::from_slice).collect::<Vec<_>>();
        let transfer = vec![Transfer::SIGNATURE_HASH, one.into_word(), two.into_word()];
        assert!(named(log(transfer.clone(), &[value])).is_empty(), "its legs are known");
        assert_eq!(named(log([transfer, vec![value]].concat(), &[])), [one, two], "ERC-721");
        assert_eq!(named(log(vec![value, two.into_word()], &[value, one.into_word(), B256::ZERO])), [two, one]);
        assert!(named(log(vec![], &[])).is_empty());
    }
}
