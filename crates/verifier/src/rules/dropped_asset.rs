use std::collections::BTreeMap;

use crate::coins::{Coins, Wide, wide};
use crate::{Finding, Severity};
use assay_types::{Digest, Statement};
use serde::{Deserialize, Serialize};

/// What a statement owed of an asset that those after it do not report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreported {
    /// What customers were owed when it was last reported, in base units of the asset's finest deployment.
    pub customers: Wide,
    /// The decimals of those units.
    pub decimals: u8,
    /// That statement's digest.
    pub statement: Digest,
}

/// What is owed and no longer spoken of, by symbol, once another statement follows: of what was owed before and of what the
/// statement before reports, that which this one does not.
pub fn unreported(
    mut before: BTreeMap<String, Unreported>,
    previous: &Statement,
    statement: &Statement,
) -> BTreeMap<String, Unreported> {
    for report in &previous.assets {
        let (customers, decimals, statement) = (wide(report.customers), report.decimals, previous.digest);
        before.insert(report.symbol.clone(), Unreported { customers, decimals, statement });
    }
    let reported = crate::reported(statement);
    before.retain(|symbol, owed| !owed.customers.is_zero() && !reported.contains(symbol.as_str()));
    before
}

/// **`dropped-asset`** (error): an earlier statement owed customers an asset, and those since do not report it.
///
/// Catches a shortage that is hidden by no longer speaking of it.
///
/// Cannot tell it from an asset that was delisted and paid out: such an asset is reported once more, with zero. It lasts until the
/// asset is reported again.
///
/// Policy: none.
pub fn dropped_asset(statement: &Statement, unreported: &BTreeMap<String, Unreported>) -> Vec<Finding> {
    let finding = |(symbol, before): (&String, &Unreported)| {
        let owed = Coins::of(before.customers, before.decimals);
        Finding {
            rule: "dropped-asset",
            severity: Severity::Error,
            asset: Some(symbol.clone()),
            message: format!(
                "{} {symbol} were owed when it was last reported, and nothing is said of it now",
                owed.grouped()
            ),
            evidence: facts!({ "customers_before": owed, "last_reported": before.statement, "statement": statement.digest }),
        }
    };
    unreported.iter().map(finding).collect()
}
