//! How refreshes are paced.

use std::time::Duration;

use super::seconds;
use crate::document::Section;

/// How refreshes are paced.
#[derive(Debug, Clone, Copy)]
pub struct RefreshConfig {
    /// The pause after the first failure; it doubles with each one more.
    pub backoff_base: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long an instance has for one refresh before another one may take over.
    pub lease: Duration,
    /// How many callers may wait for one refresh.
    pub max_waiters: usize,
}

pub(super) fn read(section: &mut Section<'_>) -> RefreshConfig {
    let backoff_base = seconds(section, "backoff_base_seconds", 1..=3_600, 30);
    let backoff_max = seconds(section, "backoff_max_seconds", 1..=86_400, 3_600);
    if backoff_max < backoff_base {
        section.fault("backoff_max_seconds", "must not be less than `backoff_base_seconds`", "");
    }
    let lease = seconds(section, "lease_seconds", 5..=120, 20);
    let max_waiters = section.optional("max_waiters", |node| node.number(1..=100_000)).unwrap_or(1_000);
    RefreshConfig { backoff_base, backoff_max, lease, max_waiters: usize::try_from(max_waiters).unwrap_or(1) }
}
