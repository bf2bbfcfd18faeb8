//! A refresh until the token is used: read, check, claim.
//!
//! The order is the protocol. Everything that can be known to fail is checked before the refresh token is put at risk;
//! the claim is the last write before the request, and proves that the store can be written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answers::Fate;
use super::arrears::Debt;
use super::claimed::{Claimed, Current};
use super::coordinator::Refresher;
use super::failpoint;
use super::flight::Flight;
use crate::domain::catalog::Platform;
use crate::domain::cause::Cause;
use crate::domain::connection::{Claim, ClaimRefused, Connection, Entry, Generation, Health, Renewal, Sight};
use crate::domain::error::VaultError;
use crate::domain::freshness::{Freshness, judge};
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{AuditUnavailable, Expected, RenewalOutcome, Room, Wanted};
use crate::domain::profile::{RefreshRule, Rotates};
use crate::domain::schedule;
use crate::service::Loaded;

/// Whose turn it is.
enum Turn {
    Ours(Box<Current>, Claim),
    Theirs,
}

/// How long a flight may go on looking for its turn.
const TURN_LIMIT: Duration = Duration::from_mins(1);

impl Refresher {
    /// Runs a flight. The outcome may have been announced before this returns, while the answer is being stored.
    pub(super) async fn attempt(&self, flight: &Flight, request: &RequestId, wanted: Wanted) -> RenewalOutcome {
        let began = Instant::now();
        let mut first_seen: Option<Generation> = None;
        loop {
            self.replay_own(flight.key()).await?;
            let current = self.arrears.settled(flight.key(), self.read(flight.key()).await?);
            let seen = first_seen.replace(current.connection.generation).unwrap_or(current.connection.generation);
            let replaced = current.connection.generation > seen && self.is_usable(flight.key(), &current.connection);
            if replaced || self.is_good(flight.key(), &current.connection, wanted) {
                // Somebody else was faster; theirs is the one refresh of this generation.
                return Ok((Arc::new(current.connection), current.version));
            }
            // One look at the claim that is there, for everything that is decided by it: time goes on meanwhile.
            let sight = self.parts.records.sight(flight.key(), &current.connection);
            let platform = self.preflight(flight.key(), &current.connection, wanted, sight)?;
            let app = platform.app.as_ref().ok_or(VaultError::AppMisconfigured)?;
            // Before anything is taken that others may need.
            if self.is_held(&current.connection, &platform.profile.refresh, sight) {
                self.wait_for_turn(began).await?;
                continue;
            }
            let room = self.make_room(&platform.profile.refresh)?;
            let leave = self.circuits.enter(&platform.profile.id).await.map_err(|open| match open.cause {
                Cause::AppMisconfigured => VaultError::AppMisconfigured,
                cause => VaultError::ProviderUnavailable { cause, retry_after: open.retry_after },
            })?;
            // Counted from before the claim can be seen, so that its owner has less time than anybody who watches it.
            let claimed_at = self.parts.clock.monotonic();
            match self.claim(flight.key(), current, sight).await? {
                Turn::Ours(current, claim) => {
                    let (current, began, platform) = (*current, claimed_at, &*platform);
                    let claimed = Claimed { current, claim, began, platform, app, request, room };
                    return self.redeem(flight, claimed).await;
                }
                Turn::Theirs => drop(leave),
            }
            self.wait_for_turn(began).await?;
        }
    }

    async fn wait_for_turn(&self, began: Instant) -> Result<(), VaultError> {
        if began.elapsed() > TURN_LIMIT {
            return Err(VaultError::Contended { retry_after: Duration::from_secs(1) });
        }
        self.pause(Duration::from_millis(50), Duration::from_millis(400)).await;
        Ok(())
    }

    /// Stores what this instance was answered before and could not store: using the old refresh token again, with its
    /// successor at hand, would be the end of the grant.
    async fn replay_own(&self, key: &ConnectionKey) -> Result<(), VaultError> {
        let Some(answers) = &self.parts.answers else { return Ok(()) };
        for name in answers.outbox.waiting_for(key) {
            if let Fate::Waits(error) = answers.replay(&name).await {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether an answer waits here to be stored first.
    fn has_answer_of_its_own(&self, key: &ConnectionKey) -> bool {
        self.parts.answers.as_ref().is_some_and(|answers| !answers.outbox.waiting_for(key).is_empty())
    }

    /// Whether somebody's claim stands, or its owner still has time to bring its answer from its outbox after it:
    /// somebody may be starting it again, or it is cut off from the store. The refresh token it left behind is good for
    /// one more try at most.
    fn is_held(&self, connection: &Connection, rule: &RefreshRule, sight: Sight) -> bool {
        let Renewal::Claimed(held) = connection.renewal else { return false };
        let without_handover = Sight { watched: sight.watched.saturating_sub(self.settings.handover), ..sight };
        let is_handed_over = held.owner != self.instance
            && !self.departed.contains(held.owner)
            && !held.is_over(without_handover)
            && connection.is_at_risk(rule, sight);
        !held.is_over(sight) || is_handed_over
    }

    /// A place for what the platform will answer, where losing it would cost the grant.
    fn make_room(&self, rule: &RefreshRule) -> Result<Option<Room>, VaultError> {
        match &self.parts.answers {
            Some(answers) if rule.rotates != Rotates::No => Ok(Some(answers.outbox.reserve()?)),
            Some(_) | None => Ok(None),
        }
    }

    pub(super) async fn read(&self, key: &ConnectionKey) -> Result<Current, VaultError> {
        match self.parts.records.load(key).await? {
            Some(Loaded { entry: Entry::Live(connection), version }) => {
                Ok(Current { connection: *connection, version })
            }
            Some(Loaded { entry: Entry::Deleted(_), .. }) | None => Err(VaultError::Missing),
        }
    }

    /// Whether its token can be handed out: what somebody has stored meanwhile may have been no better.
    fn is_usable(&self, key: &ConnectionKey, connection: &Connection) -> bool {
        let judged = judge(&connection.grant, key, Duration::ZERO, Duration::ZERO, self.parts.clock.now());
        connection.health == Health::Alive && judged != Freshness::Expired
    }

    /// Whether somebody else has done by now what is wanted.
    fn is_good(&self, key: &ConnectionKey, connection: &Connection, wanted: Wanted) -> bool {
        let Some(platform) = self.parts.catalog.get(&key.platform) else { return false };
        let now = self.parts.clock.now();
        match wanted {
            Wanted::Lasting(min_ttl) => {
                let freshness = judge(&connection.grant, key, platform.profile.refresh.margin, min_ttl, now);
                connection.health == Health::Alive && freshness == Freshness::Fresh
            }
            Wanted::Due => {
                let next = schedule::next(connection, Some(platform), key);
                connection.health == Health::Alive && next.is_none_or(|next| now < next.at)
            }
            Wanted::Another => false,
        }
    }

    /// Everything that can be known to stand in the way.
    fn preflight(
        &self,
        key: &ConnectionKey,
        connection: &Connection,
        wanted: Wanted,
        sight: Sight,
    ) -> Result<Arc<Platform>, VaultError> {
        let now = self.parts.clock.now();
        let platform = self.parts.catalog.get(&key.platform).ok_or(VaultError::AppMisconfigured)?;
        if let Health::Dead { cause, .. } = connection.health {
            return Err(VaultError::ReauthRequired { cause });
        }
        if connection.grant.refresh.is_none() || !platform.profile.refresh.supported {
            return Err(VaultError::ReauthRequired { cause: Cause::NotRefreshable });
        }
        if let Some(backoff) = connection.backoff.filter(|backoff| now < backoff.next_at) {
            let retry_after = backoff.next_at.since(now);
            return Err(VaultError::ProviderUnavailable { cause: backoff.cause, retry_after });
        }
        if connection.grant.origin != platform.refresh_origin() {
            tracing::error!(alarm = "origin_changed", record = %key, "a refresh token is not sent to another host than it was stored for; check the profile, or have the user connect again");
            return Err(VaultError::AppMisconfigured);
        }
        let rule = &platform.profile.refresh;
        let at_risk = connection.is_at_risk(rule, sight);
        // The old refresh token is tried once more when there is nothing left to lose by it: nobody would be handed this
        // access token any more.
        let expired = judge(&connection.grant, key, rule.margin, Duration::ZERO, now) == Freshness::Expired;
        if at_risk && wanted != Wanted::Another && !expired {
            let retry_after = connection.grant.expires_at.map_or(Duration::ZERO, |at| at.since(now));
            return Err(VaultError::ProviderUnavailable { cause: Cause::LostAnswer, retry_after });
        }
        if !self.parts.audit.is_writable() {
            return Err(AuditUnavailable.into());
        }
        Ok(Arc::clone(platform))
    }

    /// Announces the refresh in the record itself. Losing here is how instances agree on who refreshes.
    async fn claim(&self, key: &ConnectionKey, current: Current, sight: Sight) -> Result<Turn, VaultError> {
        let expected = Expected::Version(current.version);
        let before = current.clone();
        let sight = Sight { now: self.parts.clock.now(), ..sight };
        let fence = self.number();
        let (claimed, claim) = match current.connection.claim(self.instance, fence, sight, self.settings.lease) {
            Ok(claimed) => claimed,
            Err(ClaimRefused::Held(_)) => return Ok(Turn::Theirs),
            Err(ClaimRefused::Dead(cause)) => return Err(VaultError::ReauthRequired { cause }),
            Err(ClaimRefused::NotRefreshable) => {
                return Err(VaultError::ReauthRequired { cause: Cause::NotRefreshable });
            }
        };
        match self.parts.records.save(key, expected, &Entry::Live(Box::new(claimed.clone()))).await {
            Ok(version) => {
                failpoint::reach("claimed");
                if self.has_answer_of_its_own(key) {
                    // It came into the outbox since that was looked at, from whoever had the claim before, and goes first.
                    self.arrears.owe(key, Debt::withdrawal(claim, &before));
                    return Ok(Turn::Theirs);
                }
                self.arrears.clear(key);
                Ok(Turn::Ours(Box::new(Current { connection: claimed, version }), claim))
            }
            Err(error @ (VaultError::WriteContended | VaultError::Store(_))) => {
                // It may have been written all the same, and then written over.
                self.arrears.owe(key, Debt::withdrawal(claim, &before));
                if matches!(error, VaultError::WriteContended) { Ok(Turn::Theirs) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Waits a random time between the two.
    pub(super) async fn pause(&self, shortest: Duration, longest: Duration) {
        tokio::time::sleep(self.between(shortest, longest)).await;
    }

    /// A number nobody else comes upon.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.parts.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A random time between the two.
    pub(super) fn between(&self, shortest: Duration, longest: Duration) -> Duration {
        let mut byte = [0];
        self.parts.random.fill(&mut byte);
        let [chance] = byte;
        shortest + longest.saturating_sub(shortest) * u32::from(chance) / 255
    }
}
