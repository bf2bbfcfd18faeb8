//! How long a call may take: as long as its caller waits, less what the way back takes.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// For a caller that does not say how long it waits.
const UNSTATED: Duration = Duration::from_secs(15);

/// For a caller that says it waits longer. Nobody does.
const LONGEST: Duration = Duration::from_hours(1);

/// When the outcome of a call must be known, so that its audit line is written and its answer arrives in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    outcome_by: Instant,
    margin: Duration,
    stated: bool,
}

// === impl Deadline ===

impl Deadline {
    /// Of a call that arrives now and whose caller waits for so long.
    pub(super) fn of_a_call(time_limit: Option<Duration>) -> Self {
        let limit = time_limit.map_or(UNSTATED, |limit| limit.min(LONGEST));
        let margin = (limit / 20).clamp(Duration::from_millis(10), Duration::from_millis(250)).min(limit / 4);
        Self { outcome_by: Instant::now() + limit.saturating_sub(margin), margin, stated: time_limit.is_some() }
    }

    /// Of letting a caller into a stream: however long the stream may last, that takes no longer than a call.
    pub(super) fn of_an_opening(self) -> Self {
        let latest = Instant::now() + UNSTATED.saturating_sub(self.margin);
        Self { outcome_by: self.outcome_by.min(latest), ..self }
    }

    /// When it is over, if the caller said so.
    pub(super) fn stated(self) -> Option<Instant> {
        self.stated.then_some(self.outcome_by)
    }

    /// How long a use case may wait that has something better to say than that time is up: it ends before the guard
    /// ends it.
    pub(super) fn patience(self) -> Duration {
        self.outcome_by.saturating_duration_since(Instant::now() + self.margin)
    }

    /// The outcome; `None` if there is none in time.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T> + Send) -> Option<T> {
        timeout_at(self.outcome_by, work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_ended_before_the_caller_gives_up_and_patience_ends_before_that() {
        let millis = Duration::from_millis;
        let cases = [
            (Some(millis(4)), millis(2), millis(3)),
            (Some(millis(100)), millis(80), millis(90)),
            (Some(millis(2_000)), millis(1_800), millis(1_900)),
            (Some(millis(60_000)), millis(59_500), millis(59_750)),
            (Some(Duration::MAX), millis(3_599_500), millis(3_599_750)),
            (None, millis(14_500), millis(14_750)),
        ];
        for (limit, patience, ended) in cases {
            let (began, deadline) = (Instant::now(), Deadline::of_a_call(limit));
            assert_eq!(deadline.patience(), patience, "{limit:?}");
            assert_eq!(deadline.bound(pending::<()>()).await, None);
            assert_eq!(began.elapsed(), ended, "{limit:?}");
            assert_eq!(deadline.patience(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_lasts_as_long_as_its_caller_says_and_letting_it_in_as_long_as_a_call() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let unstated = Deadline::of_a_call(None);
        assert_eq!((unstated.stated(), unstated.of_an_opening().outcome_by), (None, unstated.outcome_by));
        let long = Deadline::of_a_call(Some(seconds(600)));
        assert_eq!(long.stated(), Some(now + seconds(600) - long.margin));
        assert_eq!(long.of_an_opening().outcome_by, now + seconds(15) - long.margin);
        let short = Deadline::of_a_call(Some(seconds(1)));
        assert_eq!(short.of_an_opening().outcome_by, short.outcome_by);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_at_once_is_told_however_short_the_time() {
        assert_eq!(Deadline::of_a_call(Some(Duration::ZERO)).bound(async { 7 }).await, Some(7));
    }
}
