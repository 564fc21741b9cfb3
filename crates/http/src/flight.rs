//! What answers may take together of the memory, from when they are announced until they are read.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::HttpError;

/// How many bytes answers may take together until they are read, in units of [`UNIT`].
static IN_FLIGHT: Semaphore = Semaphore::const_new((1 << 30) / UNIT);
/// An answer of more than so many bytes is read while no other such is: what is made of it takes several times as much.
const LARGE: usize = 32 << 20;
/// In what steps they are counted.
const UNIT: usize = 1 << 20;

/// Waits until an answer of so many bytes may be read.
pub(crate) fn alone(bytes: usize) -> Option<MutexGuard<'static, ()>> {
    static READING: Mutex<()> = Mutex::new(());
    (bytes > LARGE).then(|| READING.lock())
}

/// Room for so many bytes, if there is.
pub(crate) fn try_hold(bytes: usize) -> Option<SemaphorePermit<'static>> {
    IN_FLIGHT.try_acquire_many(u32::try_from(bytes.div_ceil(UNIT)).ok()?).ok()
}

/// One answer's share of what may be on its way.
#[derive(Default)]
pub(crate) struct Flight {
    held: Option<SemaphorePermit<'static>>,
    units: usize,
}

impl Flight {
    /// The same as `hold`, on the calling thread.
    pub(crate) fn hold_here(&mut self, bytes: usize, at_most: Duration) -> Result<(), HttpError> {
        const MOMENT: Duration = Duration::from_millis(2);
        let since = Instant::now();
        let units = bytes.div_ceil(UNIT);
        while units > self.units {
            let more = u32::try_from(units - self.units).unwrap_or(u32::MAX);
            match IN_FLIGHT.try_acquire_many(more) {
                Ok(permit) => self.add(permit, units),
                Err(_) if since.elapsed() >= at_most => return Err(full()),
                Err(_) => std::thread::sleep(MOMENT),
            }
        }
        Ok(())
    }

    fn add(&mut self, permit: SemaphorePermit<'static>, units: usize) {
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.units = units;
    }

    /// Waits until there is room for so many bytes of this answer, which are more than before.
    pub(crate) async fn hold(&mut self, bytes: usize, at_most: Duration) -> Result<(), HttpError> {
        let units = bytes.div_ceil(UNIT);
        let more = u32::try_from(units.saturating_sub(self.units)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let permit = tokio::time::timeout(at_most, IN_FLIGHT.acquire_many(more)).await;
        let permit = permit.map_err(|_| full())?.map_err(|_| full())?;
        self.add(permit, units);
        Ok(())
    }
}

fn full() -> HttpError {
    HttpError::Unreachable("too many large answers are on their way already".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    #[test]
    fn what_is_on_its_way_together_is_bounded() {
        let moment = Duration::from_millis(50);
        wait(async {
            let (mut first, mut second) = (Flight::default(), Flight::default());
            first.hold((1 << 30) - 3 * UNIT, moment).await.unwrap();
            second.hold(UNIT, moment).await.unwrap();
            assert!(matches!(second.hold(10 * UNIT, moment).await, Err(HttpError::Unreachable(_))));
            drop(first);
            second.hold(10 * UNIT, moment).await.unwrap();
        });
    }
}
