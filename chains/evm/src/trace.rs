//! What a node's tracers say about native balances: `prestateTracer` what each transaction changed in all, `callTracer` by which calls.
//! Nothing commits to a trace: it explains, and state decides.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use assay_types::Kind;
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

/// `callTracer`'s answer: a call with those that it made.
#[derive(Debug, Deserialize)]
pub(crate) struct Call {
    #[serde(rename = "type")]
    kind: String,
    from: Address,
    to: Option<Address>,
    value: Option<U256>,
    error: Option<serde_json::Value>,
    #[serde(default)]
    calls: Vec<Call>,
}

/// Native coins that a call within a transaction moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) kind: Kind,
}

impl Call {
    /// What the calls within moved, in the order of execution. A call that failed moved nothing, nor did those that it made.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.error.is_none() {
            self.calls.iter().for_each(|call| call.collect(&mut frames));
        }
        frames
    }

    fn collect(&self, frames: &mut Vec<Frame>) {
        if self.error.is_some() {
            return;
        }
        let kind = match self.kind.as_str() {
            "CALL" => Some(Kind::Internal),
            "CREATE" | "CREATE2" => Some(Kind::Create),
            "SELFDESTRUCT" => Some(Kind::SelfDestruct),
            _ => None, // DELEGATECALL, CALLCODE and STATICCALL move nothing
        };
        if let (Some(kind), Some(to), Some(value)) = (kind, self.to, self.value)
            && self.from != to
            && !value.is_zero()
        {
            frames.push(Frame { from: self.from, to, value, kind });
        }
        self.calls.iter().for_each(|call| call.collect(frames));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_that_failed_and_those_that_move_nothing_are_left_out() {
        let address = |byte: u8| Address::repeat_byte(byte);
        let call = |kind: &str, from: u8, to: u8, value: &str, calls: serde_json::Value| json!({ "type": kind, "from": address(from), "to": address(to), "value": value, "calls": calls });
        let mut failed = call("CALL", 2, 5, "0x9", json!([call("CALL", 5, 6, "0x8", json!([]))]));
        failed["error"] = json!("execution reverted");
        let inner = json!([
            call("CALL", 2, 3, "0x1", json!([call("SELFDESTRUCT", 3, 4, "0x2", json!([]))])),
            failed,
            call("DELEGATECALL", 2, 7, "0x3", json!([call("CREATE", 2, 8, "0x4", json!([]))])),
            call("CALL", 2, 2, "0x5", json!([])),
            json!({ "type": "STATICCALL", "from": address(2), "to": address(9) }),
        ]);
        let read = |json: serde_json::Value| serde_json::from_value::<Call>(json).unwrap().frames();
        let mut root = call("CALL", 1, 2, "0xff", inner);
        let frame =
            |from, to, value: u64, kind| Frame { from: address(from), to: address(to), value: U256::from(value), kind };
        let expected =
            [frame(2, 3, 1, Kind::Internal), frame(3, 4, 2, Kind::SelfDestruct), frame(2, 8, 4, Kind::Create)];
        assert_eq!(read(root.clone()), expected);
        root["error"] = json!("out of gas");
        assert!(read(root).is_empty());
    }
}
