//! Making a stale token fresh again, as a use case sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Version;
use crate::domain::connection::Connection;
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, RequestId};

/// Renews connections: at most one refresh per connection runs here, whoever asks and however often.
#[async_trait]
pub trait Renewal: Send + Sync {
    /// Joins the refresh of this connection, beginning one if none runs, and waits for its end, at most `patience`.
    /// The refresh itself goes on whether or not anybody waits.
    ///
    /// A token that is fresh by now is taken as it is, unless `force`.
    async fn renew_and_wait(
        &self,
        key: &ConnectionKey,
        request: &RequestId,
        force: bool,
        patience: Duration,
    ) -> RenewalOutcome;

    /// Begins a refresh of this connection unless one runs, and does not wait.
    fn renew_in_background(&self, key: &ConnectionKey, request: &RequestId);

    /// The outcome of a refresh that has its answer and is still trying to store it: what to serve meanwhile.
    fn in_hand(&self, key: &ConnectionKey) -> Option<RenewalOutcome>;
}

/// How a renewal ended, for everybody who waited for it.
pub type RenewalOutcome = Result<(Arc<Connection>, Version), VaultError>;
