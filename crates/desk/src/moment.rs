//! What one statement came to, in short: a point of how its exchange went (`course`).

use assay_types::Timestamp;
use assay_verifier::{Reconciliation, Verdict};
use serde::Serialize;

/// What a statement came to, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The instant that it speaks of.
    pub as_of: Timestamp,
    /// Its number.
    pub sequence: u64,
    /// That of its last verdict.
    pub number: u64,
    /// The worst line's.
    pub verdict: Verdict,
    /// The least coverage ratio of any line, in ten-thousandths, rounded down; `None` where nothing is owed.
    pub ratio: Option<u32>,
}

impl Moment {
    pub(crate) fn of(verdict: &Reconciliation, sequence: u64, number: u64) -> Moment {
        let ratios = verdict.lines.iter().filter_map(|line| ten_thousandths(line.coverage_ratio.as_deref()?));
        Moment { as_of: verdict.statement.as_of, sequence, number, verdict: verdict.verdict, ratio: ratios.min() }
    }
}

/// Of a number with four digits after the point; what is more than can be told is the most that can.
fn ten_thousandths(ratio: &str) -> Option<u32> {
    let (whole, fraction) = ratio.split_once('.')?;
    let (whole, fraction) = (whole.parse().unwrap_or(u32::MAX), fraction.parse().ok()?);
    Some(whole.saturating_mul(10_000).saturating_add(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_read_as_they_are_written() {
        let table =
            [("0.0645", Some(645)), ("1.2500", Some(12_500)), ("99999999999.0000", Some(u32::MAX)), ("?", None)];
        for (text, expected) in table {
            assert_eq!(ten_thousandths(text), expected, "{text}");
        }
    }
}
