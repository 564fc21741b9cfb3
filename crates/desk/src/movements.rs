//! A movement as histories say it: the command line, the API and files say the same.

use assay_store::{Movement, Store, StoreError};
use assay_types::{ChainId, Height};
use serde_json::{Value, json};

/// What is said of each movement, in the order of a file's columns.
pub const MOVEMENT_FIELDS: [&str; 11] =
    ["height", "hash", "time", "txid", "index", "asset", "direction", "amount", "balance", "kind", "final"];

/// How one chain's movements in one asset are said.
#[derive(Clone, Copy)]
pub struct Movements<'a> {
    /// Has the blocks' hashes and times.
    pub store: &'a Store,
    /// How its hashes are written.
    pub chain: &'a ChainId,
    /// The asset's symbol.
    pub symbol: &'a str,
    /// The deployment's decimals.
    pub decimals: u8,
    /// The last height that may be relied upon.
    pub final_height: Option<Height>,
}

impl Movements<'_> {
    /// A movement, amounts in coins.
    ///
    /// # Errors
    /// When the database fails.
    pub fn row(&self, movement: &Movement) -> Result<Value, StoreError> {
        let header = self.store.header(movement.height)?;
        let show = |hash: &[u8; 32]| self.chain.show_hash(hash);
        Ok(json!({
            "height": movement.height,
            "hash": header.as_ref().map(|header| show(&header.hash.0)),
            "time": header.as_ref().map(|header| header.time),
            "txid": movement.txid.map(|txid| show(&txid.0)),
            "index": movement.index,
            "asset": self.symbol,
            "direction": movement.direction.as_str(),
            "amount": movement.amount.to_coins(self.decimals),
            "balance": movement.balance.to_coins(self.decimals),
            "kind": movement.kind.as_str(),
            "final": self.final_height.is_some_and(|height| movement.height <= height),
        }))
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
