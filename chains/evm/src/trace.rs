//! What a node's `prestateTracer` says about native balances. Nothing commits to a trace: it explains, and state decides.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use serde::Deserialize;

use crate::digest::{Change, Tx};

/// One transaction's trace in the answer of `debug_traceBlockByHash`: a result, or an error within a successful answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    /// Which transaction; older nodes leave it out.
    pub(crate) tx_hash: Option<B256>,
    pub(crate) result: Option<Diff>,
    pub(crate) error: Option<serde_json::Value>,
}

/// `prestateTracer` in diff mode: `pre` holds each changed account as it was, `post` only what changed.
#[derive(Debug, Deserialize)]
pub(crate) struct Diff {
    pre: BTreeMap<Address, State>,
    post: BTreeMap<Address, State>,
}

#[derive(Debug, Deserialize)]
struct State {
    balance: Option<U256>,
}

impl Diff {
    /// Every account that it names, and the transaction's two sides, with its balance before and after; `None` where the
    /// sender, whose nonce must have changed, is not named: then the trace is not of this transaction.
    pub(crate) fn changes(&self, tx: &Tx) -> Option<Vec<Change>> {
        if !self.post.contains_key(&tx.sender) {
            return None;
        }
        let mut changes: BTreeMap<Address, Change> = BTreeMap::new();
        for account in self.pre.keys().chain(self.post.keys()).copied() {
            let before = self.pre.get(&account).and_then(|state| state.balance).unwrap_or_default();
            let after = match self.post.get(&account) {
                Some(state) => state.balance.unwrap_or(before),
                None => U256::ZERO, // it was there and is no more
            };
            changes.insert(account, Change { account, before, after });
        }
        // who is not named is as before, whatever the value did: it was passed on
        let unchanged = Change { account: tx.recipient, before: U256::ZERO, after: U256::ZERO };
        changes.entry(tx.recipient).or_insert(unchanged);
        Some(changes.into_values().collect())
    }
}
