//! What a node means by an error.

use alloy::rpc::json_rpc::ErrorPayload;

/// What a JSON-RPC error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The contract that was called failed.
    Execution,
    /// Less at a time may do.
    TooMuch,
    /// The node does not have it.
    Absent,
    /// It is asked too often.
    Limited,
    /// It has too much to do.
    Overloaded,
    /// It did not come to an end with it in the time that it has for anything.
    Late,
    NoMethod,
    Other,
}

impl Meaning {
    /// Codes are standard in part (EIP-1474) and used otherwise by many nodes: what counts is their words. A contract chooses the words with which it
    /// fails, so that those are not listened to.
    pub(crate) fn of(error: &ErrorPayload) -> Meaning {
        let words = error.message.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
        if error.code == 3 || words.starts_with("execution reverted") {
            Meaning::Execution
        } else if says(TOO_MUCH) {
            Meaning::TooMuch
        } else if says(ABSENT) || error.data.as_ref().is_some_and(|data| data.get().contains(MISSING_NODE)) {
            Meaning::Absent
        } else if error.code == 429 || says(LIMITED) {
            Meaning::Limited
        } else if says(LATE) {
            Meaning::Late
        } else if says(OVERLOADED) || error.is_retry_err() {
            Meaning::Overloaded
        } else if matches!(error.code, -32601 | -32004) || says(NO_METHOD) {
            Meaning::NoMethod
        } else if says(EXECUTION) {
            Meaning::Execution
        } else {
            Meaning::Other
        }
    }

    /// Later may do.
    pub(crate) fn is_overload(self) -> bool {
        matches!(self, Meaning::Limited | Meaning::Overloaded | Meaning::Late)
    }

    /// Less at a time may do, or later.
    pub(crate) fn is_too_much(self) -> bool {
        self == Meaning::TooMuch || self.is_overload()
    }
}

const TOO_MUCH: &[&str] = &[
    "batch",
    "execution aborted",
    "execution timeout",
    "response size",
    "response is too big",
    "too large",
    "too many results",
    "query timeout",
];
const LIMITED: &[&str] =
    &["rate limit", "too many requests", "limit exceeded", "request limit", "request count exceeded"];
const LATE: &[&str] = &["timeout", "timed out", "time out"];
const OVERLOADED: &[&str] = &["capacity", "overloaded", "try again", "temporarily", "busy", "context canceled"];
const NO_METHOD: &[&str] = &[
    "method not found",
    "method not supported",
    "unsupported method",
    "not available on this",
    "does not exist/is not",
    "method is not",
    "method not allowed",
    "not whitelisted",
    "is not enabled",
    "method disabled",
];
const ABSENT: &[&str] = &[
    "resource not found",
    "header not found",
    "block not found",
    "unknown block",
    "missing trie node",
    "state not available",
    "state is not available",
    "historical state",
    "state unavailable",
    "no state available",
    "missing state",
    "pruned",
    "pruning",
    "proof window",
    "blockoutofrange",
    "block is out of range",
    "unfinalized data",
    "after last accepted",
    "header for hash not found",
    "could not find block",
    "cannot find block",
    "failed to get state",
    "state histories",
    "block is not available",
    "is too old",
    "archive",
    "incorrect head block",
    "only for the 'latest' block",
    "only available for the latest",
];
/// What Nethermind puts beside an "Internal error" (its issue 9408).
const MISSING_NODE: &str = "MissingTrieNode";
const EXECUTION: &[&str] = &[
    "reverted",
    "out of gas",
    "outofgas",
    "gas required exceeds",
    "evm error",
    "invalid opcode",
    "stack underflow",
    "stack limit",
    "invalid jump",
    "max code size",
];
