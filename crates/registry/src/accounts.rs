//! An exchange's accounts in order: those of its files, and behind them those that it announced since.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use assay_types::ChainId;

use crate::Declared;

/// Accounts, each at its place for good. A copy shares what is there: one more account costs as much as that one, however many
/// there are.
#[derive(Clone, Default)]
pub struct Accounts {
    /// Each is longer than the next, so that they are few.
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    /// The place of its first account.
    first: usize,
    accounts: Arc<Vec<Declared>>,
    /// The chains that they are on.
    chains: Arc<BTreeSet<ChainId>>,
}

impl Accounts {
    /// How many.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |last| last.first + last.accounts.len())
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The account at this place.
    pub fn get(&self, place: usize) -> Option<&Declared> {
        let after = self.parts.partition_point(|part| part.first <= place);
        let part = self.parts.get(after.checked_sub(1)?)?;
        part.accounts.get(place - part.first)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Declared> + Clone {
        self.parts.iter().flat_map(|part| &*part.accounts)
    }

    /// Those at this place and behind it, in order.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = &Declared> {
        let rest = move |part: &Part| place.saturating_sub(part.first).min(part.accounts.len());
        self.parts.iter().flat_map(move |part| &part.accounts[rest(part)..])
    }

    /// The chains that they are on; some may come twice.
    pub fn chains(&self) -> impl Iterator<Item = &ChainId> {
        self.parts.iter().flat_map(|part| &*part.chains)
    }

    /// These and more behind them.
    #[must_use]
    pub fn with(&self, mut more: Vec<Declared>) -> Accounts {
        let mut parts = self.parts.clone();
        while let Some(last) = parts.pop_if(|last| last.accounts.len() <= more.len()) {
            let mut longer = Arc::unwrap_or_clone(last.accounts);
            longer.append(&mut more);
            more = longer;
        }
        if !more.is_empty() {
            let first = parts.last().map_or(0, |last| last.first + last.accounts.len());
            more.shrink_to_fit();
            // Most share their terms with the one before.
            let each = more.chunk_by(|one, next| Arc::ptr_eq(&one.terms, &next.terms)).filter_map(|some| some.first());
            let chains = Arc::new(each.map(|one| one.terms.chain.clone()).collect());
            parts.push(Part { first, accounts: Arc::new(more), chains });
        }
        Accounts { parts }
    }
}

impl From<Vec<Declared>> for Accounts {
    fn from(accounts: Vec<Declared>) -> Accounts {
        Accounts::default().with(accounts)
    }
}

impl FromIterator<Declared> for Accounts {
    fn from_iter<I: IntoIterator<Item = Declared>>(accounts: I) -> Accounts {
        Vec::from_iter(accounts).into()
    }
}

/// The account at this place; panics where there is none.
impl Index<usize> for Accounts {
    type Output = Declared;
    fn index(&self, place: usize) -> &Declared {
        self.get(place).unwrap_or_else(|| panic!("{} accounts have no place {place}", self.len()))
    }
}

impl PartialEq for Accounts {
    fn eq(&self, other: &Accounts) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Accounts {}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, Terms};
    use assay_types::Account;
    use std::path::Path;

    fn declared(number: usize) -> Declared {
        let terms = Terms::plain("eip155:1".parse().unwrap(), Role::Deposit, Path::new("a.csv").into());
        Declared { account: Account::new(&number.to_be_bytes()), line: 1, terms: terms.into() }
    }

    #[test]
    fn however_they_come_each_keeps_its_place_and_copies_stay_as_they_were() {
        let all: Vec<Declared> = (0..1000).map(declared).collect();
        let (mut accounts, mut place) = (Accounts::from(all[..100].to_vec()), 100);
        let before = accounts.clone();
        for length in (1..).take_while(|length| *length < 40) {
            accounts = accounts.with(all[place..place + length].to_vec());
            place += length;
            assert_eq!(accounts.len(), place);
            assert!(accounts.iter().eq(&all[..place]));
            assert!(accounts.iter_from(place - length).eq(&all[place - length..place]));
            assert!((0..=place).all(|at| accounts.get(at) == all.get(at).filter(|_| at < place)));
            assert!(accounts.parts.len() <= 12, "{}", accounts.parts.len());
        }
        assert!(before.iter().eq(&all[..100]));
        assert!(before.with(vec![]) == before && Accounts::default().is_empty());
    }
}
