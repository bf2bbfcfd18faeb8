//! Who judges refreshes: two real authorization servers with opposite ideas of a token that comes twice, and one that
//! does what it is told.

mod grace;
pub(crate) mod scripted;
mod strict;

use std::collections::BTreeMap;
use std::pin::Pin;

use async_trait::async_trait;

use crate::installation::Platform;

pub(crate) use scripted::Scripted;

/// A real authorization server.
#[async_trait]
pub(crate) trait Judge: Send + Sync {
    /// As an operator describes it.
    fn platform(&self) -> Platform;

    /// Creates living grants; what renews each, under the name of the user it is for.
    async fn grants(&self, count: usize) -> Vec<(String, String)>;

    /// What it has seen and done so far.
    async fn seen(&self) -> Seen;
}

/// What a judge has seen and done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Refreshes it granted.
    pub(crate) granted: usize,
    /// Refreshes it refused.
    pub(crate) refused: usize,
    /// Grants it revoked, because a token came twice.
    pub(crate) revoked: usize,
    /// How many of the refreshes it granted were for each user, where an answer that is lost costs the grant.
    pub(crate) granted_to: BTreeMap<String, usize>,
}

/// A judge that is being started.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Box<dyn Judge>> + Send>>;

/// Rotates, and revokes the grant when a used token comes back.
pub(crate) fn strict() -> Starting {
    Box::pin(strict::start())
}

/// Does not rotate: a refresh token may be used again and again.
#[cfg(feature = "failpoints")]
pub(crate) fn lenient() -> Starting {
    Box::pin(strict::start_lenient())
}

/// Rotates, and answers the same once more when a used token comes back within two minutes.
pub(crate) fn gracious() -> Starting {
    Box::pin(grace::start())
}
