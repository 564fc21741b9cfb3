use crate::coins::{Coins, Wide};
use crate::{Finding, Line, Policy, Severity};

/// What one line of an earlier verdict came to, in base units of the asset's finest deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// What was owed.
    pub owed: Coins,
    /// The exchange's own, where the ledger said.
    pub house: Option<Coins>,
    /// The sum of negative balances, as a magnitude.
    pub negative: Coins,
    /// What was held at least, with what was deducted.
    pub there: Coins,
    /// Credits that waited in the mempool.
    pub in_mempool: Coins,
    /// Pending withdrawals and uncredited deposits, which are owed.
    pub in_flight: Coins,
}

impl Before {
    /// Of a line.
    pub fn of(line: &Line) -> Before {
        Before {
            owed: line.owed.clone(),
            house: line.house.clone(),
            negative: line.negative.clone(),
            there: line.owed.like(line.holdings.low.units() + line.deductions.units()),
            in_mempool: line.unconfirmed_in_mempool.clone(),
            in_flight: line.owed.like(line.pending_withdrawals.units() + line.uncredited_deposits.units()),
        }
    }
}

/// **`ledger-jump`** (error): from one statement to the next the ledger grew by more than the chain did.
///
/// The ledger is what is owed and the exchange's own, less negative balances; the chain is what the declared accounts hold, with
/// what is deducted. Trades between customers, and between customers and the house, move neither.
///
/// Catches invented credits while there still is a surplus that swallows them, and a surplus that disappears.
///
/// Cannot judge where the house is not reported in both statements, or the holdings of the earlier are not known: what is not
/// known counts for the exchange.
///
/// Policy: `difference_tolerance`, of the ledger's total.
pub fn ledger_jump(line: &Line, before: &Before, policy: &Policy) -> Option<Finding> {
    let (house, house_before) = (line.house.as_ref()?.units(), before.house.as_ref()?.units());
    // What waits in the mempool explains a credit that came before its block.
    let there = line.holdings.high.as_ref()?.units() + line.deductions.units() + line.unconfirmed_in_mempool.units();
    if before.owed.decimals() != line.owed.decimals() {
        return None; // the registry has another deployment by now: the units are others
    }
    // All sides are sums, so that nothing is ever below zero: ledger + there before > ledger before + there.
    let grown = line.owed.units() + house + before.negative.units() + before.there.units();
    let backed = before.owed.units() + house_before + line.negative.units() + there;
    let gap = grown.checked_sub(backed)?;
    let ledger = line.owed.units() + house;
    if !policy.difference_tolerance.is_exceeded_by(gap, ledger) {
        return None;
    }
    let coins = |units: Wide| line.owed.like(units);
    Some(Finding {
        rule: "ledger-jump",
        severity: Severity::Error,
        asset: Some(line.asset.clone()),
        message: format!(
            "since the statement before, the ledger grew by {} {} more than the declared accounts did",
            coins(gap).grouped(),
            line.asset
        ),
        evidence: facts!({
            "before": { "owed": before.owed, "house": before.house, "negative": before.negative,
                "there_at_least": before.there },
            "now": { "owed": line.owed, "house": line.house, "negative": line.negative, "there_at_most": coins(there) },
            "gap": coins(gap),
        }),
    })
}
