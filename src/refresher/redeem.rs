//! A refresh from the moment the token is used: ask the platform, store the answer, and only then do anything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Current;
use super::coordinator::Refresher;
use super::flight::Flight;
use super::verdict::{self, Verdict};
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
use crate::domain::catalog::{App, Platform};
use crate::domain::cause::Cause;
use crate::domain::connection::{Claim, Connection, Entry, Failure, Superseded};
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{Expected, Granted, RefreshCall, RenewalOutcome, Version};
use crate::domain::secret::ClientSecret;

/// A connection this instance has announced it will refresh.
pub(super) struct Claimed<'a> {
    pub(super) current: Current,
    pub(super) claim: Claim,
    pub(super) platform: &'a Platform,
    pub(super) app: &'a App,
    pub(super) request: &'a RequestId,
}

/// How long the platform may take to say when a token expires; the token is stored already.
const INTROSPECTION_LIMIT: Duration = Duration::from_secs(5);
/// How long after an `invalid_grant` that may be a mistake the platform is asked again.
const SECOND_OPINION: Duration = Duration::from_secs(2);
/// How many times a failure is tried to be written down; after that the claim runs out by itself.
const SETTLE_ATTEMPTS: u32 = 4;
/// A platform's clock that differs by more than this from ours is worth a line in the log.
const SKEW_WORTH_TELLING: Duration = Duration::from_secs(30);

impl Refresher {
    pub(super) async fn redeem(&self, flight: &Flight, claimed: Claimed<'_>) -> RenewalOutcome {
        let began = Instant::now();
        let key = flight.key();
        let mut verdict = self.ask(&claimed).await;
        if matches!(verdict, Verdict::Dead(_)) && claimed.platform.profile.refresh.confirm {
            tokio::time::sleep(SECOND_OPINION).await;
            verdict = self.ask(&claimed).await;
        }
        self.circuits.learn(&key.platform, &verdict);
        let outcome = match verdict {
            Verdict::Renewed(granted) => self.commit(flight, &claimed, *granted).await,
            Verdict::Dead(cause) => self.bury(key, &claimed, cause).await,
            Verdict::Transient { cause, retry_after, in_doubt } => {
                self.back_off(key, &claimed, cause, retry_after, in_doubt).await
            }
            Verdict::AppMisconfigured => self.blame_the_app(key, &claimed).await,
        };
        self.write_down(key, claimed.request, &outcome, began.elapsed());
        outcome
    }

    /// Asks the platform, trying the client secrets in turn: one of them may be about to be replaced.
    async fn ask(&self, claimed: &Claimed<'_>) -> Verdict {
        let secrets = &claimed.app.secrets;
        let mut candidates: Vec<Option<&ClientSecret>> = secrets.iter().map(Some).collect();
        if candidates.is_empty() {
            candidates.push(None);
        }
        let mut verdict = Verdict::AppMisconfigured;
        for client_secret in candidates {
            let Some(refresh_token) = claimed.current.connection.grant.refresh.as_ref() else { break };
            // A quarter of the claim is for storing the answer, whatever the platform does with the rest.
            let left = claimed.claim.deadline.since(self.parts.clock.now()).saturating_sub(self.settings.lease / 4);
            let call = RefreshCall {
                platform: claimed.platform,
                client_id: &claimed.app.client_id,
                client_secret,
                refresh_token,
                time_limit: self.settings.exchange.min(left),
            };
            let exchange = self.parts.endpoint.refresh(call).await;
            verdict = verdict::judge(exchange, &claimed.platform.profile.errors);
            if !matches!(verdict, Verdict::AppMisconfigured) {
                break;
            }
        }
        verdict
    }

    /// Stores what was granted. From the first failed write on, whoever waits here is served from memory; the answer is
    /// tried to be stored for as long as there is any hope, because nobody else has it.
    async fn commit(&self, flight: &Flight, claimed: &Claimed<'_>, granted: Granted) -> RenewalOutcome {
        let key = flight.key();
        let began = Instant::now();
        let mut current = claimed.current.clone();
        let mut announced = false;
        loop {
            let Ok(next) = current.connection.clone().renew(&claimed.claim, granted.renewed.clone()) else {
                if is_ours(&current.connection, &claimed.claim, &granted) {
                    // A write that was reported as failed had happened after all.
                    return Ok(self.after_commit(claimed, key, &granted, current).await);
                }
                tracing::warn!(record = %key, "a refresh answer came too late: a newer generation is stored; the answer is dropped");
                return Ok((Arc::new(current.connection), current.version));
            };
            let expected = Expected::Version(current.version);
            let error = match self.parts.records.save(key, expected, &Entry::Live(Box::new(next.clone()))).await {
                Ok(version) => {
                    return Ok(self.after_commit(claimed, key, &granted, Current { connection: next, version }).await);
                }
                Err(error) => error,
            };
            if !announced && !matches!(error, VaultError::WriteContended) {
                tracing::error!(alarm = "grant_unsaved", record = %key, reason = error.reason(), "new tokens are in memory only until the store takes them");
                flight.announce(Ok((Arc::new(next), expected.next())));
                announced = true;
            }
            if began.elapsed() > self.settings.commit {
                tracing::error!(alarm = "grant_lost", record = %key, reason = error.reason(), "new tokens could not be stored; the connection may be lost");
                return Err(error);
            }
            let longest = if began.elapsed() < Duration::from_secs(30) { 800 } else { 5_000 };
            self.pause(Duration::from_millis(50), Duration::from_millis(longest)).await;
            // Deleted meanwhile, by somebody's will: then the answer has no home, and that is right.
            match self.read(key).await {
                Ok(read) => current = read,
                Err(VaultError::Missing) => return Err(VaultError::Missing),
                Err(_) => {}
            }
        }
    }

    async fn after_commit(
        &self,
        claimed: &Claimed<'_>,
        key: &ConnectionKey,
        granted: &Granted,
        stored: Current,
    ) -> (Arc<Connection>, Version) {
        if let Some(date) = granted.server_date {
            let ours = granted.renewed.sent_at;
            let skew = date.since(ours).max(ours.since(date));
            if skew > SKEW_WORTH_TELLING {
                tracing::warn!(platform = %key.platform, skew_seconds = skew.as_secs(), "the platform's clock differs from ours");
            }
        }
        let stored = if granted.expiry_assumed { self.ask_expiry(claimed, key, stored).await } else { stored };
        (Arc::new(stored.connection), stored.version)
    }

    /// Corrects an expiry that was only assumed, where the platform can be asked. Whatever goes wrong, the tokens are
    /// stored already.
    async fn ask_expiry(&self, claimed: &Claimed<'_>, key: &ConnectionKey, stored: Current) -> Current {
        let token = &stored.connection.grant.access;
        let secret = claimed.app.secrets.first();
        let Some(at) = self.parts.endpoint.introspect(claimed.platform, secret, token, INTROSPECTION_LIMIT).await
        else {
            return stored;
        };
        let generation = stored.connection.generation;
        let Ok(corrected) = stored.connection.clone().expiring_at(generation, at) else { return stored };
        let entry = Entry::Live(Box::new(corrected.clone()));
        match self.parts.records.save(key, Expected::Version(stored.version), &entry).await {
            Ok(version) => Current { connection: corrected, version },
            Err(_) => stored,
        }
    }

    async fn bury(&self, key: &ConnectionKey, claimed: &Claimed<'_>, cause: Option<Cause>) -> RenewalOutcome {
        let now = self.parts.clock.now();
        let connection = &claimed.current.connection;
        let cause = cause.unwrap_or_else(|| verdict::guess_cause(connection, &claimed.platform.profile, now));
        let dead = VaultError::ReauthRequired { cause };
        self.settle(key, claimed, dead, |connection| connection.die(&claimed.claim, cause, now)).await
    }

    async fn back_off(
        &self,
        key: &ConnectionKey,
        claimed: &Claimed<'_>,
        cause: Cause,
        retry_after: Option<Duration>,
        in_doubt: bool,
    ) -> RenewalOutcome {
        let now = self.parts.clock.now();
        let failures = claimed.current.connection.backoff.map_or(0, |backoff| backoff.failures);
        let pause = self.settings.backoff_base.saturating_mul(1 << failures.min(16)).min(self.settings.backoff_max);
        let pause = retry_after.map_or(pause, |asked| asked.min(self.settings.backoff_max).max(Duration::from_secs(1)));
        let in_doubt = in_doubt && !claimed.platform.profile.refresh.tolerates_retry(Duration::ZERO);
        let failure = Failure { at: now, cause, next_at: Some(now + pause), in_doubt };
        let error = VaultError::ProviderUnavailable { cause, retry_after: pause };
        self.settle(key, claimed, error, |connection| connection.release(&claimed.claim, failure)).await
    }

    /// The connection itself is not touched beyond giving the claim back: it is not the user's fault.
    async fn blame_the_app(&self, key: &ConnectionKey, claimed: &Claimed<'_>) -> RenewalOutcome {
        let now = self.parts.clock.now();
        let failure = Failure { at: now, cause: Cause::AppMisconfigured, next_at: None, in_doubt: false };
        let error = VaultError::AppMisconfigured;
        self.settle(key, claimed, error, |connection| connection.release(&claimed.claim, failure)).await
    }

    /// Writes a failure down, unless somebody else's success is there already: then that is the outcome.
    async fn settle(
        &self,
        key: &ConnectionKey,
        claimed: &Claimed<'_>,
        failure: VaultError,
        transition: impl Fn(Connection) -> Result<Connection, Superseded>,
    ) -> RenewalOutcome {
        let mut current = claimed.current.clone();
        for _ in 0..SETTLE_ATTEMPTS {
            let Ok(next) = transition(current.connection.clone()) else { break };
            let expected = Expected::Version(current.version);
            match self.parts.records.save(key, expected, &Entry::Live(Box::new(next))).await {
                Ok(_) => return Err(failure),
                Err(VaultError::WriteContended) => current = self.read(key).await?,
                Err(_) => self.pause(Duration::from_millis(50), Duration::from_millis(400)).await,
            }
        }
        if current.connection.generation > claimed.claim.generation {
            return Ok((Arc::new(current.connection), current.version));
        }
        Err(failure)
    }

    fn write_down(&self, key: &ConnectionKey, request: &RequestId, outcome: &RenewalOutcome, latency: Duration) {
        let (result, reason, record_version) = match outcome {
            Ok((_, version)) => (AuditResult::Ok, "", Some(version.0)),
            Err(error) => (AuditResult::Failed, error.reason(), None),
        };
        if let Err(error) = outcome {
            tracing::warn!(record = %key, reason = error.reason(), "a refresh failed");
        }
        self.parts.audit.post(AuditEntry {
            at: self.parts.clock.now(),
            request_id: request.clone(),
            engine: None,
            key_id: None,
            peer: None,
            action: AuditAction::Refresh,
            subject: Subject {
                tenant: Some(key.tenant.clone()),
                user: Some(key.user.clone()),
                platform: Some(key.platform.clone()),
            },
            result,
            reason,
            latency,
            record_version,
        });
    }
}

/// Whether what is stored is this very answer: the next generation, asked for in the same second.
fn is_ours(stored: &Connection, claim: &Claim, granted: &Granted) -> bool {
    let asked_at = granted.renewed.sent_at.unix_seconds();
    stored.generation == claim.generation.next() && stored.grant.issued_at.unix_seconds() == asked_at
}
