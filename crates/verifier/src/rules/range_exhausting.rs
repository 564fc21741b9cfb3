use crate::{Finding, Severity};

/// How far a descriptor's range is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeUse {
    /// Where it is declared, `file:line`.
    pub declared_at: String,
    /// The chain's alias.
    pub chain: String,
    /// The last index of the range.
    pub last: u32,
    /// The highest index whose address was ever used; `None` where none of the last ones was.
    pub highest_used: Option<u32>,
}

/// So many addresses at the end of a range should be unused: the gap limit of BIP 44, after which wallets stop looking.
pub const RESERVE: u32 = 20;

/// **`range-exhausting`** (warning): of a declared descriptor's range one of the last 20 addresses has been used.
///
/// Catches a declaration that customers' deposits are about to outgrow: what lies beyond the range belongs to the exchange, and
/// would be seen by nobody.
///
/// Cannot see beyond the range, so it must speak before the end is reached.
///
/// Policy: none; 20 is the gap limit of BIP 44.
pub fn range_exhausting(ranges: &[RangeUse]) -> Vec<Finding> {
    let near = |range: &&RangeUse| range.highest_used.is_some_and(|used| range.last.saturating_sub(used) < RESERVE);
    ranges
        .iter()
        .filter(near)
        .map(|range| {
            let used = range.highest_used.unwrap_or_default();
            let left = range.last.saturating_sub(used);
            Finding {
                rule: "range-exhausting",
                severity: Severity::Warning,
                asset: None,
                message: format!(
                    "{}: index {used} of the range that ends at {} is in use on {}: {left} are left",
                    range.declared_at, range.last, range.chain
                ),
                evidence: facts!({ "declared_at": range.declared_at, "chain": range.chain, "last": range.last,
                    "highest_used": used, "left": left }),
            }
        })
        .collect()
}
