//! The trail every release of a token leaves.

use async_trait::async_trait;

use crate::domain::audit::AuditEntry;

/// The audit trail cannot be written, so nothing may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written")]
pub struct AuditUnavailable;

/// Where audit entries go.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Returns once the entry is written: handed to the operating system, in order with every entry appended before.
    ///
    /// # Errors
    ///
    /// When it could not be written within the sink's own time limit. The entry may or may not be in the trail then.
    async fn append(&self, entry: AuditEntry) -> Result<(), AuditUnavailable>;

    /// Hands an entry over without waiting: for operations that release nothing. Under a flood, entries may be dropped;
    /// how many is itself written down.
    fn post(&self, entry: AuditEntry);

    /// Whether the last entry could be written.
    fn is_writable(&self) -> bool;
}
