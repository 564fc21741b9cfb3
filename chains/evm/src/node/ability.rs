//! What a node has turned out not to be able to do. It begins with everything; what it refuses is asked for again later, for a
//! node may be set up anew, and a balancer sends the next question to another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay_types::{Fault, NodeError};
use parking_lot::Mutex;

use crate::node::Node;

/// For how long it is not asked for what it refused.
const PAUSE: Duration = Duration::from_secs(300);

/// One thing that nodes can do, and some cannot.
#[derive(Debug)]
pub(crate) struct Ability {
    /// What it is, and what its loss means.
    what: &'static str,
    /// It did it the last time that it was asked.
    shown: AtomicBool,
    lost: Mutex<Option<Instant>>,
}

/// All that matters of a node.
#[derive(Debug)]
pub(crate) struct Abilities {
    /// JSON-RPC batches.
    pub(crate) batches: Ability,
    /// `debug_traceTransaction`.
    pub(crate) single_traces: Ability,
    /// `debug_traceBlockByHash`.
    pub(crate) whole_traces: Ability,
    /// `trace_block`.
    pub(crate) listed_traces: Ability,
    /// `eth_getBlockReceipts`.
    pub(crate) block_receipts: Ability,
    /// Headers, transactions and receipts as they are known here.
    pub(crate) known: Ability,
    /// `eth_getRawTransactionByHash`.
    pub(crate) raw: Ability,
    /// `eth_getProof`.
    pub(crate) proofs: Ability,
    /// The proofs and code of tokens' contracts.
    pub(crate) contracts: Ability,
    /// `eth_call` with a state override, for the balance reader.
    pub(crate) overrides: Ability,
}

impl Abilities {
    pub(crate) const fn assumed() -> Abilities {
        Abilities {
            batches: Ability::assumed("batches"),
            single_traces: Ability::assumed(
                "debug_traceTransaction, so internal payments that nothing else tells are found by reading state",
            ),
            whole_traces: Ability::assumed("debug_traceBlockByHash, so traces are asked for another way"),
            listed_traces: Ability::assumed("trace_block, so traces are asked for another way"),
            block_receipts: Ability::assumed("eth_getBlockReceipts, so receipts are read one by one"),
            known: Ability::assumed("codec of ours for all of its blocks, so these are told and not checked"),
            raw: Ability::assumed("eth_getRawTransactionByHash, so what is not known here is told and not checked"),
            proofs: Ability::assumed("eth_getProof, so nothing is proven"),
            contracts: Ability::assumed(
                "proofs of tokens' contracts, so a token whose code changes, or that stops an account, is not noticed",
            ),
            overrides: Ability::assumed("code laid by eth_call, so balances are read one by one"),
        }
    }
}

impl Ability {
    pub(crate) const fn assumed(what: &'static str) -> Ability {
        Ability { what, shown: AtomicBool::new(false), lost: Mutex::new(None) }
    }

    /// Worth asking for?
    pub(crate) fn is_there(&self) -> bool {
        self.is_there_at(Instant::now())
    }

    fn is_there_at(&self, now: Instant) -> bool {
        let lost = *self.lost.lock();
        lost.is_none_or(|since| now.duration_since(since) >= PAUSE)
    }

    /// It did it; should it lose that, it is news.
    pub(crate) fn show(&self) {
        if !self.shown.swap(true, Ordering::Relaxed) {
            *self.lost.lock() = None;
        }
    }

    /// It failed without saying why. Did it work the last time? If not, the node may be unable to do it.
    pub(crate) fn doubt(&self) -> bool {
        self.shown.swap(false, Ordering::Relaxed)
    }

    /// It does not know how. If it did it before, that is an answer left out, and worth asking again; if it says so twice, it
    /// is taken at its word.
    pub(crate) fn refuse(&self, node: &Node, subject: &str, why: &str) -> Result<(), NodeError> {
        if self.shown.swap(false, Ordering::Relaxed) {
            let why = format!("it gave such answers before, and refuses now: {why}");
            return Err(node.unreadable(subject, Fault::Omitted, why));
        }
        self.lose(node, why);
        Ok(())
    }

    /// It cannot; says so once.
    pub(crate) fn lose(&self, node: &Node, why: &str) {
        self.lose_with(node, None, why);
    }

    /// The same, where an answer came too late or to too much.
    pub(crate) fn lose_to(&self, node: &Node, error: &NodeError) {
        self.lose_with(node, error.fault(), &error.to_string());
    }

    /// The answer was too large: once is let pass, the second time the ability counts as lost. Says whether to go on asking.
    pub(crate) fn bear(&self, node: &Node, error: &NodeError) -> bool {
        let is_chance = self.doubt();
        match is_chance {
            true => tracing::warn!(kind = error.fault().map(Fault::as_str), node = node.name, "{error}"),
            false => self.lose_to(node, error),
        }
        is_chance
    }

    fn lose_with(&self, node: &Node, kind: Option<Fault>, why: &str) {
        self.shown.store(false, Ordering::Relaxed);
        let before = self.lost.lock().replace(Instant::now());
        if before.is_none() {
            tracing::warn!(kind = kind.map(Fault::as_str), node = node.name, "no {}: {why}", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_http::{Endpoint, Login};

    #[test]
    fn what_was_shown_and_is_refused_is_left_out_and_is_asked_for_again() {
        let endpoint = Endpoint::new("http://127.0.0.1:1", Login::None).unwrap_or_else(|error| panic!("{error}"));
        let (node, ability) = (Node::new(endpoint, 1, false), Ability::assumed("proofs"));
        ability.show();
        let refused = ability.refuse(&node, "a proof", "no such method").unwrap_err();
        assert_eq!(refused.fault(), Some(Fault::Omitted));
        assert!(refused.may_heal() && ability.is_there());
        // It says so again.
        assert_eq!(ability.refuse(&node, "a proof", "no such method"), Ok(()));
        assert!(!ability.is_there() && ability.is_there_at(Instant::now() + PAUSE));
        // One that never could is no liar.
        let ability = Ability::assumed("proofs");
        assert_eq!(ability.refuse(&node, "a proof", "no such method"), Ok(()));
        assert!(!ability.is_there());
    }
}
