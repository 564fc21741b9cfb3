//! What each exchange's accounts hold together, kept up with the blocks: a verdict then takes as long as what changed is
//! much, not as what is watched.
//!
//! Accounts whose balance is known, and that no other exchange declares, are summed by cohort: exchange, owner, whether
//! they are cold, since and until, and while it matters the block at which they were announced. All others stand apart, and
//! are looked up one by one. Sums are of the tip; those of a block below it are reckoned from them by what the blocks since
//! touched. It comes to the same as looking up every account; a test of random chains says so. Accounts that are announced are
//! added to the sums that there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::Arc;

use assay_registry::{Declarations, Declared, Exchange, Owner, Role, Terms};
use assay_store::{Coverage, Lookup, Standing, Store};
use assay_types::{Account, AccountNo, Amount, Asset, BlockRef, ChainId, Directory, Height, Pair, Timestamp};
use assay_verifier::{Require, Wide};
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::parts::side_by_side;
use crate::sheet::{Draft, Group, Reckoned, Sheet, grade};
use crate::{DeskError, World};

/// The sums of every chain.
#[derive(Default)]
pub struct Books(Mutex<HashMap<ChainId, Arc<Mutex<Option<Book>>>>>);

/// Whose an account is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Member {
    exchange: u16,
    cohort: u32,
    declared: u32,
}

/// Accounts declared together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Cohort {
    exchange: u16,
    owner: Owner,
    cold: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// They were announced, and count in the blocks above this height.
    empty: Option<Height>,
}

impl Cohort {
    fn group(&self, asset: u16, proven: bool) -> Group {
        Group { asset, owner: self.owner, cold: self.cold, proven }
    }
}

/// How many accounts, and what they hold in base units.
#[derive(Default, Clone, Copy)]
struct Sum {
    accounts: u64,
    amount: Wide,
}

/// One chain's.
struct Book {
    declarations: Arc<Declarations>,
    directory: Arc<Directory>,
    strict: bool,
    published: u32,
    amended: u64,
    /// The block that the sums are of.
    at: BlockRef,
    /// By the account's number; nobody's where it is not declared, or declared by several.
    members: Vec<Member>,
    /// The numbers of the same accounts, to be found by account.
    numbers: HashTable<u32>,
    hashing: foldhash::fast::RandomState,
    /// How many accounts of each exchange were looked at.
    enrolled: Vec<usize>,
    /// Are there declared accounts that are not followed yet?
    waiting: bool,
    /// By exchange and number.
    cohorts: BTreeMap<(u16, u32), Cohort>,
    cohort_numbers: HashMap<Cohort, u32>,
    last_cohort: u32,
    /// Accounts in cohorts of their own because they were announced, by height.
    recent: BTreeMap<Height, Vec<u32>>,
    /// Those that were announced below are in the cohorts of those that were not.
    merged: Height,
    /// The chain's assets, in the directory's order.
    assets: HashMap<Asset, u16>,
    sums: BTreeMap<(u32, u16, bool), Sum>,
    /// Accounts that several exchanges declare, by number: each exchange with the place among its accounts.
    shared: BTreeMap<usize, Vec<(u16, u32)>>,
    /// By exchange: what is not known.
    unknown: BTreeMap<u16, BTreeSet<(u32, u16)>>,
    steps: VecDeque<Step>,
    /// By block, in order: what it touched of which exchange's.
    touched: BTreeMap<Height, (BlockRef, Touched)>,
}

/// Pairs by exchange, in order.
type Touched = Arc<Vec<(u16, Pair)>>;

/// How pairs stood and stand; `None` where that is to be looked up.
type Changed = BTreeMap<Pair, Option<(Standing, Standing)>>;

/// From one block to a later one, so that it can be gone back.
struct Step {
    from: BlockRef,
    /// By exchange.
    changes: Vec<Change>,
    /// Of these it is known otherwise by now how well they were known before.
    rewritten: BTreeSet<Pair>,
}

/// How an account stood before a step, as far as was known then, and after it.
struct Change {
    exchange: u16,
    pair: Pair,
    before: Standing,
    after: Standing,
}

const NOBODY: Member = Member { exchange: u16::MAX, cohort: 0, declared: 0 };
/// How far back, and for how many changes, steps are kept; beyond that the sums are made anew.
const STEPS: usize = 200;
const CHANGES: usize = 50_000;
/// For how many blocks it is remembered what they touched.
const BLOCKS: usize = 64;
/// From farther back than so many blocks every account is looked up instead.
const FARTHEST: u64 = 500;
/// What was announced so far below is like what was declared always.
const LONG_AGO: u64 = 2 * FARTHEST;
/// So few lookups are quicker done by one thread.
pub(crate) const FEW_PAIRS: usize = 500;
/// Blocks may come while one reckons: how often that is done again.
const TRIES: usize = 5;

impl Books {
    /// An exchange's accounts as of a block that the store has; `None` where the sums cannot tell. `named`: what is to
    /// be spoken of one by one.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn sheet(
        &self,
        world: &World,
        (chain, store): (&ChainId, &Store),
        exchange: &Exchange,
        (at, as_of): (BlockRef, Timestamp),
        named: &BTreeSet<(&Account, Asset)>,
    ) -> Result<Option<Sheet>, DeskError> {
        let slot = self.0.lock().entry(chain.clone()).or_default().clone();
        for _ in 0..TRIES {
            let mut slot = slot.lock();
            let Some(tip) = store.tip()?.map(|tip| tip.at()) else { return Ok(None) };
            if tip.height.0.saturating_sub(at.height.0) > FARTHEST || at.height > tip.height {
                return Ok(None);
            }
            let (published, amended) = (store.published()?, store.amended());
            let Some(mut now) = store.lookup_of(tip)? else { continue };
            if store.amended() != amended {
                continue;
            }
            let way = match slot.as_mut().filter(|book| book.is_of(world, published, amended)) {
                Some(book) => book.advance(store, &mut now, tip)?,
                None => Way::Lost,
            };
            match way {
                Way::There => {}
                Way::Moved => continue,
                Way::Lost => *slot = Some(Book::make(world, chain, store, &mut now, tip, (published, amended))?),
            }
            let Some(book) = slot.as_mut() else { continue };
            book.extend(world, chain, store, &mut now, published)?;
            let Some(draft) = book.draft(store, exchange, at, as_of, named)? else { return Ok(None) };
            drop(slot); // others may go on while this one looks up
            let sheet = draft.sheet(&mut now)?;
            if store.amended() == amended && is_there(store, tip)? && is_there(store, at)? {
                return Ok(Some(sheet));
            }
        }
        Ok(None)
    }
}

fn is_there(store: &Store, at: BlockRef) -> Result<bool, DeskError> {
    Ok(store.header(at.height)?.is_some_and(|header| header.hash == at.hash))
}

/// How far sums were brought.
enum Way {
    /// They are of the tip.
    There,
    /// The chain has another tip by now: to be tried again.
    Moved,
    /// The way there is not known: they are to be made anew.
    Lost,
}

impl Book {
    /// Can they be had from these sums? What was announced since can be added; accounts that were declared late and are
    /// followed now are all over the place.
    fn is_of(&self, world: &World, published: u32, amended: u64) -> bool {
        self.declarations.is_kin_of(&world.declarations)
            && Arc::ptr_eq(&self.directory, &world.directory)
            && self.strict == is_strict(world)
            && (self.published == published || !self.waiting)
            && self.amended == amended
    }

    /// Looks at every account once.
    fn make(
        world: &World,
        chain: &ChainId,
        store: &Store,
        now: &mut Lookup<'_>,
        tip: BlockRef,
        (published, amended): (u32, u64),
    ) -> Result<Book, DeskError> {
        let began = std::time::Instant::now();
        let deployments = world.directory.assets.iter().flat_map(|entry| &entry.on).filter(|on| on.chain == *chain);
        let mut book = Book {
            declarations: world.declarations.clone(),
            directory: world.directory.clone(),
            strict: is_strict(world),
            published,
            amended,
            at: tip,
            members: vec![NOBODY; usize::try_from(published).unwrap_or(0)],
            numbers: HashTable::with_capacity(usize::try_from(published).unwrap_or(0)),
            hashing: foldhash::fast::RandomState::default(),
            enrolled: vec![0; world.declarations.exchanges.len()],
            waiting: false,
            cohorts: BTreeMap::new(),
            cohort_numbers: HashMap::new(),
            last_cohort: 0,
            recent: BTreeMap::new(),
            merged: Height(tip.height.0.saturating_sub(LONG_AGO)),
            assets: (0..).zip(deployments).map(|(place, on)| (on.asset, place)).collect(),
            sums: BTreeMap::new(),
            shared: BTreeMap::new(),
            unknown: BTreeMap::new(),
            steps: VecDeque::new(),
            touched: BTreeMap::new(),
        };
        book.enrol(chain, (store, now), false)?;
        book.count(now, 0..published, |_, _| ())?;
        tracing::info!(%chain, accounts = published, seconds = began.elapsed().as_secs_f32(), "holdings are summed");
        Ok(book)
    }

    /// Puts in how accounts with these numbers stand.
    fn count(
        &mut self,
        now: &mut Lookup<'_>,
        numbers: Range<u32>,
        mut see: impl FnMut(Pair, &Standing),
    ) -> Result<(), DeskError> {
        let mut next = numbers.start;
        let mut seen: BTreeSet<u16> = BTreeSet::new();
        now.each_standing(numbers.clone(), self.at.height, |pair, standing| {
            while next < pair.0.0 {
                self.miss(next, &seen);
                seen.clear();
                next += 1;
            }
            seen.extend(self.assets.get(&pair.1));
            self.put(pair, &standing);
            see(pair, &standing);
        })?;
        for number in next..numbers.end {
            self.miss(number, &seen);
            seen.clear();
        }
        Ok(())
    }

    /// Says whose the accounts are that were not looked at yet, and gives the numbers of those that are one exchange's alone.
    /// `summed`: those that were looked at are in the sums.
    fn enrol(
        &mut self,
        chain: &ChainId,
        (store, now): (&Store, &mut Lookup<'_>),
        summed: bool,
    ) -> Result<Vec<u32>, DeskError> {
        let declarations = self.declarations.clone();
        let mut enrolled = Vec::new();
        for (exchange, declares) in (0u16..).zip(&declarations.exchanges) {
            let Some(seen) = self.enrolled.get_mut(usize::from(exchange)) else { continue };
            let first = std::mem::replace(seen, declares.accounts.len());
            let accounts = (first..).zip(declares.accounts.iter_from(first));
            for (declared, on) in accounts.filter(|(_, on)| on.terms.chain == *chain) {
                let declared = u32::try_from(declared).unwrap_or(u32::MAX);
                enrolled.extend(self.enrol_one((store, now, summed), (exchange, declared), on)?);
            }
        }
        Ok(enrolled)
    }

    fn enrol_one(
        &mut self,
        (store, now, summed): (&Store, &mut Lookup<'_>, bool),
        (exchange, declared): (u16, u32),
        on: &Declared,
    ) -> Result<Option<u32>, DeskError> {
        let number = store.number(&on.account)?.filter(|(_, published)| *published).map(|(number, _)| number.0);
        let place = number.and_then(|number| usize::try_from(number).ok());
        let member = place.and_then(|place| self.members.get(place).copied());
        let (Some(number), Some(place), Some(member)) = (number, place, member) else {
            let all = (0u16..).take(self.assets.len()).map(|asset| (declared, asset));
            self.unknown.entry(exchange).or_default().extend(all);
            self.waiting = true;
            return Ok(None);
        };
        if let Some(others) = self.shared.get_mut(&place) {
            others.push((exchange, declared));
            return Ok(None);
        }
        if member != NOBODY {
            for asset in if summed { self.assets.keys().copied().collect() } else { Vec::new() } {
                let pair = (AccountNo(number), asset);
                self.take(pair, &now.standing(pair, self.at.height)?);
            }
            self.shared.insert(place, vec![(member.exchange, member.declared), (exchange, declared)]);
            self.members[place] = NOBODY;
            return Ok(None);
        }
        let Terms { owner, role, since, until, announced, .. } = *on.terms;
        let cold = role == Role::Cold;
        let cohort = match announced {
            None => Cohort { exchange, owner, cold, since, until, empty: None },
            Some(empty) => {
                let empty = Some(empty).filter(|empty| *empty >= self.merged);
                if let Some(empty) = empty {
                    self.recent.entry(empty).or_default().push(number);
                }
                Cohort { exchange, owner, cold, since: None, until: None, empty }
            }
        };
        let cohort = self.cohort(cohort);
        self.members[place] = Member { exchange, cohort, declared };
        let mut numbers = std::mem::take(&mut self.numbers);
        let hash = |number: &u32| self.account(*number).map_or(0, |account| self.hashing.hash_one(account));
        numbers.insert_unique(hash(&number), number, hash);
        self.numbers = numbers;
        Ok(Some(number))
    }

    fn cohort(&mut self, cohort: Cohort) -> u32 {
        if let Some(number) = self.cohort_numbers.get(&cohort) {
            return *number;
        }
        self.last_cohort += 1;
        self.cohort_numbers.insert(cohort, self.last_cohort);
        self.cohorts.insert((cohort.exchange, self.last_cohort), cohort);
        self.last_cohort
    }

    /// Takes in what was announced since, at the block that the sums are of.
    fn extend(
        &mut self,
        world: &World,
        chain: &ChainId,
        store: &Store,
        now: &mut Lookup<'_>,
        published: u32,
    ) -> Result<(), DeskError> {
        let known = std::mem::replace(&mut self.published, published);
        self.members.resize(usize::try_from(published).unwrap_or(0), NOBODY);
        let lengths = world.declarations.exchanges.iter().map(|exchange| exchange.accounts.len());
        if lengths.zip(&self.enrolled).all(|(length, enrolled)| length <= *enrolled) {
            return Ok(()); // also where somebody asks who has not heard of the last ones yet
        }
        self.declarations = world.declarations.clone();
        self.touched.clear(); // it may be others' by now
        let mut enrolled = self.enrol(chain, (store, now), true)?;
        enrolled.sort_unstable();
        let mut after = Vec::new();
        for run in enrolled.chunk_by(|one, next| one + 1 == *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            self.count(now, *first..last + 1, |pair, standing| after.push((pair, standing.clone())))?;
        }
        let newest: BTreeSet<u32> = self.recent.get(&self.at.height).into_iter().flatten().copied().collect();
        if enrolled.iter().all(|number| *number >= known && newest.contains(number)) {
            self.came_with_the_last_block(after);
        } else {
            // They were known before, or the chain is farther already: from here nobody goes back by steps.
            self.steps.clear();
        }
        Ok(())
    }

    /// Of accounts that are known from the last block on nothing was known before it.
    fn came_with_the_last_block(&mut self, after: Vec<(Pair, Standing)>) {
        if let Some(step) = self.steps.back_mut() {
            let (balance, coverage) = (Amount::ZERO, Coverage::Unknown("not announced yet".into()));
            let before = Standing { balance, coverage };
            let members = &self.members;
            let whose = |pair: Pair| members.get(usize::try_from(pair.0.0).ok()?).map(|member| member.exchange);
            step.changes.extend(after.into_iter().filter_map(|(pair, after)| {
                Some(Change { exchange: whose(pair)?, pair, before: before.clone(), after })
            }));
            step.changes.sort_by_key(|change| change.exchange);
        }
    }

    /// What was announced so long ago that no question tells it apart any more joins those that were not.
    fn merge(&mut self) {
        self.merged = self.merged.max(Height(self.at.height.0.saturating_sub(LONG_AGO)));
        while let Some(first) = self.recent.first_entry().filter(|first| *first.key() < self.merged) {
            let mut joined: BTreeMap<(u16, u32), u32> = BTreeMap::new();
            for number in first.remove() {
                let Some(place) = usize::try_from(number).ok().filter(|place| *place < self.members.len()) else {
                    continue;
                };
                let Member { exchange, cohort, .. } = self.members[place];
                let old = self.cohorts.get(&(exchange, cohort)).copied().filter(|cohort| cohort.empty.is_some());
                let Some(old) = old else { continue };
                let ordinary = self.cohort(Cohort { empty: None, ..old });
                self.members[place].cohort = ordinary;
                joined.insert((exchange, cohort), ordinary);
            }
            for (old, ordinary) in joined {
                self.cohorts.remove(&old).map(|cohort| self.cohort_numbers.remove(&cohort));
                let rows = (old.1, 0, false)..=(old.1, u16::MAX, true);
                let sums: Vec<_> = self.sums.range(rows).map(|(key, sum)| (*key, *sum)).collect();
                for ((cohort, asset, proven), sum) in sums {
                    self.sums.remove(&(cohort, asset, proven));
                    let total = self.sums.entry((ordinary, asset, proven)).or_default();
                    total.accounts += sum.accounts;
                    total.amount += sum.amount;
                }
            }
        }
    }

    /// The account with this number, where it is one exchange's.
    fn account(&self, number: u32) -> Option<&Account> {
        let member = self.members.get(usize::try_from(number).ok()?).filter(|member| **member != NOBODY)?;
        let exchange = self.declarations.exchanges.get(usize::from(member.exchange))?;
        Some(&exchange.accounts.get(usize::try_from(member.declared).ok()?)?.account)
    }

    fn number(&self, account: &Account) -> Option<AccountNo> {
        let is_it = |number: &u32| self.account(*number) == Some(account);
        self.numbers.find(self.hashing.hash_one(account), is_it).copied().map(AccountNo)
    }

    fn member(&self, pair: Pair) -> Option<(Member, u16)> {
        let member = self.members.get(usize::try_from(pair.0.0).ok()?).copied().filter(|member| *member != NOBODY)?;
        Some((member, *self.assets.get(&pair.1)?))
    }

    /// How well a pair is known, where that of all that are summed with it is the same.
    fn grade_of(&self, pair: Pair) -> Option<Coverage> {
        let (member, asset) = self.member(pair)?;
        if self.unknown.get(&member.exchange).is_some_and(|unknown| unknown.contains(&(member.declared, asset))) {
            return None;
        }
        let has = |proven| self.sums.get(&(member.cohort, asset, proven)).is_some_and(|sum| sum.accounts > 0);
        match (has(true), has(false)) {
            (true, false) => Some(Coverage::Verified),
            (false, true) => Some(Coverage::Unproven),
            _ => None,
        }
    }

    /// Of an account's assets those of which nothing is said are not known.
    fn miss(&mut self, number: u32, seen: &BTreeSet<u16>) {
        let member = usize::try_from(number).ok().and_then(|place| self.members.get(place)).copied();
        let Some(member) = member.filter(|member| *member != NOBODY && seen.len() < self.assets.len()) else { return };
        let missing = (0u16..).take(self.assets.len()).filter(|asset| !seen.contains(asset));
        self.unknown.entry(member.exchange).or_default().extend(missing.map(|asset| (member.declared, asset)));
    }

    fn put(&mut self, pair: Pair, standing: &Standing) {
        let Some((member, asset)) = self.member(pair) else { return };
        match grade(&standing.coverage, self.strict) {
            Some(proven) => {
                let sum = self.sums.entry((member.cohort, asset, proven)).or_default();
                sum.accounts += 1;
                sum.amount += Wide::from(standing.balance.0);
            }
            None => drop(self.unknown.entry(member.exchange).or_default().insert((member.declared, asset))),
        }
    }

    fn take(&mut self, pair: Pair, standing: &Standing) {
        let Some((member, asset)) = self.member(pair) else { return };
        match grade(&standing.coverage, self.strict) {
            Some(proven) => {
                let sum = self.sums.entry((member.cohort, asset, proven)).or_default();
                sum.accounts -= 1;
                sum.amount -= Wide::from(standing.balance.0);
            }
            None => drop(self.unknown.entry(member.exchange).or_default().remove(&(member.declared, asset))),
        }
    }

    /// Follows the store to its tip, of which `now` is.
    fn advance(&mut self, store: &Store, now: &mut Lookup<'_>, tip: BlockRef) -> Result<Way, DeskError> {
        while !is_there(store, self.at)? {
            let Some(step) = self.steps.pop_back() else { return Ok(Way::Lost) };
            for Change { pair, before, after, .. } in &step.changes {
                self.take(*pair, after);
                self.put(*pair, before);
            }
            self.at = step.from;
        }
        if self.at.height.0 < self.merged.0.saturating_add(FARTHEST) && self.merged > Height(0) {
            return Ok(Way::Lost); // so far back that it matters again when accounts were announced
        }
        if self.at == tip {
            return Ok(Way::There);
        }
        if tip.height.0.saturating_sub(self.at.height.0) > FARTHEST {
            return Ok(Way::Lost);
        }
        let Some(past) = store.past(self.at.height, tip.height)? else { return Ok(Way::Lost) };
        // What the last block proved holds for that block alone: the next one may know it less well.
        let Some(last) = store.touched(self.at.height)? else { return Ok(Way::Lost) };
        let mut pairs: Vec<Pair> = past.touched().iter().copied().collect();
        let untouched: Vec<Pair> = last.iter().copied().filter(|pair| !past.touched().contains(pair)).collect();
        let changes = |pairs: &[Pair], now: &mut Lookup<'_>, untouched: bool| -> Result<Vec<Change>, DeskError> {
            let mut changes = Vec::new();
            for pair in pairs {
                let Some((Member { exchange, .. }, _)) = self.member(*pair) else { continue };
                if untouched && now.is_as_known(*pair, self.at.height, tip.height)? {
                    continue;
                }
                let grade = if last.contains(pair) { None } else { self.grade_of(*pair) };
                let (before, after) = past.change(now, *pair, tip.height, grade)?;
                if before != after {
                    changes.push(Change { exchange, pair: *pair, before, after });
                }
            }
            Ok(changes)
        };
        let mut changed = changes(&untouched, now, true)?;
        let beside =
            |pairs: &mut [Pair]| store.lookup_of(tip)?.map(|mut now| changes(pairs, &mut now, false)).transpose();
        for some in side_by_side(&mut pairs, FEW_PAIRS, beside) {
            let Some(mut some) = some? else { return Ok(Way::Moved) };
            changed.append(&mut some);
        }
        if !is_there(store, tip)? || !is_there(store, self.at)? || store.amended() != self.amended {
            return Ok(Way::Moved); // what was read of blocks may be of two chains
        }
        for Change { pair, before, after, .. } in &changed {
            self.take(*pair, before);
            self.put(*pair, after);
        }
        changed.sort_by_key(|change| change.exchange);
        changed.shrink_to_fit();
        let rewritten = past.rewritten().filter(|pair| self.member(*pair).is_some()).collect();
        self.steps.push_back(Step { from: self.at, changes: changed, rewritten });
        self.at = tip;
        let mut kept: usize = self.steps.iter().map(|step| step.changes.len()).sum();
        while self.steps.len() > STEPS || kept > CHANGES {
            kept -= self.steps.pop_front().map_or(0, |step| step.changes.len());
        }
        self.merge();
        Ok(Way::There)
    }

    fn draft(
        &mut self,
        store: &Store,
        exchange: &Exchange,
        at: BlockRef,
        as_of: Timestamp,
        named: &BTreeSet<(&Account, Asset)>,
    ) -> Result<Option<Draft>, DeskError> {
        let place = self.declarations.exchanges.iter().position(|one| one.id == exchange.id);
        let Some(place) = place.and_then(|place| u16::try_from(place).ok()) else { return Ok(None) };
        let mut sheet = Sheet::default();
        sheet.apart.extend(self.unknown.get(&place).into_iter().flatten());
        for by in self.shared.values() {
            for (_, declared) in by.iter().filter(|(exchange, _)| *exchange == place) {
                sheet.apart.extend((0u16..).take(self.assets.len()).map(|asset| (*declared, asset)));
                sheet.shared.insert(*declared, by.clone());
            }
        }
        let counts = |cohort: &Cohort| {
            cohort.since.is_none_or(|since| since <= as_of)
                && cohort.until.is_none_or(|until| as_of < until)
                && cohort.empty.is_none_or(|empty| empty < at.height)
        };
        for ((_, number), cohort) in self.cohorts.range((place, 0)..=(place, u32::MAX)) {
            if !counts(cohort) {
                continue;
            }
            for ((_, asset, proven), sum) in self.sums.range((*number, 0, false)..=(*number, u16::MAX, true)) {
                sheet.add(cohort.group(*asset, *proven), sum.accounts, sum.amount);
            }
        }
        let Some(changed) = self.changed_since(store, place, at)? else { return Ok(None) };
        for (account, asset) in named {
            let Some(pair) = self.number(account).map(|number| (number, *asset)) else { continue };
            let Some((member, asset)) = self.member(pair).filter(|(member, _)| member.exchange == place) else {
                continue;
            };
            let grade = if changed.contains_key(&pair) { None } else { self.grade_of(pair) };
            sheet.named.insert((member.declared, asset), (pair.0, grade));
        }
        let mut reckoned = Vec::with_capacity(changed.len());
        for (pair, known) in changed {
            let Some((member, asset)) = self.member(pair).filter(|(member, _)| member.exchange == place) else {
                continue;
            };
            let Some(cohort) = self.cohorts.get(&(place, member.cohort)) else { continue };
            if !sheet.apart.contains(&(member.declared, asset)) {
                let group = Some(cohort).filter(|cohort| counts(cohort)).map(|cohort| cohort.group(asset, false));
                reckoned.push(Reckoned { pair, place: (member.declared, asset), group, known });
            } // else it is looked up anyhow
        }
        Ok(Some(Draft { sheet, strict: self.strict, tip: self.at.height, at: at.height, reckoned }))
    }

    /// What of an exchange's may stand otherwise at a block than it does at the tip; `None` where that cannot be told.
    fn changed_since(&mut self, store: &Store, exchange: u16, at: BlockRef) -> Result<Option<Changed>, DeskError> {
        let mut changed = Changed::new();
        if at == self.at {
            return Ok(Some(changed));
        }
        if let Some(first) = self.steps.iter().position(|step| step.from == at) {
            for step in self.steps.range(first..) {
                let theirs = &step.changes[step.changes.partition_point(|change| change.exchange < exchange)..];
                for Change { pair, before, after, .. } in theirs.iter().take_while(|change| change.exchange == exchange)
                {
                    let known = changed.entry(*pair).or_insert_with(|| Some((before.clone(), after.clone())));
                    if let Some((_, now)) = known {
                        *now = after.clone();
                    }
                }
            }
            let rewritten = self.steps.range(first..).flat_map(|step| &step.rewritten);
            changed.extend(rewritten.map(|pair| (*pair, None)));
            return Ok(Some(changed));
        }
        for height in at.height.0..self.at.height.0 + 1 {
            let Some(touched) = self.touched_by(store, Height(height))? else { return Ok(None) };
            let theirs = &touched[touched.partition_point(|(other, _)| *other < exchange)..];
            changed.extend(theirs.iter().take_while(|(other, _)| *other == exchange).map(|(_, pair)| (*pair, None)));
        }
        Ok(Some(changed))
    }

    /// What a block touched, remembered while it is near the tip.
    fn touched_by(&mut self, store: &Store, height: Height) -> Result<Option<Touched>, DeskError> {
        let Some(header) = store.header(height)? else { return Ok(None) };
        if let Some((at, pairs)) = self.touched.get(&height)
            && *at == header.at()
        {
            return Ok(Some(pairs.clone()));
        }
        let Some(pairs) = store.touched(height)? else { return Ok(None) };
        let whose = |pair: Pair| self.member(pair).map(|(member, _)| (member.exchange, pair));
        let mut pairs: Vec<(u16, Pair)> = pairs.into_iter().filter_map(whose).collect();
        pairs.sort_unstable();
        let pairs = Arc::new(pairs);
        self.touched.insert(height, (header.at(), pairs.clone()));
        while self.touched.len() > BLOCKS {
            self.touched.pop_first();
        }
        Ok(Some(pairs))
    }
}

fn is_strict(world: &World) -> bool {
    world.policy.require == Require::Verified
}
