//! The generic cell rate algorithm: one number per engine says when its next call is due.
//!
//! A call is let through if it comes no earlier than the time `burst` calls stand for before it is due. There is no
//! window at whose edge twice as many could pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Exceeded;
use crate::domain::limits::Rate;

/// When the next call is due, in nanoseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Calls {
    due: AtomicU64,
    told: AtomicU64,
}

/// An engine that stays above its limit is news once in so long.
const NEWS: Duration = Duration::from_secs(60);

// === impl Calls ===

impl Calls {
    pub(super) fn take(&self, rate: Rate, now: Duration) -> Result<(), Exceeded> {
        let (now, interval) = (nanos(now), nanos(rate.interval()));
        let tolerance = interval.saturating_mul(u64::from(rate.burst()));
        let taken = self.due.fetch_update(Ordering::AcqRel, Ordering::Acquire, |due| {
            let next = due.max(now).saturating_add(interval);
            (next - now <= tolerance).then_some(next)
        });
        taken.map(|_| ()).map_err(|due| {
            let wait = due.max(now).saturating_add(interval).saturating_sub(now.saturating_add(tolerance));
            let told = self.told.load(Ordering::Relaxed);
            let is_news = (told == 0 || now.saturating_sub(told) >= nanos(NEWS))
                && self.told.compare_exchange(told, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok();
            Exceeded { retry_after: Duration::from_nanos(wait), is_news }
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_a_burst_passes_and_then_so_many_each_second_exactly() {
        let (calls, rate) = (Calls::default(), Rate::new(10, 5).unwrap());
        let begin = Duration::from_secs(100);
        let passed = |millis: std::ops::Range<u64>| {
            millis.filter(|at| calls.take(rate, begin + Duration::from_millis(*at)).is_ok()).count()
        };
        assert_eq!((0..50).filter(|_| calls.take(rate, begin).is_ok()).count(), 5);
        assert_eq!(passed(1..1_001), 10);
        assert_eq!(passed(1_001..11_001), 100);
    }

    #[test]
    fn whoever_waits_as_long_as_told_passes_and_nobody_who_waits_less() {
        let (calls, rate) = (Calls::default(), Rate::new(3, 2).unwrap());
        let mut now = Duration::from_secs(1);
        for _ in 0..20 {
            if let Err(exceeded) = calls.take(rate, now) {
                let too_soon = exceeded.retry_after.saturating_sub(Duration::from_nanos(1));
                assert!(calls.take(rate, now + too_soon).is_err());
                now += exceeded.retry_after;
                calls.take(rate, now).unwrap();
            }
        }
    }

    #[test]
    fn an_engine_above_its_limit_is_news_once_a_minute() {
        let (calls, rate) = (Calls::default(), Rate::new(1, 1).unwrap());
        let news = |at: u64| calls.take(rate, Duration::from_millis(at)).err().map(|exceeded| exceeded.is_news);
        assert_eq!([news(1_000), news(1_001), news(1_002)], [None, Some(true), Some(false)]);
        for second in 2..61 {
            assert_ne!(news(second * 1_000 + 1), Some(true));
        }
        assert_eq!([news(61_500), news(61_501)].iter().flatten().filter(|news| **news).count(), 1);
    }
}
