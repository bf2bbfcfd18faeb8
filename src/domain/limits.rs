//! How much an engine may do: how many calls, and for how many users. Counting them is somebody else's business.

use std::time::Duration;

/// The limits of one engine. What is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls.
    pub rate: Option<Rate>,
    /// Users whose tokens it receives within any hour.
    pub max_distinct_users_per_hour: Option<u32>,
}

/// How many calls: so many each second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

/// The most calls per second that can be asked for.
pub const MAX_RATE: u32 = 1_000_000;
/// The most users that are counted for one engine: about 20 MB.
pub const MAX_DISTINCT_USERS: u32 = 100_000;

// === impl Rate ===

impl Rate {
    /// At least 1 of each, at most [`MAX_RATE`]; `None` for anything else.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let fits = |number| (1..=MAX_RATE).contains(&number);
        (fits(per_second) && fits(burst)).then_some(Self { per_second, burst })
    }

    /// Calls per second.
    #[must_use]
    pub const fn per_second(self) -> u32 {
        self.per_second
    }

    /// Calls at once.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time one call stands for.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}
