use std::collections::BTreeMap;

use serde_json::json;

use crate::coins::{Coins, Wide};
use crate::{Finding, Severity};

/// The rule's name.
pub const DROPPED_ACCOUNT: &str = "dropped-account";

/// An account that was declared and is no longer, with what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The chain's alias.
    pub chain: String,
    /// Its address.
    pub address: String,
    /// The asset's symbol.
    pub symbol: String,
    /// What it holds on the last indexed block.
    pub holds: Coins,
}

/// **`dropped-account`** (error): accounts that were declared are declared no longer, by nobody, and still hold something. So it is
/// with all accounts of an exchange that leaves the declarations: then what was found of it before stays as it was.
///
/// Catches coins that leave the watched set without moving: whatever then becomes of them is seen by nobody, and declarations of the
/// past are no longer what was judged with.
///
/// Cannot tell a mistake that was mended from coins that are hidden. An account that is given up says so by `until` and is emptied.
///
/// Policy: none. It ends when the account is declared again, by whomever, or empty.
pub fn dropped_account(dropped: &[Dropped]) -> Vec<Finding> {
    const SHOWN: usize = 10;
    let mut by_symbol: BTreeMap<&str, Vec<&Dropped>> = BTreeMap::new();
    for one in dropped.iter().filter(|one| !one.holds.is_zero()) {
        by_symbol.entry(&one.symbol).or_default().push(one);
    }
    let finding = |(symbol, mut each): (&str, Vec<&Dropped>)| {
        each.sort_by(|a, b| (b.holds.units(), &a.address).cmp(&(a.holds.units(), &b.address)));
        let units: Wide = each.iter().map(|one| one.holds.units()).sum();
        let holds = Coins::of(units, each.first().map_or(0, |one| one.holds.decimals()));
        let accounts = super::accounts(each.len() as u64);
        let shown = each
            .iter()
            .take(SHOWN)
            .map(|one| json!({ "chain": one.chain, "address": one.address, "holds": one.holds }));
        Finding {
            rule: DROPPED_ACCOUNT,
            severity: Severity::Error,
            asset: Some(symbol.to_owned()),
            message: format!(
                "{accounts} that were declared are declared no longer, and hold {} {symbol}",
                holds.grouped()
            ),
            evidence: facts!({ "accounts": each.len(), "holds": holds, "largest": shown.collect::<Vec<_>>() }),
        }
    };
    by_symbol.into_iter().map(finding).collect()
}
