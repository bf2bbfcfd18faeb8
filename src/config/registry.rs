//! The registry: the engines that are made and changed while the vault runs.

use std::time::Duration;

use super::seconds;
use crate::document::{Node, Section};

/// The registry of engines.
#[derive(Debug, Clone, Copy)]
pub struct RegistryConfig {
    /// Whether there is one. Without it only engines of the configuration may call, and nothing administers them.
    pub enabled: bool,
    /// How often an instance looks whether others have changed it. What was revoked is refused everywhere within this
    /// time and the time a look takes.
    pub refresh: Duration,
}

pub(super) fn read(section: &mut Section<'_>) -> RegistryConfig {
    RegistryConfig {
        enabled: section.optional("enabled", Node::boolean).unwrap_or(true),
        refresh: seconds(section, "refresh_seconds", 1..=4, 2),
    }
}
