//! Instants, in whole seconds.

use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time such as 2026-02-06T19:00:00+09:00: {why}")]
pub struct TimeError {
    text: String,
    why: String,
}

impl Timestamp {
    /// From Unix seconds; what lies outside the years 1 to 9998 is brought to that edge.
    pub fn from_unix_s(seconds: i64) -> Timestamp {
        const EDGE_S: (i64, i64) = (-62_135_596_800, 253_370_764_800);
        Timestamp(seconds.clamp(EDGE_S.0, EDGE_S.1))
    }

    /// Unix seconds.
    pub fn unix_s(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to this instant; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Timestamp) -> i64 {
        self.0 - earlier.0
    }
}

/// RFC 3339 with its offset; fractions of a second are cut off.
impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Timestamp, TimeError> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Timestamp::from_unix_s(instant.as_duration().as_secs_floor()))
            .map_err(|error| TimeError { text: text.into(), why: error.to_string() })
    }
}

trait FloorSeconds {
    fn as_secs_floor(&self) -> i64;
}

impl FloorSeconds for jiff::SignedDuration {
    fn as_secs_floor(&self) -> i64 {
        self.as_secs() - i64::from(self.subsec_nanos() < 0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(instant) => fmt::Display::fmt(&instant, f),
            Err(_) => write!(f, "{}", self.0), // cannot be: from_unix_s keeps to the years that jiff knows
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_utc() {
        let time: Timestamp = "2026-02-06T19:00:00+09:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-02-06T10:00:00Z");
        assert_eq!(time, "2026-02-06T10:00:00.999Z".parse().unwrap());
        for bad in ["", "2026-02-06", "2026-02-06T19:00:00", "yesterday", "2026-13-01T00:00:00Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        assert_eq!(Timestamp::from_unix_s(i64::MAX).to_string().len(), "9998-12-31T00:00:00Z".len());
    }
}
