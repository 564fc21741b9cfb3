//! Exact amounts of base units in 256 bits.

use std::fmt;

use ruint::Uint;
use ruint::aliases::U256;

/// An exact number of base units (satoshi, wei, token units) in 256 bits: never rounded, wrapped or saturated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub U256);

/// A sum of amounts in base units. An amount has 256 bits, so 512 leave room for more summands than memory holds, and for
/// a factor of 10,000 beside: sums never overflow.
pub type Wide = Uint<512, 8>;

/// Why a decimal text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Empty, a sign, an exponent, NaN, or anything else that is not `digits[.digits]`.
    #[error("`{0}` is not a decimal amount: digits, with at most one point, are expected")]
    NotDecimal(String),
    /// Below zero.
    #[error("`{0}` is negative: amounts are magnitudes")]
    Negative(String),
    /// More digits behind the point than the asset has.
    #[error("`{text}` is more precise than the asset, which has {decimals} decimals")]
    TooPrecise {
        /// The text as given.
        text: String,
        /// What the asset has.
        decimals: u8,
    },
    /// Above 2^256 - 1 base units.
    #[error("`{0}` is above 2^256 - 1 base units")]
    TooLarge(String),
}

impl Amount {
    /// No coins at all. Never used for "not known".
    pub const ZERO: Amount = Amount(U256::ZERO);
    /// 2^256 - 1 base units.
    pub const MAX: Amount = Amount(U256::MAX);

    /// Parses a decimal number of coins, exactly: `"1.5"` with 8 decimals is 150,000,000 units.
    ///
    /// # Errors
    /// Anything but `digits[.digits]`, more decimals than the asset has (also if they are zeros), or above 2^256 - 1.
    pub fn from_coins(text: &str, decimals: u8) -> Result<Amount, AmountError> {
        if let Some(rest) = text.strip_prefix('-')
            && rest.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(AmountError::Negative(text.into()));
        }
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(AmountError::NotDecimal(text.into())),
            None => (text, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(AmountError::NotDecimal(text.into()));
        }
        let missing = usize::from(decimals)
            .checked_sub(fraction.len())
            .ok_or_else(|| AmountError::TooPrecise { text: text.into(), decimals })?;
        let digits = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0');
        digits
            .chain(std::iter::repeat_n(0, missing))
            .try_fold(U256::ZERO, |sum, digit| sum.checked_mul(U256::from(10))?.checked_add(U256::from(digit)))
            .map(Amount)
            .ok_or_else(|| AmountError::TooLarge(text.into()))
    }

    /// Parses a whole number of base units.
    ///
    /// # Errors
    /// As [`Amount::from_coins`] with no decimals.
    pub fn from_units(text: &str) -> Result<Amount, AmountError> {
        Amount::from_coins(text, 0)
    }

    /// The plain decimal number of coins, without trailing zeros: `150000000` units with 8 decimals are `1.5`.
    pub fn to_coins(self, decimals: u8) -> String {
        let units = self.0.to_string();
        let decimals = usize::from(decimals);
        let padded = format!("{units:0>width$}", width = decimals + 1);
        let (whole, fraction) = padded.split_at(padded.len() - decimals);
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }

    /// Exact sum, `None` above 2^256 - 1.
    #[must_use]
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// Exact difference, `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// The same number of coins in a unit with `more_decimals` more decimals, `None` above 2^256 - 1.
    #[must_use]
    pub fn scaled_up(self, more_decimals: u8) -> Option<Amount> {
        U256::from(10).checked_pow(U256::from(more_decimals)).and_then(|f| self.0.checked_mul(f)).map(Amount)
    }

    /// 32 bytes, big-endian.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// From 32 bytes, big-endian.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 32]) -> Amount {
        Amount(U256::from_be_bytes(bytes))
    }

    /// No base unit at all?
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<u64> for Amount {
    fn from(units: u64) -> Amount {
        Amount(U256::from(units))
    }
}

impl From<U256> for Amount {
    fn from(units: U256) -> Amount {
        Amount(units)
    }
}

/// Base units, in digits.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_becomes_units_exactly_or_not_at_all() {
        let good =
            [("0", 8, "0"), ("1.5", 8, "150000000"), ("0.00000001", 8, "1"), ("007", 0, "7"), ("1.50", 2, "150")];
        for (text, decimals, units) in good {
            assert_eq!(Amount::from_coins(text, decimals).unwrap().to_string(), units, "{text}");
        }
        for text in
            ["", ".", "1.", ".5", "+1", "1e8", "NaN", "inf", "1,0", " 1", "1 ", "0x10", "1.2.3", "١", "--1", "-"]
        {
            assert!(matches!(Amount::from_coins(text, 8), Err(AmountError::NotDecimal(_))), "{text}");
        }
        assert!(matches!(Amount::from_coins("-1", 8), Err(AmountError::Negative(_))));
        assert!(matches!(Amount::from_coins("0.000000001", 8), Err(AmountError::TooPrecise { .. })));
        assert!(matches!(Amount::from_coins("0.0000000010", 9), Err(AmountError::TooPrecise { .. })));
    }

    #[test]
    fn the_largest_amount_is_2_to_256_minus_1() {
        let max = Amount::MAX.to_string();
        assert_eq!(Amount::from_units(&max).unwrap(), Amount::MAX);
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert!(matches!(Amount::from_units(above), Err(AmountError::TooLarge(_))));
        assert_eq!(Amount::MAX.checked_add(Amount::from(1)), None);
        assert_eq!(Amount::MAX.scaled_up(1), None);
    }

    proptest::proptest! {
        #[test]
        fn coins_are_the_inverse_of_parsing(bytes: [u8; 32], decimals in 0u8..=77) {
            let amount = Amount::from_be_bytes(bytes);
            proptest::prop_assert_eq!(Amount::from_coins(&amount.to_coins(decimals), decimals).unwrap(), amount);
        }
    }
}
