//! Clocks that show what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use vault_engine::domain::ports::Clock;
use vault_engine::domain::time::Timestamp;

/// A clock that stands still until it is set. What passes on it has passed.
pub(crate) struct SetClock(AtomicI64);

/// The clock of one machine, which may show something else than the time.
pub(crate) struct MachineClock {
    time: Arc<SetClock>,
    error: AtomicI64,
}

// === impl SetClock ===

impl SetClock {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(1_700_000_000_000))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.now().since(Timestamp::EPOCH)
    }
}

// === impl MachineClock ===

impl MachineClock {
    pub(crate) fn wrong_by(time: Arc<SetClock>, seconds: i64) -> Self {
        Self { time, error: AtomicI64::new(seconds * 1_000) }
    }

    /// Somebody sets it.
    pub(crate) fn step(&self, seconds: i64) {
        self.error.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.time.now().unix_millis() + self.error.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.time.monotonic()
    }
}
