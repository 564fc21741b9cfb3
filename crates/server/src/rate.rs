//! How often a caller may ask: a bucket of permits for each, refilled with time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More callers than this are not told apart for long: the one that was silent longest is forgotten.
const CALLERS: usize = 10_000;
/// What one request costs, so that refills of less than one request count too.
const COST: u64 = 1_000;

struct Bucket {
    permits: u64,
    at: Instant,
}

/// Buckets of every caller.
pub(crate) struct Rate {
    per_second: u64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Rate {
    /// This many requests a second for each caller, and twice as many at once.
    pub(crate) fn new(per_second: u32) -> Rate {
        Rate { per_second: u64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Takes a permit; when there is none, says how long until there is one.
    pub(crate) fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let most = self.per_second.saturating_mul(2 * COST);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= CALLERS && !buckets.contains_key(caller) {
            let silent = buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(caller, _)| caller.clone());
            silent.map(|caller| buckets.remove(&caller));
        }
        let bucket = buckets.entry(caller.into()).or_insert(Bucket { permits: most, at: now });
        let passed_ms = u64::try_from(now.saturating_duration_since(bucket.at).as_millis()).unwrap_or(u64::MAX);
        if passed_ms > 0 {
            bucket.permits = bucket.permits.saturating_add(passed_ms.saturating_mul(self.per_second)).min(most);
            bucket.at = now;
        }
        match bucket.permits.checked_sub(COST) {
            Some(left) => {
                bucket.permits = left;
                Ok(())
            }
            None => Err(Duration::from_millis((COST - bucket.permits).div_ceil(self.per_second))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_stopped_and_time_refills() {
        let (rate, start) = (Rate::new(2), Instant::now());
        for _ in 0..4 {
            rate.take("a", start).unwrap();
        }
        assert_eq!(rate.take("a", start), Err(Duration::from_millis(500)));
        rate.take("b", start).unwrap();
        rate.take("a", start + Duration::from_millis(500)).unwrap();
        assert!(rate.take("a", start + Duration::from_millis(501)).is_err());
    }

    #[test]
    fn the_number_of_callers_is_bounded() {
        let (rate, start) = (Rate::new(1), Instant::now());
        for caller in 0..CALLERS + 10 {
            rate.take(&caller.to_string(), start).unwrap();
        }
        assert_eq!(rate.buckets.lock().len(), CALLERS);
    }
}
