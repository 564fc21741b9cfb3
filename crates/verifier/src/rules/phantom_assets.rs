use crate::{BlockLine, Finding, Line, Severity, Verdict};
use assay_types::{Digest, Statement};

/// **`phantom-assets`** (critical): more is owed than can be there, whatever the unknown accounts hold.
///
/// Catches coins that exist on the ledger only: credited out of nothing, lost, lent or sold without a trace, or hidden behind
/// an in-flight item that the chain does not bear out.
///
/// Cannot catch debts that the statement leaves out, or coins that were borrowed for the moment of the statement.
///
/// Policy: `shortage_tolerance`, `accept_elsewhere`, `require`.
pub fn phantom_assets(statement: &Statement, policy: Digest, blocks: &[BlockLine], line: &Line) -> Option<Finding> {
    let high = line.holdings.high.as_ref().filter(|_| line.verdict == Verdict::Short)?;
    let deducted = match line.deductions.is_zero() {
        true => String::new(),
        false => format!(", with {} more proven on the way or accepted elsewhere", line.deductions.grouped()),
    };
    let message = format!(
        "{exchange} owes {owed} {asset} and holds at most {high}{deducted}: {missing} {asset} are not there",
        exchange = statement.exchange,
        asset = line.asset,
        owed = line.owed.grouped(),
        high = high.grouped(),
        missing = line.missing.grouped(),
    );
    Some(Finding {
        rule: "phantom-assets",
        severity: Severity::Critical,
        asset: Some(line.asset.clone()),
        message,
        evidence: facts!({
            "statement": statement.digest,
            "as_of": statement.as_of,
            "policy": policy,
            "blocks": blocks,
            "holdings": line.holdings,
            "customers": line.customers,
            "pending_withdrawals": line.pending_withdrawals,
            "uncredited_deposits": line.uncredited_deposits,
            "owed": line.owed,
            "unconfirmed_credits": line.unconfirmed_credits,
            "elsewhere": line.elsewhere,
            "deductions": line.deductions,
            "tolerance": line.tolerance,
            "missing": line.missing,
            "coverage_ratio": line.coverage_ratio,
            "accounts": line.accounts,
            "unknown": line.unknown,
        }),
    })
}
