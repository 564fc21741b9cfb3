//! What everything is judged with: names, declarations, policy, and the chains' stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use assay_registry::{Declarations, Exchange, Prices, TimeZone};
use assay_store::{Store, StoreError};
use assay_types::{BlockRef, Chain, ChainId, Directory, Height, NodeError, Reads, Standing, Timestamp, Watch};
use assay_verifier::Policy;
use assay_verifier::rules::Dissent;
use parking_lot::{RwLock, RwLockReadGuard};
use serde::Serialize;

use crate::line::Line;
use crate::{Books, Branch, Trouble, Waiting};

/// What the files say, resolved, with the chains. Replaced as a whole when they change.
#[derive(Clone)]
pub struct World {
    /// Chains and assets by name.
    pub directory: Arc<Directory>,
    /// Exchanges and their accounts.
    pub declarations: Arc<Declarations>,
    /// What is tolerated.
    pub policy: Policy,
    /// Where days begin and end.
    pub timezone: TimeZone,
    /// What assets cost.
    pub prices: Priced,
    /// The chains, in the order of the configuration.
    pub sources: Arc<Vec<Source>>,
    /// What every result names as its maker.
    pub program: &'static str,
    /// How it is found what many accounts hold together.
    pub sums: Sums,
}

/// Where sums come from.
#[derive(Clone, Default)]
pub enum Sums {
    /// From nowhere: every account is looked up by itself.
    Apart,
    /// From the totals of cohorts that the store keeps.
    #[default]
    Stored,
    /// From books that are kept up with the blocks; for blocks that are too old for these, from the store.
    Kept(Arc<Books>),
}

impl World {
    /// The exchange with this id.
    pub fn exchange(&self, id: &str) -> Option<&Exchange> {
        self.declarations.exchange(id)
    }
}

/// What is known of prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Priced {
    /// Nobody has said by now whether there are any: just after the start a finding would be about nothing but that.
    #[default]
    NotYet,
    /// There are none, and why.
    Missing(Arc<str>),
    /// These.
    Known(Arc<Prices>),
}

/// How a chain's nodes are reached; none is contacted before it is asked something.
pub type Connect = Arc<dyn Fn() -> Result<Box<dyn Chain>, String> + Send + Sync>;

/// One chain: its store, as it is shared with whoever indexes it, and its nodes.
#[derive(Clone)]
pub struct Source {
    /// The alias.
    pub name: String,
    /// The CAIP-2 id.
    pub id: ChainId,
    connect: Connect,
    slot: Arc<RwLock<Slot>>,
    /// Who waits for accounts to be proven empty.
    pub(crate) line: Arc<Line>,
}

struct Slot {
    store: Result<Arc<Store>, String>,
    /// Has anybody said by now what there is?
    told: bool,
    trouble: Option<Trouble>,
    /// Is it from before the start of the process?
    trouble_is_old: bool,
    branches: Vec<Branch>,
    heard: Heard,
    followed: Option<Followed>,
    waiting: Result<Arc<Waiting>, String>,
}

/// What whoever keeps the store up with the nodes has said.
#[derive(Clone, Copy)]
struct Followed {
    since: Timestamp,
    /// When the store last had every block that the node had.
    at_tip: Option<Timestamp>,
    /// Are there several nodes? Then no block is final before each was asked for it.
    several: bool,
    agreed: Option<Height>,
}

/// How long after the start nothing is concluded from a node that has not answered yet.
const START_S: i64 = 10;

/// A stretch of blocks that is being indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CatchingUp {
    /// When that began.
    pub since: Timestamp,
    /// The first block of it.
    pub from: Height,
    /// The block that was written last.
    pub at: Height,
    /// The last block of it.
    pub to: Height,
    /// Accounts declared late are being filled in.
    pub filling_in: bool,
}

impl CatchingUp {
    /// How much of it is done, in percent: 100 only once all of it is.
    pub fn percent(&self) -> u64 {
        let (done, all) = self.done_of_all();
        done * 100 / all
    }

    /// For how many seconds more, if it goes on as it went.
    pub fn left_s(&self, now: Timestamp) -> Option<u64> {
        let (done, all) = self.done_of_all();
        let took_s = u64::try_from(now.seconds_since(self.since)).ok()?;
        took_s.checked_mul(all - done)?.checked_div(done)
    }

    fn done_of_all(&self) -> (u64, u64) {
        let blocks = |to: Height| (to.0 + 1).saturating_sub(self.from.0);
        let all = blocks(self.to).max(1);
        (blocks(self.at).min(all), all)
    }
}

/// What whoever indexes has heard from the chain's nodes since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The node's last block, as last told.
    pub head: Option<Height>,
    /// The node that told of it, by host and port.
    pub source: Option<String>,
    /// How its nodes stand to each other, where they must agree.
    pub nodes: Vec<Standing>,
    /// Which of them have another block than the first of them, right above the last one on which enough agree.
    pub parted: Vec<Dissent>,
    /// How far the index has caught up with it, while it does.
    pub catching_up: Option<CatchingUp>,
    /// How many times blocks were taken back.
    pub reorgs: u64,
    /// Answers that could not be used, by kind.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Source {
    /// A chain whose store is given later, see [`Source::set_store`].
    pub fn new(name: impl Into<String>, id: ChainId, connect: Connect) -> Source {
        let slot = Slot {
            store: Err("no block is indexed yet".into()),
            told: false,
            trouble: None,
            trouble_is_old: false,
            branches: Vec::new(),
            heard: Heard::default(),
            followed: None,
            waiting: Err("the mempool has not been looked through yet".into()),
        };
        Source { name: name.into(), id, connect, slot: Arc::new(RwLock::new(slot)), line: Arc::default() }
    }

    /// The store, or why there is none, in words.
    ///
    /// # Errors
    /// Nothing indexed yet, or the store cannot be read.
    pub fn store(&self) -> Result<Arc<Store>, String> {
        self.slot.read().store.clone()
    }

    /// Replaces the store.
    pub fn set_store(&self, store: Result<Arc<Store>, String>) {
        let mut slot = self.slot.write();
        (slot.store, slot.told) = (store, true);
    }

    /// Is it known by now whether there is a store and where the nodes are, or what keeps them away? Just after the start it is
    /// not, and a verdict of then would be about nothing but that.
    pub(crate) fn is_told(&self, now: Timestamp) -> bool {
        let slot = self.slot();
        let waits = |followed: Followed| followed.at_tip.is_none() && now.seconds_since(followed.since) < START_S;
        (slot.trouble.is_some() && !slot.trouble_is_old) || (slot.told && !slot.followed.is_some_and(waits))
    }

    /// Says that from now on somebody keeps the store up with the nodes, and says so each time that it is; with several nodes, each is
    /// asked for itself.
    pub fn follow_from(&self, now: Timestamp, several: bool) {
        let followed = Some(Followed { since: now, at_tip: None, several, agreed: None });
        self.slot.write().followed = followed;
    }

    /// Notes that the store has every block that the node had at this instant.
    pub fn reached_tip(&self, at: Timestamp) {
        if let Some(followed) = &mut self.slot.write().followed {
            followed.at_tip = followed.at_tip.max(Some(at)); // whoever asked earlier may say so later
        }
    }

    /// Notes that every node was asked for its final blocks up to this height.
    pub fn asked_all(&self, up_to: Option<Height>) {
        if let Some(followed) = &mut self.slot.write().followed {
            followed.agreed = up_to;
        }
    }

    /// When the store last had every block that the node had, as far as is known.
    pub(crate) fn at_tip(&self) -> Option<Timestamp> {
        self.slot().followed?.at_tip
    }

    /// The last final height: by the finality of the chain, and where there are several nodes, once each was asked for it.
    pub(crate) fn final_height(&self, store: &Store) -> Result<Option<Height>, StoreError> {
        let height = store.final_height()?;
        Ok(match self.slot().followed {
            Some(Followed { several: true, agreed, .. }) => height.min(agreed),
            _ => height,
        })
    }

    /// Why our last block may not be the node's last one as of this instant; `None` where it is, or nobody follows and can say.
    /// The same words for as long as that lasts.
    pub(crate) fn behind(&self, as_of: Timestamp, now: Timestamp) -> Option<String> {
        const AHEAD_S: i64 = 5;
        let is_good = |at: Timestamp| at > as_of || (as_of > now && now.seconds_since(at) <= AHEAD_S);
        self.why_behind(is_good)
    }

    /// The same where nobody follows the chain: its node is asked. Nothing where there is none to be asked.
    pub(crate) fn behind_its_node(&self, last: BlockRef, as_of: Timestamp) -> Option<String> {
        let node = self.connect().ok()?;
        let is_behind = || -> Result<bool, NodeError> {
            let tip = node.tip()?.head;
            let above = last.height.next();
            let Some(hash) = node.hash_at(above)?.filter(|_| tip != last) else { return Ok(false) };
            let next = node.block(BlockRef { height: above, hash }, &Watch::default(), &Reads::MOVED)?;
            Ok(next.header.time <= as_of)
        };
        match is_behind() {
            Ok(false) => None,
            Ok(true) => Some(format!("the node of {} has later blocks than the index (see: assay index)", self.name)),
            Err(error) => {
                Some(format!("whether the index of {} is at its node's last block is not known: {error}", self.name))
            }
        }
    }

    /// Does somebody keep the store up with the nodes?
    pub(crate) fn is_followed(&self) -> bool {
        self.slot().followed.is_some()
    }

    /// The same of now: has it been too long since the store was at the node's tip? What does not go on by itself, as where the chain left blocks that
    /// were final, is not waited for.
    pub(crate) fn behind_now(&self, now: Timestamp, allowed_s: i64) -> Option<String> {
        if let Slot { trouble: Some(Trouble { lasting: true, since, .. }), trouble_is_old: false, .. } = &*self.slot() {
            return Some(format!("{} has not been followed since {since}", self.name));
        }
        let starts = |followed: Followed| followed.at_tip.is_none() && now.seconds_since(followed.since) <= allowed_s;
        if self.slot().followed.is_some_and(starts) {
            return None;
        }
        self.why_behind(|at| now.seconds_since(at) <= allowed_s)
    }

    fn why_behind(&self, is_good: impl Fn(Timestamp) -> bool) -> Option<String> {
        let slot = self.slot();
        match (slot.followed?.at_tip, &slot.trouble) {
            (Some(at), _) if is_good(at) => None,
            (Some(at), Some(_)) => Some(format!("{} has not been followed since {at}", self.name)),
            (None, Some(trouble)) => Some(format!("{} has not been followed since {}", self.name, trouble.since)),
            (_, None) => Some(format!("the index of {} has not caught up with the node yet", self.name)),
        }
    }

    /// Is there everything that a statement of this instant asks for, or no use in waiting for it? `named`: the block that it names.
    pub(crate) fn has(&self, as_of: Timestamp, named: Option<BlockRef>, now: Timestamp) -> bool {
        let Ok(store) = self.store() else { return true };
        let at_tip = match &*self.slot() {
            Slot { followed: None, .. } | Slot { trouble: Some(_), .. } => return true,
            Slot { followed: Some(followed), .. } => followed.at_tip,
        };
        let is_settled = |at: Height| store.unsettled(at).map_or(true, |why| why.is_none());
        match named {
            Some(named) => store
                .tip()
                .map_or(true, |tip| tip.is_some_and(|tip| named.height <= tip.height) && is_settled(named.height)),
            None => {
                let later = store.first_later_than(as_of);
                let later = later.map_or(true, |later| later.is_some_and(|later| is_settled(later.height)));
                later || as_of > now || at_tip.is_some_and(|at| at > as_of)
            }
        }
    }

    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read()
    }

    /// Why the chain is not followed at the moment.
    pub fn trouble(&self) -> Option<Trouble> {
        self.slot.read().trouble.clone()
    }

    /// Notes that the chain is followed, or why it is not. Trouble keeps the instant at which it began.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        let mut slot = self.slot.write();
        let since = slot.trouble.as_ref().map(|before| before.since);
        slot.trouble = trouble.map(|now| Trouble { since: since.unwrap_or(now.since), ..now });
        slot.trouble_is_old = false;
    }

    /// Takes up what troubled the chain when the process before ended: it lasts until the chain is followed.
    pub(crate) fn trouble_before(&self, trouble: Trouble) {
        let mut slot = self.slot.write();
        (slot.trouble, slot.trouble_is_old) = (Some(trouble), true);
    }

    /// What troubles the chain, as said since the start of the process.
    pub(crate) fn trouble_now(&self) -> Option<Option<Trouble>> {
        let slot = self.slot();
        (!slot.trouble_is_old).then(|| slot.trouble.clone())
    }

    /// The nodes that have another chain in blocks that are final here.
    pub fn dissent(&self) -> Vec<Dissent> {
        self.branches().into_iter().map(|branch| branch.dissent).collect()
    }

    /// The same, with what they say.
    pub fn branches(&self) -> Vec<Branch> {
        self.slot.read().branches.clone()
    }

    /// Notes which nodes have another chain.
    pub fn set_branches(&self, branches: Vec<Branch>) {
        self.slot.write().branches = branches;
    }

    /// What waits in the node's mempool, as it was last looked at.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub fn waiting(&self) -> Result<Arc<Waiting>, String> {
        match self.trouble() {
            Some(trouble) => Err(trouble.why),
            None => self.slot().waiting.clone(),
        }
    }

    /// Replaces it.
    pub fn set_waiting(&self, waiting: Result<Waiting, String>) {
        self.slot.write().waiting = waiting.map(Arc::new);
    }

    /// What was heard from the nodes.
    pub fn heard(&self) -> Heard {
        self.slot.read().heard.clone()
    }

    /// Notes what was heard from the nodes.
    pub fn hear(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.slot.write().heard);
    }

    /// The chain through its nodes. A node that is known to be away is not waited for.
    pub(crate) fn connect(&self) -> Result<Box<dyn Chain>, String> {
        match self.trouble() {
            Some(trouble) => Err(format!("{}, since {}", trouble.why, trouble.since)),
            None => (self.connect)(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {})", self.name, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_from_what_was_done() {
        let at = |height, seconds: i64| {
            let since = Timestamp::from_unix_s(1_770_000_000);
            let one = CatchingUp { since, from: Height(101), at: Height(height), to: Height(300), filling_in: false };
            (one.percent(), one.left_s(Timestamp::from_unix_s(since.unix_s() + seconds)))
        };
        assert_eq!(at(100, 5), (0, None));
        assert_eq!(at(150, 10), (25, Some(30)));
        assert_eq!(at(299, 199), (99, Some(1)));
        assert_eq!((at(300, 200), at(301, 201)), ((100, Some(0)), (100, Some(0))));
        assert_eq!(at(150, -1), (25, None));
    }
}
