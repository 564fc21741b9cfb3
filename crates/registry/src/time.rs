//! Dates and times of day in the configured timezone.

use assay_types::{Timestamp, suggestion};
use jiff::ToSpan as _;
pub use jiff::civil::Date;
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

/// The last time up to `now` that the clocks of `timezone` showed this minute of the day: the day that it belongs to, and the
/// instant. Minute 1440 is the end of its day, and not the beginning of the next. `None` beyond the years that the calendar has.
pub fn last_daily(now: Timestamp, minute_of_day: u16, timezone: &TimeZone) -> Option<(Date, Timestamp)> {
    let today = jiff::Timestamp::from_second(now.unix_s()).ok()?.to_zoned(timezone.clone()).date();
    let at = |days_ago: i64| -> Option<(Date, Timestamp)> {
        let day = today.checked_sub(days_ago.days()).ok()?;
        let (next, minute) = if minute_of_day < MINUTES { (day, minute_of_day) } else { (day.tomorrow().ok()?, 0) };
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let instant = next.at(hour, minute, 0, 0).to_zoned(timezone.clone()).ok()?.timestamp();
        Some((day, Timestamp::from_unix_s(instant.as_second())))
    };
    (0..=2).filter_map(at).find(|(_, instant)| *instant <= now)
}

/// The twelve months that end with the last day of the month before this day's: their first day, and their last.
pub fn year_up_to_last_month(day: Date) -> Option<(Date, Date)> {
    let this_month = day.first_of_month();
    Some((this_month.checked_sub(12.months()).ok()?, this_month.yesterday().ok()?))
}

const MINUTES: u16 = 24 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// Day and instant of the last daily time, and the year for it.
    fn daily(now: &str, minute: u16, zone: &str) -> [String; 4] {
        let (day, at) = last_daily(now.parse().unwrap(), minute, &timezone(zone).unwrap()).unwrap();
        let (first, last) = year_up_to_last_month(day).unwrap();
        [day.to_string(), at.to_string(), first.to_string(), last.to_string()]
    }

    #[test]
    fn the_end_of_a_day_in_seoul_is_of_that_day_and_its_beginning_of_the_next() {
        let (end, beginning, noon) = (1440, 0, 720);
        let table = [
            // The last second of January there, and the first of February.
            ("2026-01-31T14:59:59Z", end, ["2026-01-30", "2026-01-30T15:00:00Z", "2025-01-01", "2025-12-31"]),
            ("2026-01-31T15:00:00Z", end, ["2026-01-31", "2026-01-31T15:00:00Z", "2025-01-01", "2025-12-31"]),
            ("2026-01-31T15:00:00Z", beginning, ["2026-02-01", "2026-01-31T15:00:00Z", "2025-02-01", "2026-01-31"]),
            ("2026-01-31T15:00:00Z", noon, ["2026-01-31", "2026-01-31T03:00:00Z", "2025-01-01", "2025-12-31"]),
            // The year begins nine hours before it does in Greenwich.
            ("2025-12-31T15:00:00Z", beginning, ["2026-01-01", "2025-12-31T15:00:00Z", "2025-01-01", "2025-12-31"]),
            ("2025-12-31T14:59:59Z", beginning, ["2025-12-31", "2025-12-30T15:00:00Z", "2024-12-01", "2025-11-30"]),
        ];
        for (now, minute, expected) in table {
            assert_eq!(daily(now, minute, "Asia/Seoul"), expected, "{now} {minute}");
        }
    }

    #[test]
    fn a_leap_day_is_a_day_and_a_year_without_one_is_a_year() {
        let year = |now| daily(now, 0, "UTC")[2..].to_vec();
        assert_eq!(year("2024-03-31T12:00:00Z"), ["2023-03-01", "2024-02-29"]);
        assert_eq!(year("2024-02-29T12:00:00Z"), ["2023-02-01", "2024-01-31"]);
        assert_eq!(year("2025-03-01T12:00:00Z"), ["2024-03-01", "2025-02-28"]);
    }

    #[test]
    fn a_time_that_the_clocks_skip_comes_once_all_the_same() {
        // On 29 March 2026 Berlin's clocks go from 02:00 to 03:00.
        let [day, at, ..] = daily("2026-03-29T12:00:00Z", 150, "Europe/Berlin");
        assert_eq!([&*day, &*at], ["2026-03-29", "2026-03-29T01:30:00Z"]);
        let [day, at, ..] = daily("2026-03-30T12:00:00Z", 150, "Europe/Berlin");
        assert_eq!([&*day, &*at], ["2026-03-30", "2026-03-30T00:30:00Z"]);
    }

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
