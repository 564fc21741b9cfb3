use std::collections::BTreeMap;

use crate::holdings::Held;
use crate::{Finding, Severity};
use assay_types::Statement;

/// **`not-reported`** (notice): declared accounts hold an asset of which the statement says nothing.
///
/// Catches an asset that dropped out of the ledger's report, or was never in it. What is not reported is unknown, not zero.
///
/// Cannot tell a debt that is hidden from coins that somebody sent unasked. Policy: none.
pub(crate) fn not_reported(statement: &Statement, held: &BTreeMap<&str, Held>) -> Vec<Finding> {
    let reported = crate::reported(statement);
    let unreported = held.iter().filter(|(symbol, held)| !reported.contains(*symbol) && !held.all.low.is_zero());
    let finding = |(symbol, held): (&&str, &Held)| Finding {
        rule: "not-reported",
        severity: Severity::Notice,
        asset: Some((*symbol).to_owned()),
        message: format!("{} holds {symbol}, and the statement does not report it", statement.exchange),
        evidence: facts!({
            "units": held.all.low.to_string(),
            "accounts": held.verified.0 + held.unproven.0,
        }),
    };
    unreported.map(finding).collect()
}
