//! An item in flight, judged.

use assay_types::{BlockRef, ChainId, InFlight, TxId};
use foldhash::HashMap;

use crate::Found;
use crate::allotment::{Fit, Share};
use crate::coins::{Coins, Wide, wide};
use crate::holdings::{Blocks, alias};
use crate::item::{Effect, InFlightLine, List, Place};
use crate::reconciliation::show_hash;

/// What was found of each transaction.
pub(crate) type Transactions<'a> = HashMap<(&'a ChainId, TxId), &'a Found>;

/// An item with everything that was found out about it.
#[derive(Debug, Clone)]
pub(crate) struct Judged<'a> {
    /// Which of the statement's reports it belongs to.
    pub(crate) report: usize,
    pub(crate) list: List,
    pub(crate) symbol: &'a str,
    pub(crate) decimals: u8,
    pub(crate) item: &'a InFlight,
    /// The transaction that it names, or that was found for it (`unnamed`).
    pub(crate) tx: Option<TxId>,
    pub(crate) place: Place<'a>,
    pub(crate) fit: Fit,
    /// What of it is deducted: only ever of an unconfirmed credit in a block after B.
    pub(crate) granted: Share,
    /// What of a withdrawal may be settled, or of an unconfirmed credit have come, that nobody can tell, or that state does not bear out.
    pub(crate) untold: Wide,
}

impl Judged<'_> {
    /// Is it owed?
    pub(crate) fn counts(&self) -> bool {
        match (self.list, &self.place) {
            (List::PendingWithdrawals, Place::UpTo(_)) => !matches!(self.fit, Fit::Pays(_)),
            (List::PendingWithdrawals, _) => true,
            (List::UncreditedDeposits, Place::Mempool | Place::After(_)) => false,
            (List::UncreditedDeposits, _) => true,
            (List::UnconfirmedCredits, _) => false,
        }
    }

    /// What of it is owed.
    pub(crate) fn owed(&self) -> Wide {
        if self.counts() { wide(self.item.amount) } else { Wide::ZERO }
    }

    /// What of an unconfirmed credit waits in the mempool: it explains a difference, and backs nothing.
    pub(crate) fn in_mempool(&self) -> Wide {
        match (self.list, &self.place, self.fit) {
            (List::UnconfirmedCredits, Place::Mempool, Fit::Pays(share) | Fit::Less(share)) => share.total(),
            (List::UnconfirmedCredits, Place::Mempool, Fit::Untold) => wide(self.item.amount),
            _ => Wide::ZERO,
        }
    }

    /// What an unconfirmed credit in a block after B brings, before that is netted.
    pub(crate) fn brings(&self) -> Option<Share> {
        match (self.list, &self.place, self.fit) {
            (List::UnconfirmedCredits, Place::After(_), Fit::Pays(share) | Fit::Less(share)) => Some(share),
            _ => None,
        }
    }

    /// Is less of it granted than its transaction pays, because that only moves the exchange's own coins?
    pub(crate) fn is_own_coins(&self) -> bool {
        self.brings().is_some_and(|share| self.granted.total() + self.untold < share.total())
    }

    pub(crate) fn block(&self) -> Option<BlockRef> {
        match self.place {
            Place::UpTo(at) | Place::After(at) => Some(at),
            _ => None,
        }
    }

    pub(crate) fn txid(&self) -> Option<String> {
        self.tx.map(|txid| self.item.chain.show_hash(&txid.0))
    }

    /// For the result.
    pub(crate) fn line(&self, blocks: &Blocks<'_>) -> InFlightLine {
        let (effect, counted) = match (self.list, self.counts(), self.granted.clear) {
            (List::UnconfirmedCredits, _, Wide::ZERO) => (Effect::DoesNotDeduct, Wide::ZERO),
            (List::UnconfirmedCredits, _, granted) => (Effect::Deducts, granted),
            (_, true, _) => (Effect::Counts, self.owed()),
            (_, false, _) => (Effect::DoesNotCount, Wide::ZERO),
        };
        InFlightLine {
            field: self.item.field.clone(),
            list: self.list,
            chain: alias(blocks, &self.item.chain).to_owned(),
            txid: self.txid(),
            amount: Coins::new(self.item.amount, self.decimals),
            standing: self.place.standing(),
            height: self.block().map(|at| at.height.0),
            hash: self.block().map(|at| show_hash(&self.item.chain, at)),
            effect,
            counted: Coins::of(counted, self.decimals),
        }
    }
}
