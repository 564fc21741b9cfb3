//! The naive follower: sums legs, sees what is left unexplained, and compares with the node at every height.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, U256};
use assay_evm::EvmChain;
use assay_types::{
    AccountNo, Amount, Asset, Block, BlockRef, Chain, Direction, Effect, Height, Kind, Leg, Pair, Reads,
};
use serde_json::json;

use super::{World, watch};

/// What was seen on the way.
#[derive(Default)]
pub struct Seen {
    pub legs: Vec<(u64, Leg)>,
    /// Height, account and asset where the sum of legs and the state part.
    pub residuals: Vec<(u64, AccountNo, Asset)>,
    /// Height, account and asset of what could not be read.
    pub unknown: Vec<(u64, AccountNo, Asset)>,
    pub proven: usize,
    /// Height, account and asset of tokens' balances that were proven.
    pub proven_tokens: Vec<(u64, AccountNo, Asset)>,
}

impl Seen {
    pub fn of_kind(&self, kind: Kind) -> usize {
        self.legs.iter().filter(|(_, leg)| leg.kind == kind).count()
    }

    pub fn native_residuals(&self) -> Vec<(u64, AccountNo)> {
        self.residuals.iter().filter(|(_, _, asset)| *asset == Asset::Native).map(|(h, a, _)| (*h, *a)).collect()
    }
}

/// Follows the chain from its first block to the tip.
pub fn follow(world: &World, chain: &EvmChain, accounts: &[Address], tokens: &[Address], reads: &Reads) -> Seen {
    let mut seen = Seen::default();
    let mut sums = HashMap::new();
    let tip = chain.tip().unwrap().head.height.0;
    let mut parent = None;
    for height in chain.first().0..=tip {
        let hash = chain.hash_at(Height(height)).unwrap().unwrap();
        let block = chain.block(BlockRef { height: Height(height), hash }, &watch(accounts), reads).unwrap();
        assert_eq!((block.header.height.0, block.header.hash), (height, hash));
        assert_eq!(block.opening, height == chain.first().0);
        assert!(parent.is_none_or(|parent| parent == block.header.parent));
        parent = Some(block.header.hash);
        apply(&block, &mut sums, &mut seen);
        compare(world, &block, accounts, tokens, &sums);
    }
    seen
}

/// Sums in 256 bits and a flag for what an event took from an account that did not have it.
fn apply(block: &Block, sums: &mut HashMap<Pair, Option<Amount>>, seen: &mut Seen) {
    let height = block.header.height.0;
    let mut last_place = None;
    for effect in &block.effects {
        let (Effect::Leg(leg) | Effect::Traced(leg)) = effect else { panic!("{effect:?} on an EVM chain") };
        assert!(last_place.is_none_or(|last| last < leg.place), "places must increase");
        last_place = Some(leg.place);
        assert!(leg.tx.is_none_or(|tx| (tx as usize) < block.txids.len()));
        seen.legs.push((height, *leg));
        let sum = sums.entry((leg.account, leg.asset)).or_insert(Some(Amount::ZERO));
        *sum = sum.and_then(|sum| match leg.direction {
            Direction::Credit => sum.checked_add(leg.amount),
            Direction::Debit => sum.checked_sub(leg.amount),
        });
    }
    for reading in &block.readings {
        let key = reading.pair();
        seen.proven += usize::from(reading.proven);
        if reading.proven && reading.asset != Asset::Native {
            seen.proven_tokens.push((height, reading.account, reading.asset));
        }
        match &reading.balance {
            Ok(balance) => {
                let explained = sums.insert(key, Some(*balance)).unwrap_or(Some(Amount::ZERO)) == Some(*balance);
                if !explained && !block.opening {
                    seen.residuals.push((height, reading.account, reading.asset));
                }
            }
            Err(why) => {
                assert!(!why.is_empty());
                sums.remove(&key);
                seen.unknown.push((height, reading.account, reading.asset));
            }
        }
    }
}

/// Every balance that is known must be the node's own.
fn compare(
    world: &World,
    block: &Block,
    accounts: &[Address],
    tokens: &[Address],
    sums: &HashMap<Pair, Option<Amount>>,
) {
    let at = json!({ "blockHash": B256::from(block.header.hash.0) });
    let height = block.header.height;
    for (number, account) in (1..).map(AccountNo).zip(accounts) {
        let balance: U256 = serde_json::from_value(world.call("eth_getBalance", json!([account, at]))).unwrap();
        assert_eq!(sums[&(number, Asset::Native)], Some(Amount(balance)), "{account} in ether at {height}");
        for token in tokens {
            let call = json!({ "to": token, "data": format!("0x70a08231{}", hex(account.into_word())) });
            let Ok(answer) = world.anvil.call("eth_call", json!([call, at])) else { continue };
            let answer: alloy::primitives::Bytes = serde_json::from_value(answer).unwrap();
            let Some(sum) = sums.get(&(number, Asset::Token(token.into_array()))) else { continue };
            let balance = answer.get(..32).map(U256::from_be_slice).unwrap_or_default();
            assert_eq!(*sum, Some(Amount(balance)), "{account} in {token} at {height}");
        }
    }
}

fn hex(word: B256) -> String {
    alloy::primitives::hex::encode(word)
}
