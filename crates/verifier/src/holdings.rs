//! What an exchange's declared accounts hold, per asset: an interval, when something is unknown.
//!
//! A known account counts its balance in both ends. An unknown one counts zero in low, and in high the exchange's claim,
//! or its last verified balance if larger; without a claim nothing bounds it, but that of nodes that disagree each was asked. An account that another exchange declares
//! too counts zero in low and its balance in high.

use std::collections::BTreeMap;

use assay_types::{Account, Amount, ChainId, Height, Statement};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use serde::Serialize;

use crate::coins::{Coins, Wide, wide};
use crate::{AccountEvidence, At, Balance, BlockUsed, Evidence, Policy, Require, SumEvidence};

/// Some of a line's holdings that are not certain, with the one reason that they share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unknown {
    /// The chain's alias.
    pub chain: String,
    /// Why, in words.
    pub reason: String,
    /// Of how many accounts.
    pub accounts: u64,
    /// What they hold at most, all together; `None` when nothing bounds it.
    pub bound: Option<Coins>,
    /// What was last known of them, all together.
    pub last_known: Coins,
    /// The first few of them.
    pub examples: Vec<Example>,
    /// Is the balance itself unknown? Otherwise only whose coins these are.
    pub balance_unknown: bool,
    #[serde(skip)]
    decimals: u8,
}

/// One account of an [`Unknown`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// Its display form.
    pub address: String,
    /// `cold`, `hot` or `deposit`.
    pub role: String,
    /// What it holds at most; `None` when nothing bounds it.
    pub bound: Option<Coins>,
    /// The last balance that was verified, if any.
    pub last_verified: Option<Coins>,
    /// The height of that.
    pub last_verified_height: Option<Height>,
}

/// What some accounts hold together, in base units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) low: Wide,
    /// `None` when nothing bounds it.
    pub(crate) high: Option<Wide>,
}

/// The holdings in one asset, in base units.
#[derive(Debug)]
pub(crate) struct Held {
    decimals: u8,
    /// Over every account.
    pub(crate) all: Range,
    /// Over the customers' cold accounts alone.
    pub(crate) cold: Range,
    /// Accounts whose balance is known and proven, with its sum.
    pub(crate) verified: (u64, Wide),
    /// The same by chain, of those on which a balance is known.
    pub(crate) verified_on: Vec<(ChainId, (u64, Wide))>,
    /// Accounts whose balance is known and not proven, with its sum.
    pub(crate) unproven: (u64, Wide),
    /// What of it is known to be on accounts that hold the exchange's own coins.
    pub(crate) house: Wide,
    pub(crate) unknown: Vec<Unknown>,
}

/// At most so many reasons are told apart, and so many accounts named for each.
const MAX_REASONS: usize = 20;
const MAX_EXAMPLES: usize = 5;

/// What is known of an account's balance once its chain's block and the policy are taken into account.
pub(crate) enum Knowledge<'a> {
    Known { amount: Amount, proven: bool },
    Unknown { reason: &'a str, last_verified: Option<(Amount, Height)>, at_most: Option<Amount> },
}

impl<'a> Knowledge<'a> {
    fn none(reason: &'a str) -> Knowledge<'a> {
        Knowledge::Unknown { reason, last_verified: None, at_most: None }
    }
}

/// The blocks used, by chain.
pub(crate) type Blocks<'a> = HashMap<&'a ChainId, &'a BlockUsed>;

pub(crate) fn blocks(evidence: &Evidence) -> Blocks<'_> {
    evidence.blocks.iter().map(|block| (&block.chain, block)).collect()
}

/// The chain's alias, or its id where none is known.
pub(crate) fn alias<'a>(blocks: &Blocks<'a>, chain: &'a ChainId) -> &'a str {
    blocks.get(chain).map_or(chain.as_str(), |block| &block.name)
}

/// The holdings in every asset that any declared account could hold.
pub(crate) fn by_asset<'a>(statement: &Statement, evidence: &'a Evidence, policy: &Policy) -> BTreeMap<&'a str, Held> {
    let (blocks, claims) = (blocks(evidence), largest_claims(statement));
    let decimals: HashMap<_, _> = statement.assets.iter().map(|report| (&report.symbol, report.decimals)).collect();
    let mut held: BTreeMap<&str, Held> = BTreeMap::new();
    // Of what is not reported only units are ever shown.
    let scale = |symbol: &String| decimals.get(symbol).copied().unwrap_or(0);
    for sum in &evidence.sums {
        let entry = held.entry(&sum.symbol).or_insert_with(|| Held::none(scale(&sum.symbol)));
        entry.add_sum(sum, &blocks, policy.require);
    }
    for account in counted_once(evidence) {
        let claim = || claims.get(&(&account.chain, &account.account, account.symbol.as_str())).copied();
        let entry = held.entry(&account.symbol).or_insert_with(|| Held::none(scale(&account.symbol)));
        entry.add(account, &blocks, claim, policy.require);
    }
    held
}

/// The accounts that count and are in no sum, each asset of each once.
pub(crate) fn counted_once(evidence: &Evidence) -> impl Iterator<Item = &AccountEvidence> {
    let mut seen = HashSet::with_capacity(evidence.accounts.len());
    let counted = evidence.accounts.iter().filter(|account| account.counted && !account.summed);
    counted.filter(move |account| seen.insert((&account.chain, &account.account, account.asset)))
}

/// What is known of the account's balance at its chain's block.
pub(crate) fn knowledge<'a>(account: &'a AccountEvidence, blocks: &Blocks<'a>, require: Require) -> Knowledge<'a> {
    match (&account.balance, blocks.get(&account.chain).map(|block| &block.at)) {
        (Balance::Unknown { reason, last_verified, at_most }, _) => {
            Knowledge::Unknown { reason, last_verified: *last_verified, at_most: *at_most }
        }
        (Balance::Known { .. }, None) => Knowledge::none(NO_BLOCK),
        (Balance::Known { .. }, Some(At::Unknown { reason })) => Knowledge::none(reason),
        (Balance::Known { proven: false, .. }, _) if require == Require::Verified => Knowledge::none(NOT_PROVEN),
        (Balance::Known { amount, proven }, Some(At::Block { .. })) => {
            Knowledge::Known { amount: *amount, proven: *proven }
        }
    }
}

const HOUSE: &str = "house";
const COLD: &str = "cold";
const NO_BLOCK: &str = "no block of its chain was looked at";
const NOT_PROVEN: &str = "its balance is not proven, and the policy requires that it is";

type Claims<'a> = HashMap<(&'a ChainId, &'a Account, &'a str), Amount>;

/// Of several claims about the same wallet the largest: a bound must hold for all of them.
fn largest_claims(statement: &Statement) -> Claims<'_> {
    let mut claims = Claims::new();
    for claim in &statement.wallets {
        let largest = claims.entry((&claim.chain, &claim.account, &claim.symbol)).or_default();
        *largest = claim.claimed.max(*largest);
    }
    claims
}

impl Range {
    fn add(&mut self, low: Wide, high: Option<Wide>) {
        self.low += low;
        self.high = self.high.zip(high).map(|(sum, more)| sum + more);
    }
}

impl Held {
    /// No account at all.
    pub(crate) fn none(decimals: u8) -> Held {
        let nothing = (0, Wide::ZERO);
        let range = Range { low: Wide::ZERO, high: Some(Wide::ZERO) };
        Held {
            decimals,
            all: range,
            cold: range,
            verified: nothing,
            verified_on: Vec::new(),
            unproven: nothing,
            house: Wide::ZERO,
            unknown: Vec::new(),
        }
    }

    /// Is every balance known, and whose it is? Then there is something to compare to the unit.
    pub(crate) fn is_exact(&self) -> bool {
        self.all.high == Some(self.all.low) && self.unknown.iter().all(|unknown| !unknown.balance_unknown)
    }

    /// How many accounts have an unknown balance.
    pub(crate) fn unknown_accounts(&self) -> u64 {
        self.unknown.iter().filter(|unknown| unknown.balance_unknown).map(|unknown| unknown.accounts).sum()
    }

    /// Coins that may count, like the balance of an account that is not known.
    pub(crate) fn add_open(&mut self, coins: Wide, reason: &str) {
        if !coins.is_zero() {
            self.all.add(Wide::ZERO, Some(coins));
            self.doubt("", reason, false, Some(coins));
        }
    }

    /// Nothing was looked at, so that anything may be there.
    pub(crate) fn add_unseen(&mut self) {
        (self.all.high, self.cold.high) = (None, None);
        self.doubt("", "no block of any chain was looked at", true, None);
    }

    fn add(
        &mut self,
        account: &AccountEvidence,
        blocks: &Blocks<'_>,
        claim: impl FnOnce() -> Option<Amount>,
        require: Require,
    ) {
        let chain = alias(blocks, &account.chain);
        let is_cold = account.role == COLD && account.owner != HOUSE;
        match knowledge(account, blocks, require) {
            Knowledge::Known { amount, proven } => {
                let amount = wide(amount);
                self.know(&account.chain, proven, (1, amount));
                self.house += if account.owner == HOUSE { amount } else { Wide::ZERO };
                let is_shared = !account.shared_with.is_empty();
                self.add_range(is_cold, if is_shared { Wide::ZERO } else { amount }, Some(amount));
                if is_shared && !amount.is_zero() {
                    let reason = format!("also declared by {}", account.shared_with.join(", "));
                    self.doubt(chain, &reason, false, Some(amount)).count(account, Some(amount), None);
                }
            }
            Knowledge::Unknown { reason, last_verified, at_most } => {
                let claimed = || claim().map(|claim| last_verified.map_or(claim, |(amount, _)| claim.max(amount)));
                let bound = at_most.or_else(claimed).map(wide);
                self.add_range(is_cold, Wide::ZERO, bound);
                self.doubt(chain, reason, true, bound).count(account, bound, last_verified);
            }
        }
    }

    fn add_sum(&mut self, sum: &SumEvidence, blocks: &Blocks<'_>, require: Require) {
        let is_cold = sum.cold && sum.owner != HOUSE;
        let why = match blocks.get(&sum.chain).map(|block| &block.at) {
            Some(At::Block { .. }) if sum.proven || require == Require::Unproven => {
                self.know(&sum.chain, sum.proven, (sum.accounts, sum.amount));
                self.add_range(is_cold, sum.amount, Some(sum.amount));
                self.house += if sum.owner == HOUSE { sum.amount } else { Wide::ZERO };
                return;
            }
            Some(At::Block { .. }) => NOT_PROVEN,
            Some(At::Unknown { reason }) => reason,
            None => NO_BLOCK,
        };
        self.add_range(is_cold, Wide::ZERO, None);
        let is_known_no_more = why != NOT_PROVEN;
        let doubt = self.doubt(alias(blocks, &sum.chain), why, true, None);
        doubt.accounts += sum.accounts;
        doubt.add_last_known(if is_known_no_more { sum.amount } else { Wide::ZERO });
    }

    /// Counts accounts whose balance is known, with their sum.
    fn know(&mut self, chain: &ChainId, proven: bool, (accounts, amount): (u64, Wide)) {
        let place = self.verified_on.iter().position(|(known, _)| known == chain).unwrap_or_else(|| {
            self.verified_on.push((chain.clone(), (0, Wide::ZERO)));
            self.verified_on.len() - 1
        });
        let add = |sum: &mut (u64, Wide)| *sum = (sum.0 + accounts, sum.1 + amount);
        match proven {
            true => [&mut self.verified, &mut self.verified_on[place].1].into_iter().for_each(add),
            false => add(&mut self.unproven),
        }
    }

    fn add_range(&mut self, is_cold: bool, low: Wide, high: Option<Wide>) {
        self.all.add(low, high);
        if is_cold {
            self.cold.add(low, high);
        }
    }

    /// Adds to the doubts of the same reason, and gives them back.
    fn doubt(&mut self, chain: &str, reason: &str, balance_unknown: bool, bound: Option<Wide>) -> &mut Unknown {
        let place = |unknown: &[Unknown], chain: &str, reason: &str| {
            let same =
                |one: &Unknown| (&*one.chain, &*one.reason, one.balance_unknown) == (chain, reason, balance_unknown);
            unknown.iter().position(same)
        };
        let (mut chain, mut reason) = (chain, reason);
        if self.unknown.len() >= MAX_REASONS && place(&self.unknown, chain, reason).is_none() {
            (chain, reason) = ("", "other reasons");
        }
        let place = place(&self.unknown, chain, reason).unwrap_or_else(|| {
            let (chain, reason, examples) = (chain.to_owned(), reason.to_owned(), Vec::new());
            let nothing = self.coins(Wide::ZERO);
            self.unknown.push(Unknown {
                chain,
                reason,
                accounts: 0,
                bound: Some(nothing.clone()),
                last_known: nothing,
                examples,
                balance_unknown,
                decimals: self.decimals,
            });
            self.unknown.len() - 1
        });
        let unknown = &mut self.unknown[place];
        unknown.bound = unknown.bound.take().zip(bound).map(|(sum, more)| sum.like(sum.units() + more));
        unknown
    }

    fn coins(&self, units: Wide) -> Coins {
        Coins::of(units, self.decimals)
    }
}

impl Unknown {
    fn add_last_known(&mut self, units: Wide) {
        self.last_known = self.last_known.like(self.last_known.units() + units);
    }

    fn count(&mut self, account: &AccountEvidence, bound: Option<Wide>, last_verified: Option<(Amount, Height)>) {
        self.accounts += 1;
        self.add_last_known(last_verified.map_or(Wide::ZERO, |(amount, _)| wide(amount)));
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Example {
                address: account.address.clone(),
                role: account.role.clone(),
                bound: bound.map(|units| Coins::of(units, self.decimals)),
                last_verified: last_verified.map(|(amount, _)| Coins::new(amount, self.decimals)),
                last_verified_height: last_verified.map(|(_, height)| height),
            });
        }
    }
}
