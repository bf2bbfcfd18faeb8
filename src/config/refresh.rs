//! How refreshes are paced.

use std::time::Duration;

use super::seconds;
use crate::document::{Node, Section};

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
    /// How what is due is refreshed before anybody asks; `None`: not at all.
    pub background: Option<BackgroundConfig>,
}

/// How what is due is refreshed before anybody asks, by each instance.
#[derive(Debug, Clone, Copy)]
pub struct BackgroundConfig {
    /// How often it is looked for.
    pub tick: Duration,
    /// Refreshes of one platform begun per second, at most.
    pub per_platform_per_second: u32,
    /// Refreshes of one platform under way at once, at most.
    pub concurrency: usize,
}

pub(super) fn read(section: &mut Section<'_>) -> RefreshConfig {
    let backoff_base = seconds(section, "backoff_base_seconds", 1..=3_600, 30);
    let backoff_max = seconds(section, "backoff_max_seconds", 1..=86_400, 3_600);
    if backoff_max < backoff_base {
        section.fault("backoff_max_seconds", "must not be less than `backoff_base_seconds`", "");
    }
    let lease = seconds(section, "lease_seconds", 5..=120, 20);
    let max_waiters = section.optional("max_waiters", |node| node.number(1..=100_000)).unwrap_or(1_000);
    let max_waiters = usize::try_from(max_waiters).unwrap_or(1);
    let background = section.section("background", background).flatten();
    RefreshConfig { backoff_base, backoff_max, lease, max_waiters, background }
}

fn background(section: &mut Section<'_>) -> Option<BackgroundConfig> {
    let enabled = section.optional("enabled", Node::boolean).unwrap_or(true);
    let tick = seconds(section, "tick_seconds", 1..=300, 5);
    let pace = section.optional("per_platform_per_second", |node| node.number(1..=10_000)).unwrap_or(50);
    // Less than an instance may have under way at all, so that callers always find room.
    let concurrency = section.optional("concurrency", |node| node.number(1..=48)).unwrap_or(32);
    enabled.then(|| BackgroundConfig {
        tick,
        per_platform_per_second: u32::try_from(pace).unwrap_or(1),
        concurrency: usize::try_from(concurrency).unwrap_or(1),
    })
}
