use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::accounts;
use crate::holdings::{alias, blocks};
use crate::{AccountEvidence, Evidence, Finding, Severity};

/// **`shared-account`** (warning): accounts that another exchange declares too. One finding for each set of rivals.
///
/// Catches the same coins shown by two exchanges. For each of them such an account counts zero in low and its balance in
/// high: a rival's claim can make a line `indeterminate`, never `short`.
///
/// Cannot tell whose the coins are: that takes a proof of control. Policy: none.
pub fn shared_account(evidence: &Evidence) -> Vec<Finding> {
    let mut by_rivals: BTreeMap<BTreeSet<&str>, BTreeMap<_, &AccountEvidence>> = BTreeMap::new();
    for one in evidence.accounts.iter().filter(|one| one.counted && !one.shared_with.is_empty()) {
        let rivals = one.shared_with.iter().map(String::as_str).collect();
        by_rivals.entry(rivals).or_default().insert((&one.chain, &one.account), one);
    }
    let blocks = blocks(evidence);
    let finding = |(rivals, shared): (BTreeSet<&str>, BTreeMap<_, &AccountEvidence>)| {
        let count = u64::try_from(shared.len()).unwrap_or(u64::MAX);
        let named: Vec<&str> = rivals.iter().copied().collect();
        let examples: Vec<_> = shared
            .values()
            .take(5)
            .map(|one| json!({ "chain": alias(&blocks, &one.chain), "address": one.address, "role": one.role }))
            .collect();
        Finding {
            rule: "shared-account",
            severity: Severity::Warning,
            asset: None,
            message: format!("{} declared by {} too", accounts(count), named.join(", ")),
            evidence: facts!({ "with": named, "accounts": count, "examples": examples }),
        }
    };
    by_rivals.into_iter().map(finding).collect()
}
