//! What each exchange's accounts hold together, kept up with the blocks: a verdict then takes as long as what changed is
//! much, not as what is watched.
//!
//! Accounts whose balance is known, and that no other exchange declares, are summed by cohort: exchange, owner, whether
//! they are cold, since and until. All others stand apart, and are looked up one by one. Sums are of the tip; those of a block below it are
//! reckoned from them by what the blocks since touched. It comes to the same as looking up every account; a test of
//! random chains says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use assay_registry::{Declarations, Declared, Exchange, Owner, Role};
use assay_store::{Coverage, Pair, Standing, Store};
use assay_types::{Account, Asset, BlockRef, ChainId, Directory, Height, Timestamp};
use assay_verifier::{Require, Wide};

use crate::{DeskError, World};

/// The sums of every chain.
#[derive(Default)]
pub struct Books(Mutex<HashMap<ChainId, Arc<Mutex<Option<Book>>>>>);

/// One exchange's accounts on one chain at one block.
pub(crate) struct Sheet {
    /// How many accounts, and their sum in the deployment's base units.
    pub(crate) sums: BTreeMap<Group, (u64, Wide)>,
    /// What is to be looked up one by one, by place among the exchange's accounts and the chain's assets.
    pub(crate) apart: BTreeSet<(u32, u16)>,
    /// The places of the accounts that were asked for.
    pub(crate) named: BTreeSet<u32>,
    /// Accounts that other exchanges declare too: which exchange, and where among its accounts.
    pub(crate) shared: BTreeMap<u32, Vec<(u16, u32)>>,
}

/// Accounts of which a sheet tells the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// The asset's place among the chain's.
    pub(crate) asset: u16,
    /// Whose coins they are.
    pub(crate) owner: Owner,
    /// Is their role `cold`?
    pub(crate) cold: bool,
    /// Are the balances proven?
    pub(crate) proven: bool,
}

impl Group {
    /// That of one account's balance in this asset.
    pub(crate) fn of(declared: &Declared, asset: u16, proven: bool) -> Group {
        Group { asset, owner: declared.owner, cold: declared.role == Role::Cold, proven }
    }
}

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
    /// The block that the sums are of.
    at: BlockRef,
    /// By the account's number; nobody's where it is not declared, or declared by several.
    members: Vec<Member>,
    cohorts: Vec<Cohort>,
    /// The chain's assets, in the directory's order.
    assets: HashMap<Asset, u16>,
    sums: BTreeMap<(u32, u16, bool), Sum>,
    /// Accounts that several exchanges declare, by number: each exchange with the place among its accounts.
    shared: BTreeMap<usize, Vec<(u16, u32)>>,
    /// By exchange: what is not known.
    unknown: BTreeMap<u16, BTreeSet<(u32, u16)>>,
    steps: VecDeque<Step>,
    touched: BTreeMap<Height, (BlockRef, Arc<BTreeSet<Pair>>)>,
}

/// From one block to a later one, so that it can be gone back.
struct Step {
    from: BlockRef,
    changes: Vec<(Pair, Standing, Standing)>,
}

const NOBODY: Member = Member { exchange: u16::MAX, cohort: 0, declared: 0 };
/// How far back, and for how many changes, steps are kept; beyond that the sums are made anew.
const STEPS: usize = 200;
const CHANGES: usize = 200_000;
/// For how many blocks it is remembered what they touched.
const BLOCKS: usize = 64;
/// From farther back than so many blocks every account is looked up instead.
const FARTHEST: u64 = 500;
/// Blocks may come while one reckons: how often that is done again.
const TRIES: usize = 5;

impl Books {
    /// An exchange's accounts as of a block that the store has; `None` where the sums cannot tell. `named`: accounts that are to
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
        named: &BTreeSet<&Account>,
    ) -> Result<Option<Sheet>, DeskError> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(chain.clone()).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let Some(tip) = store.tip()?.map(|tip| tip.at()) else { return Ok(None) };
            if tip.height.0.saturating_sub(at.height.0) > FARTHEST || at.height > tip.height {
                return Ok(None);
            }
            let published = store.published()?;
            let fits = |book: &Book| book.is_of(world, published);
            let advanced = match slot.as_mut().filter(|book| fits(book)) {
                Some(book) => book.advance(store, tip)?,
                None => false,
            };
            if !advanced {
                *slot = Some(Book::make(world, chain, store, tip, published)?);
            }
            let Some(book) = slot.as_mut() else { continue };
            let sheet = book.sheet(store, exchange, at, as_of, named)?;
            let still = store.tip()?.map(|tip| tip.at()) == Some(tip)
                && store.header(at.height)?.is_some_and(|header| header.hash == at.hash);
            match still {
                true => return Ok(sheet),
                // What was read meanwhile may be of two different tips.
                false => *slot = slot.take().filter(|book| book.at != tip),
            }
        }
        Ok(None)
    }
}

impl Book {
    fn is_of(&self, world: &World, published: u32) -> bool {
        Arc::ptr_eq(&self.declarations, &world.declarations)
            && Arc::ptr_eq(&self.directory, &world.directory)
            && self.strict == is_strict(world)
            && self.published == published
    }

    /// Looks at every account once.
    fn make(world: &World, chain: &ChainId, store: &Store, tip: BlockRef, published: u32) -> Result<Book, DeskError> {
        let began = std::time::Instant::now();
        let deployments = world.directory.assets.iter().flat_map(|entry| &entry.on).filter(|on| on.chain == *chain);
        let mut book = Book {
            declarations: world.declarations.clone(),
            directory: world.directory.clone(),
            strict: is_strict(world),
            published,
            at: tip,
            members: vec![NOBODY; usize::try_from(published).unwrap_or(0)],
            cohorts: Vec::new(),
            assets: (0..).zip(deployments).map(|(place, on)| (on.asset, place)).collect(),
            sums: BTreeMap::new(),
            shared: BTreeMap::new(),
            unknown: BTreeMap::new(),
            steps: VecDeque::new(),
            touched: BTreeMap::new(),
        };
        book.enrol(chain, store)?;
        let mut next = 0;
        let mut seen: BTreeSet<u16> = BTreeSet::new();
        store.each_standing(tip.height, |pair, standing| {
            while next < pair.0.0 {
                book.miss(next, &seen);
                seen.clear();
                next += 1;
            }
            seen.extend(book.assets.get(&pair.1));
            book.put(pair, &standing);
        })?;
        for number in next..published {
            book.miss(number, &seen);
            seen.clear();
        }
        tracing::info!(%chain, accounts = published, seconds = began.elapsed().as_secs_f32(), "holdings are summed");
        Ok(book)
    }

    /// Says whose each account is.
    fn enrol(&mut self, chain: &ChainId, store: &Store) -> Result<(), DeskError> {
        let declarations = self.declarations.clone();
        let mut cohorts: HashMap<Cohort, u32> = HashMap::new();
        for (exchange, declares) in (0u16..).zip(&declarations.exchanges) {
            for (declared, on) in (0u32..).zip(&declares.accounts).filter(|(_, on)| on.chain == *chain) {
                let number = store.number(&on.account)?.filter(|(_, published)| *published);
                let place = number.and_then(|(number, _)| usize::try_from(number.0).ok());
                let Some((place, member)) = place.and_then(|place| Some((place, self.members.get_mut(place)?))) else {
                    let all = (0u16..).take(self.assets.len()).map(|asset| (declared, asset));
                    self.unknown.entry(exchange).or_default().extend(all);
                    continue;
                };
                if let Some(others) = self.shared.get_mut(&place) {
                    others.push((exchange, declared));
                    continue;
                }
                if *member != NOBODY {
                    self.shared.insert(place, vec![(member.exchange, member.declared), (exchange, declared)]);
                    *member = NOBODY;
                    continue;
                }
                let cold = on.role == Role::Cold;
                let cohort = Cohort { exchange, owner: on.owner, cold, since: on.since, until: on.until };
                let next = u32::try_from(self.cohorts.len()).unwrap_or(u32::MAX);
                let cohort = *cohorts.entry(cohort).or_insert_with(|| {
                    self.cohorts.push(cohort);
                    next
                });
                *member = Member { exchange, cohort, declared };
            }
        }
        Ok(())
    }

    fn member(&self, pair: Pair) -> Option<(Member, u16)> {
        let member = self.members.get(usize::try_from(pair.0.0).ok()?).copied().filter(|member| *member != NOBODY)?;
        Some((member, *self.assets.get(&pair.1)?))
    }

    /// Of an account's assets those of which nothing is said are not known.
    fn miss(&mut self, number: u32, seen: &BTreeSet<u16>) {
        let member = usize::try_from(number).ok().and_then(|place| self.members.get(place)).copied();
        let Some(member) = member.filter(|member| *member != NOBODY && seen.len() < self.assets.len()) else { return };
        let missing = (0u16..).take(self.assets.len()).filter(|asset| !seen.contains(asset));
        self.unknown.entry(member.exchange).or_default().extend(missing.map(|asset| (member.declared, asset)));
    }

    /// Is it known as well as the policy asks, and how well?
    fn grade(&self, standing: &Standing) -> Option<bool> {
        match standing.coverage {
            Coverage::Verified => Some(true),
            Coverage::Unproven if !self.strict => Some(false),
            Coverage::Unproven | Coverage::Unknown(_) => None,
        }
    }

    fn put(&mut self, pair: Pair, standing: &Standing) {
        let Some((member, asset)) = self.member(pair) else { return };
        match self.grade(standing) {
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
        match self.grade(standing) {
            Some(proven) => {
                let sum = self.sums.entry((member.cohort, asset, proven)).or_default();
                sum.accounts -= 1;
                sum.amount -= Wide::from(standing.balance.0);
            }
            None => drop(self.unknown.entry(member.exchange).or_default().remove(&(member.declared, asset))),
        }
    }

    /// Follows the store to its tip; false where the way there is not known any more.
    fn advance(&mut self, store: &Store, tip: BlockRef) -> Result<bool, DeskError> {
        while store.header(self.at.height)?.is_none_or(|header| header.hash != self.at.hash) {
            let Some(step) = self.steps.pop_back() else { return Ok(false) };
            for (pair, before, after) in &step.changes {
                self.take(*pair, after);
                self.put(*pair, before);
            }
            self.at = step.from;
        }
        if self.at == tip {
            return Ok(true);
        }
        if tip.height.0.saturating_sub(self.at.height.0) > FARTHEST {
            return Ok(false);
        }
        let Some(past) = store.past(self.at.height, tip.height)? else { return Ok(false) };
        // What the last block proved holds for that block alone: the next one may know it less well.
        let Some(mut pairs) = store.touched(self.at.height)? else { return Ok(false) };
        pairs.extend(past.touched());
        let mut changes = Vec::new();
        for pair in pairs.into_iter().filter(|pair| self.member(*pair).is_some()) {
            let (before, after) = (past.standing(store, pair)?, store.standing(pair, tip.height)?);
            if before != after {
                changes.push((pair, before, after));
            }
        }
        if store.tip()?.map(|tip| tip.at()) != Some(tip) {
            return Ok(false);
        }
        for (pair, before, after) in &changes {
            self.take(*pair, before);
            self.put(*pair, after);
        }
        self.steps.push_back(Step { from: self.at, changes });
        self.at = tip;
        let mut kept: usize = self.steps.iter().map(|step| step.changes.len()).sum();
        while self.steps.len() > STEPS || kept > CHANGES {
            kept -= self.steps.pop_front().map_or(0, |step| step.changes.len());
        }
        Ok(true)
    }

    fn sheet(
        &mut self,
        store: &Store,
        exchange: &Exchange,
        at: BlockRef,
        as_of: Timestamp,
        named: &BTreeSet<&Account>,
    ) -> Result<Option<Sheet>, DeskError> {
        let place = self.declarations.exchanges.iter().position(|one| one.id == exchange.id);
        let Some(place) = place.and_then(|place| u16::try_from(place).ok()) else { return Ok(None) };
        let (sums, shared) = Default::default();
        let mut sheet = Sheet { sums, apart: BTreeSet::new(), named: BTreeSet::new(), shared };
        sheet.apart.extend(self.unknown.get(&place).into_iter().flatten());
        for by in self.shared.values() {
            for (_, declared) in by.iter().filter(|(exchange, _)| *exchange == place) {
                sheet.apart.extend((0u16..).take(self.assets.len()).map(|asset| (*declared, asset)));
                sheet.shared.insert(*declared, by.clone());
            }
        }
        let counts = |cohort: &Cohort| {
            cohort.since.is_none_or(|since| since <= as_of) && cohort.until.is_none_or(|until| as_of < until)
        };
        for (number, cohort) in (0u32..).zip(&self.cohorts) {
            if cohort.exchange != place || !counts(cohort) {
                continue;
            }
            for ((_, asset, proven), sum) in self.sums.range((number, 0, false)..=(number, u16::MAX, true)) {
                let total = sheet.sums.entry(cohort.group(*asset, *proven)).or_default();
                total.0 += sum.accounts;
                total.1 += sum.amount;
            }
        }
        let mut pairs: BTreeSet<Pair> = BTreeSet::new();
        let since = if at == self.at { 0..0 } else { at.height.0..self.at.height.0 + 1 };
        for height in since {
            let Some(touched) = self.touched_by(store, Height(height))? else { return Ok(None) };
            let theirs = |pair: &&Pair| self.member(**pair).is_some_and(|(member, _)| member.exchange == place);
            pairs.extend(touched.iter().filter(theirs));
        }
        for pair in pairs {
            let Some((member, asset)) = self.member(pair) else { continue };
            let cohort = usize::try_from(member.cohort).ok().and_then(|place| self.cohorts.get(place));
            let Some(cohort) = cohort else { continue };
            if sheet.apart.contains(&(member.declared, asset)) {
                continue; // it is looked up anyhow
            }
            let (now, then) = (store.standing(pair, self.at.height)?, store.standing(pair, at.height)?);
            let (now_proven, then_proven) = (self.grade(&now), self.grade(&then));
            if then_proven.is_none() {
                sheet.apart.insert((member.declared, asset));
            }
            if !counts(cohort) {
                continue;
            }
            if let Some(proven) = now_proven {
                let sum = sheet.sums.entry(cohort.group(asset, proven)).or_default();
                (sum.0, sum.1) = (sum.0 - 1, sum.1 - Wide::from(now.balance.0));
            }
            if let Some(proven) = then_proven {
                let sum = sheet.sums.entry(cohort.group(asset, proven)).or_default();
                (sum.0, sum.1) = (sum.0 + 1, sum.1 + Wide::from(then.balance.0));
            }
        }
        sheet.sums.retain(|_, (accounts, _)| *accounts > 0);
        for account in named {
            let Some((number, _)) = store.number(account)? else { continue };
            let member = usize::try_from(number.0).ok().and_then(|place| self.members.get(place));
            sheet.named.extend(member.filter(|member| member.exchange == place).map(|member| member.declared));
        }
        Ok(Some(sheet))
    }

    /// What a block touched, remembered while it is near the tip.
    fn touched_by(&mut self, store: &Store, height: Height) -> Result<Option<Arc<BTreeSet<Pair>>>, DeskError> {
        let Some(header) = store.header(height)? else { return Ok(None) };
        if let Some((at, pairs)) = self.touched.get(&height)
            && *at == header.at()
        {
            return Ok(Some(pairs.clone()));
        }
        let Some(pairs) = store.touched(height)?.map(Arc::new) else { return Ok(None) };
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
