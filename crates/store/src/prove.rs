//! Accounts that were filled in by filters of blocks are unproven, for no block commits to its filter. Later the blocks are read, and
//! what they say is held against what is stored.

use assay_types::{AccountNo, Asset, Block, Direction, Effect, Height, TxId, Watch};
use rocksdb::WriteBatch;

use crate::bytes::Reader;
use crate::declare::{PUBLISHED_KEY, ROUND_KEY};
use crate::memory::Fingerprints;
use crate::walked::walked_key;
use crate::{Coverage, Family, Round, Store, StoreError};

const PROVING_KEY: &[u8] = b"proving";
const DISTRUST_KEY: &[u8] = b"distrust";

/// The outputs that are known to have paid some accounts: 10 to 20 bytes each.
pub struct Credits(Fingerprints);

/// A movement that a block holds and that is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Whose.
    pub account: AccountNo,
    /// In which block.
    pub height: Height,
    /// By which transaction.
    pub txid: TxId,
    /// Which way.
    pub direction: Direction,
    /// The transaction's input or output.
    pub index: u32,
}

impl Store {
    /// As [`Store::publish`], for a round in which blocks were left out whose filters said nothing: from `first` on all blocks are to be
    /// read for its accounts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn publish_unproven(&self, round: Round, first: Height) -> Result<(), StoreError> {
        let mut waiting = self.to_prove()?;
        match waiting.last_mut().filter(|last| last.to == round.from && last.next == first) {
            Some(last) => last.to = round.to,
            None => waiting.push(Round { next: first, ..round }),
        }
        let mut batch = WriteBatch::default();
        let meta = self.family(Family::Meta)?;
        batch.put_cf(meta, PUBLISHED_KEY, round.to.0.to_be_bytes());
        batch.delete_cf(meta, ROUND_KEY);
        self.put_to_prove(&waiting, &mut batch)?;
        self.amend(|| self.commit(batch, true))
    }

    /// The accounts for which blocks are being read next, and the height that comes next: below it blocks say what is stored.
    ///
    /// # Errors
    /// When the database fails.
    pub fn proving(&self) -> Result<Option<Round>, StoreError> {
        Ok(self.to_prove()?.into_iter().next())
    }

    /// Notes how far blocks were read for them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn note_proving(&self, round: Round) -> Result<(), StoreError> {
        let mut waiting = self.to_prove()?;
        if let Some(one) = waiting.first_mut() {
            *one = round;
        }
        let mut batch = WriteBatch::default();
        self.put_to_prove(&waiting, &mut batch)?;
        self.commit(batch, false)
    }

    /// All blocks were read for them: those that were unproven from `first` on are verified.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prove(&self, round: Round, first: Height) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for number in round.from.0..round.to.0 {
            let key = walked_key(AccountNo(number), first);
            if self.get(Family::Coverage, &key)? == Some(Coverage::Unproven.value()) {
                batch.put_cf(self.family(Family::Coverage)?, key, Coverage::Verified.value());
            }
        }
        let waiting = self.to_prove()?;
        self.put_to_prove(waiting.get(1..).unwrap_or_default(), &mut batch)?;
        self.amend(|| self.commit(batch, true))
    }

    /// A block holds what is not stored, for its filter hid it: the account is unknown from `first` on, for this reason.
    ///
    /// # Errors
    /// When the database fails.
    pub fn disprove(&self, account: AccountNo, first: Height, reason: &str) -> Result<(), StoreError> {
        let key = walked_key(account, first);
        if self.get(Family::Coverage, &key)? != Some(Coverage::Unproven.value()) {
            return Ok(()); // the first reason stays
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(Family::Coverage)?, key, Coverage::Unknown(reason.into()).value());
        batch.put_cf(self.family(Family::Meta)?, DISTRUST_KEY, []);
        self.amend(|| self.commit(batch, true))
    }

    /// Was a filter found to have hidden something?
    ///
    /// # Errors
    /// When the database fails.
    pub fn distrusts_filters(&self) -> Result<bool, StoreError> {
        Ok(self.get(Family::Meta, DISTRUST_KEY)?.is_some())
    }

    /// Reads into memory which outputs are stored that paid the accounts of a round.
    ///
    /// # Errors
    /// When the database fails.
    pub fn credits(&self, round: Round) -> Result<Credits, StoreError> {
        let mut credits = Fingerprints::default();
        for number in round.from.0..round.to.0 {
            for movement in self.movements(AccountNo(number), Asset::Native, Height(0), Height(u64::MAX))? {
                let movement = movement?;
                if let (Direction::Credit, Some(txid)) = (movement.direction, movement.txid) {
                    credits.insert(&assay_types::Outpoint { txid, vout: movement.index });
                }
            }
        }
        Ok(Credits(credits))
    }

    /// What a block did to these accounts and is not stored: outputs that pay them, and inputs that spend outputs which are known to
    /// have paid them.
    ///
    /// # Errors
    /// When the database fails.
    ///
    /// # Panics
    /// When the block's inputs or effects name transactions that it has not.
    pub fn hidden(&self, block: &Block, watch: &Watch, credits: &Credits) -> Result<Vec<Hidden>, StoreError> {
        let (height, mut hidden) = (block.header.height, Vec::new());
        let txid = |tx: u32| block.txids[tx as usize];
        for effect in &block.effects {
            let Effect::Output(leg) = effect else { continue };
            let (account, direction, index) = (leg.account, leg.direction, leg.index);
            hidden.push(Hidden { account, height, txid: txid(leg.tx.unwrap_or(0)), direction, index });
        }
        let spends = block.spends.iter().copied().filter(|spend| credits.0.may_have(*spend));
        for input in block.body.inputs(&spends.collect::<Vec<_>>()) {
            let spends = input.spends;
            let Some(made) = self.transaction(spends.txid)? else { continue };
            let paid = made.payments.iter().find(|payment| payment.index == Some(spends.vout));
            if let Some(account) = paid.and_then(|paid| watch.number(&paid.to.0)) {
                let (txid, direction, index) = (txid(input.tx), Direction::Debit, input.index);
                hidden.push(Hidden { account, height, txid, direction, index });
            }
        }
        let mut left = Vec::new();
        for one in hidden {
            if !self.is_stored(&one)? {
                left.push(one);
            }
        }
        Ok(left)
    }

    fn is_stored(&self, one: &Hidden) -> Result<bool, StoreError> {
        for movement in self.movements(one.account, Asset::Native, one.height, one.height)? {
            let movement = movement?;
            if (movement.txid, movement.direction, movement.index) == (Some(one.txid), one.direction, one.index) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn to_prove(&self) -> Result<Vec<Round>, StoreError> {
        let Some(row) = self.get(Family::Meta, PROVING_KEY)? else { return Ok(Vec::new()) };
        let (mut rest, mut waiting) = (Reader(&row), Vec::new());
        while !rest.0.is_empty() {
            waiting.push(self.read(Family::Meta, PROVING_KEY, Round::read_one(&mut rest))?);
        }
        Ok(waiting)
    }

    fn put_to_prove(&self, waiting: &[Round], batch: &mut WriteBatch) -> Result<(), StoreError> {
        let meta = self.family(Family::Meta)?;
        match waiting {
            [] => batch.delete_cf(meta, PROVING_KEY),
            some => batch.put_cf(meta, PROVING_KEY, some.iter().flat_map(|round| round.value()).collect::<Vec<u8>>()),
        }
        Ok(())
    }
}
