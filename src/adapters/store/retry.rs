//! A store that tries again: what fails for a moment is not the caller's business.
//!
//! Only what passes by itself is tried again, a bounded number of times and within a bounded time. Which is safe for a
//! write too, because it says what it expects: the second of two equal writes finds the first.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::reason;
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, Expected, Random, Record, Store, StoreError, Stored, UserDrawer, Version};

/// How often, how soon and how long to try.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The most attempts, the first included.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with every attempt.
    pub first_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
    /// How long one call may take, all attempts and pauses together.
    pub time_limit: Duration,
}

/// Tries again what failed for a moment.
pub struct RetryingStore {
    inner: Arc<dyn Store>,
    random: Arc<dyn Random>,
    policy: RetryPolicy,
}

// === impl RetryPolicy ===

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_millis(500),
            time_limit: Duration::from_secs(4),
        }
    }
}

impl RetryPolicy {
    /// For a store that is allowed to take so long for one operation: no less than that, and a pause.
    #[must_use]
    pub fn for_operations_of(operation: Duration) -> Self {
        let usual = Self::default();
        Self { time_limit: usual.time_limit.max(operation + usual.longest_pause), ..usual }
    }
}

// === impl RetryingStore ===

impl RetryingStore {
    /// Around this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, random: Arc<dyn Random>, policy: RetryPolicy) -> Self {
        Self { inner, random, policy }
    }

    /// Waits before the next attempt; `false` when there is none. The pause is anywhere between nothing and its bound
    /// ("full jitter"), so that the callers of one outage do not come back in one wave.
    async fn pause_after(&self, attempt: u32) -> bool {
        if attempt >= self.policy.attempts {
            return false;
        }
        let doublings = attempt.saturating_sub(1).min(16);
        let bound = self.policy.first_pause.saturating_mul(1 << doublings).min(self.policy.longest_pause);
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        sleep(bound.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))).await;
        true
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.policy.time_limit, work).await.unwrap_or(Err(StoreError::unavailable(reason::TIMEOUT)))
    }

    async fn read_repeatedly<T, A>(&self, read: impl Fn() -> A) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        self.bounded(async {
            let mut attempt = 1;
            loop {
                match read().await {
                    Err(error) if passes(&error) && self.pause_after(attempt).await => attempt += 1,
                    answer => return answer,
                }
            }
        })
        .await
    }

    /// Writes a value that is to have this version.
    async fn write_repeatedly<A>(
        &self,
        address: &Address,
        version: Version,
        value: &Bytes,
        write: impl Fn() -> A,
    ) -> Result<(), StoreError>
    where
        A: Future<Output = Result<(), StoreError>>,
    {
        self.bounded(async {
            let mut attempt = 1;
            loop {
                match write().await {
                    Err(StoreError::Conflict) if attempt > 1 => {
                        return self.explain_conflict(address, version, value).await;
                    }
                    Err(error) if passes(&error) && self.pause_after(attempt).await => attempt += 1,
                    verdict => return verdict,
                }
            }
        })
        .await
    }

    /// A conflict after an attempt of which nobody knows whether it happened may be a conflict with ourselves. It is
    /// when exactly our value stands at the version we were to make: values are sealed with fresh salt, so nobody else
    /// writes the same bytes. Had somebody written over ours since, the conflict stands: the caller has to read anyway.
    async fn explain_conflict(&self, address: &Address, version: Version, value: &Bytes) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.inner.get(address).await {
                Ok(Some(found)) if found.version == version && found.value == *value => return Ok(()),
                Ok(_) | Err(StoreError::Conflict | StoreError::Corrupt) => return Err(StoreError::Conflict),
                Err(error) if passes(&error) && self.pause_after(attempt).await => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Store for RetryingStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.read_repeatedly(|| self.inner.get(address)).await
    }

    async fn get_recent(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.read_repeatedly(|| self.inner.get_recent(address)).await
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        let value = record.value.clone();
        self.write_repeatedly(address, expected.next(), &value, || self.inner.put(address, expected, record.clone()))
            .await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        let value = record.value.clone();
        self.write_repeatedly(address, version, &value, || self.inner.restore(address, version, record.clone())).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        self.read_repeatedly(|| self.inner.list_user(tenant, user)).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

/// Whether it may pass by itself.
fn passes(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable { reason, .. } => reason::is_transient(reason),
        StoreError::Conflict | StoreError::Corrupt => false,
    }
}

#[cfg(test)]
mod tests;
