use crate::{Finding, Severity};

/// Blocks that are indexed, were final or lie too deep to be taken back, and are not on the chain any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The chain's alias.
    pub chain: String,
    /// The first of them.
    pub height: u64,
    /// Its hash, as its chain writes it.
    pub hash: String,
    /// What was final, where that is why they stay.
    pub final_height: Option<u64>,
    /// That in words.
    pub why: String,
}

/// **`beyond-finality`** (critical): a chain on which the exchange has accounts left blocks that were final, or that are too deep to be taken back.
///
/// Catches what nobody may rely upon any more: verdicts were given as final on blocks that are none of the chain's.
///
/// Cannot tell whether the chain did that, or the node was moved to another one. Nothing of these blocks is known, and the chain is followed no
/// further, until its node has them again, or an operator accepts the other branch.
///
/// Policy: none.
pub fn beyond_finality(departure: &Departure) -> Finding {
    let Departure { chain, height, hash, final_height, why } = departure;
    Finding {
        rule: "beyond-finality",
        severity: Severity::Critical,
        asset: None,
        message: format!("{chain}: {why}"),
        evidence: facts!({ "chain": chain, "height": height, "hash": hash, "final": final_height }),
    }
}
