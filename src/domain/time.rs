//! Points in time. Reading a clock lives behind [`super::ports::Clock`].

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since the Unix epoch, never before it, never after the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// The last second of the year 9999: whatever a provider claims, no expiry lies beyond it.
const MAX_SECONDS: i64 = 253_402_300_799;

// === impl Timestamp ===

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From Unix seconds; values outside the range are brought to its nearest end.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        let bounded = if seconds < 0 {
            0
        } else if seconds > MAX_SECONDS {
            MAX_SECONDS
        } else {
            seconds
        };
        Self(bounded * 1_000)
    }

    /// From Unix milliseconds; values outside the range are brought to its nearest end.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        let max = MAX_SECONDS * 1_000;
        Self(if millis < 0 {
            0
        } else if millis > max {
            max
        } else {
            millis
        })
    }

    /// Whole Unix seconds.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0 / 1_000
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// The first whole second that is not before this.
    #[must_use]
    pub const fn next_second(self) -> Self {
        Self::from_unix_millis(self.0.saturating_add(999) / 1_000 * 1_000)
    }

    /// The time from `earlier` to this; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let millis = i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        let millis = i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    /// Unix seconds with milliseconds, as in `1700000000.000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_never_leaves_its_range() {
        assert_eq!(Timestamp::from_unix_seconds(-1), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX).unix_seconds(), MAX_SECONDS);
        assert_eq!((Timestamp::from_unix_seconds(i64::MAX) + Duration::MAX).unix_seconds(), MAX_SECONDS);
        assert_eq!(Timestamp::EPOCH - Duration::MAX, Timestamp::EPOCH);
    }

    #[test]
    fn time_since_a_later_point_is_zero() {
        let (early, late) = (Timestamp::from_unix_seconds(10), Timestamp::from_unix_seconds(12));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
