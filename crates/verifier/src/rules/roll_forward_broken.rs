use crate::coins::{Coins, Wide, wide};
use crate::{Finding, Severity};
use assay_types::{Amount, AssetReport, Digest, Flows, Statement};

/// What is remembered of the statement before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its number, where it has one.
    pub sequence: Option<u64>,
    /// Its digest.
    pub digest: Digest,
    /// By asset, in order.
    ledger: Vec<Owed>,
}

/// An asset: what customers were owed, and the sum of negative balances.
type Owed = (String, Coins, Coins);

impl Previous {
    /// Of that statement.
    pub fn of(statement: &Statement) -> Previous {
        let line = |report: &AssetReport| {
            let coins = |amount| Coins::new(amount, report.decimals);
            (report.symbol.clone(), coins(report.customers), coins(report.negative))
        };
        let mut ledger: Vec<Owed> = statement.assets.iter().map(line).collect();
        ledger.sort_by(|one, other| one.0.cmp(&other.0));
        Previous { sequence: statement.sequence, digest: statement.digest, ledger }
    }

    fn owed(&self, symbol: &str) -> Option<&Owed> {
        let place = self.ledger.binary_search_by(|(known, ..)| known.as_str().cmp(symbol)).ok()?;
        self.ledger.get(place)
    }
}

/// **`roll-forward-broken`** (error, warning): the previous statement plus this one's flows is not this statement. It is the control
/// by which banks close a day: opening balance, plus what came, less what went, is the closing balance.
///
/// `customers` less `negative`, then, must have changed by deposits + rewards - withdrawals - fees, give or take
/// `corrections`, whose sign the format does not tell. Where numbers between the two are missing the control cannot be made: a warning.
///
/// Catches entries that bypass the ledger's own books.
///
/// Cannot judge where a flow is not reported, or statements have no numbers.
///
/// Policy: none.
pub fn roll_forward_broken(statement: &Statement, previous: &Previous) -> Vec<Finding> {
    if !next_to_it(statement, previous) {
        return missing(statement, previous).into_iter().collect();
    }
    let judge = |report: &AssetReport| judge(report, previous.owed(&report.symbol)?);
    statement.assets.iter().filter_map(judge).collect()
}

/// Does one follow the other, with none between?
pub(crate) fn next_to_it(statement: &Statement, previous: &Previous) -> bool {
    match (statement.sequence, previous.sequence, &statement.previous) {
        (_, _, Some(digest)) => *digest == previous.digest.to_string(),
        (Some(number), Some(before), None) => before.checked_add(1) == Some(number),
        _ => false,
    }
}

/// Do the flows say that corrections were taken from customers, all of them? Then none of them was credited.
pub(crate) fn is_corrected_down(report: &AssetReport, previous: &Previous) -> bool {
    let rolled = previous.owed(&report.symbol).and_then(|owed| Rolled::of(report, owed));
    rolled.is_some_and(|rolled| rolled.found + rolled.corrections == rolled.expected)
}

fn missing(statement: &Statement, previous: &Previous) -> Option<Finding> {
    let (number, before) = (statement.sequence?, previous.sequence?);
    let (first, last) = (before.checked_add(1)?, number.checked_sub(1)?);
    if first > last {
        return None;
    }
    let which =
        if first == last { format!("statement {first} is") } else { format!("statements {first} to {last} are") };
    Some(Finding {
        rule: "roll-forward-broken",
        severity: Severity::Warning,
        asset: None,
        message: format!("{which} missing: whether the flows since give what is owed cannot be told"),
        evidence: facts!({ "before": before, "now": number, "missing": { "from": first, "to": last } }),
    })
}

/// Both sides of the control, which are sums, so that nothing is ever below zero.
struct Rolled {
    /// By the statement before and the flows.
    expected: Wide,
    /// By the statement.
    found: Wide,
    corrections: Wide,
}

impl Rolled {
    fn of(report: &AssetReport, (_, customers, negative): &Owed) -> Option<Rolled> {
        let flows = report.flows.as_ref()?;
        let expected = customers.units() + wide(flows.deposits?) + wide(flows.rewards?) + wide(report.negative);
        let found = wide(report.customers) + wide(flows.withdrawals?) + wide(flows.fees?) + negative.units();
        Some(Rolled { expected, found, corrections: wide(flows.corrections?) })
    }
}

fn judge(report: &AssetReport, owed: &Owed) -> Option<Finding> {
    let Rolled { expected, found, corrections } = Rolled::of(report, owed)?;
    let gap = expected.abs_diff(found);
    if gap <= corrections {
        return None;
    }
    let flow = |of: fn(&Flows) -> Option<Amount>| report.flows.as_ref().and_then(of).map(wide).unwrap_or_default();
    let (deposits, withdrawals) = (flow(|flows| flows.deposits), flow(|flows| flows.withdrawals));
    let (rewards, fees) = (flow(|flows| flows.rewards), flow(|flows| flows.fees));
    let (_, customers, negative) = owed;
    let coins = |units: Wide| Coins::of(units, report.decimals);
    let more = if found > expected { "more" } else { "less" };
    Some(Finding {
        rule: "roll-forward-broken",
        severity: Severity::Error,
        asset: Some(report.symbol.clone()),
        message: format!(
            "the ledger owes {} {} {more} than the statement before and the flows since give",
            coins(gap).grouped(),
            report.symbol
        ),
        evidence: facts!({
            "before": { "customers": customers, "negative": negative },
            "now": { "customers": coins(wide(report.customers)), "negative": coins(wide(report.negative)) },
            "deposits": coins(deposits), "withdrawals": coins(withdrawals), "rewards": coins(rewards),
            "fees": coins(fees), "corrections": coins(corrections), "gap": coins(gap),
        }),
    })
}
