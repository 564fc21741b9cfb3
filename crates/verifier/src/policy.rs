//! The policy: tolerances, ages and what may count. It is data, and part of every result through its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use assay_types::{Digest, ElsewhereKind};
use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::canonical;
use crate::coins::Wide;
use crate::rules::Levels;

/// The `[policy]` table of `assay.toml`; what is not given has its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// By symbol, in coins: how much may be missing before a line is `short`. Zero where not given.
    pub shortage_tolerance: BTreeMap<String, Decimal>,
    /// Of the ledger's total (owed + house): how far a difference may go before it is `unexplained-difference`. At most 1.
    #[serde(deserialize_with = "fraction")]
    pub difference_tolerance: Decimal,
    /// How old a statement may be when it is judged.
    pub max_statement_age: Age,
    /// The kinds of coins elsewhere that may count.
    pub accept_elsewhere: BTreeSet<ElsewhereKind>,
    /// What a balance must be to count.
    pub require: Require,
    /// What is owed over what can be there: by default 1, 1.01 and 1.05.
    pub ledger_over_holdings: Levels,
    /// What was credited without a deposit or a trade over what was funded for that: by default 1, 1 and 2.
    pub credits_over_inventory: Levels,
    /// What was traded in a window over what is held: by default 0.5, 1 and 2.
    pub turnover_over_holdings: Levels,
    /// What was traded in a window over the mean of that window in the statements before: by default 5, 20 and 100.
    pub turnover_over_mean: Levels,
    /// What has left since the statement's block over what was held there: by default 0.05, 0.2 and 0.5.
    pub outflow_since_statement: Levels,
    /// For how long a chain may not be followed before that is a finding.
    pub max_index_silence: Age,
    /// How much of the value of customers' coins must be on cold accounts. Without it nothing is asked.
    #[serde(deserialize_with = "some_fraction")]
    pub cold_ratio: Option<Decimal>,
    /// At what time of each day that is asked.
    pub cold_ratio_at: TimeOfDay,
}

/// What a balance must be to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Proven: what is not counts as unknown.
    Verified,
    /// Known: what is not proven counts too, with a notice.
    Unproven,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            shortage_tolerance: BTreeMap::new(),
            difference_tolerance: Decimal { digits: U256::ONE, scale: 4 },
            max_statement_age: Age { seconds: 300 },
            accept_elsewhere: BTreeSet::new(),
            require: Require::Unproven,
            ledger_over_holdings: Levels::at(10_000, 10_100, 10_500),
            credits_over_inventory: Levels::at(10_000, 10_000, 20_000),
            turnover_over_holdings: Levels::at(5_000, 10_000, 20_000),
            turnover_over_mean: Levels::at(50_000, 200_000, 1_000_000),
            outflow_since_statement: Levels::at(500, 2_000, 5_000),
            max_index_silence: Age { seconds: 120 },
            cold_ratio: None,
            cold_ratio_at: TimeOfDay { minute: 24 * 60 },
        }
    }
}

impl Policy {
    /// SHA-256 of the resolved policy as RFC 8785 JSON: the same for policies that mean the same, however they were written.
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }

    /// The resolved policy as RFC 8785 JSON: what [`Policy::digest`] is taken of. It has the keys that a verdict comes from, so
    /// that anyone can recompute it; what watching alone heeds is not among them, and changes no verdict.
    pub fn canonical(&self) -> String {
        let tolerances: BTreeMap<&str, String> = self
            .shortage_tolerance
            .iter()
            .filter(|(_, tolerance)| !tolerance.digits.is_zero())
            .map(|(symbol, tolerance)| (symbol.as_str(), tolerance.to_string()))
            .collect();
        canonical(&serde_json::json!({
            "shortage_tolerance": tolerances,
            "difference_tolerance": self.difference_tolerance,
            "max_statement_age": self.max_statement_age,
            "accept_elsewhere": self.accept_elsewhere,
            "require": self.require,
        }))
    }

    /// The shortage tolerance of an asset, in whole base units. What is below one unit is dropped, which changes no
    /// comparison of whole units.
    pub(crate) fn shortage_tolerance_units(&self, symbol: &str, decimals: u8) -> Wide {
        self.shortage_tolerance.get(symbol).map_or(Wide::ZERO, |tolerance| tolerance.units(decimals))
    }
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let decimal = Decimal::deserialize(deserializer)?;
    match decimal.exceeds(Wide::ONE, Wide::ONE) {
        true => Err(serde::de::Error::custom(format!("`{decimal}` is above 1: a fraction of the whole is expected"))),
        false => Ok(decimal),
    }
}

fn some_fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    fraction(deserializer).map(Some)
}

/// Why a text is not what the policy needs there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A sign, an exponent, NaN, too many digits, or nothing.
    #[error("`{0}` is not a plain decimal such as \"0.0001\", of at most 60 digits")]
    NotDecimal(String),
    /// Not digits and units.
    #[error("`{0}` is not a duration such as \"90s\", \"5m\", \"1h\" or \"1d\"")]
    NotDuration(String),
    /// Not hours and minutes.
    #[error("`{0}` is not a time of day from \"00:00\" to \"24:00\"")]
    NotTimeOfDay(String),
}

/// An exact decimal fraction, such as `0.0001`: `digits` x 10^-`scale`, without trailing zeros. Never a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: U256,
    scale: u8,
}

impl Decimal {
    const MAX_DIGITS: usize = 60;

    /// So many ten-thousandths.
    pub(crate) fn ten_thousandths(parts: u32) -> Decimal {
        let (mut digits, mut scale) = (parts, 4);
        while scale > 0 && digits.is_multiple_of(10) {
            (digits, scale) = (digits / 10, scale - 1);
        }
        Decimal { digits: U256::from(digits), scale }
    }

    /// Is it more than `part` of `whole`? That is `self x whole > part`, exactly. Both must be below 2^312.
    pub(crate) fn exceeds(self, whole: Wide, part: Wide) -> bool {
        self.compare(whole, part).is_gt()
    }

    /// Is it less than `part` of `whole`?
    pub(crate) fn is_exceeded_by(self, part: Wide, whole: Wide) -> bool {
        self.compare(whole, part).is_lt()
    }

    /// 60 digits are below 2^200, so that the products stay below 2^512.
    fn compare(self, whole: Wide, part: Wide) -> std::cmp::Ordering {
        let small = || {
            let (digits, whole, part) = (self.digits.try_into().ok()?, whole.try_into().ok()?, part.try_into().ok()?);
            let power = 10u128.checked_pow(self.scale.into())?;
            Some(u128::checked_mul(digits, whole)?.cmp(&u128::checked_mul(part, power)?))
        };
        if let Some(small) = small() {
            return small; // as nearly always, and many times as fast
        }
        let power = Wide::from(10).pow(Wide::from(self.scale));
        (Wide::from(self.digits) * whole).cmp(&(part * power))
    }

    /// So many coins in whole base units, rounded down. What exceeds every amount becomes the largest amount.
    fn units(self, decimals: u8) -> Wide {
        let digits = Wide::from(self.digits);
        let power = |exponent: u8| Wide::from(10).checked_pow(Wide::from(exponent));
        let largest = Wide::from(U256::MAX);
        match decimals.checked_sub(self.scale) {
            Some(more) => {
                power(more).and_then(|power| digits.checked_mul(power)).map_or(largest, |units| units.min(largest))
            }
            None => power(self.scale - decimals).map_or(Wide::ZERO, |power| digits / power),
        }
    }
}

impl FromStr for Decimal {
    type Err = PolicyError;
    fn from_str(text: &str) -> Result<Decimal, PolicyError> {
        let error = || PolicyError::NotDecimal(text.into());
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(error()),
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (text, ""),
        };
        let digits = || whole.bytes().chain(fraction.bytes());
        let plain = !whole.is_empty() && digits().all(|digit| digit.is_ascii_digit());
        if !plain || whole.len() + fraction.len() > Decimal::MAX_DIGITS {
            return Err(error());
        }
        let value = digits().fold(U256::ZERO, |sum, digit| sum * U256::from(10) + U256::from(digit - b'0'));
        Ok(Decimal { digits: value, scale: u8::try_from(fraction.len()).map_err(|_| error())? })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&crate::Coins::of(Wide::from(self.digits), self.scale), f)
    }
}

/// A duration, in whole seconds. Written `300s`, read from texts such as `5m`, `90s`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// How many seconds.
    pub seconds: u64,
}

impl FromStr for Age {
    type Err = PolicyError;
    fn from_str(text: &str) -> Result<Age, PolicyError> {
        let error = || PolicyError::NotDuration(text.into());
        let (mut rest, mut seconds) = (text, 0u64);
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let (count, unit) = rest.split_at(unit_at);
            let unit_s = match unit.as_bytes().first() {
                Some(b's') => 1,
                Some(b'm') => 60,
                Some(b'h') => 3600,
                Some(b'd') => 86_400,
                _ => return Err(error()),
            };
            let more = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_s));
            seconds = more.and_then(|more| seconds.checked_add(more)).ok_or_else(error)?;
            rest = &unit[1..];
        }
        if text.is_empty() { Err(error()) } else { Ok(Age { seconds }) }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds)
    }
}

/// A time of day by the clocks of a place: minutes since its midnight, from 0 to 1440. `24:00` is the end of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    /// How many minutes.
    pub minute: u16,
}

impl FromStr for TimeOfDay {
    type Err = PolicyError;
    fn from_str(text: &str) -> Result<TimeOfDay, PolicyError> {
        let two = |part: &str| {
            let plain = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| plain)
        };
        let read = || {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute) = (two(hour)?, two(minute)?);
            (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(TimeOfDay { minute: hour * 60 + minute })
        };
        read().ok_or_else(|| PolicyError::NotTimeOfDay(text.into()))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
as_text!(Decimal Age TimeOfDay);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(value: serde_json::Value) -> Result<Policy, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let resolved = r#"{"accept_elsewhere":[],"difference_tolerance":"0.0001","max_statement_age":"300s","require":"unproven","shortage_tolerance":{}}"#;
        assert_eq!(policy(json!({})).unwrap(), Policy::default());
        assert_eq!(Policy::default().canonical(), resolved);
        assert_eq!(Policy::default().digest(), Digest::of(resolved.as_bytes()));
    }

    #[test]
    fn policies_that_mean_the_same_have_the_same_digest() {
        let written = json!({ "shortage_tolerance": { "BTC": "0.00" }, "difference_tolerance": "0.00010",
            "max_statement_age": "5m", "accept_elsewhere": [], "require": "unproven" });
        assert_eq!(policy(written).unwrap().digest(), Policy::default().digest());
        let a = policy(json!({ "accept_elsewhere": ["staked", "custodian"], "max_statement_age": "1h30m" })).unwrap();
        let b = policy(json!({ "accept_elsewhere": ["custodian", "staked", "staked"], "max_statement_age": "5400s" }));
        assert_eq!(a.digest(), b.unwrap().digest());
        assert_ne!(a.digest(), Policy::default().digest());
    }

    #[test]
    fn nothing_unknown_and_nothing_inexact_comes_in() {
        for bad in [
            json!({ "shortage_tolerence": {} }),
            json!({ "shortage_tolerance": { "BTC": 1 } }),
            json!({ "shortage_tolerance": { "BTC": "-1" } }),
            json!({ "shortage_tolerance": { "BTC": "1e3" } }),
            json!({ "difference_tolerance": 0.0001 }),
            json!({ "difference_tolerance": "1.01" }),
            json!({ "difference_tolerance": "" }),
            json!({ "difference_tolerance": "1." }),
            json!({ "difference_tolerance": "NaN" }),
            json!({ "difference_tolerance": format!("0.{}", "1".repeat(60)) }),
            json!({ "max_statement_age": "5" }),
            json!({ "max_statement_age": "" }),
            json!({ "max_statement_age": "m" }),
            json!({ "max_statement_age": "5 m" }),
            json!({ "max_statement_age": "-5m" }),
            json!({ "max_statement_age": "5µ" }),
            json!({ "max_statement_age": "99999999999999999999s" }),
            json!({ "max_statement_age": 300 }),
            json!({ "accept_elsewhere": ["mars"] }),
            json!({ "require": "nothing" }),
            json!({ "cold_ratio": "1.1" }),
            json!({ "cold_ratio": 0.8 }),
            json!({ "cold_ratio_at": "24:01" }),
            json!({ "cold_ratio_at": "9:00" }),
            json!({ "cold_ratio_at": "09:60" }),
            json!({ "cold_ratio_at": "09:00:00" }),
            json!({ "cold_ratio_at": "+9:00" }),
        ] {
            assert!(policy(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_watching_alone_heeds_is_no_part_of_the_digest() {
        let watching = policy(json!({ "cold_ratio": "0.80", "cold_ratio_at": "09:30" })).unwrap();
        assert_eq!((watching.cold_ratio, watching.cold_ratio_at.minute), ("0.8".parse().ok(), 570));
        assert_eq!(watching.digest(), Policy::default().digest());
        assert_eq!(Policy::default().cold_ratio_at.to_string(), "24:00");
    }

    #[test]
    fn a_tolerance_is_compared_in_whole_units() {
        let table = [("1.5", 8, 150_000_000u64), ("0.019", 2, 1), ("0", 18, 0), ("7", 0, 7), ("0.9", 0, 0)];
        for (text, decimals, units) in table {
            assert_eq!(text.parse::<Decimal>().unwrap().units(decimals), Wide::from(units), "{text}");
        }
        let huge = "9".repeat(60).parse::<Decimal>().unwrap();
        assert_eq!(huge.units(255), Wide::from(U256::MAX));
        assert_eq!(format!("0.{}", "0".repeat(57) + "1").parse::<Decimal>().unwrap().units(0), Wide::ZERO);
    }

    #[test]
    fn fractions_are_compared_exactly() {
        let tolerance: Decimal = "0.0001".parse().unwrap();
        assert!(!tolerance.is_exceeded_by(Wide::from(1), Wide::from(10_000)));
        assert!(tolerance.is_exceeded_by(Wide::from(1), Wide::from(9_999)));
        let largest = Wide::from(U256::MAX) << 40usize;
        assert!("1".parse::<Decimal>().unwrap().is_exceeded_by(largest + Wide::ONE, largest));
        assert!(!"1".parse::<Decimal>().unwrap().is_exceeded_by(largest, largest));
    }

    #[test]
    fn durations_are_counted_in_seconds() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h", 3600), ("1d", 86_400), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(text.parse::<Age>().unwrap().seconds, seconds, "{text}");
        }
    }
}
