//! Exact sums of amounts, and how they are written.

use std::fmt;

use assay_types::Amount;
pub use assay_types::Wide;

/// An amount in 512 bits.
pub(crate) fn wide(amount: Amount) -> Wide {
    Wide::from(amount.0)
}

/// An exact number of coins. Written and serialised as a plain decimal, without trailing zeros. A desk keeps hundreds of thousands of
/// them, of which hardly one needs more than 128 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Coins(Units);

/// Large is only what is not small, so that equal numbers are written equally.
#[derive(Clone, PartialEq, Eq)]
enum Units {
    Small { halves: [u64; 2], decimals: u8 },
    Large(Box<(Wide, u8)>),
}

impl Coins {
    /// From an amount of base units, each of which is 10^-decimals coins.
    pub fn new(amount: Amount, decimals: u8) -> Coins {
        Coins::of(wide(amount), decimals)
    }

    /// From a sum of base units.
    pub fn of(units: Wide, decimals: u8) -> Coins {
        Coins(match units.as_limbs() {
            [low, high, rest @ ..] if rest.iter().all(|limb| *limb == 0) => {
                Units::Small { halves: [*low, *high], decimals }
            }
            _ => Units::Large(Box::new((units, decimals))),
        })
    }

    /// So many others of the same kind.
    #[must_use]
    pub fn like(&self, units: Wide) -> Coins {
        Coins::of(units, self.decimals())
    }

    /// In base units.
    pub fn units(&self) -> Wide {
        match &self.0 {
            Units::Small { halves, .. } => Wide::from_limbs_slice(halves),
            Units::Large(large) => large.0,
        }
    }

    /// A base unit is 10^-decimals coins.
    pub fn decimals(&self) -> u8 {
        match &self.0 {
            Units::Small { decimals, .. } => *decimals,
            Units::Large(large) => large.1,
        }
    }

    /// None at all?
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Units::Small { halves: [0, 0], .. })
    }

    /// For people: with commas between thousands, and still exact. `66,261.9`
    pub fn grouped(&self) -> String {
        let plain = self.to_string();
        let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
        let mut grouped = String::with_capacity(plain.len() + whole.len() / 3);
        for (place, digit) in whole.char_indices() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped + fraction
    }
}

impl fmt::Debug for Coins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Coins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals());
        let width = decimals + 1;
        // Division of 512 bits is slow, and almost no sum needs it.
        let digits = match &self.0 {
            Units::Small { halves: [0, 0], .. } => return f.write_str("0"),
            Units::Small { halves: [low, high], .. } => {
                format!("{units:0>width$}", units = u128::from(*low) | u128::from(*high) << 64)
            }
            Units::Large(large) => format!("{units:0>width$}", units = large.0.to_string()),
        };
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => f.write_str(whole),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

impl serde::Serialize for Coins {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An exact number of coins that may be below zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCoins {
    /// Below zero?
    pub negative: bool,
    /// How much above or below.
    pub magnitude: Coins,
}

impl SignedCoins {
    /// `more` less `less`.
    pub fn difference(more: Wide, less: Wide, decimals: u8) -> SignedCoins {
        let negative = more < less;
        SignedCoins { negative, magnitude: Coins::of(more.abs_diff(less), decimals) }
    }
}

/// Sums of what is positive and of what is negative, kept apart: exact, and never below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balanced {
    /// What is added.
    pub more: Wide,
    /// What is taken away.
    pub less: Wide,
}

impl Balanced {
    /// `more` less `less`.
    pub fn new(more: Wide, less: Wide) -> Balanced {
        Balanced { more, less }
    }

    /// This less another.
    pub fn minus(self, other: Balanced) -> Balanced {
        Balanced { more: self.more + other.less, less: self.less + other.more }
    }

    /// How far it is from zero.
    pub fn magnitude(self) -> Wide {
        self.more.abs_diff(self.less)
    }

    /// In coins.
    pub fn coins(self, decimals: u8) -> SignedCoins {
        SignedCoins::difference(self.more, self.less, decimals)
    }
}

impl fmt::Display for SignedCoins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negative { "-" } else { "" }, self.magnitude)
    }
}

impl serde::Serialize for SignedCoins {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coins(units: u64, decimals: u8) -> Coins {
        Coins::new(Amount::from(units), decimals)
    }

    #[test]
    fn coins_are_plain_decimals() {
        let table = [(0, 8, "0"), (150_000_000, 8, "1.5"), (1, 8, "0.00000001"), (7, 0, "7"), (100, 2, "1")];
        for (units, decimals, text) in table {
            assert_eq!(coins(units, decimals).to_string(), text);
        }
    }

    #[test]
    fn people_read_groups_of_three() {
        let table = [(662_619, 1, "66,261.9"), (999, 0, "999"), (1000, 0, "1,000"), (123_456_789, 4, "12,345.6789")];
        for (units, decimals, text) in table {
            assert_eq!(coins(units, decimals).grouped(), text);
        }
    }

    #[test]
    fn sums_of_the_largest_amounts_are_exact() {
        let sum = wide(Amount::MAX) + wide(Amount::MAX);
        let text = "231584178474632390847141970017375815706539969331281128078915168015826259279870";
        let coins = Coins::of(sum, 0);
        assert_eq!((coins.to_string().as_str(), coins.units(), coins.decimals()), (text, sum, 0));
        for units in [Wide::from(u128::MAX), Wide::from(u128::MAX) + Wide::from(1)] {
            assert_eq!((Coins::of(units, 3).units(), Coins::of(units, 3).decimals()), (units, 3));
        }
    }

    #[test]
    fn a_difference_has_a_sign_and_zero_has_none() {
        let (three, five) = (Wide::from(3), Wide::from(5));
        assert_eq!(SignedCoins::difference(three, five, 0).to_string(), "-2");
        assert_eq!(SignedCoins::difference(five, three, 1).to_string(), "0.2");
        assert_eq!(SignedCoins::difference(five, five, 1).to_string(), "0");
    }
}
