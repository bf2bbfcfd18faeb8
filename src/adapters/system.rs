//! The machine's clock and randomness: the only place that asks for either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::ports::{Clock, Random};
use crate::domain::time::Timestamp;

/// The machine's wall clock, as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The operating system's random generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// The time since the machine was started, that in which it was suspended included: what was promised for twenty
    /// seconds is over after a night.
    fn monotonic(&self) -> Duration {
        let since_start = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(since_start.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(since_start.tv_nsec).unwrap_or_default())
    }
}

impl Random for SystemRandom {
    /// # Panics
    ///
    /// When the operating system has no randomness to give: nothing the vault could do then would be safe.
    #[expect(clippy::expect_used, reason = "without randomness nothing may go on")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives randomness");
    }
}
