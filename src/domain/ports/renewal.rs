//! Making a stale token fresh again, as a use case sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Version;
use crate::domain::connection::Connection;
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, RequestId};

/// What a caller asks of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A token that is valid for at least this long. One that is by now is taken as it is.
    Lasting(Duration),
    /// Another token than there is: the platform has just refused that one.
    Another,
    /// Whatever is due by the schedule: also a refresh that only keeps the refresh token alive.
    Due,
}

/// Renews connections: at most one refresh per connection runs here, whoever asks and however often.
#[async_trait]
pub trait Renewal: Send + Sync {
    /// Joins the refresh of this connection, beginning one if none runs, and waits for its end, at most `patience`.
    /// The refresh itself goes on whether or not anybody waits.
    async fn renew_and_wait(
        &self,
        key: &ConnectionKey,
        request: &RequestId,
        wanted: Wanted,
        patience: Duration,
    ) -> RenewalOutcome;

    /// Begins a refresh of this connection unless one runs, and does not wait.
    fn renew_in_background(&self, key: &ConnectionKey, request: &RequestId);

    /// The outcome of a refresh that has its answer and is still trying to store it: what to serve meanwhile.
    fn in_hand(&self, key: &ConnectionKey) -> Option<RenewalOutcome>;
}

/// How a renewal ended, for everybody who waited for it.
pub type RenewalOutcome = Result<(Arc<Connection>, Version), VaultError>;
