//! A movement as histories say it: the command line, the API and files say the same.

use std::cell::RefCell;

use assay_store::{Lookup, Movement, Store, StoreError};
use assay_types::{ChainId, Height, Kind, Pair};
use serde_json::{Value, json};

use crate::left_at;

/// What is said of each movement, in the order of a file's columns.
pub const MOVEMENT_FIELDS: [&str; 11] =
    ["height", "hash", "time", "txid", "index", "asset", "direction", "amount", "balance", "kind", "final"];

/// How an account's movements in one asset are said.
pub struct Movements<'a> {
    store: &'a Store,
    chain: &'a ChainId,
    pair: Pair,
    symbol: &'a str,
    decimals: u8,
    /// The last height that may be relied upon.
    final_height: Option<Height>,
    /// The first block that the chain left for good, as far as its node says.
    left: Option<Height>,
    known: RefCell<Lookup<'a>>,
}

impl<'a> Movements<'a> {
    /// As of now; the asset by its symbol and the deployment's decimals.
    ///
    /// # Errors
    /// When the database fails.
    pub fn new(
        store: &'a Store,
        chain: &'a ChainId,
        pair: Pair,
        (symbol, decimals): (&'a str, u8),
    ) -> Result<Movements<'a>, StoreError> {
        let (final_height, known) = (store.final_height()?, RefCell::new(store.lookup()?));
        let left = store.left()?.map(|left| left.block.height);
        Ok(Movements { store, chain, pair, symbol, decimals, final_height, left, known })
    }

    /// All movements within these heights, both inclusive, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn within(
        &self,
        from: Height,
        to: Height,
    ) -> Result<impl Iterator<Item = Result<Value, StoreError>>, StoreError> {
        let (account, asset) = self.pair;
        Ok(self.store.movements(account, asset, from, to)?.map(|movement| self.row(&movement?)))
    }

    /// A movement, amounts in coins. The balance after it is `null` where it is unknown. What state showed behind blocks of which it was unknown may have
    /// happened in any of them: from `since` on.
    ///
    /// # Errors
    /// When the database fails.
    pub fn row(&self, movement: &Movement) -> Result<Value, StoreError> {
        let header = self.store.header(movement.height)?;
        let show = |hash: &[u8; 32]| self.chain.show_hash(hash);
        let mut known = self.known.borrow_mut();
        let is_there = self.left.is_none_or(|left| movement.height < left);
        let is_known = is_there && known.unknown_since(self.pair, movement.height)?.is_none();
        let mut row = json!({
            "height": movement.height,
            "hash": header.as_ref().map(|header| show(&header.hash.0)),
            "time": header.as_ref().map(|header| header.time),
            "txid": movement.txid.map(|txid| show(&txid.0)),
            "index": movement.index,
            "asset": self.symbol,
            "direction": movement.direction.as_str(),
            "amount": movement.amount.to_coins(self.decimals),
            "balance": is_known.then(|| movement.balance.to_coins(self.decimals)),
            "kind": movement.kind.as_str(),
            "final": is_there && self.final_height.is_some_and(|height| movement.height <= height),
        });
        if movement.kind == Kind::Unattributed
            && let Some(below) = movement.height.previous()
            && let Some(since) = known.unknown_since(self.pair, below)?
        {
            row["since"] = json!(since);
        }
        Ok(row)
    }

    /// The blocks among these, both inclusive, after which the balance is unknown, and why.
    ///
    /// # Errors
    /// When the database fails.
    pub fn unknown(&self, from: Height, to: Height) -> Result<Vec<Value>, StoreError> {
        let end = self.left.and_then(Height::previous).map_or(to, |there| there.min(to));
        let mut unknown = self.store.unknown_within(self.pair, from, end)?;
        if let Some(left) = self.left.filter(|left| *left <= to) {
            let why = left_at(self.store, self.chain, left)?.unwrap_or_default();
            unknown.push((left.max(from), to, why));
        }
        Ok(unknown.into_iter().map(|(from, to, reason)| json!({ "from": from, "to": to, "reason": reason })).collect())
    }
}

/// A row's field as a file's cell; what is not there is empty.
pub fn cell(row: &Value, field: &str) -> String {
    match &row[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
