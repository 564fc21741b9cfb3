//! `cold-ratio` at its last daily time: the statement that was in force then, as it was judged, at the prices that are known now.
//!
//! A statement's verdict says what was on cold accounts at its blocks, and is kept. So nothing is looked up again, however many
//! accounts there are, and a restart comes to the same.

use std::sync::Arc;

use assay_registry::{Date, Prices, last_daily, year_up_to_last_month};
use assay_store::Records;
use assay_types::{Amount, Digest, Timestamp};
use assay_verifier::rules::{ColdCoins, ColdDay, MeanPrice, Untold, cold_ratio};
use assay_verifier::{Coins, Decimal, Finding, Interval, StatementLine, Wide};
use serde::Deserialize;

use crate::DeskError;
use crate::keep::{self, InForce};
use crate::world::{Priced, World};

/// What was found at the last daily time.
#[derive(Default)]
pub(crate) struct Daily {
    known: Option<Arc<Known>>,
    /// Is it to be found anew, when it is its turn?
    waits: bool,
    /// What was known and found beside it, and both together.
    merged: Option<(Arc<Known>, Findings, Findings)>,
}

type Findings = Arc<Vec<Arc<Finding>>>;

/// What is wrong with a day's coins, if anything, and what that depends on.
struct Known {
    basis: Basis,
    finding: Option<Arc<Finding>>,
}

/// What a day's coins depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    required: Decimal,
    day: Date,
    at: Timestamp,
    in_force: InForce,
    prices: Priced,
    /// Are the prices young enough?
    good: bool,
}

impl Daily {
    /// Is there something to be found anew?
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Adds what is found at the last daily time to what is found beside it. Without a `turn` nothing is found anew; what
    /// has to wait for one is as it was, and so is what cannot be read: nothing is cleared by that.
    pub(crate) fn add_to(
        &mut self,
        found: Findings,
        (records, world, exchange): (&Records, &World, &str),
        now: Timestamp,
        turn: bool,
    ) -> Findings {
        if let Err(error) = self.bring_up(records, world, exchange, now, turn) {
            tracing::error!(exchange, %error, "what there was at the daily time cannot be told");
        }
        let Some((known, finding)) = self.known.as_ref().and_then(|known| Some((known, known.finding.as_ref()?)))
        else {
            self.merged = None;
            return found;
        };
        match &self.merged {
            Some((of, beside, both)) if Arc::ptr_eq(of, known) && Arc::ptr_eq(beside, &found) => both.clone(),
            _ => {
                let mut both = Vec::clone(&found);
                let place =
                    both.partition_point(|one| (one.severity, &one.asset) <= (finding.severity, &finding.asset));
                both.insert(place, finding.clone());
                let both = Arc::new(both);
                self.merged = Some((known.clone(), found, both.clone()));
                both
            }
        }
    }

    fn bring_up(
        &mut self,
        records: &Records,
        world: &World,
        exchange: &str,
        now: Timestamp,
        turn: bool,
    ) -> Result<(), DeskError> {
        self.waits = false;
        let Some(basis) = Basis::now(records, world, exchange, now)? else {
            self.known = None;
            return Ok(());
        };
        if self.known.as_ref().is_some_and(|known| known.basis == basis) {
            return Ok(());
        }
        if self.known.is_some() && !turn {
            self.waits = true;
            return Ok(());
        }
        let finding = cold_ratio(&coins(records, world, exchange, &basis)?, basis.required).map(Arc::new);
        self.known = Some(Arc::new(Known { basis, finding }));
        Ok(())
    }
}

/// The coins that there were.
fn coins(records: &Records, world: &World, exchange: &str, basis: &Basis) -> Result<ColdDay, DeskError> {
    let Basis { day, at, .. } = *basis;
    let year = year_up_to_last_month(day).unwrap_or((day, day)); // but for the first year of the calendar
    let currency = match &basis.prices {
        Priced::Known(prices) => Some(prices.currency.clone()),
        Priced::NotYet | Priced::Missing(_) => None,
    };
    let coins = match (&basis.prices, too_old(world, basis), basis.in_force.verdict) {
        (Priced::NotYet, ..) => Err(Untold::TooEarly),
        (_, Some(why), _) => Err(Untold::Unknown(why)),
        (_, None, None) => Err(Untold::Unknown(format!("statement {} is not judged", basis.in_force.sequence))),
        (_, None, Some(number)) => Ok(judged(records, exchange, number, |symbol| basis.price(symbol, year))?),
    };
    Ok(ColdDay { day: day.to_string(), at, year: (year.0.to_string(), year.1.to_string()), currency, coins })
}

/// A statement of long before says nothing of that instant.
fn too_old(world: &World, basis: &Basis) -> Option<String> {
    let allowed_s = i64::try_from(world.policy.max_statement_age.seconds).unwrap_or(i64::MAX);
    let as_of = basis.in_force.as_of;
    (basis.at.seconds_since(as_of) > allowed_s).then(|| format!("the last statement up to then is of {as_of}"))
}

impl Basis {
    /// Nothing where it is not asked for, or before there was a statement.
    fn now(records: &Records, world: &World, exchange: &str, now: Timestamp) -> Result<Option<Basis>, DeskError> {
        let Some(required) = world.policy.cold_ratio else { return Ok(None) };
        let minute = world.policy.cold_ratio_at.minute;
        let Some((day, at)) = last_daily(now, minute, &world.timezone) else { return Ok(None) };
        let prices = world.prices.clone();
        let good = matches!(&prices, Priced::Known(prices) if now < prices.good_until);
        let in_force = keep::in_force(records, exchange, at)?;
        Ok(in_force.map(|in_force| Basis { required, day, at, in_force, prices, good }))
    }

    fn price(&self, symbol: &str, year: (Date, Date)) -> Result<MeanPrice, String> {
        match &self.prices {
            Priced::NotYet => Err("no price is known yet".into()),
            Priced::Missing(why) => Err(why.to_string()),
            Priced::Known(prices) if !self.good => Err(format!("the prices are of {}: too old", prices.fetched_at)),
            Priced::Known(prices) => {
                let mean = prices.mean(symbol, year)?;
                Ok(MeanPrice { price: Coins::new(mean.price, Prices::DECIMALS), days: mean.days })
            }
        }
    }
}

/// The coins of a verdict that is kept.
fn judged(
    records: &Records,
    exchange: &str,
    number: u64,
    price: impl Fn(&str) -> Result<MeanPrice, String>,
) -> Result<(StatementLine, Vec<ColdCoins>), DeskError> {
    #[derive(Deserialize)]
    struct Verdict {
        statement: Statement,
        lines: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Statement {
        digest: Digest,
        as_of: Timestamp,
    }
    #[derive(Deserialize)]
    struct Line {
        asset: String,
        customers: String,
        cold_holdings: Range,
    }
    #[derive(Deserialize)]
    struct Range {
        low: String,
        high: Option<String>,
    }
    let damaged = |why: String| records.damaged(format!("verdict {number} of {exchange}: {why}"));
    let kept = keep::verdict(records, exchange, number)?.ok_or_else(|| damaged("is not there".into()))?;
    let verdict: Verdict = serde_json::from_str(kept.verdict.get()).map_err(|error| damaged(error.to_string()))?;
    let coins = |line: Line| {
        let Line { asset, customers, cold_holdings: Range { low, high } } = line;
        let texts = [Some(&customers), Some(&low), high.as_ref()];
        let decimals = texts.into_iter().flatten().map(|text| digits_behind_the_point(text)).max().unwrap_or(0);
        let read = |text: &String| {
            let amount = Amount::from_coins(text, decimals).map_err(|error| damaged(error.to_string()))?;
            Ok::<_, DeskError>(Coins::of(Wide::from(amount.0), decimals))
        };
        let cold = Interval { low: read(&low)?, high: high.as_ref().map(read).transpose()? };
        Ok(ColdCoins { price: price(&asset), asset, customers: read(&customers)?, cold })
    };
    let coins = verdict.lines.into_iter().map(coins).collect::<Result<_, DeskError>>()?;
    let Statement { digest, as_of } = verdict.statement;
    Ok((StatementLine { digest, as_of }, coins))
}

fn digits_behind_the_point(text: &str) -> u8 {
    text.split_once('.').map_or(0, |(_, behind)| u8::try_from(behind.len()).unwrap_or(u8::MAX))
}
