//! Storing the tokens of a connection.

use std::convert::Infallible;
use std::sync::Arc;

use super::{Records, WRITE_ATTEMPTS, enabled};
use crate::domain::catalog::Catalog;
use crate::domain::connection::{Connection, Entry, Generation, Grant};
use crate::domain::error::VaultError;
use crate::domain::expiry::{Stated, expiry};
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{Clock, Expected, Version};
use crate::domain::secret::{AccessToken, RefreshToken};
use crate::domain::time::Timestamp;

/// Stores tokens.
pub struct StoreToken {
    /// Where.
    pub records: Arc<Records>,
    /// For which platforms.
    pub catalog: Arc<Catalog>,
    /// When.
    pub clock: Arc<dyn Clock>,
}

/// What is to be stored.
#[derive(Debug)]
pub struct StoreTokenCommand {
    /// The connection.
    pub key: ConnectionKey,
    /// Its access token.
    pub access: AccessToken,
    /// Its refresh token.
    pub refresh: Option<RefreshToken>,
    /// When the access token expires, if that was stated.
    pub expires_at: Option<Timestamp>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The token type, if it is not `Bearer`.
    pub token_type: Option<String>,
    /// Whether to keep the refresh token already stored if there is no new one.
    pub keep_refresh_token: bool,
}

/// What was stored.
#[derive(Debug, Clone, Copy)]
pub struct StoreTokenAnswer {
    /// The version it was stored as.
    pub version: Version,
    /// Whether it replaced other tokens.
    pub replaced: bool,
    /// Whether the vault can renew it.
    pub refreshable: bool,
}

// === impl StoreToken ===

impl StoreToken {
    /// Stores the tokens as a new generation. A refresh in flight for the old one finds that out and drops its answer,
    /// unless the refresh token it uses is kept.
    ///
    /// # Errors
    ///
    /// When the platform is not enabled, or the record cannot be written.
    pub async fn run(&self, command: StoreTokenCommand) -> Result<StoreTokenAnswer, VaultError> {
        match self.run_unless(command, |_| None::<Infallible>).await? {
            Ok(answer) => Ok(answer),
            Err(never) => match never {},
        }
    }

    /// Stores the tokens, unless what is there is a reason not to.
    pub(super) async fn run_unless<T>(
        &self,
        command: StoreTokenCommand,
        reason: impl Fn(&Entry) -> Option<T>,
    ) -> Result<Result<StoreTokenAnswer, T>, VaultError> {
        let platform = enabled(&self.catalog, &command.key.platform)?;
        for _ in 0..WRITE_ATTEMPTS {
            let now = self.clock.now();
            let before = self.records.load(&command.key).await?;
            if let Some(reason) = before.as_ref().and_then(|loaded| reason(&loaded.entry)) {
                return Ok(Err(reason));
            }
            let (expected, generation, live) = match &before {
                None => (Expected::Absent, Generation(1), None),
                Some(loaded) => {
                    let live = if let Entry::Live(live) = &loaded.entry { Some(live) } else { None };
                    (loaded.expected(), loaded.entry.next_generation(), live)
                }
            };
            let keeping = command.keep_refresh_token && command.refresh.is_none();
            let kept = live.filter(|live| keeping && live.grant.refresh.is_some());
            let refresh = command.refresh.clone().or_else(|| kept.and_then(|live| live.grant.refresh.clone()));
            let refreshable = refresh.is_some() && platform.profile.refresh.supported;
            let stated = command.expires_at.map_or(Stated::Nothing, Stated::At);
            let access = command.access.expose();
            let grant = Grant {
                access: command.access.clone(),
                refresh,
                previous_refresh: kept.and_then(|live| live.grant.previous_refresh.clone()),
                expires_at: expiry(stated, &platform.profile.expiry, access, refreshable, now),
                issued_at: now,
                scopes: command.scopes.clone(),
                token_type: command.token_type.clone(),
                refresh_expires_at: None,
                origin: platform.refresh_origin(),
            };
            let renewable = refreshable && platform.app.is_some();
            let mut connection = Connection::stored(grant, generation, now);
            if let Some(live) = live {
                connection.created_at = live.created_at;
            }
            if let Some(live) = kept {
                // A refresh in flight is about to replace the token that is kept, so its answer must find its place: on
                // a platform that rotates, dropping it would lose the grant.
                connection.generation = live.generation;
                connection.renewal = live.renewal;
                connection.doubt = live.doubt;
            }
            match self.records.save(&command.key, expected, &Entry::Live(Box::new(connection))).await {
                Ok(version) => {
                    return Ok(Ok(StoreTokenAnswer { version, replaced: live.is_some(), refreshable: renewable }));
                }
                Err(VaultError::WriteContended) => {}
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::WriteContended)
    }
}
