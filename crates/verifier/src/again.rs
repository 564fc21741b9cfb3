//! A verdict on the same evidence once more: most final verdicts differ from the provisional one in how final their blocks are.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use assay_types::{Statement, Timestamp};

use crate::{BlockLine, Evidence, Policy, Reconciliation, Stage, Verdict, rules};

impl Evidence {
    /// What balances say, as a number that nobody outside the process can foresee: equal for equal balances, else another. `None`
    /// where there is more than balances: items in flight, or notices.
    pub fn mark(&self, keys: &RandomState) -> Option<u64> {
        let is_plain = self.items.is_empty() && self.notices.is_empty();
        is_plain.then(|| keys.hash_one((&self.accounts, &self.sums, &self.proven)))
    }
}

/// What [`crate::reconcile`] comes to, where it came to `before` on the same statement, under the same policy, with evidence of the
/// same [`Evidence::mark`]. `None` where it must be reckoned anew: blocks are others, or `phantom-assets` shows how final they are, or
/// age or items in flight play a part.
pub fn again(
    before: &Reconciliation,
    statement: &Statement,
    evidence: &Evidence,
    policy: &Policy,
    evaluated_at: Timestamp,
) -> Option<Reconciliation> {
    let blocks: Vec<BlockLine> = evidence.blocks.iter().map(BlockLine::new).collect();
    let place = |block: &BlockLine| (block.chain.clone(), block.height, block.hash.clone(), block.unknown.clone());
    let is_stale = before.findings.iter().any(|finding| finding.rule == rules::STALE_STATEMENT)
        || rules::stale_statement(statement, &evidence.blocks, policy, evaluated_at).is_some();
    let has_items = statement.assets.iter().any(|report| {
        let lists = [&report.pending_withdrawals, &report.uncredited_deposits, &report.unconfirmed_credits];
        lists.iter().any(|list| !list.is_empty())
    });
    if before.verdict == Verdict::Short
        || has_items
        || is_stale
        || !blocks.iter().map(place).eq(before.blocks.iter().map(place))
    {
        return None;
    }
    Some(Reconciliation { stage: Stage::of(&blocks), evaluated_at, blocks, ..before.clone() })
}
