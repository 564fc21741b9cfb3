use std::collections::BTreeMap;

use serde_json::json;

use crate::coins::Wide;
use crate::{Finding, Line, Policy};

/// **`outflow-since-statement`** (watch, alert, halt): since the statement's block more than a part of the holdings has left the
/// declared accounts, as of the last indexed block, than the statement said would leave.
///
/// Catches a run, or a theft, before the next statement speaks of it. It is net: what goes from one declared account to another,
/// or is replaced by deposits, has not left; and what the statement lists as pending withdrawals may leave unremarked.
///
/// Cannot tell other withdrawals of customers from anything else: the next statement says whether less is owed now. A verdict is never
/// changed by it, for a later block is not compared with an earlier statement. Where anything is unknown at the last block, it
/// says nothing.
///
/// Policy: `outflow_since_statement`.
pub fn outflow_since_statement(line: &Line, at_most_now: &BTreeMap<String, Wide>, policy: &Policy) -> Option<Finding> {
    let (then, now) = (&line.holdings.low, *at_most_now.get(&line.asset)?);
    let announced = &line.pending_withdrawals;
    let left = then.units().checked_sub(now + announced.units()).filter(|left| !left.is_zero())?;
    let coins = |units| then.like(units);
    let message = |ratio: &str| {
        let (left, then) = (coins(left).grouped(), then.grouped());
        format!("{left} of {then} {} have left unannounced since the statement's block: {ratio} of it", line.asset)
    };
    let evidence =
        || json!({ "at_statement": then, "now_at_most": coins(now), "announced": announced, "left": coins(left) });
    policy.outflow_since_statement.finding(
        "outflow-since-statement",
        &line.asset,
        (left, then.units()),
        message,
        evidence,
    )
}
