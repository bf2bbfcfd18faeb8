//! A refresh from the moment the token is used: ask the platform, store the answer, and only then do anything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::arrears::{Debt, Transition};
use super::claimed::{Claimed, Current};
use super::coordinator::Refresher;
use super::failpoint;
use super::flight::Flight;
use super::verdict::{self, Verdict};
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult};
use crate::domain::cause::Cause;
use crate::domain::connection::{Connection, Entry, Failure, Health, Renewed, Superseded};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{EntryName, Expected, Granted, RefreshCall, RenewalOutcome, Room, Version};
use crate::domain::profile::Rotates;
use crate::domain::secret::{AccessToken, ClientSecret};
use crate::service::Loaded;

/// What is left of a claim for storing the answer, whatever the platform does; of a short claim, a quarter.
const STORE_RESERVE: Duration = Duration::from_secs(5);
/// How long an introspection may take.
const INTROSPECTION: Duration = Duration::from_secs(5);
/// How long after an `invalid_grant` that may be a mistake the platform is asked again.
const SECOND_OPINION: Duration = Duration::from_secs(2);
/// How many times a failure is tried to be written down before whoever waits is told; after that it is owed.
const SETTLE_ATTEMPTS: u32 = 4;
/// A failing connection is never tried again sooner, whatever the platform asks for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Refresher {
    pub(super) async fn redeem(&self, flight: &Flight, mut claimed: Claimed<'_>) -> RenewalOutcome {
        let began = Instant::now();
        let (key, room) = (flight.key(), claimed.room.take());
        tracing::debug!(record = %key, "a platform is asked");
        let mut verdict = self.ask(&claimed).await;
        if matches!(verdict, Verdict::Dead(_)) && claimed.platform.profile.refresh.confirm {
            tokio::time::sleep(SECOND_OPINION).await;
            verdict = self.ask(&claimed).await;
        }
        self.circuits.learn(&key.platform, &verdict);
        let outcome = match verdict {
            Verdict::Renewed(granted) => self.commit(flight, &claimed, *granted, room).await,
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
            let reserve = STORE_RESERVE.min(self.settings.lease / 4);
            let held = self.parts.clock.monotonic().saturating_sub(claimed.began);
            let left = claimed.claim.lease.saturating_sub(held).saturating_sub(reserve);
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

    /// Stores what was granted. Where losing it would cost the grant it is on this instance's disk first; elsewhere from
    /// the first failed write on. From then on, too, whoever waits here is served from memory; the answer is tried to be
    /// stored for as long as there is any hope, because nobody else has it.
    async fn commit(
        &self,
        flight: &Flight,
        claimed: &Claimed<'_>,
        granted: Granted,
        room: Option<Room>,
    ) -> RenewalOutcome {
        let key = flight.key();
        let began = Instant::now();
        let mut current = claimed.current.clone();
        let mut kept = self.keep_first(key, claimed, &granted, room).await;
        let mut announced = false;
        loop {
            let Ok(next) = Self::with_answer(claimed, &granted, &current.connection) else {
                if holds(&current.connection, &granted.renewed) {
                    // A write of which nobody knew whether it happened: it did.
                    self.let_go(kept);
                    return Ok(self.after_commit(flight, claimed, &granted, current).await);
                }
                tracing::warn!(record = %key, "a refresh answer came too late: a newer generation is stored; the answer is dropped");
                if kept.is_some() {
                    self.drop_kept(key, kept, "answer_superseded", current.version);
                } else {
                    self.write_dropped(key, claimed.request, current.version, began.elapsed());
                }
                return Ok((Arc::new(current.connection), current.version));
            };
            let expected = Expected::Version(current.version);
            let error = match self.parts.records.save(key, expected, &Entry::Live(Box::new(next.clone()))).await {
                Ok(version) => {
                    failpoint::reach("stored");
                    self.let_go(kept);
                    return Ok(self
                        .after_commit(flight, claimed, &granted, Current { connection: next, version })
                        .await);
                }
                Err(error) => error,
            };
            if !matches!(error, VaultError::WriteContended) {
                if kept.is_none() {
                    kept = self.keep(key, expected, &next, None).await;
                }
                if !announced {
                    let place = if kept.is_some() { "in the outbox" } else { "in memory only" };
                    tracing::error!(alarm = "grant_unsaved", record = %key, reason = error.reason(), "new tokens are {place} until the store takes them");
                    flight.announce(Ok((Arc::new(next), expected.next())));
                    announced = true;
                }
            }
            if began.elapsed() > self.settings.commit {
                if kept.is_none() {
                    tracing::error!(alarm = "grant_lost", record = %key, reason = error.reason(), "new tokens could not be stored; the connection may be lost");
                }
                return Err(error);
            }
            let longest = if began.elapsed() < Duration::from_secs(30) { 800 } else { 5_000 };
            self.pause(Duration::from_millis(50), Duration::from_millis(longest)).await;
            match self.parts.records.load(key).await {
                Ok(Some(Loaded { entry: Entry::Live(connection), version })) => {
                    current = Current { connection: *connection, version };
                }
                // Deleted meanwhile, by somebody's will: then the answer has no home, and that is right.
                Ok(Some(Loaded { entry: Entry::Deleted(_), version })) => {
                    self.drop_kept(key, kept, "answer_deleted", version);
                    return Err(VaultError::Missing);
                }
                // Nobody deletes so: the store is another one than it was. What is in the outbox stays there for a person.
                Ok(None) => {
                    tracing::error!(alarm = "grant_lost", record = %key, is_kept = kept.is_some(), "the record of new tokens is gone from the store");
                    return Err(VaultError::Missing);
                }
                Err(VaultError::Corrupt(CorruptRecord::Rollback)) => {
                    if let Some(stored) = self.make_good(key, claimed, &granted).await {
                        self.let_go(kept);
                        return Ok(self.after_commit(flight, claimed, &granted, stored).await);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Stores an answer as if nothing had happened, where the store has forgotten the claim it belongs to.
    async fn make_good(&self, key: &ConnectionKey, claimed: &Claimed<'_>, granted: &Granted) -> Option<Current> {
        let meant = claimed.current.version.next();
        let answered = |current: Connection| Self::with_answer(claimed, granted, &current).ok();
        let made_good = self.parts.records.make_good(key, meant, answered).await;
        Some(Current { connection: made_good.ok().flatten()?, version: meant })
    }

    /// What an answer makes of a connection: what it would have made of the one that was claimed, if the store has gone
    /// back in time since.
    fn with_answer(claimed: &Claimed<'_>, granted: &Granted, current: &Connection) -> Result<Connection, Superseded> {
        let renewed = granted.renewed.clone();
        if current.generation < claimed.claim.generation {
            return current.clone().catch_up(claimed.current.connection.clone().renew(&claimed.claim, renewed)?);
        }
        current.clone().renew(&claimed.claim, renewed)
    }

    /// Keeps an answer before anything else is done with it, where the platform has consumed the old refresh token.
    async fn keep_first(
        &self,
        key: &ConnectionKey,
        claimed: &Claimed<'_>,
        granted: &Granted,
        room: Option<Room>,
    ) -> Option<EntryName> {
        tracing::debug!(record = %key, "a platform has answered");
        failpoint::reach("answered");
        // A platform that is not known to rotate and does so all the same is believed.
        let before = claimed.current.connection.grant.refresh.as_ref();
        let rotated =
            granted.renewed.refresh.as_ref().is_some_and(|new| before.is_none_or(|old| new.expose() != old.expose()));
        if claimed.platform.profile.refresh.rotates == Rotates::No && !rotated {
            return None;
        }
        let next = claimed.current.connection.clone().renew(&claimed.claim, granted.renewed.clone()).ok()?;
        self.keep(key, Expected::Version(claimed.current.version), &next, room).await
    }

    async fn keep(
        &self,
        key: &ConnectionKey,
        expected: Expected,
        next: &Connection,
        room: Option<Room>,
    ) -> Option<EntryName> {
        let kept = self.parts.answers.as_ref()?.keep(room, key, expected, next).await;
        failpoint::reach("kept");
        kept
    }

    /// The store has it.
    fn let_go(&self, kept: Option<EntryName>) {
        if let Some((answers, name)) = self.parts.answers.as_ref().zip(kept) {
            answers.outbox.remove(&name);
            failpoint::reach("removed");
        }
    }

    fn drop_kept(&self, key: &ConnectionKey, kept: Option<EntryName>, reason: &'static str, found: Version) {
        if let Some((answers, name)) = self.parts.answers.as_ref().zip(kept) {
            answers.drop_answer(key, reason, Some(found), &name);
        }
    }

    async fn after_commit(
        &self,
        flight: &Flight,
        claimed: &Claimed<'_>,
        granted: &Granted,
        stored: Current,
    ) -> (Arc<Connection>, Version) {
        let key = flight.key();
        if !granted.expiry_assumed || claimed.platform.profile.introspect_url.is_none() {
            return (Arc::new(stored.connection), stored.version);
        }
        // Whoever waits has waited long enough: the token is good, only its end is not known yet.
        flight.announce(Ok((Arc::new(stored.connection.clone()), stored.version)));
        let stored = self.ask_expiry(claimed, key, stored).await;
        (Arc::new(stored.connection), stored.version)
    }

    /// Corrects an expiry that was only assumed, where the platform can be asked. Whatever goes wrong, the tokens are
    /// stored already.
    async fn ask_expiry(&self, claimed: &Claimed<'_>, key: &ConnectionKey, stored: Current) -> Current {
        let token = &stored.connection.grant.access;
        let secret = claimed.app.secrets.first();
        let Some(at) = self.parts.endpoint.introspect(claimed.platform, secret, token, INTROSPECTION).await else {
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
        let claim = claimed.claim;
        self.settle(key, claimed, dead, Arc::new(move |connection: Connection| connection.die(&claim, cause, now)))
            .await
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
        let connection = &claimed.current.connection;
        let rule = &claimed.platform.profile.refresh;
        let failures = connection.backoff.map_or(0, |backoff| backoff.failures);
        let pause = self.settings.backoff_base.saturating_mul(1 << failures.min(16)).min(self.settings.backoff_max);
        // Up to a fifth sooner, so that what failed together does not come back together.
        let pause = self.between(pause / 5 * 4, pause);
        let lost = (in_doubt && rule.rotates != Rotates::No).then(|| claimed.claim.began());
        // Where the platform honours the old token for a while, the next try has to come within it.
        let window = connection
            .doubt
            .map(|doubt| doubt.since)
            .or(lost)
            .map_or(Duration::ZERO, |since| rule.reuse_window.saturating_sub(now.since(since)));
        let pause = if window.is_zero() { pause } else { pause.min(window / 2) };
        let pause = retry_after.map_or(pause, |asked| asked.min(self.settings.backoff_max)).max(SHORTEST_PAUSE);
        let failure = Failure { at: now, cause, next_at: Some(now + pause), lost };
        let error = VaultError::ProviderUnavailable { cause, retry_after: pause };
        self.give_back(key, claimed, error, failure).await
    }

    /// The connection itself is not touched beyond giving the claim back: it is not the user's fault.
    async fn blame_the_app(&self, key: &ConnectionKey, claimed: &Claimed<'_>) -> RenewalOutcome {
        let now = self.parts.clock.now();
        let failure = Failure { at: now, cause: Cause::AppMisconfigured, next_at: None, lost: None };
        let error = VaultError::AppMisconfigured;
        self.give_back(key, claimed, error, failure).await
    }

    async fn give_back(
        &self,
        key: &ConnectionKey,
        claimed: &Claimed<'_>,
        error: VaultError,
        failure: Failure,
    ) -> RenewalOutcome {
        let claim = claimed.claim;
        self.settle(key, claimed, error, Arc::new(move |connection: Connection| connection.release(&claim, failure)))
            .await
    }

    /// Writes a failure down, unless somebody else's success is there already: then that is the outcome. Where somebody
    /// else has taken the claim over, a death is theirs to declare.
    async fn settle(
        &self,
        key: &ConnectionKey,
        claimed: &Claimed<'_>,
        failure: VaultError,
        transition: Transition,
    ) -> RenewalOutcome {
        let mut current = claimed.current.clone();
        let (mut superseded, mut owed) = (false, false);
        for _ in 0..SETTLE_ATTEMPTS {
            let Ok(next) = transition(current.connection.clone()) else {
                superseded = true;
                break;
            };
            let expected = Expected::Version(current.version);
            match self.parts.records.save(key, expected, &Entry::Live(Box::new(next))).await {
                Ok(_) => return Err(failure),
                Err(VaultError::WriteContended) => {}
                Err(_) => {
                    owed = true;
                    self.pause(Duration::from_millis(50), Duration::from_millis(400)).await;
                    continue;
                }
            }
            match self.read(key).await {
                Ok(read) => current = read,
                Err(VaultError::Missing) => return Err(VaultError::Missing),
                Err(_) => owed = true,
            }
        }
        if owed && !superseded {
            self.arrears.owe(key, Debt::failure(claimed.claim, transition));
        }
        if current.connection.generation > claimed.claim.generation {
            return Ok((Arc::new(current.connection), current.version));
        }
        match (failure, current.connection.health) {
            (VaultError::ReauthRequired { .. }, Health::Alive) if superseded => {
                Err(VaultError::Contended { retry_after: SHORTEST_PAUSE })
            }
            (failure, Health::Alive | Health::Dead { .. }) => Err(failure),
        }
    }

    fn write_down(&self, key: &ConnectionKey, request: &RequestId, outcome: &RenewalOutcome, latency: Duration) {
        let ended = match outcome {
            Ok((_, version)) => (AuditResult::Ok, "", Some(*version)),
            Err(error) => (AuditResult::Failed, error.reason(), None),
        };
        let token = outcome.as_ref().ok().map(|(connection, _)| &connection.grant.access);
        if let Err(error) = outcome {
            tracing::warn!(record = %key, reason = error.reason(), "a refresh failed");
        }
        self.write_line(key, request, ended, token, latency);
    }

    /// Tokens that a platform has issued are nowhere any more: the trail says so, whatever the outcome is for callers.
    fn write_dropped(&self, key: &ConnectionKey, request: &RequestId, newer: Version, latency: Duration) {
        self.write_line(key, request, (AuditResult::Failed, "answer_superseded", Some(newer)), None, latency);
    }

    fn write_line(
        &self,
        key: &ConnectionKey,
        request: &RequestId,
        (result, reason, version): (AuditResult, &'static str, Option<Version>),
        token: Option<&AccessToken>,
        latency: Duration,
    ) {
        self.parts.audit.post(AuditEntry {
            at: self.parts.clock.now(),
            request_id: request.clone(),
            engine: None,
            key_id: None,
            peer: None,
            spiffe_id: None,
            action: AuditAction::Refresh,
            subject: key.into(),
            result,
            reason,
            latency,
            record_version: version.map(|version| version.0),
            items: None,
            token_fp: token.and_then(|token| self.parts.audit.fingerprint(token)),
        });
    }
}

/// Whether a connection has the tokens of this answer.
fn holds(connection: &Connection, renewed: &Renewed) -> bool {
    connection.grant.access.expose() == renewed.access.expose()
}
