//! Who judges refreshes: two real authorization servers with opposite ideas of a token that comes twice, and one that
//! does what it is told.

mod grace;
pub(crate) mod scripted;
mod strict;

use std::pin::Pin;

use async_trait::async_trait;

use crate::installation::Platform;

pub(crate) use scripted::Scripted;

/// A real authorization server that rotates.
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
    /// When it granted the last refresh of a user whose answer it may have been that got lost, in milliseconds of the
    /// Unix clock; by user.
    pub(crate) last_granted: std::collections::BTreeMap<String, u64>,
}

/// A judge that is being started.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Box<dyn Judge>> + Send>>;

/// Rotates, and revokes the grant when a used token comes back.
pub(crate) fn strict() -> Starting {
    Box::pin(strict::start())
}

/// Rotates, and answers the same once more when a used token comes back within two minutes.
pub(crate) fn gracious() -> Starting {
    Box::pin(grace::start())
}
