//! What a node's `callTracer` says: by which calls within a transaction native coins moved. Nothing commits to a trace: it explains, and
//! state decides.

use alloy::primitives::{Address, B256, U256};
use assay_types::Kind;
use serde::Deserialize;

use crate::digest::Tx;

/// One transaction's trace in the answer of `debug_traceBlockByHash`: a result, or an error within a successful answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    /// Which transaction; older nodes leave it out.
    pub(crate) tx_hash: Option<B256>,
    pub(crate) result: Option<Call>,
    pub(crate) error: Option<serde_json::Value>,
}

/// A call, with those that it made.
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

/// Native coins that a call within a transaction moved. From an account to itself they go where it destroys itself with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: U256,
    pub(crate) kind: Kind,
}

impl Call {
    /// Is it what this transaction begins with? What one sent that failed is not known.
    pub(crate) fn is_of(&self, tx: &Tx) -> bool {
        self.from == tx.sender
            && self.to.is_none_or(|to| to == tx.recipient)
            && (tx.value.is_zero() || self.value.is_none_or(|value| value == tx.value))
    }

    /// What the calls within moved, in the order of execution. A call that failed moved nothing, nor did those that it made. `burns`: who
    /// destroys itself for its own benefit burns what it has; since EIP-6780 only where it was created in the same transaction.
    pub(crate) fn frames(&self, burns: bool) -> Vec<Frame> {
        let mut frames = Frames { burns, created: Vec::new(), moved: Vec::new() };
        if self.error.is_none() {
            frames.note_created(self);
            self.calls.iter().for_each(|call| frames.add(call));
        }
        frames.moved
    }

    fn is_create(&self) -> bool {
        matches!(self.kind.as_str(), "CREATE" | "CREATE2")
    }
}

struct Frames {
    burns: bool,
    created: Vec<Address>,
    moved: Vec<Frame>,
}

impl Frames {
    fn note_created(&mut self, call: &Call) {
        self.created.extend(call.to.filter(|_| call.is_create()));
    }

    fn add(&mut self, call: &Call) {
        if call.error.is_some() {
            return;
        }
        self.note_created(call);
        let kind = match call.kind.as_str() {
            "CALL" => Some(Kind::Internal),
            "SELFDESTRUCT" => Some(Kind::SelfDestruct),
            _ if call.is_create() => Some(Kind::Create),
            _ => None, // DELEGATECALL, CALLCODE and STATICCALL move nothing
        };
        let (from, value) = (call.from, call.value.unwrap_or_default());
        if let (Some(kind), Some(to)) = (kind, call.to) {
            let is_burnt = || kind == Kind::SelfDestruct && (self.burns || self.created.contains(&from));
            if !value.is_zero() && (from != to || is_burnt()) {
                self.moved.push(Frame { from, to, value, kind });
            }
        }
        call.calls.iter().for_each(|call| self.add(call));
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
        let read = |json: serde_json::Value| serde_json::from_value::<Call>(json).unwrap().frames(false);
        let mut root = call("CALL", 1, 2, "0xff", inner);
        let frame =
            |from, to, value: u64, kind| Frame { from: address(from), to: address(to), value: U256::from(value), kind };
        let expected =
            [frame(2, 3, 1, Kind::Internal), frame(3, 4, 2, Kind::SelfDestruct), frame(2, 8, 4, Kind::Create)];
        assert_eq!(read(root.clone()), expected);
        let burnt = |kind: &str| {
            call(
                "CALL",
                1,
                2,
                "0x0",
                json!([call(kind, 2, 3, "0x0", json!([call("SELFDESTRUCT", 3, 3, "0x7", json!([]))]))]),
            )
        };
        assert_eq!(read(burnt("CREATE2")), [frame(3, 3, 7, Kind::SelfDestruct)]);
        assert!(read(burnt("CALL")).is_empty(), "it keeps it");
        let before = serde_json::from_value::<Call>(burnt("CALL")).unwrap().frames(true);
        assert_eq!(before, [frame(3, 3, 7, Kind::SelfDestruct)]);
        root["error"] = json!("out of gas");
        assert!(read(root).is_empty());
    }
}
