//! The machine's clock and randomness: the only place that asks for either.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    fn monotonic(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
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
