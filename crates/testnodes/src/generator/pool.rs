//! The coins that can be spent, and how long they lie.

use std::collections::VecDeque;

use bitcoin::{Amount, OutPoint};
use fastrand::Rng;

use super::address::Address;

/// An unspent output.
#[derive(Clone, Copy)]
pub(super) struct Coin {
    pub(super) outpoint: OutPoint,
    pub(super) value: Amount,
    pub(super) address: Address,
}

/// The first coin of a payment is the richest of this many. Without that, most coins would dwindle to nothing.
const CANDIDATES: usize = 4;

/// One coin in so many is spent from the savings.
const SAVINGS: u32 = 5;

/// Unspent outputs. Two thirds of them are savings, which are seldom spent: most coins lie for a few blocks only, and
/// some for hundreds.
#[derive(Default)]
pub(super) struct Pool {
    current: Vec<Coin>,
    savings: Vec<Coin>,
    /// Coinbases, with the height from which on they can be spent.
    unripe: VecDeque<(u32, Coin)>,
}

impl Pool {
    pub(super) fn put(&mut self, coin: Coin) {
        let of_two_thirds = self.savings.len() < 2 * self.current.len();
        if of_two_thirds { self.savings.push(coin) } else { self.current.push(coin) }
    }

    pub(super) fn put_unripe(&mut self, ripe_from: u32, coin: Coin) {
        self.unripe.push_back((ripe_from, coin));
    }

    /// Takes a coinbase that can be spent at this height.
    pub(super) fn ripe(&mut self, height: u32) -> Option<Coin> {
        self.unripe.pop_front_if(|(ripe_from, _)| *ripe_from <= height).map(|(_, coin)| coin)
    }

    /// Takes so many coins, or as many as there are.
    pub(super) fn take(&mut self, rng: &mut Rng, count: u32) -> Vec<Coin> {
        (0..count).map_while(|nth| self.take_one(rng, if nth == 0 { CANDIDATES } else { 1 })).collect()
    }

    fn take_one(&mut self, rng: &mut Rng, candidates: usize) -> Option<Coin> {
        let (first, second) = (&mut self.current, &mut self.savings);
        let (first, second) = if rng.u32(..SAVINGS) == 0 { (second, first) } else { (first, second) };
        let coins = if first.is_empty() { second } else { first };
        let richest =
            (0..candidates.min(coins.len())).map(|_| rng.usize(..coins.len())).max_by_key(|&at| coins[at].value);
        richest.map(|at| coins.swap_remove(at))
    }
}
