//! What an exchange's accounts hold at any block, from the totals that the store keeps of accounts that were declared together: one
//! total, less those that count otherwise than most of them do. Who left, came later, is another's too or is not known as well is
//! looked up; and so is whoever is in no cohort. It comes to the same as looking up every account; a test of random chains says so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use assay_registry::Exchange;
use assay_store::{Lookup, Store};
use assay_types::{Account, AccountNo, Asset, BlockRef, ChainId, Timestamp};
use assay_verifier::{Require, Wide};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::sheet::{Group, Sheet, grade};
use crate::{DeskError, World};

/// One exchange's accounts on one chain.
struct Question<'a> {
    exchange: &'a Exchange,
    store: &'a Store,
    at: BlockRef,
    as_of: Timestamp,
    /// Does only what is proven count as known?
    strict: bool,
    /// The chain's, each with its place.
    assets: HashMap<Asset, u16>,
    /// Where each account is among the exchange's.
    places: HashMap<&'a [u8], u32, RandomState>,
}

/// A cohort's accounts, as this exchange declares them.
struct Cohort {
    numbers: Range<u32>,
    /// The place of each among the exchange's accounts.
    places: Vec<Option<u32>>,
}

/// Of so many accounts of a cohort, spread over it, one is the exchange's, or whichever are its are looked up one by one.
const SAMPLES: usize = 16;

/// An exchange's accounts as of a block that the store has; `None` where hardly one of them is in a cohort. `named`: what is to be
/// spoken of one by one.
///
/// # Errors
/// When the database fails.
pub(crate) fn sheet(
    world: &World,
    (chain, store): (&ChainId, &Store),
    exchange: &Exchange,
    (at, as_of): (BlockRef, Timestamp),
    named: &BTreeSet<(&Account, Asset)>,
) -> Result<Option<Sheet>, DeskError> {
    let amended = store.amended();
    let cohorts = store.cohorts(0..store.published()?)?;
    if cohorts.is_empty() {
        return Ok(None);
    }
    let deployments = world.directory.assets.iter().flat_map(|entry| &entry.on).filter(|on| on.chain == *chain);
    let here = (0..).zip(exchange.accounts.iter()).filter(|(_, on)| on.terms.chain == *chain);
    let question = Question {
        exchange,
        store,
        at,
        as_of,
        strict: world.policy.require == Require::Verified,
        assets: deployments.map(|on| on.asset).zip(0..).collect(),
        places: here.map(|(place, on)| (&*on.account.0, place)).collect(),
    };
    let mut ours = Vec::new();
    for numbers in cohorts {
        if question.has_some_of(&numbers)? {
            ours.push(question.cohort(numbers)?);
        }
    }
    if ours.is_empty() {
        return Ok(None);
    }
    let mut sheet = Sheet { shared: question.shared(world, chain), ..Sheet::default() };
    let found: HashSet<u32, RandomState> =
        ours.iter().flat_map(|cohort| cohort.places.iter().flatten().copied()).collect();
    for place in question.places.values().filter(|place| !found.contains(*place)) {
        sheet.apart.extend(question.assets.values().map(|asset| (*place, *asset)));
    }
    let mut looked_up = store.lookup()?;
    let added = ours.iter().try_for_each(|cohort| question.add(cohort, &mut looked_up, &mut sheet));
    for (account, asset) in named {
        let place = question.places.get(&*account.0).zip(question.assets.get(asset));
        let (Some((place, asset)), Some((number, true))) = (place, store.number(account)?) else { continue };
        sheet.named.insert((*place, *asset), (number, None));
    }
    // What was read while a block was taken back may be of two chains.
    let is_still = store.amended() == amended && store.header(at.height)?.is_some_and(|header| header.at() == at);
    if is_still { added.map(|()| Some(sheet)) } else { Ok(None) }
}

impl Question<'_> {
    fn has_some_of(&self, numbers: &Range<u32>) -> Result<bool, DeskError> {
        let step = (numbers.len() / SAMPLES).max(1);
        for number in numbers.clone().step_by(step) {
            if self.places.contains_key(&*self.store.account(AccountNo(number))?.0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn cohort(&self, numbers: Range<u32>) -> Result<Cohort, DeskError> {
        let mut places = Vec::with_capacity(numbers.len());
        self.store.each_account(numbers.clone(), |account| places.push(self.places.get(account).copied()))?;
        Ok(Cohort { numbers, places })
    }

    /// Those that other exchanges declare too.
    fn shared(&self, world: &World, chain: &ChainId) -> BTreeMap<u32, Vec<(u16, u32)>> {
        let mut shared: BTreeMap<u32, Vec<(u16, u32)>> = BTreeMap::new();
        let others = (0u16..).zip(&world.declarations.exchanges).filter(|(_, other)| other.id != self.exchange.id);
        for (number, other) in others {
            for (theirs, on) in (0..).zip(other.accounts.iter()).filter(|(_, on)| on.terms.chain == *chain) {
                if let Some(place) = self.places.get(&*on.account.0) {
                    shared.entry(*place).or_default().push((number, theirs));
                }
            }
        }
        shared
    }

    /// Adds a cohort in every asset.
    fn add(&self, cohort: &Cohort, looked_up: &mut Lookup<'_>, sheet: &mut Sheet) -> Result<(), DeskError> {
        let nothing = |(asset, place): (&Asset, &u16)| (*asset, (*place, Grades::from(cohort.numbers.start)));
        let mut grades: HashMap<Asset, (u16, Grades)> = self.assets.iter().map(nothing).collect();
        looked_up.each_coverage(cohort.numbers.clone(), self.at.height, |(account, asset), coverage| {
            if let Some((_, grades)) = grades.get_mut(&asset) {
                grades.push(account.0, grade(&coverage, self.strict));
            }
        })?;
        for (asset, (place, grades)) in grades {
            let each = cohort.places.iter().zip(grades.each());
            let groups: Vec<_> =
                each.map(|(on, grade)| on.and_then(|on| self.group(on, place, grade, sheet))).collect();
            self.add_asset(cohort, asset, &groups, looked_up, sheet)?;
        }
        Ok(())
    }

    /// In which sum an account is, if it is in one.
    fn group(&self, place: u32, asset: u16, proven: Option<bool>, sheet: &mut Sheet) -> Option<Group> {
        let Some(proven) = proven.filter(|_| !sheet.shared.contains_key(&place)) else {
            sheet.apart.insert((place, asset));
            return None;
        };
        let declared = self.exchange.accounts.get(usize::try_from(place).ok()?)?;
        let counts = declared.terms.counts(self.as_of, Some(self.at.height));
        counts.then(|| Group::of(declared, asset, proven))
    }

    /// `groups`: in which sum each account of the cohort is.
    fn add_asset(
        &self,
        cohort: &Cohort,
        asset: Asset,
        groups: &[Option<Group>],
        looked_up: &mut Lookup<'_>,
        sheet: &mut Sheet,
    ) -> Result<(), DeskError> {
        let mut counts = BTreeMap::<Group, usize>::new();
        groups.iter().flatten().for_each(|group| *counts.entry(*group).or_default() += 1);
        let summed: usize = counts.values().sum();
        // Most of them count alike: they are the total less all others, unless it is less to look themselves up.
        let most = counts.into_iter().max_by_key(|(_, accounts)| *accounts);
        let most = most.filter(|(_, accounts)| groups.len() - accounts < summed);
        let mut others = Wide::ZERO;
        for (number, group) in cohort.numbers.clone().zip(groups) {
            match (group, &most) {
                (Some(group), Some((most, _))) if group == most => continue,
                (None, None) => continue,
                _ => {}
            }
            let held = Wide::from(looked_up.balance((AccountNo(number), asset), self.at.height)?.0);
            others += held;
            if let Some(group) = group {
                sheet.add(*group, 1, held);
            }
        }
        if let Some((group, accounts)) = most {
            let total = self.store.total(AccountNo(cohort.numbers.start), asset, self.at.height)?;
            let less = || {
                DeskError::Damaged(format!("the cohort of account {} holds less than some of it", cohort.numbers.start))
            };
            sheet.add(group, accounts as u64, total.checked_sub(others).ok_or_else(less)?);
        }
        Ok(())
    }
}

/// How well each of a cohort's accounts is known in one asset, in order: proven or not, or not at all. Neighbours are mostly alike.
struct Grades {
    next: u32,
    runs: Vec<(Option<bool>, usize)>,
}

impl Grades {
    fn from(first: u32) -> Grades {
        Grades { next: first, runs: Vec::new() }
    }

    /// Of whom nothing is said, nothing is known.
    fn push(&mut self, number: u32, grade: Option<bool>) {
        if number > self.next {
            self.runs.push((None, (number - self.next) as usize));
        }
        self.next = number + 1;
        match self.runs.last_mut() {
            Some((last, count)) if *last == grade => *count += 1,
            _ => self.runs.push((grade, 1)),
        }
    }

    fn each(self) -> impl Iterator<Item = Option<bool>> {
        self.runs
            .into_iter()
            .flat_map(|(grade, count)| std::iter::repeat_n(grade, count))
            .chain(std::iter::repeat(None))
    }
}
