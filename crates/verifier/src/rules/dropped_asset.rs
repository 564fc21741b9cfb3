use assay_types::Statement;
use serde_json::json;

use crate::{Coins, Finding, Severity};

/// **`dropped-asset`** (error): the statement before owed customers an asset that this one does not report.
///
/// Catches a shortage that is hidden by no longer speaking of it.
///
/// Cannot tell it from an asset that was delisted and paid out: such an asset is reported once more, with zero.
///
/// Policy: none.
pub fn dropped_asset(statement: &Statement, previous: &Statement) -> Vec<Finding> {
    let reported = crate::reported(statement);
    let dropped =
        previous.assets.iter().filter(|before| !before.customers.is_zero() && !reported.contains(&*before.symbol));
    dropped
        .map(|before| {
            let owed = Coins::new(before.customers, before.decimals);
            Finding {
                rule: "dropped-asset",
                severity: Severity::Error,
                asset: Some(before.symbol.clone()),
                message: format!(
                    "the statement before owed {} {}, and this one does not speak of it",
                    owed.grouped(),
                    before.symbol
                ),
                evidence: json!({ "customers_before": owed, "previous": previous.digest, "statement": statement.digest }),
            }
        })
        .collect()
}
