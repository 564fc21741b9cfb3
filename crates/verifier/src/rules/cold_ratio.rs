use std::collections::BTreeMap;

use assay_types::Timestamp;
use serde_json::{Value, json};

use crate::coins::{Coins, Wide};
use crate::line::ratio;
use crate::policy::Decimal;
use crate::rules::HELD;
use crate::{Finding, Interval, Severity, StatementLine};

/// An exchange's coins at the fixed time of one day, with what they cost, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdDay {
    /// The day, such as `2026-01-31`.
    pub day: String,
    /// The instant.
    pub at: Timestamp,
    /// The first and the last day of the year whose prices count.
    pub year: (String, String),
    /// What prices are in, where there are any.
    pub currency: Option<String>,
    /// The statement in force at the instant, with its coins.
    pub coins: Result<(StatementLine, Vec<ColdCoins>), Untold>,
}

/// Why nothing is known of any coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// The prices have been asked for, and no answer is there yet.
    TooEarly,
    /// In words.
    Unknown(String),
}

/// One kind of coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdCoins {
    /// The asset's symbol.
    pub asset: String,
    /// What customers are owed of it.
    pub customers: Coins,
    /// What is on the customers' cold accounts.
    pub cold: Interval,
    /// What one costs, or why that is not known.
    pub price: Result<MeanPrice, String>,
}

/// The mean of a year's daily prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeanPrice {
    /// Of one coin, in the currency.
    pub price: Coins,
    /// How many days it is the mean of.
    pub days: u64,
}

/// **`cold-ratio`** (error; warning while it cannot be told): of the value of the customers' coins less than the policy demands is on
/// accounts whose role is `cold`.
///
/// Catches what a theft of hot keys could take from customers, day by day: at one fixed time, the quantity that the statement then in
/// force owes customers of each kind, at the mean of its daily prices in the twelve months up to the end of the month before. Coins
/// on cold accounts count up to that quantity and no further: what is beyond it is the exchange's own, so that a surplus of one kind
/// hides no shortage of another. A balance that is not known counts nothing towards the ratio, and accuses nobody: then, or where a
/// price is missing or too old, `level` is `indeterminate`, unless the answer is the same whatever is missing. That is easily seen: the
/// ratio is a mean of each kind's own ratio, so a kind without a price changes nothing where it is by itself on the side on which all
/// others together are.
///
/// Cannot see whether an account that is declared `cold` is offline. Days before an asset's first price are held for days before it
/// was listed; after that none may be missing.
///
/// Policy: `cold_ratio` (without it the rule is off), `cold_ratio_at`, `max_statement_age` (how much older than the instant the statement
/// may be); and `[prices]`.
///
/// Source: Korea's Act on the Protection of Virtual Asset Users and the rules under it, in force since 19 July 2024, as we read them: the
/// Financial Services Commission's questions and answers of 17 July 2024 (fsc.go.kr/po020201/83937), and what was published of them: at
/// least 80 % of the economic value of users' virtual assets is kept in cold wallets; that value is the quantity kept at a certain time
/// of the day times the mean daily price in won over the last year as of the last day of the month before, summed over the kinds.
pub fn cold_ratio(day: &ColdDay, required: Decimal) -> Option<Finding> {
    let (statement, coins) = match &day.coins {
        Ok((statement, coins)) => (statement, coins),
        Err(Untold::TooEarly) => {
            let said = "prices have been asked for, and no answer is there yet".into();
            return Some(finding(Severity::Notice, said, evidence(day, required, Some(HELD))));
        }
        Err(Untold::Unknown(why)) => return Some(open(day, required, why)),
    };
    let sums = Sums::of(coins, required);
    let mut finding = match sums.side(required) {
        Side::Met => return None,
        Side::Broken => {
            let said = format!(
                "{required} of the value of customers' coins must be cold; on {} at {} {} was",
                day.day,
                day.at,
                sums.found()
            );
            finding(Severity::Error, said, evidence(day, required, None))
        }
        Side::Open => open(day, required, &sums.why(coins)),
    };
    let mut evidence = finding.evidence.json();
    evidence["statement"] = json!(statement);
    evidence["ratio"] = json!(sums.ratio(sums.cold.0));
    evidence["ratio_at_most"] = json!(sums.ratio(sums.cold.1));
    evidence["value"] = json!(sums.coins(sums.whole));
    evidence["cold_value"] = json!(sums.coins(sums.cold.0));
    evidence["assets"] = owed(coins).map(|one| sums.shown(one)).collect();
    evidence["unpriced"] = json!(sums.unpriced);
    finding.evidence = evidence.into();
    Some(finding)
}

/// It cannot be told.
fn open(day: &ColdDay, required: Decimal, why: &str) -> Finding {
    let said = format!(
        "whether {required} of the value of customers' coins was cold on {} at {} is not known: {why}",
        day.day, day.at
    );
    finding(Severity::Warning, said, evidence(day, required, Some("indeterminate")))
}

/// The kinds of which customers are owed anything.
fn owed(coins: &[ColdCoins]) -> impl Iterator<Item = &ColdCoins> {
    coins.iter().filter(|one| !one.customers.is_zero())
}

fn finding(severity: Severity, message: String, evidence: Value) -> Finding {
    Finding { rule: "cold-ratio", severity, asset: None, message, evidence: evidence.into() }
}

fn evidence(day: &ColdDay, required: Decimal, level: Option<&str>) -> Value {
    let ColdDay { day, at, year: (from, to), currency, .. } = day;
    let mut evidence = json!({ "day": day, "at": at, "required": required, "currency": currency,
        "prices": { "from": from, "to": to } });
    if let Some(level) = level {
        evidence["level"] = json!(level);
    }
    evidence
}

/// On which side of what is demanded it lies.
enum Side {
    Met,
    Broken,
    Open,
}

/// Values in 10^-`scale` of the currency.
struct Sums<'a> {
    scale: u8,
    whole: Wide,
    /// At least, and at most.
    cold: (Wide, Wide),
    /// Is each kind without a price at least as cold as is demanded? And is each less so, whatever is not known?
    others_meet: bool,
    others_break: bool,
    /// Why there is no value, with the assets.
    unpriced: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Sums<'a> {
    fn of(coins: &'a [ColdCoins], required: Decimal) -> Sums<'a> {
        let digits =
            |one: &ColdCoins| Some(one.customers.decimals().saturating_add(one.price.as_ref().ok()?.price.decimals()));
        let scale = owed(coins).filter_map(digits).max().unwrap_or(0);
        let mut sums = Sums {
            scale,
            whole: Wide::ZERO,
            cold: (Wide::ZERO, Wide::ZERO),
            others_meet: true,
            others_break: true,
            unpriced: BTreeMap::new(),
        };
        for one in owed(coins) {
            let (low, high) = one.counted();
            let worth = |units: Wide| value(&one.customers.like(units), &one.price.as_ref().ok()?.price, scale);
            if let (Some(whole), Some(least), Some(most)) = (worth(one.customers.units()), worth(low), worth(high)) {
                sums.whole += whole;
                sums.cold = (sums.cold.0 + least, sums.cold.1 + most);
                continue;
            }
            sums.others_meet &= !required.exceeds(one.customers.units(), low);
            sums.others_break &= required.exceeds(one.customers.units(), high);
            let why = one.price.as_ref().err().map_or("its value is too large to be reckoned", String::as_str);
            sums.unpriced.entry(why).or_default().push(&one.asset);
        }
        sums
    }

    /// The ratio of all is a mean of the ratios of its parts, weighed by what they are worth: where all parts are on one side, so is it.
    fn side(&self, required: Decimal) -> Side {
        let is_below = |cold: Wide| required.exceeds(self.whole, cold);
        let (valued, others) = (!self.whole.is_zero(), !self.unpriced.is_empty());
        if !is_below(self.cold.0) && self.others_meet {
            Side::Met
        } else if (is_below(self.cold.1) || !valued) && self.others_break && (valued || others) {
            Side::Broken
        } else {
            Side::Open
        }
    }

    /// What keeps it from being told.
    fn why(&self, coins: &[ColdCoins]) -> String {
        let named = |assets: &[&str]| match assets {
            [first, second, third, more @ ..] if !more.is_empty() => {
                format!("{first}, {second}, {third} and {} more", more.len())
            }
            few => few.join(", "),
        };
        let mut each: Vec<String> =
            self.unpriced.iter().map(|(why, assets)| format!("{}: {why}", named(assets))).collect();
        let open: Vec<&str> = owed(coins).filter(|one| one.is_open()).map(|one| one.asset.as_str()).collect();
        if !open.is_empty() {
            each.push(format!("{}: not all balances on cold accounts are known", named(&open)));
        }
        each.join("; ")
    }

    /// Where every kind has a value.
    fn ratio(&self, cold: Wide) -> Option<String> {
        ratio(cold, self.whole).filter(|_| self.unpriced.is_empty())
    }

    fn found(&self) -> String {
        match (self.ratio(self.cold.0), self.ratio(self.cold.1)) {
            (Some(least), Some(most)) if least == most => most,
            (_, Some(most)) => format!("at most {most}"),
            (_, None) => "less".into(),
        }
    }

    fn coins(&self, units: Wide) -> Coins {
        Coins::of(units, self.scale)
    }

    fn shown(&self, one: &ColdCoins) -> Value {
        let counted = one.counted().0;
        let coins = |units| one.customers.like(units);
        let price = one.price.as_ref().ok();
        let worth =
            |units| price.and_then(|mean| value(&coins(units), &mean.price, self.scale)).map(|units| self.coins(units));
        let mut shown = json!({ "asset": one.asset, "customers": one.customers, "cold": one.cold.low,
            "counted": coins(counted), "mean_price": price.map(|mean| &mean.price), "days": price.map(|mean| mean.days),
            "value": worth(one.customers.units()), "cold_value": worth(counted) });
        if one.cold.high.as_ref() != Some(&one.cold.low) {
            shown["cold_at_most"] = json!(one.cold.high);
        }
        shown
    }
}

impl ColdCoins {
    /// At least, and at most, but never more than what customers are owed.
    fn counted(&self) -> (Wide, Wide) {
        let owed = self.customers.units();
        (self.cold.low.units().min(owed), self.cold.high.as_ref().map_or(owed, |high| high.units().min(owed)))
    }

    fn is_open(&self) -> bool {
        let (low, high) = self.counted();
        low != high
    }
}

/// What coins are worth, in 10^-`scale` of the currency; `None` where that is beyond all reason, and would no longer be exact.
fn value(coins: &Coins, price: &Coins, scale: u8) -> Option<Wide> {
    const MOST_BITS: usize = 280;
    let finer = scale.checked_sub(coins.decimals().checked_add(price.decimals())?)?;
    let factor = Wide::from(10).checked_pow(Wide::from(finer))?;
    let value = coins.units().checked_mul(price.units())?.checked_mul(factor)?;
    (value.bit_len() <= MOST_BITS).then_some(value)
}
