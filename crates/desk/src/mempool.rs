//! What waits in a chain's mempool, as far as it touches followed accounts: a view beside the balances, which it never becomes a
//! part of. It can explain what is on its way, and backs nothing.

use std::sync::Arc;

use assay_store::{Store, StoreError};
use assay_types::{AccountNo, Amount, BlockRef, Chain, Height, NodeError, Outpoint, Payment, Pending, TxId};
use assay_verifier::{Balanced, Wide};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use serde_json::{Value, json};

/// A mempool that is looked at again and again: each time only what is new is fetched, and what left is dropped.
///
/// In memory there is the id of each transaction that waits (33 to 66 bytes; twice that while the mempool is looked at; a chain's
/// module says how many there can be), and of those that touch followed accounts what they do to them: [`MOST_TOUCHES`] of that at most.
#[derive(Default)]
pub struct Mempool {
    /// How many accounts were followed when it was first looked at: what touches others was not kept.
    followed: u32,
    seen: HashSet<TxId>,
    touching: HashMap<TxId, Arc<Touch>>,
    /// How long these are together.
    touches: usize,
}

/// How many payments of followed accounts, to them and by them, are kept.
const MOST_TOUCHES: usize = 1_000_000;
/// So many transactions are asked for before it is told how far that is.
const CHUNK: usize = 1_000;
/// How often the mempool is listed anew because something of it left before it was fetched.
const ROUNDS: usize = 3;

/// What a transaction does to followed accounts.
#[derive(Debug, Default)]
pub(crate) struct Touch {
    /// Its outputs that pay them, by index.
    credits: Vec<(Option<u32>, AccountNo, Amount)>,
    /// What it takes from them, input by input.
    pub(crate) debits: Vec<(AccountNo, Amount)>,
    /// All that it pays, to anyone, if it takes from them: a withdrawal is known by whom it pays.
    pub(crate) payments: Vec<Payment>,
}

impl Touch {
    /// The followed account that this output pays.
    fn made(&self, vout: u32) -> Option<(AccountNo, Amount)> {
        let made = self.credits.iter().find(|(index, ..)| *index == Some(vout));
        made.map(|(_, number, amount)| (*number, *amount))
    }

    fn len(&self) -> usize {
        self.credits.len() + self.debits.len() + self.payments.len()
    }
}

/// What waited in the mempool when a block was the last one.
#[derive(Debug)]
pub struct Waiting {
    at: BlockRef,
    nets: HashMap<AccountNo, Balanced>,
    withdrawals: Vec<(TxId, Arc<Touch>)>,
}

impl Waiting {
    /// The transactions that take coins from followed accounts.
    pub(crate) fn withdrawals(&self) -> impl Iterator<Item = (TxId, &Touch)> {
        self.withdrawals.iter().map(|(txid, touch)| (*txid, &**touch))
    }

    /// What waits does to a followed account, in base units, if this block is still the last one.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub fn net(&self, account: AccountNo, last: BlockRef) -> Result<Balanced, String> {
        match self.at == last {
            true => Ok(self.nets.get(&account).copied().unwrap_or_default()),
            false => Err(format!("the mempool was last looked at when block {} was the last one", self.at.height)),
        }
    }
}

/// Says in the answer about an account's balance after the last block what waits, in coins, or why that is not known.
pub fn say_pending(answer: &mut Value, net: Result<Balanced, String>, decimals: u8) {
    match net {
        Ok(net) => answer["pending"] = json!(net.coins(decimals)),
        Err(why) => (answer["pending"], answer["pending_reason"]) = (Value::Null, json!(why)),
    }
}

/// Why it is not known what waits.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// The node has no answer, or none that can be used.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The store has none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What waits may spend what a block that is missing here has made.
    #[error("the index is not at the node's last block, {0}")]
    Behind(Height),
    /// Blocks come and go faster than it can be looked at.
    #[error("blocks came while the mempool was looked at")]
    Restless,
    /// More than is kept.
    #[error("more than {MOST_TOUCHES} payments by and to followed accounts wait in the mempool")]
    TooMany,
}

/// How far a look came.
#[derive(PartialEq, Eq)]
enum Had {
    /// Everything that was listed is there.
    All,
    /// Something had left before it was asked for.
    AllThatStayed,
    /// A block came meanwhile, and what was made of it is not known.
    Overtaken,
}

impl Mempool {
    /// Looks at what waits now. `progress` is told how many of the transactions that are new were fetched, and how many there are.
    /// `None` where a chain has no such view.
    ///
    /// # Errors
    /// See [`MempoolError`]. What was fetched by then is not fetched again.
    pub fn look(
        &mut self,
        chain: &dyn Chain,
        store: &Store,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Option<Waiting>, MempoolError> {
        let followed = store.followed()?;
        if followed != self.followed {
            *self = Mempool { followed, ..Mempool::default() };
        }
        let mut last = None;
        for _ in 0..ROUNDS {
            let Some(listed) = chain.mempool()? else { return Ok(None) };
            // Asked after the list: whatever is spent there is then an output of the store's, or of the mempool's own.
            let at = last_block(chain, store)?;
            last = match self.follow(chain, (store, at), listed, progress)? {
                Had::All => return Ok(Some(self.waiting(at))),
                Had::AllThatStayed => Some(at),
                Had::Overtaken => None,
            };
        }
        // What spends an output of something that has left was left out, and has most likely left too.
        last.map(|at| Some(self.waiting(at))).ok_or(MempoolError::Restless)
    }

    /// Drops what is not listed any more, and fetches what is new.
    fn follow(
        &mut self,
        chain: &dyn Chain,
        (store, at): (&Store, BlockRef),
        listed: Vec<TxId>,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Had, MempoolError> {
        let mut open: Vec<TxId> = listed.iter().filter(|txid| !self.seen.contains(*txid)).copied().collect();
        let listed: HashSet<TxId> = listed.into_iter().collect();
        self.seen.retain(|txid| listed.contains(txid));
        self.touching.retain(|txid, _| listed.contains(txid));
        self.touches = self.touching.values().map(|touch| touch.len()).sum();
        let all = open.len();
        loop {
            let before = open.len();
            for (nth, chunk) in open.chunks(CHUNK).enumerate() {
                let waiting = chain.waiting(chunk)?;
                for (txid, pending) in waiting {
                    let is_there = |spent: &Outpoint| self.seen.contains(&spent.txid) || !listed.contains(&spent.txid);
                    if pending.spends.iter().all(is_there) {
                        self.enter(store, txid, pending)?;
                    }
                }
                // A block that came may have taken away what these spend.
                if store.tip()?.is_none_or(|tip| tip.at() != at) {
                    chunk.iter().for_each(|txid| self.forget(txid));
                    return Ok(Had::Overtaken);
                }
                progress(all - before + (nth * CHUNK + chunk.len()), all);
            }
            open.retain(|txid| !self.seen.contains(txid));
            if open.is_empty() {
                return Ok(Had::All);
            }
            // Usually what is spent is listed first. Where it is not, what spends it is fetched again.
            if open.len() == before {
                return Ok(Had::AllThatStayed);
            }
        }
    }

    fn enter(&mut self, store: &Store, txid: TxId, pending: Pending) -> Result<(), MempoolError> {
        let mut touch = Touch::default();
        for payment in &pending.payments {
            if let Some((number, true)) = store.number(&payment.to)? {
                touch.credits.push((payment.index, number, payment.amount));
            }
        }
        for spent in &pending.spends {
            let made = self.touching.get(&spent.txid).and_then(|parent| parent.made(spent.vout));
            touch.debits.extend(made.or(store.unspent(spent)?));
        }
        if !touch.debits.is_empty() {
            touch.payments = pending.payments;
        }
        self.touches += touch.len();
        if self.touches > MOST_TOUCHES {
            return Err(MempoolError::TooMany);
        }
        self.seen.insert(txid);
        if touch.len() > 0 {
            self.touching.insert(txid, Arc::new(touch));
        }
        Ok(())
    }

    fn forget(&mut self, txid: &TxId) {
        self.seen.remove(txid);
        self.touching.remove(txid);
    }

    fn waiting(&self, at: BlockRef) -> Waiting {
        let (mut nets, mut withdrawals): (HashMap<AccountNo, Balanced>, _) = (HashMap::new(), Vec::new());
        for (txid, touch) in &self.touching {
            touch.credits.iter().for_each(|(_, to, amount)| nets.entry(*to).or_default().more += Wide::from(amount.0));
            touch.debits.iter().for_each(|(by, amount)| nets.entry(*by).or_default().less += Wide::from(amount.0));
            if !touch.debits.is_empty() {
                withdrawals.push((*txid, touch.clone()));
            }
        }
        Waiting { at, nets, withdrawals }
    }
}

/// The node's last block, if it is the store's too.
fn last_block(chain: &dyn Chain, store: &Store) -> Result<BlockRef, MempoolError> {
    let head = chain.tip()?.head;
    let indexed = store.tip()?.map(|header| header.at());
    if indexed == Some(head) { Ok(head) } else { Err(MempoolError::Behind(head.height)) }
}
