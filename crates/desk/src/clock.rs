//! The process's clock: the machine's, unless somebody plays another day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assay_types::Timestamp;

/// By so many seconds it is ahead of the machine's.
static AHEAD_S: AtomicI64 = AtomicI64::new(0);

/// What it shows.
pub fn now() -> Timestamp {
    ago(Duration::ZERO)
}

/// What it showed so long ago.
pub fn ago(elapsed: Duration) -> Timestamp {
    Timestamp::from_unix_s(machine_s(elapsed).saturating_add(AHEAD_S.load(Ordering::Relaxed)))
}

/// Sets it, for the whole process; from there it goes on as the machine's does.
pub fn set(to: Timestamp) {
    AHEAD_S.store(to.unix_s().saturating_sub(machine_s(Duration::ZERO)), Ordering::Relaxed);
}

fn machine_s(ago: Duration) -> i64 {
    let then = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    let since_epoch = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
