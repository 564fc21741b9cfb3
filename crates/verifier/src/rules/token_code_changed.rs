use serde_json::json;

use crate::{Finding, Severity};

/// Another code than before gives a token's balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChange {
    /// The chain's alias.
    pub chain: String,
    /// The asset's symbol.
    pub asset: String,
    /// The contract, as its chain writes it.
    pub token: String,
    /// The last block after which the code before was seen.
    pub after: u64,
    /// The block after which it was another.
    pub by: u64,
    /// Hashes over the contracts that answer and their code, before and since.
    pub fingerprints: [String; 2],
}

/// **`token-code-changed`** (warning): within a day before the verdict's block the code changed by which a token says what anybody holds.
///
/// Catches a proxy that was pointed at another implementation, and a contract that was put at the place of another one, wherever the token
/// keeps that: what a balance of it means may be another thing since.
///
/// Cannot tell what the new code does. It is looked at where all balances are read, so that a change is found within the blocks between two
/// such readings, and one that was taken back between them is not. Which contracts answer is the node's word, their code is proven.
///
/// Policy: none.
pub fn token_code_changed(change: &CodeChange) -> Finding {
    let CodeChange { chain, asset, token, after, by, fingerprints: [before, since] } = change;
    let when = if after + 1 == *by { format!("at block {by}") } else { format!("between blocks {after} and {by}") };
    Finding {
        rule: "token-code-changed",
        severity: Severity::Warning,
        asset: Some(asset.clone()),
        message: format!("the code by which {asset} says what is held on {chain} changed {when}"),
        evidence: json!({
            "chain": chain, "token": token, "after": after, "by": by, "before": before, "since": since,
        })
        .into(),
    }
}
