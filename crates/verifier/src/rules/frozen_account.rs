use serde_json::json;

use super::accounts;
use crate::{Coins, Finding, Severity};

/// Accounts that a token lets not pay, with what they hold of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The chain's alias.
    pub chain: String,
    /// The asset's symbol.
    pub asset: String,
    /// What they hold together.
    pub amount: Coins,
    /// How many they are.
    pub accounts: u64,
    /// Some of them: address, and since which block that is known.
    pub examples: Vec<(String, u64)>,
}

/// **`frozen-account`** (warning): a token's issuer has blocked declared accounts, which hold it and cannot pay with it.
///
/// Catches coins that are there and are of no use to customers: they count in the holdings, and this says how many they are.
///
/// Sees only tokens that say so by a method that is known (`isBlacklisted`, `isFrozen` and the like, as USDC, USDT, USDP and PYUSD have them), by
/// the word of the node, and of very many accounts one after the other.
///
/// Policy: none.
pub fn frozen_account(frozen: &Frozen) -> Finding {
    let Frozen { chain, asset, amount, accounts: count, examples } = frozen;
    let examples: Vec<_> =
        examples.iter().map(|(address, since)| json!({ "address": address, "since": since })).collect();
    Finding {
        rule: "frozen-account",
        severity: Severity::Warning,
        asset: Some(asset.clone()),
        message: format!(
            "{} {asset} cannot be paid out: its issuer blocks {} on {chain}",
            amount.grouped(),
            accounts(*count)
        ),
        evidence: json!({ "chain": chain, "amount": amount, "accounts": count, "examples": examples }).into(),
    }
}
