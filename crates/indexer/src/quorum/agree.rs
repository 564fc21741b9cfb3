//! What enough nodes say the same of.

use std::collections::HashMap;

use assay_types::{BlockHash, Height, NodeError, Pair, Reading};

use super::Quorum;
use super::ask::Answers;

/// What most of them say, and how many do; of several with as many, the first.
pub(super) fn most<T: PartialEq + Copy>(said: impl Iterator<Item = T> + Clone) -> Option<(T, usize)> {
    let count = |one: T| (one, said.clone().filter(|other| *other == one).count());
    said.clone().map(count).reduce(|best, other| if other.1 > best.1 { other } else { best })
}

impl Quorum {
    /// The hash that enough of these have.
    pub(super) fn winner(&self, said: &[(usize, BlockHash)]) -> Option<BlockHash> {
        most(said.iter().map(|(_, hash)| *hash)).filter(|(_, votes)| *votes >= self.need).map(|(hash, _)| hash)
    }

    /// The hashes from this height on, as far as enough nodes have the same.
    ///
    /// # Errors
    /// [`NodeError::Disagreement`] where enough have a block at the first height, and not the same one.
    pub(super) fn agreed(&self, from: Height, said: &[(usize, Vec<BlockHash>)]) -> Result<Vec<BlockHash>, NodeError> {
        let mut agreed = Vec::new();
        loop {
            let here = said.iter().filter_map(|(place, hashes)| Some((*place, *hashes.get(agreed.len())?)));
            let here: Vec<(usize, BlockHash)> = here.collect();
            match self.winner(&here) {
                Some(hash) => agreed.push(hash),
                None if agreed.is_empty() && here.len() >= self.need => return Err(self.disagree(from, &here)),
                None => return Ok(agreed),
            }
        }
    }

    pub(super) fn disagree(&self, height: Height, said: &[(usize, BlockHash)]) -> NodeError {
        NodeError::Disagreement { height, said: said.iter().map(|(place, hash)| (self.name(*place), *hash)).collect() }
    }

    /// Each balance as one node proves it, or enough say it. Where neither is so it is unknown, with what each says.
    pub(super) fn agreed_readings(
        &self,
        pairs: impl Iterator<Item = Pair>,
        said: &[(usize, Vec<Reading>)],
    ) -> Vec<Reading> {
        let by_pair = |readings: &'_ [Reading]| -> HashMap<Pair, Reading> {
            readings.iter().map(|one| (one.pair(), one.clone())).collect()
        };
        let said: Vec<_> = said.iter().map(|(place, readings)| (*place, by_pair(readings))).collect();
        pairs
            .filter_map(|pair| {
                let each: Vec<(usize, &Reading)> =
                    said.iter().filter_map(|(place, readings)| Some((*place, readings.get(&pair)?))).collect();
                (!each.is_empty()).then(|| self.agreed_reading(pair, &each))
            })
            .collect()
    }

    /// Is each of these balances proven by one, or said by enough, or by so many not known that it cannot be?
    pub(super) fn are_settled(&self, answers: &Answers<Vec<Reading>>) -> bool {
        let mut said: HashMap<Pair, Vec<&Reading>> = HashMap::new();
        for one in answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).flatten() {
            said.entry(one.pair()).or_default().push(one);
        }
        said.values().all(|each| {
            let unknown = each.iter().filter(|one| one.balance.is_err()).count();
            unknown > self.seats.len() - self.need || self.what_counts(each.iter().copied()).is_some()
        })
    }

    /// The one that is proven, or one that enough say, of those that are known.
    fn what_counts<'r>(&self, each: impl Iterator<Item = &'r Reading>) -> Option<&'r Reading> {
        let known: Vec<&Reading> = each.filter(|one| one.balance.is_ok()).collect();
        let agreed = || {
            let (balance, _) = most(known.iter().map(|one| &one.balance)).filter(|(_, votes)| *votes >= self.need)?;
            known.iter().find(|one| one.balance == *balance)
        };
        known.iter().find(|one| one.proven).or_else(agreed).copied()
    }

    fn agreed_reading(&self, pair: Pair, each: &[(usize, &Reading)]) -> Reading {
        if let Some(one) = self.what_counts(each.iter().map(|(_, one)| *one)) {
            return if one.proven { one.clone() } else { Reading::unproven(pair, one.balance.clone()) };
        }
        let words = |(place, one): &(usize, &Reading)| match &one.balance {
            Ok(balance) => format!("{} says {balance} units", self.name(*place)),
            Err(why) => format!("{} does not know: {why}", self.name(*place)),
        };
        let each: Vec<String> = each.iter().map(words).collect();
        Reading::unproven(pair, Err(format!("nodes do not agree: {}", each.join(", "))))
    }
}
