use crate::rules::Following;
use crate::{Finding, Severity};
use serde::{Deserialize, Serialize};

/// A node that has another chain than the one that is followed, in blocks that are final here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dissent {
    /// Which node, as the configuration counts them from 1.
    pub node: usize,
    /// The first height at which its block is another one.
    pub from: u64,
    /// The hash of the block there that is followed, as its chain writes it; where too few nodes agree to follow any, of the first
    /// node's.
    pub ours: String,
    /// The hash that this node has there.
    pub theirs: String,
}

/// **`nodes-disagree`** (error): of a chain on which the exchange has accounts, two configured nodes have different blocks where blocks
/// are final.
///
/// Catches a node that is on a fork, or that shows us a chain of its own making.
///
/// Cannot tell which of them is right: the chain that was followed first is followed on, and every verdict names its blocks. What the
/// other node says by its own blocks is indexed beside it: a balance in which the two differ counts as unknown, at most the larger, and
/// no block of theirs is final. So it holds back what one of the answers would clear; a shortage that none would clear fires.
///
/// Policy: none. A node that is behind, or does not answer, does not disagree.
pub fn nodes_disagree(following: &[Following]) -> Vec<Finding> {
    let each = following.iter().flat_map(|one| one.dissent.iter().map(move |dissent| (one, dissent)));
    each.map(|(one, dissent)| {
        let Dissent { node, from, ours, theirs } = dissent;
        Finding {
            rule: "nodes-disagree",
            severity: Severity::Error,
            asset: None,
            message: format!(
                "{}: nodes have different blocks from {from} on: {ours} is followed, and node {node} has {theirs}",
                one.chain
            ),
            evidence: facts!({ "chain": one.chain, "node": node, "from": from, "ours": ours, "theirs": theirs }),
        }
    })
    .collect()
}
