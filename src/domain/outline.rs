//! What may be told about a connection: everything but its tokens.

use std::sync::Arc;

use super::connection::{Backoff, Connection, Generation, Health, LastRefresh, Renewal};
use super::freshness::expired_at;
use super::time::Timestamp;

/// A connection without its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The generation of its tokens.
    pub generation: Generation,
    /// Whether somebody is refreshing.
    pub renewal: Renewal,
    /// Whether the platform has refused the grant for good.
    pub health: Health,
    /// How the last refresh ended.
    pub last_refresh: Option<LastRefresh>,
    /// Set while refreshes keep failing.
    pub backoff: Option<Backoff>,
    /// When the access token expires; `None`: it does not.
    pub expires_at: Option<Timestamp>,
    /// From when on the access token is not handed out any more, which is a little earlier.
    pub ends_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub is_refreshable: bool,
    /// The scopes that were granted.
    pub scopes: Arc<[String]>,
}

impl From<&Connection> for Outline {
    fn from(connection: &Connection) -> Self {
        let grant = &connection.grant;
        Self {
            generation: connection.generation,
            renewal: connection.renewal,
            health: connection.health,
            last_refresh: connection.last_refresh,
            backoff: connection.backoff,
            expires_at: grant.expires_at,
            ends_at: expired_at(grant),
            is_refreshable: grant.refresh.is_some(),
            scopes: grant.scopes.as_slice().into(),
        }
    }
}
