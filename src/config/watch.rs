//! How many may watch, and how patiently.

use std::time::Duration;

use super::seconds;
use crate::document::Section;

/// How many may watch, and how patiently.
#[derive(Debug, Clone, Copy)]
pub struct WatchConfig {
    /// Streams of this instance.
    pub streams: usize,
    /// Streams of one engine.
    pub streams_per_engine: usize,
    /// The longest silence.
    pub heartbeat: Duration,
    /// How long messages wait for their reader before the stream is cut.
    pub slow_reader: Duration,
}

pub(super) fn read(section: &mut Section<'_>) -> WatchConfig {
    let mut count = |key, default| {
        let number = section.optional(key, |node| node.number(1..=10_000)).unwrap_or(default);
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    WatchConfig {
        streams: count("streams", 64),
        streams_per_engine: count("streams_per_engine", 8),
        heartbeat: seconds(section, "heartbeat_seconds", 1..=300, 10),
        slow_reader: seconds(section, "slow_reader_seconds", 1..=300, 10),
    }
}
