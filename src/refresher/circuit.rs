//! Per platform: how many refreshes may run at once, and whether asking makes sense at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::verdict::Verdict;
use crate::domain::cause::Cause;
use crate::domain::id::PlatformId;

/// The circuits of all platforms, as this instance sees them.
pub(super) struct Circuits {
    platforms: Mutex<HashMap<PlatformId, Circuit>>,
    concurrency: usize,
}

struct Circuit {
    state: State,
    permits: Arc<Semaphore>,
}

enum State {
    /// Asking makes sense; so many failures came in a row, the first of them then.
    Closed { failures: u32, since: Option<Instant> },
    /// It does not, until then. After that one call may try, and the others wait for what it learns.
    Open { until: Instant, cause: Cause, opened: u32, tried: bool },
}

/// A platform is not to be asked now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) cause: Cause,
    pub(super) retry_after: Duration,
}

/// Leave to ask a platform once.
pub(super) struct Leave {
    _permit: OwnedSemaphorePermit,
}

const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);
const APP_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long a trial may take to report back.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);
/// How long a refresh waits for its turn before it gives up.
const QUEUE_LIMIT: Duration = Duration::from_secs(5);

// === impl Circuits ===

impl Circuits {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { platforms: Mutex::default(), concurrency }
    }

    /// Asks for leave to call a platform.
    pub(super) async fn enter(&self, platform: &PlatformId) -> Result<Leave, Open> {
        let permits =
            self.with(platform, |circuit| circuit.admit(Instant::now()).map(|()| Arc::clone(&circuit.permits)))?;
        let busy = Open { cause: Cause::Throttled, retry_after: Duration::from_secs(1) };
        match tokio::time::timeout(QUEUE_LIMIT, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Leave { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(busy),
        }
    }

    /// Whether asking makes sense now, for whoever can as well come later.
    pub(super) fn admit(&self, platform: &PlatformId) -> bool {
        self.with(platform, |circuit| match circuit.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => Instant::now() >= until,
        })
    }

    /// Learns from how a call ended.
    pub(super) fn learn(&self, platform: &PlatformId, verdict: &Verdict) {
        self.with(platform, |circuit| circuit.learn(platform, verdict, Instant::now()));
    }

    fn with<T>(&self, platform: &PlatformId, act: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut platforms = self.platforms.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Circuit {
            state: State::Closed { failures: 0, since: None },
            permits: Arc::new(Semaphore::new(self.concurrency)),
        };
        act(platforms.entry(platform.clone()).or_insert_with(new))
    }
}

// === impl Circuit ===

impl Circuit {
    fn admit(&mut self, now: Instant) -> Result<(), Open> {
        match &mut self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, cause, .. } if now < *until => {
                Err(Open { cause: *cause, retry_after: until.saturating_duration_since(now) })
            }
            State::Open { until, tried, .. } => {
                // Should the trial never report back, because it lost its claim, the next one may begin then.
                *until = now + TRIAL_LIMIT;
                *tried = true;
                Ok(())
            }
        }
    }

    fn learn(&mut self, platform: &PlatformId, verdict: &Verdict, now: Instant) {
        let (opened, untried) = match self.state {
            State::Open { opened, tried, .. } => (opened, !tried),
            State::Closed { .. } => (0, false),
        };
        match verdict {
            // Calls that were under way when it opened say nothing new.
            Verdict::AppMisconfigured
            | Verdict::Transient { cause: Cause::ProviderOutage | Cause::MalformedAnswer, .. }
                if untried => {}
            Verdict::AppMisconfigured => {
                tracing::error!(alarm = "app_misconfigured", %platform, "the platform refuses this installation's client; check `platforms.{platform}` in the configuration");
                self.open(Cause::AppMisconfigured, APP_PAUSE, opened, now);
            }
            Verdict::Transient { cause: cause @ (Cause::ProviderOutage | Cause::MalformedAnswer), .. } => {
                self.fail(platform, *cause, opened, now);
            }
            // An answer about one grant is an answer: the platform is there.
            Verdict::Renewed(_) | Verdict::Dead(_) | Verdict::Transient { .. } => {
                if opened > 0 {
                    tracing::info!(%platform, "the platform answers again");
                }
                self.state = State::Closed { failures: 0, since: None };
            }
        }
    }

    fn fail(&mut self, platform: &PlatformId, cause: Cause, opened: u32, now: Instant) {
        match &mut self.state {
            State::Open { .. } => self.open(cause, OUTAGE_PAUSE, opened, now),
            State::Closed { failures, since } => {
                let first = since.filter(|since| now.saturating_duration_since(*since) <= WINDOW);
                *failures = if first.is_some() { failures.saturating_add(1) } else { 1 };
                *since = Some(first.unwrap_or(now));
                if *failures >= FAILURES {
                    tracing::warn!(%platform, cause = cause.as_str(), "the platform keeps failing and is left alone for a while");
                    self.open(cause, OUTAGE_PAUSE, opened, now);
                }
            }
        }
    }

    fn open(&mut self, cause: Cause, pause: Duration, opened: u32, now: Instant) {
        let pause = pause.saturating_mul(1 << opened.min(6)).min(LONGEST_PAUSE);
        self.state = State::Open { until: now + pause, cause, opened: opened.saturating_add(1), tried: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTAGE: Verdict = Verdict::Transient { cause: Cause::ProviderOutage, retry_after: None, in_doubt: false };

    fn platform() -> PlatformId {
        "p".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_keeps_failing_is_left_alone_and_then_tried_once() {
        let circuits = Circuits::new(8);
        for _ in 0..FAILURES {
            assert!(circuits.enter(&platform()).await.is_ok());
            circuits.learn(&platform(), &OUTAGE);
        }
        assert_eq!(circuits.enter(&platform()).await.err().unwrap().cause, Cause::ProviderOutage);
        tokio::time::advance(OUTAGE_PAUSE).await;
        assert!(circuits.enter(&platform()).await.is_ok(), "one trial");
        assert!(circuits.enter(&platform()).await.is_err(), "and only one");
        circuits.learn(&platform(), &Verdict::Dead(None));
        assert!(circuits.enter(&platform()).await.is_ok(), "an answer closes the circuit");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_when_it_opened_does_not_open_it_for_longer() {
        let circuits = Circuits::new(64);
        for _ in 0..FAILURES + 20 {
            circuits.learn(&platform(), &OUTAGE);
        }
        assert_eq!(circuits.enter(&platform()).await.err().unwrap().retry_after, OUTAGE_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_far_apart_do_not_add_up() {
        let circuits = Circuits::new(8);
        for _ in 0..FAILURES * 3 {
            circuits.learn(&platform(), &OUTAGE);
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        assert!(circuits.enter(&platform()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_client_opens_the_circuit_at_once_and_for_longer_each_time() {
        let circuits = Circuits::new(8);
        circuits.learn(&platform(), &Verdict::AppMisconfigured);
        let first = circuits.enter(&platform()).await.err().unwrap();
        assert_eq!((first.cause, first.retry_after), (Cause::AppMisconfigured, APP_PAUSE));
        tokio::time::advance(APP_PAUSE).await;
        assert!(circuits.enter(&platform()).await.is_ok());
        circuits.learn(&platform(), &Verdict::AppMisconfigured);
        assert_eq!(circuits.enter(&platform()).await.err().unwrap().retry_after, APP_PAUSE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_refreshes_run_at_once() {
        let circuits = Circuits::new(1);
        let leave = circuits.enter(&platform()).await.ok().unwrap();
        assert_eq!(circuits.enter(&platform()).await.err().unwrap().cause, Cause::Throttled);
        drop(leave);
        assert!(circuits.enter(&platform()).await.is_ok());
    }
}
