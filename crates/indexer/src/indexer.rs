//! One chain and its store, and what all that is done with them asks for.

use std::borrow::Borrow;
use std::cell::{Ref, RefCell};
use std::time::Instant;

use assay_store::{Store, StoreError};
use assay_types::{
    Account, AccountNo, Asset, BlockHash, BlockRef, Chain, Header, Height, NodeError, Pair, Reading, Watch,
};

use crate::IndexError;
use crate::ahead::Span;
use crate::breaks::Break;
use crate::holders::Holders;
use crate::patience::{Stop, patiently};
use crate::stretch::MANY;
use crate::turns::Turns;

/// How a chain is followed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many blocks of undo are kept.
    pub undo_depth: u64,
    /// The node's last block, if the operator accepts that it lies on another branch than what was final.
    pub accept_reorg: Option<BlockHash>,
    /// On how many processors blocks are read and checked.
    pub threads: usize,
    /// How balances are read from state, on chains that have it.
    pub turns: Turns,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The block that was just written.
    pub at: Height,
    /// Where this stretch began.
    pub from: Height,
    /// Where it ends.
    pub to: Height,
    /// Accounts declared late are being filled in.
    pub filling_in: bool,
}

/// Where the index stands after it has caught up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The last indexed block.
    pub tip: Header,
    /// The last final height.
    pub final_height: Option<Height>,
    /// How many blocks were written.
    pub applied: u64,
    /// How many were taken back.
    pub removed: u64,
    /// When the node was asked for its tip: what it has had since may be missing.
    pub asked: Instant,
    /// Accounts that were declared late are still being filled in.
    pub filling_in: bool,
}

/// How many blocks were written and taken back so far.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) applied: u64,
    pub(crate) removed: u64,
}

/// One chain and its store.
pub struct Indexer<'a> {
    pub(crate) chain: &'a dyn Chain,
    pub(crate) store: &'a Store,
    pub(crate) settings: Settings,
    pub(crate) stop: Stop,
    /// The accounts that are followed, as far as they were read already.
    watch: RefCell<Watch>,
    pub(crate) holders: RefCell<Holders>,
    /// Which node gave blocks, and from which one on.
    givers: RefCell<Vec<(Height, String)>>,
}

impl<'a> Indexer<'a> {
    /// Follows this chain into this store.
    pub fn new(chain: &'a dyn Chain, store: &'a Store, settings: Settings, stop: Stop) -> Indexer<'a> {
        let (watch, holders, givers) = Default::default();
        Indexer { chain, store, settings, stop, watch, holders, givers }
    }

    /// Makes the declared accounts known to the store, each group as declared together; says how many are new. Where accounts are
    /// announced meanwhile, the caller holds the store's pen.
    ///
    /// # Errors
    /// When the database fails.
    pub fn declare<A: Borrow<Account>>(&self, groups: &[impl AsRef<[A]>]) -> Result<u32, IndexError> {
        let added = self.store.declare(groups)?;
        self.cover()?;
        Ok(added)
    }

    /// Reads the accounts that are followed into memory, where they are needed for the first block: some 45 bytes for each.
    ///
    /// # Errors
    /// When the database fails.
    pub fn load(&self) -> Result<(), IndexError> {
        self.followed()?;
        Ok(())
    }

    /// Takes note of who gives blocks from this one on.
    pub(crate) fn note_giver(&self, from: Height) {
        /// So many changes are remembered.
        const MOST: usize = 16;
        let (node, mut givers) = (self.node(), self.givers.borrow_mut());
        if givers.last().is_none_or(|(_, before)| *before != node) {
            if givers.len() == MOST {
                givers.remove(0);
            }
            givers.push((from, node));
        }
    }

    /// The nodes that gave blocks up to this one, for people.
    pub(crate) fn giver(&self, of: Height) -> String {
        let givers = self.givers.borrow();
        let mut names: Vec<&str> = givers.iter().filter(|(from, _)| *from <= of).map(|(_, name)| &name[..]).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { self.node() } else { names.join(" or ") }
    }

    /// The node that answered last, for people.
    pub(crate) fn node(&self) -> String {
        self.chain.source().unwrap_or_else(|| "the node".into())
    }

    /// Is it worth while to keep in memory what these blocks need? State is read block by block, and asks the database.
    pub(crate) fn are_many(&self, from: Height, to: Height) -> bool {
        self.chain.proves_by_walking() && to.0.saturating_sub(from.0) >= MANY
    }

    pub(crate) fn span<'s>(
        &'s self,
        watch: &'s Watch,
        from: Height,
        to: Height,
        known: &'s (dyn Fn(Height) -> Option<Header> + Sync),
    ) -> Span<'s> {
        let Settings { threads, turns, .. } = self.settings;
        let (chain, stop, coming) = (self.chain, &self.stop, (to.0 + 1).saturating_sub(from.0));
        Span { chain, watch, from, to, coming, known, filtered: false, turns, prove_last: true, threads, stop }
    }

    /// Every account that is followed: those that came since the last time are read.
    pub(crate) fn followed(&self) -> Result<Ref<'_, Watch>, StoreError> {
        self.store.extend_watch(&mut self.watch.borrow_mut())?;
        Ok(self.watch.borrow())
    }

    pub(crate) fn cover(&self) -> Result<(), StoreError> {
        if self.chain.proves_by_walking() { self.store.cover_by_walking(self.chain.first()) } else { Ok(()) }
    }

    pub(crate) fn is_still_there(&self, block: BlockRef) -> Result<bool, IndexError> {
        let now = patiently(&self.stop, || self.chain.hash_at(block.height))?;
        Ok(now == Some(block.hash))
    }

    /// What state says at this block; nothing where the node keeps none so far back.
    pub(crate) fn read_again(
        &self,
        at: &Header,
        pairs: &[(AccountNo, Account, Asset)],
    ) -> Result<Vec<Reading>, IndexError> {
        match patiently(&self.stop, || self.chain.read_again(at, pairs)) {
            Err(NodeError::Missing { .. }) => Ok(Vec::new()),
            readings => Ok(readings?),
        }
    }

    pub(crate) fn with_bytes(&self, pairs: &[Pair]) -> Result<Vec<(AccountNo, Account, Asset)>, IndexError> {
        pairs.iter().map(|(number, asset)| Ok((*number, self.store.account(*number)?, *asset))).collect()
    }

    /// What is missing may have been there a moment ago, on a branch that the node has left since.
    pub(crate) fn as_reorganised(&self, read: Result<(), Break>) -> Result<(), Break> {
        match (read, self.store.tip()?) {
            (Err(Break::Error(IndexError::Node(NodeError::Missing { .. }))), Some(tip))
                if !self.is_still_there(tip.at())? =>
            {
                Err(Break::Reorganised)
            }
            (read, _) => read,
        }
    }
}
