//! Where answers lie until the store has them.

use std::path::PathBuf;
use std::time::Duration;

use super::{Context, path, seconds};
use crate::document::{Node, Section};

/// Where answers lie until the store has them.
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// Whether there is an outbox. Without one, an answer that has arrived is in memory only until the store has it.
    pub enabled: bool,
    /// The folder; every instance makes one of its own in it.
    pub dir: PathBuf,
    /// How many answers may wait.
    pub max_entries: usize,
    /// How many bytes they may have together.
    pub max_bytes: u64,
    /// How long an instance that is gone or cut off is given to bring its answers, before its refresh token is tried
    /// again.
    pub handover: Duration,
}

const MEBIBYTE: u64 = 1_048_576;

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> OutboxConfig {
    let enabled = section.optional("enabled", Node::boolean).unwrap_or(true);
    let dir = section.optional("dir", path).unwrap_or_else(|| context.data_dir.join("outbox"));
    let entries = section.optional("max_entries", |node| node.number(1..=1_000_000)).unwrap_or(10_000);
    let max_bytes = section.optional("max_bytes", |node| node.number(MEBIBYTE..=1_024 * 1_024 * MEBIBYTE));
    OutboxConfig {
        enabled,
        dir,
        max_entries: usize::try_from(entries).unwrap_or(1),
        max_bytes: max_bytes.unwrap_or(256 * MEBIBYTE),
        handover: seconds(section, "handover_seconds", 0..=3_600, 120),
    }
}
