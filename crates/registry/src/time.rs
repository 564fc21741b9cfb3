//! `since` and `until`: dates in the configured timezone, or instants.

use assay_types::{Timestamp, suggestion};
use jiff::civil::Date;
pub use jiff::tz::TimeZone;

/// No such timezone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a timezone of the IANA database: {hint}")]
pub struct UnknownTimezone {
    /// As it was written.
    pub name: String,
    /// What was probably meant.
    pub hint: String,
}

/// The timezone with this IANA name, such as `Asia/Seoul`, from the database that is built in.
///
/// # Errors
/// There is none of that name.
pub fn timezone(name: &str) -> Result<TimeZone, UnknownTimezone> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let hint = match assay_types::nearest(name, known.iter().map(String::as_str)) {
            Some(_) => suggestion(name, known.iter().map(String::as_str)),
            None => "names are such as `Asia/Seoul` or `UTC`".into(),
        };
        UnknownTimezone { name: name.into(), hint }
    })
}

/// An instant as people write it: a date is its midnight in `timezone`, a time carries its own offset.
pub(crate) fn instant(text: &str, timezone: &TimeZone) -> Result<Timestamp, String> {
    const DATE: usize = "2026-01-01".len();
    let neither = || {
        format!(
            "`{text}` is neither a date such as 2026-01-01 nor a time with its offset such as 2026-01-01T09:00:00+09:00"
        )
    };
    if text.len() != DATE {
        return text.parse().map_err(|_| neither());
    }
    let date: Date = text.parse().map_err(|_| neither())?;
    let midnight = date.to_zoned(timezone.clone()).map_err(|_| neither())?;
    Ok(Timestamp::from_unix_s(midnight.timestamp().as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_midnight_where_the_exchange_is() {
        let seoul = timezone("Asia/Seoul").unwrap();
        assert_eq!(instant("2026-01-01", &seoul).unwrap().to_string(), "2025-12-31T15:00:00Z");
        assert_eq!(instant("2026-01-01", &TimeZone::UTC).unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(instant("2026-01-01T09:00:00+09:00", &TimeZone::UTC).unwrap().to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn a_midnight_that_the_clocks_skip_is_the_first_instant_of_that_day() {
        let cairo = timezone("Africa/Cairo").unwrap();
        assert_eq!(instant("2024-04-26", &cairo).unwrap().to_string(), "2024-04-25T22:00:00Z");
    }

    #[test]
    fn what_is_not_an_instant_is_refused() {
        for bad in ["", "2026-1-1", "2026-02-30", "2026-01-01T00:00:00", "07:32:00", "yesterday!", "10/10/2026"] {
            assert!(instant(bad, &TimeZone::UTC).is_err(), "{bad}");
        }
        assert_eq!(
            timezone("Asia/Soul").unwrap_err().to_string(),
            "`Asia/Soul` is not a timezone of the IANA database: did you mean `Asia/Seoul`?"
        );
        assert!(timezone("nowhere at all").is_err());
    }
}
