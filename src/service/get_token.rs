//! Handing out a valid access token.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Loaded, Records, enabled};
use crate::domain::catalog::Catalog;
use crate::domain::cause::Cause;
use crate::domain::connection::{Backoff, Entry, Generation, Grant, Health};
use crate::domain::error::VaultError;
use crate::domain::freshness::{Freshness, judge};
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{Clock, Renewal, StoreError, Version, Wanted};
use crate::domain::secret::AccessToken;
use crate::domain::time::Timestamp;

/// Before a caller who wants another token than there is joins the next renewal.
const PAUSE: Duration = Duration::from_millis(20);

/// Hands out access tokens.
pub struct GetToken {
    /// From here.
    pub records: Arc<Records>,
    /// For these platforms.
    pub catalog: Arc<Catalog>,
    /// As of now.
    pub clock: Arc<dyn Clock>,
    /// Renewing what is due.
    pub renewal: Arc<dyn Renewal>,
}

/// What is asked for.
#[derive(Debug)]
pub struct GetTokenQuery {
    /// The connection.
    pub key: ConnectionKey,
    /// How long the token must still be valid.
    pub min_ttl: Duration,
    /// Whether to renew whatever the token looks like.
    pub force_refresh: bool,
    /// How long the caller waits.
    pub patience: Duration,
    /// The call this is part of.
    pub request: RequestId,
}

/// An access token, never a refresh token.
#[derive(Debug)]
pub struct GetTokenAnswer {
    /// The token.
    pub access: AccessToken,
    /// When it expires; `None`: it does not.
    pub expires_at: Option<Timestamp>,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Its type; `None`: `Bearer`.
    pub token_type: Option<String>,
    /// Whether this call waited for its renewal.
    pub refreshed: bool,
    /// Whether its renewal is running.
    pub refresh_in_progress: bool,
    /// Why a renewal that was due gave no new token.
    pub warning: Option<&'static str>,
    /// The version of the record it came from.
    pub version: Version,
}

// === impl GetToken ===

impl GetToken {
    /// Hands out a token, renewing it before if it must and behind if it should.
    ///
    /// # Errors
    ///
    /// When there is none, it cannot be renewed, or what is needed for that cannot be reached in time. An expired
    /// token is never handed out.
    pub async fn run(&self, query: &GetTokenQuery) -> Result<GetTokenAnswer, VaultError> {
        let platform = enabled(&self.catalog, &query.key.platform)?;
        let asked_at = Instant::now();
        let (loaded, away) = self.load(query).await?;
        let Some(Loaded { entry: Entry::Live(connection), version }) = loaded else { return Err(VaultError::Missing) };
        let patience = query.patience.saturating_sub(asked_at.elapsed());
        if let Health::Dead { cause, .. } = connection.health {
            return Err(VaultError::ReauthRequired { cause });
        }
        let now = self.clock.now();
        let rule = &platform.profile.refresh;
        let freshness = judge(&connection.grant, &query.key, rule.margin, query.min_ttl, now);
        let refreshable = connection.grant.refresh.is_some() && rule.supported;
        let (backoff, seen) = (connection.backoff, connection.generation);
        let answer = GetTokenAnswer::of(connection.grant, version);
        if let Some(away) = away
            && (freshness == Freshness::Expired || query.force_refresh)
        {
            // What waits for the store is no good, and before it is stored there will be no other.
            return Err(away);
        }
        match (freshness, query.force_refresh) {
            (Freshness::Expired, _) if !refreshable => Err(VaultError::ReauthRequired { cause: Cause::NotRefreshable }),
            (Freshness::Fresh, false) => Ok(answer),
            (Freshness::Stale | Freshness::TooShort | Freshness::Fresh, _) if !refreshable => {
                Ok(answer.with_warning(Cause::NotRefreshable.as_str()))
            }
            (Freshness::Stale, false) => Ok(self.renew_behind(query, backoff, now, answer)),
            (Freshness::TooShort, false) => match self.renew_before(query, seen, patience).await {
                Ok(renewed) => Ok(renewed),
                Err(dead @ (VaultError::ReauthRequired { .. } | VaultError::Missing)) => Err(dead),
                // The token at hand is valid, if not for as long as was wished.
                Err(error) => Ok(answer.with_warning(error.reason())),
            },
            // Whoever forces a renewal knows that the token at hand is no good.
            (Freshness::Expired, _) | (Freshness::Stale | Freshness::TooShort | Freshness::Fresh, true) => {
                self.renew_before(query, seen, patience).await
            }
        }
    }

    /// Reads the connection. While the store is away, an answer that waits to be stored serves in its place; then with
    /// why the store is. One that hangs is away as far as a caller with less patience can tell.
    async fn load(&self, query: &GetTokenQuery) -> Result<(Option<Loaded>, Option<VaultError>), VaultError> {
        let hangs = || Err(VaultError::Store(StoreError::unavailable("timeout")));
        match timeout(query.patience, self.read(query)).await.unwrap_or_else(|_| hangs()) {
            Ok(loaded) => Ok((loaded, None)),
            Err(away @ VaultError::Store(_)) => match self.renewal.in_hand(&query.key) {
                Some(Ok((connection, version))) => {
                    let entry = Entry::Live(Box::new((*connection).clone()));
                    Ok((Some(Loaded { entry, version }), Some(away)))
                }
                Some(Err(_)) | None => Err(away),
            },
            Err(error) => Err(error),
        }
    }

    /// What is at hand will do as long as a token can be handed out. A no is worth asking again: the user may have
    /// connected anew a moment ago, at another instance. Whoever wants another token than there is has to know which.
    async fn read(&self, query: &GetTokenQuery) -> Result<Option<Loaded>, VaultError> {
        let is_usable = |entry: &Entry| matches!(entry, Entry::Live(live) if live.health == Health::Alive);
        if query.force_refresh {
            return self.records.load(&query.key).await;
        }
        match self.records.load_recent(&query.key).await? {
            Some(loaded) if !is_usable(&loaded.entry) => self.records.load(&query.key).await,
            loaded => Ok(loaded),
        }
    }

    /// Waits for the renewal of tokens of this generation.
    async fn renew_before(
        &self,
        query: &GetTokenQuery,
        seen: Generation,
        patience: Duration,
    ) -> Result<GetTokenAnswer, VaultError> {
        let wanted = if query.force_refresh { Wanted::Another } else { Wanted::Lasting(query.min_ttl) };
        let deadline = Instant::now() + patience;
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let renewed = self.renewal.renew_and_wait(&query.key, &query.request, wanted, patience).await?;
            let (connection, version) = renewed;
            // One that was under way already may have ended with the very token that is no good.
            if !query.force_refresh || connection.generation > seen {
                let grant = Arc::unwrap_or_clone(connection).grant;
                return Ok(GetTokenAnswer { refreshed: true, ..GetTokenAnswer::of(grant, version) });
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(VaultError::Contended { retry_after: Duration::from_secs(1) });
            }
            // It may still be on its way out.
            sleep(PAUSE).await;
        }
    }

    fn renew_behind(
        &self,
        query: &GetTokenQuery,
        backoff: Option<Backoff>,
        now: Timestamp,
        answer: GetTokenAnswer,
    ) -> GetTokenAnswer {
        match backoff {
            Some(backoff) if now < backoff.next_at => answer.with_warning(backoff.cause.as_str()),
            Some(_) | None => {
                self.renewal.renew_in_background(&query.key, &query.request);
                GetTokenAnswer { refresh_in_progress: true, ..answer }
            }
        }
    }
}

// === impl GetTokenAnswer ===

impl GetTokenAnswer {
    fn of(grant: Grant, version: Version) -> Self {
        Self {
            access: grant.access,
            expires_at: grant.expires_at,
            scopes: grant.scopes,
            token_type: grant.token_type,
            refreshed: false,
            refresh_in_progress: false,
            warning: None,
            version,
        }
    }

    fn with_warning(self, warning: &'static str) -> Self {
        Self { warning: Some(warning), ..self }
    }
}
