//! The arithmetic of one asset's verdict.

use assay_types::AssetReport;
use serde::Serialize;

use crate::coins::{Coins, SignedCoins, Wide, wide};
use crate::holdings::{Blocks, Held, Range, Unknown};
use crate::item::{InFlightLine, List};
use crate::judged::Judged;
use crate::proven::{Part, ProvenLine, proven};
use crate::{Policy, ProvenEvidence, Verdict};

/// One asset's reconciliation. Every amount is in coins; owed and deductions are the sums of the fields below them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The asset's symbol.
    pub asset: String,
    /// What the declared accounts hold.
    pub holdings: Interval,
    /// What the ledger says is owed to customers, gross.
    pub customers: Coins,
    /// `customers` + `pending_withdrawals` + `uncredited_deposits`
    pub owed: Coins,
    /// `unconfirmed_credits` + `elsewhere`
    pub deductions: Coins,
    /// The exchange's own, where the ledger says.
    pub house: Option<Coins>,
    /// holdings + deductions + `unconfirmed_in_mempool` + negative - owed - house, where holdings are exact and house is known.
    pub difference: Option<SignedCoins>,
    /// (low + deductions) / owed, four digits, rounded down; `None` where nothing is owed.
    pub coverage_ratio: Option<String>,
    /// What follows.
    pub verdict: Verdict,
    /// Withdrawals that are still owed.
    pub pending_withdrawals: Coins,
    /// Deposits that are owed already.
    pub uncredited_deposits: Coins,
    /// Credits that blocks after B prove.
    pub unconfirmed_credits: Coins,
    /// Coins elsewhere, of the kinds that the policy accepts.
    pub elsewhere: Coins,
    /// Credits that wait in the mempool: they explain a difference, and back nothing.
    pub unconfirmed_in_mempool: Coins,
    /// The sum of negative balances, as a magnitude.
    pub negative: Coins,
    /// How much may be missing by the policy.
    pub tolerance: Coins,
    /// owed - high - deductions, if above zero: what is not there, whatever the unknown accounts hold.
    pub missing: Coins,
    /// owed - low - deductions, if above zero: what is not shown to be there.
    pub missing_at_most: Coins,
    /// What of the holdings is known to be on accounts declared as the exchange's own (`owner = "house"`).
    pub house_holdings: Coins,
    /// What of the holdings is on the customers' accounts whose role is `cold`.
    pub cold_holdings: Interval,
    /// How well the balances are known.
    pub accounts: Accounts,
    /// high - low; `None` when nothing bounds it.
    pub unknown_amount: Option<Coins>,
    /// Why it is unknown.
    pub unknown: Vec<Unknown>,
    /// Every item in flight.
    pub in_flight: Vec<InFlightLine>,
}

impl Line {
    /// (high + deductions) / owed, four digits, rounded down; `None` where nothing is owed, or nothing bounds what is held.
    pub fn ratio_at_most(&self) -> Option<String> {
        ratio(self.holdings.high.as_ref()?.units() + self.deductions.units(), self.owed.units())
    }
}

/// Holdings, when something may be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// At least.
    pub low: Coins,
    /// At most; `None` when nothing bounds it.
    pub high: Option<Coins>,
}

/// How many accounts, and how much, are known how well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// Known and proven.
    pub verified: Part,
    /// Known and not proven.
    pub unproven: Part,
    /// How many are not known.
    pub unknown: u64,
    /// When those were proven that are; `None` where that was not looked at, as of very many.
    pub proven: Option<Box<ProvenLine>>,
}

/// Computes a line; the items are those of this report.
pub(crate) fn line(
    report: &AssetReport,
    mut held: Held,
    items: &[&Judged<'_>],
    (blocks, rests): (&Blocks<'_>, &[ProvenEvidence]),
    policy: &Policy,
) -> Line {
    if blocks.is_empty() {
        held.add_unseen();
    }
    let contested = "paid after the block to accounts that other exchanges declare too";
    held.add_open(items.iter().map(|item| item.granted.contested).sum(), contested);
    for (list, what) in [
        (List::PendingWithdrawals, "perhaps paid to pending withdrawals, which is not told or not borne out by state"),
        (List::UnconfirmedCredits, "perhaps come after the block, which is not told or not borne out by state"),
    ] {
        held.add_open(items.iter().filter(|item| item.list == list).map(|item| item.untold).sum(), what);
    }

    let owed_in = |list: List| -> Wide { items.iter().filter(|item| item.list == list).map(|item| item.owed()).sum() };
    let (pending_withdrawals, uncredited_deposits) =
        (owed_in(List::PendingWithdrawals), owed_in(List::UncreditedDeposits));
    let owed = wide(report.customers) + pending_withdrawals + uncredited_deposits;
    let unconfirmed_credits: Wide = items.iter().map(|item| item.granted.clear).sum();
    let accepted = report.elsewhere.iter().filter(|one| policy.accept_elsewhere.contains(&one.kind));
    let elsewhere: Wide = accepted.map(|one| wide(one.amount)).sum();
    let deductions = unconfirmed_credits + elsewhere;
    let in_mempool: Wide = items.iter().map(|item| item.in_mempool()).sum();
    let tolerance = policy.shortage_tolerance_units(&report.symbol, report.decimals);

    let coins = |units: Wide| Coins::of(units, report.decimals);
    let missing = |held: Wide| coins(owed.saturating_sub(held + deductions));
    let part = |(accounts, sum): (u64, Wide)| Part { accounts, amount: coins(sum) };
    let interval = |range: Range| Interval { low: coins(range.low), high: range.high.map(coins) };
    let Range { low, high } = held.all;
    let explained = low + deductions + in_mempool + wide(report.negative);
    let house = report.house.map(wide);
    Line {
        asset: report.symbol.clone(),
        holdings: interval(held.all),
        customers: Coins::new(report.customers, report.decimals),
        owed: coins(owed),
        deductions: coins(deductions),
        house: house.map(coins),
        difference: house
            .filter(|_| held.is_exact())
            .map(|house| SignedCoins::difference(explained, owed + house, report.decimals)),
        coverage_ratio: ratio(low + deductions, owed),
        verdict: verdict(low, high, deductions + tolerance, owed),
        pending_withdrawals: coins(pending_withdrawals),
        uncredited_deposits: coins(uncredited_deposits),
        unconfirmed_credits: coins(unconfirmed_credits),
        elsewhere: coins(elsewhere),
        unconfirmed_in_mempool: coins(in_mempool),
        negative: Coins::new(report.negative, report.decimals),
        tolerance: coins(tolerance),
        missing: high.map_or(coins(Wide::ZERO), missing),
        missing_at_most: missing(low),
        house_holdings: coins(held.house),
        cold_holdings: interval(held.cold),
        accounts: Accounts {
            verified: part(held.verified),
            unproven: part(held.unproven),
            unknown: held.unknown_accounts(),
            proven: proven(&report.symbol, &held, rests, blocks, policy.require, coins),
        },
        unknown_amount: high.map(|high| coins(high - low)),
        in_flight: items.iter().map(|item| item.line(blocks)).collect(),
        unknown: held.unknown,
    }
}

/// `short` when not even the most that can be there is enough, `backed` when the least is.
fn verdict(low: Wide, high: Option<Wide>, allowed: Wide, owed: Wide) -> Verdict {
    match high {
        Some(high) if high + allowed < owed => Verdict::Short,
        _ if low + allowed >= owed => Verdict::Backed,
        _ => Verdict::Indeterminate,
    }
}

/// `part` / `whole`, four digits, rounded down; `None` of nothing.
pub(crate) fn ratio(part: Wide, whole: Wide) -> Option<String> {
    if let (Ok(part), Ok(whole)) = (u128::try_from(part), u128::try_from(whole))
        && let Some(part) = part.checked_mul(10_000)
    {
        let ten_thousandths = part.checked_div(whole)?; // as nearly always, and many times as fast
        return Some(format!("{}.{:0>4}", ten_thousandths / 10_000, ten_thousandths % 10_000));
    }
    let ten_thousandths = (part * Wide::from(10_000)).checked_div(whole)?;
    let (whole, rest) = ten_thousandths.div_rem(Wide::from(10_000));
    Some(format!("{whole}.{rest:0>4}", rest = rest.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(units: u64) -> Wide {
        Wide::from(units)
    }

    #[test]
    fn the_verdict_turns_at_the_last_unit() {
        use Verdict::{Backed, Indeterminate, Short};
        let table = [
            (10, Some(10), 0, 10, Backed),
            (9, Some(9), 0, 10, Short),
            (9, Some(9), 1, 10, Backed),
            (9, Some(10), 0, 10, Indeterminate),
            (0, Some(9), 0, 10, Short),
            (0, None, 0, 10, Indeterminate),
            (10, None, 0, 10, Backed),
            (0, Some(0), 0, 0, Backed),
            (0, None, 0, 0, Backed),
        ];
        for (low, high, allowed, owed, expected) in table {
            let found = verdict(w(low), high.map(w), w(allowed), w(owed));
            assert_eq!(found, expected, "[{low}, {high:?}] + {allowed} against {owed}");
        }
    }

    #[test]
    fn the_ratio_has_four_digits_rounded_down() {
        let table = [
            (42_794, 662_619, "0.0645"),
            (10_144, 10_000, "1.0144"),
            (0, 5, "0.0000"),
            (99_999, 100_000, "0.9999"),
            (7, 7, "1.0000"),
            (1_000_000, 1, "1000000.0000"),
        ];
        // Also where 128 bits are not enough.
        for ((there, owed, ratio), times) in table.iter().flat_map(|row| [1, 1 << 60].map(|times| (row, w(times)))) {
            let times = times * times;
            assert_eq!(super::ratio(w(*there) * times, w(*owed) * times).as_deref(), Some(*ratio));
        }
        assert_eq!(ratio(w(1), w(0)), None);
    }
}
