//! Holds any key provider to limits: how often it is called, how long a call may take, and when to leave a failing
//! service alone. Which failure is which is decided by the provider, never here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::ports::{DataKey, EncryptionContext, KeyError, KeyFault, KeyProvider, WrappedDataKey};

/// What a provider is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls per second, of this instance; also how many may come at once after a quiet second. At least 1.
    pub calls_per_second: u32,
    /// How long a call waits for its turn.
    pub patience: Duration,
    /// How long one call may take, waiting for its turn included.
    pub time_limit: Duration,
    /// This many failures within `failure_window` open the breaker.
    pub failures: usize,
    /// How far back failures count.
    pub failure_window: Duration,
    /// While the breaker is open, one call is let through this often, to see whether the service is back.
    pub probe_interval: Duration,
}

/// A provider behind a rate limit, a time limit and a circuit breaker.
///
/// - A call that has no turn yet waits for it; one that would have to wait too long is not made, and told so at once.
/// - [`KeyError::Unavailable`] counts as a failure. [`KeyError::Refused`] does not: a service that refuses is well.
/// - While the breaker is open, calls end at once with [`KeyError::Unavailable`].
/// - A call whose future is dropped counts for nothing.
#[derive(Debug)]
pub struct Guarded<P> {
    inner: P,
    limits: Limits,
    turns: Mutex<Turns>,
    breaker: Mutex<Breaker>,
}

/// A token bucket, kept as one point in time: when it would be full again.
///
/// Each call moves that point by `1 / calls_per_second`; it may lie at most one second ahead, and a call that would move
/// it further waits for the difference. So turns are handed out in the order they were asked for, and none is lost to
/// rounding.
#[derive(Debug)]
struct Turns {
    full_at: Instant,
}

#[derive(Debug)]
enum Breaker {
    /// Calls go through; these failures happened within the window, oldest first.
    Closed { failures: VecDeque<Instant> },
    /// Calls end at once, but for one from `next_probe` on.
    ///
    /// There is no third state for "a probe is out": a probe that hangs or is dropped would leave the breaker in it.
    Open { next_probe: Instant },
}

const BURST: Duration = Duration::from_secs(1);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: 500,
            // The rest of the time limit is what a call may take: waiting here must never make the service look slow.
            patience: Duration::from_secs(2),
            time_limit: Duration::from_secs(10),
            failures: 20,
            failure_window: Duration::from_secs(10),
            probe_interval: Duration::from_secs(5),
        }
    }
}

// === impl Guarded ===

impl<P: KeyProvider> Guarded<P> {
    /// Holds this provider to these limits. The breaker starts closed and the bucket full.
    #[must_use]
    pub fn new(inner: P, limits: Limits) -> Self {
        let turns = Mutex::new(Turns { full_at: Instant::now() });
        let breaker = Mutex::new(Breaker::Closed { failures: VecDeque::new() });
        Self { inner, limits, turns, breaker }
    }

    /// Whether the breaker is open: the service was failing when it was last asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*lock(&self.breaker), Breaker::Open { .. })
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, KeyError>>) -> Result<T, KeyError> {
        let begun = Instant::now();
        // Asked before the wait, so that an open breaker costs no turn; and again after it, because it may have opened.
        if !lock(&self.breaker).would_admit(begun) {
            return Err(circuit_open());
        }
        let Some(turn) = lock(&self.turns).take(begun, &self.limits) else {
            return Err(KeyError::Unavailable(KeyFault::new("rate_limited")));
        };
        sleep_until(turn).await;
        if !lock(&self.breaker).admit(Instant::now(), &self.limits) {
            return Err(circuit_open());
        }

        let answer = match timeout_at(begun + self.limits.time_limit, call).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(KeyError::Unavailable(KeyFault::caused_by("timeout", elapsed))),
        };
        self.learn_from(&answer);
        answer
    }

    fn learn_from<T>(&self, answer: &Result<T, KeyError>) {
        let mut breaker = lock(&self.breaker);
        let was_open = matches!(*breaker, Breaker::Open { .. });
        match answer {
            Ok(_) | Err(KeyError::Refused(_)) => {
                breaker.close();
                if was_open {
                    tracing::info!(kind = self.inner.kind(), "the key service answers again");
                }
            }
            Err(KeyError::Unavailable(fault)) => {
                breaker.record_failure(Instant::now(), &self.limits);
                if !was_open && matches!(*breaker, Breaker::Open { .. }) {
                    tracing::warn!(kind = self.inner.kind(), reason = fault.reason, "the key service keeps failing");
                }
            }
        }
    }
}

#[async_trait]
impl<P: KeyProvider> KeyProvider for Guarded<P> {
    async fn generate_data_key(&self, context: &EncryptionContext) -> Result<(DataKey, WrappedDataKey), KeyError> {
        self.call(self.inner.generate_data_key(context)).await
    }

    async fn decrypt(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyError> {
        self.call(self.inner.decrypt(context, wrapped)).await
    }

    async fn reencrypt(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<WrappedDataKey, KeyError> {
        self.call(self.inner.reencrypt(context, wrapped)).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

// === impl Turns ===

impl Turns {
    /// The next turn, unless it would take too long to come; then nothing is taken.
    fn take(&mut self, now: Instant, limits: &Limits) -> Option<Instant> {
        let full_at = self.full_at.max(now) + BURST / limits.calls_per_second.max(1);
        let wait = full_at.duration_since(now).saturating_sub(BURST);
        (wait <= limits.patience).then(|| {
            self.full_at = full_at;
            now + wait
        })
    }
}

// === impl Breaker ===

impl Breaker {
    fn would_admit(&self, now: Instant) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { next_probe } => now >= *next_probe,
        }
    }

    fn admit(&mut self, now: Instant, limits: &Limits) -> bool {
        let admitted = self.would_admit(now);
        if let (Self::Open { next_probe }, true) = (self, admitted) {
            *next_probe = now + limits.probe_interval;
        }
        admitted
    }

    fn close(&mut self) {
        // Failures of the last seconds stay counted while it is closed: a service that fails every other call is not
        // well, and one success must not hide that.
        if matches!(self, Self::Open { .. }) {
            *self = Self::Closed { failures: VecDeque::new() };
        }
    }

    fn record_failure(&mut self, now: Instant, limits: &Limits) {
        let Self::Closed { failures } = self else { return };
        failures.push_back(now);
        while failures.front().is_some_and(|oldest| now.duration_since(*oldest) > limits.failure_window) {
            failures.pop_front();
        }
        if failures.len() >= limits.failures {
            *self = Self::Open { next_probe: now + limits.probe_interval };
        }
    }
}

fn circuit_open() -> KeyError {
    KeyError::Unavailable(KeyFault::new("circuit_open"))
}

/// Nothing here panics while it holds a lock, and the state would be sound if it did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
