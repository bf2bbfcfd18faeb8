//! The trail every release of a token leaves.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::audit::{AuditEntry, Fingerprint};
use crate::domain::secret::AccessToken;
use crate::domain::trail::{TrailFilter, TrailOrder, TrailPage, TrailPlace};

/// The audit trail cannot be written, so nothing may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written")]
pub struct AuditUnavailable;

/// Where audit entries go.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Returns once the entry is written: handed to the operating system, in order with every entry appended before, and
    /// on disk where the trail is configured so and the entry is about secrets that are released or changed.
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

    /// What a token is recognised by in this trail; `None` where it has no key for that. Costs one HMAC.
    fn fingerprint(&self, token: &AccessToken) -> Option<Fingerprint> {
        let _ = token;
        None
    }
}

/// The trail cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the audit trail cannot be read")]
pub struct AuditUnreadable(#[source] pub Arc<dyn Error + Send + Sync>);

/// Reads what this instance has written down.
///
/// - A page holds at most `limit` events that pass the filter, in the order asked for; those after `from` in that order.
/// - What is done for one page is bounded, whatever the trail holds: a page may hold fewer events than there are, and none,
///   and says then where to go on.
/// - Following `next` from the beginning tells every event that passes and was there at the beginning, each once.
#[async_trait]
pub trait AuditReader: Send + Sync {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// When the trail cannot be read.
    async fn page(
        &self,
        filter: TrailFilter,
        order: TrailOrder,
        from: Option<TrailPlace>,
        limit: usize,
    ) -> Result<TrailPage, AuditUnreadable>;
}
