//! One connection and everything that may happen to it.
//!
//! A connection changes only through the transitions below. Each takes the state by value, and the ones that belong to
//! a refresh may refuse: whoever lost the race learns so here and cannot overwrite the winner. What a transition
//! returns becomes real only when the store accepts it against the version it was read at.

use std::fmt;
use std::time::Duration;

use super::cause::Cause;
use super::ports::Version;
use super::profile::RefreshRule;
use super::secret::{AccessToken, RefreshToken};
use super::time::Timestamp;

/// What is stored under a connection key.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A connection with tokens. Boxed: it is an order of magnitude larger than the other case.
    Live(Box<Connection>),
    /// A deleted connection. It stays, so that versions keep growing and a late refresh cannot bring tokens back.
    Deleted(Tombstone),
}

/// What remains of a deleted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The generation of the tokens that were deleted.
    pub generation: Generation,
    /// When.
    pub at: Timestamp,
}

/// Counts the token sets a connection has had; a refresh and a new consent each begin a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Generation(pub u64);

/// A live connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The generation of `grant`.
    pub generation: Generation,
    /// The current tokens.
    pub grant: Grant,
    /// Whether somebody is refreshing.
    pub renewal: Renewal,
    /// Set when the refresh token may have been consumed by an answer that never arrived.
    pub doubt: Option<Doubt>,
    /// Whether the platform has refused the grant for good.
    pub health: Health,
    /// How the last refresh ended.
    pub last_refresh: Option<LastRefresh>,
    /// Set while refreshes keep failing.
    pub backoff: Option<Backoff>,
    /// When the user connected first.
    pub created_at: Timestamp,
}

/// The tokens of one generation and what is known about them.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The access token.
    pub access: AccessToken,
    /// What renews it, where the platform issued one.
    pub refresh: Option<RefreshToken>,
    /// The refresh token of the generation before, kept because some platforms honour it for a while.
    pub previous_refresh: Option<RefreshToken>,
    /// When the access token expires; `None`: it does not.
    pub expires_at: Option<Timestamp>,
    /// When the tokens were asked for; the life of the access token is counted from here.
    pub issued_at: Timestamp,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// The token type; `None`: `Bearer`.
    pub token_type: Option<String>,
    /// When the refresh token expires, where the platform says so.
    pub refresh_expires_at: Option<Timestamp>,
    /// Where the refresh token may be sent.
    pub origin: OriginFingerprint,
}

/// The first eight bytes of SHA-256 over the origin of the token endpoint a refresh token belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OriginFingerprint(pub u64);

/// Whether somebody is refreshing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nobody is.
    Idle,
    /// An instance has announced that it is about to use the refresh token.
    Claimed(Claim),
}

/// The announcement that one instance is about to use the refresh token of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The instance, as a number drawn at its start.
    pub owner: InstanceId,
    /// Drawn for this claim: no other one on the same record has it, nor one that was tried over the same version.
    pub fence: u64,
    /// When its owner, by its own clock, will have had its time.
    pub deadline: Timestamp,
    /// How long that is: what others wait for, each by a clock of its own that does not step.
    pub lease: Duration,
    /// The generation whose refresh token is about to be used.
    pub generation: Generation,
}

/// What an instance knows about time when it looks at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// What its wall clock shows. Others may show something else.
    pub now: Timestamp,
    /// For how long it has seen the claim that is on the connection, by a clock that does not step.
    pub watched: Duration,
}

/// One running instance, as a number drawn at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct InstanceId(pub u64);

/// The refresh token may have been consumed by an answer nobody received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// When the request that went unanswered was claimed.
    pub since: Timestamp,
    /// Whether the old token has been tried again since.
    pub attempted: bool,
}

/// Whether the grant is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As far as anyone knows.
    Alive,
    /// The platform refused it for good.
    Dead {
        /// When it said so.
        at: Timestamp,
        /// Why, as far as can be told.
        cause: Cause,
    },
}

/// How the last refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRefresh {
    /// When.
    pub at: Timestamp,
    /// With what result.
    pub outcome: RefreshOutcome,
}

/// The ways a refresh can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// With new tokens.
    Renewed,
    /// Without; it will be tried again.
    Failed(Cause),
    /// Without, and for good.
    Dead(Cause),
}

/// Refreshes keep failing: when to try again, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How many failed in a row.
    pub failures: u32,
    /// When the first of them failed.
    pub first_at: Timestamp,
    /// No attempt before this.
    pub next_at: Timestamp,
    /// What the last one failed of.
    pub cause: Cause,
}

/// Why a connection could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimRefused {
    /// Somebody else is at it.
    Held(Claim),
    /// The grant is dead.
    Dead(Cause),
    /// There is no refresh token.
    NotRefreshable,
}

/// The record moved on while this party was away; what it wanted to write must be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection moved on to another generation or claim")]
pub struct Superseded;

/// What a platform granted in answer to a refresh. What it left out stays as it was.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The new access token.
    pub access: AccessToken,
    /// The new refresh token, where the platform rotates.
    pub refresh: Option<RefreshToken>,
    /// When the new access token expires; `None`: it does not.
    pub expires_at: Option<Timestamp>,
    /// When the request was sent.
    pub sent_at: Timestamp,
    /// The scopes, where the platform repeated them.
    pub scopes: Option<Vec<String>>,
    /// The token type, where the platform named one.
    pub token_type: Option<String>,
    /// When the refresh token expires, where the platform says so.
    pub refresh_expires_at: Option<Timestamp>,
}

// === impl Entry ===

impl Entry {
    /// The generation of the tokens it has, or had. It never falls.
    #[must_use]
    pub fn generation(&self) -> Generation {
        match self {
            Self::Live(connection) => connection.generation,
            Self::Deleted(tombstone) => tombstone.generation,
        }
    }

    /// The generation a new consent for this connection begins.
    #[must_use]
    pub fn next_generation(&self) -> Generation {
        self.generation().next()
    }

    /// What is left of a connection whose user was erased at this time. Of its generation nothing is known but that no
    /// generation exceeds the version it was written as.
    #[must_use]
    pub const fn erased(version: Version, at: Timestamp) -> Self {
        Self::Deleted(Tombstone { generation: Generation(version.0), at })
    }

    /// Deletes the connection, whatever is going on with it.
    #[must_use]
    pub fn deleted(&self, at: Timestamp) -> Self {
        Self::Deleted(Tombstone { generation: self.generation(), at })
    }
}

// === impl Generation ===

impl Generation {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

// === impl Connection ===

impl Connection {
    /// A connection as a caller stored it.
    #[must_use]
    pub const fn stored(grant: Grant, generation: Generation, now: Timestamp) -> Self {
        Self {
            generation,
            grant,
            renewal: Renewal::Idle,
            doubt: None,
            health: Health::Alive,
            last_refresh: None,
            backoff: None,
            created_at: now,
        }
    }

    /// Announces a refresh. A claim that is over is taken over, and leaves a doubt behind: its owner may have used the
    /// refresh token.
    ///
    /// # Errors
    ///
    /// When somebody holds a claim that may not be over, the grant is dead, or there is nothing to refresh with.
    pub fn claim(
        mut self,
        owner: InstanceId,
        fence: u64,
        sight: Sight,
        lease: Duration,
    ) -> Result<(Self, Claim), ClaimRefused> {
        if let Health::Dead { cause, .. } = self.health {
            return Err(ClaimRefused::Dead(cause));
        }
        if self.grant.refresh.is_none() {
            return Err(ClaimRefused::NotRefreshable);
        }
        if let Renewal::Claimed(held) = self.renewal {
            if !held.is_over(sight) {
                return Err(ClaimRefused::Held(held));
            }
            self.doubt = Some(self.doubt.unwrap_or(Doubt { since: held.began(), attempted: false }));
        }
        let claim = Claim { owner, fence, deadline: sight.now + lease, lease, generation: self.generation };
        self.renewal = Renewal::Claimed(claim);
        if let Some(doubt) = &mut self.doubt {
            doubt.attempted = true;
        }
        Ok((self, claim))
    }

    /// Takes over what the platform granted under `claim`.
    ///
    /// It counts even if the claim was taken over meanwhile, as long as nobody has begun the next generation: the
    /// answer in hand is newer than anything the record holds, and dropping it would lose the grant. For the same
    /// reason it revives a connection that was declared dead on the strength of the token it replaces.
    ///
    /// # Errors
    ///
    /// When the record holds another generation than the one that was claimed.
    pub fn renew(self, claim: &Claim, renewed: Renewed) -> Result<Self, Superseded> {
        if self.generation != claim.generation {
            return Err(Superseded);
        }
        let old = self.grant;
        let rotated = renewed.refresh.is_some();
        let grant = Grant {
            access: renewed.access,
            previous_refresh: if rotated { old.refresh.clone() } else { old.previous_refresh },
            refresh: renewed.refresh.or(old.refresh),
            expires_at: renewed.expires_at,
            issued_at: renewed.sent_at,
            scopes: renewed.scopes.unwrap_or(old.scopes),
            token_type: renewed.token_type.or(old.token_type),
            refresh_expires_at: renewed.refresh_expires_at.or(if rotated { None } else { old.refresh_expires_at }),
            origin: old.origin,
        };
        Ok(Self {
            generation: self.generation.next(),
            grant,
            renewal: Renewal::Idle,
            doubt: None,
            health: Health::Alive,
            last_refresh: Some(LastRefresh { at: renewed.sent_at, outcome: RefreshOutcome::Renewed }),
            backoff: None,
            created_at: self.created_at,
        })
    }

    /// Becomes what an answer made of it that was kept aside, if nothing newer is here.
    ///
    /// What was kept is a whole connection: it counts by its generation alone, whoever holds the claim by now and
    /// whether or not the grant was declared dead for want of it. It also counts over a gap, which only a store that
    /// went back in time can leave.
    ///
    /// # Errors
    ///
    /// When the record holds the kept generation or a later one.
    pub fn catch_up(self, kept: Self) -> Result<Self, Superseded> {
        if self.generation < kept.generation { Ok(kept) } else { Err(Superseded) }
    }

    /// Gives the claim back after a failure that is worth another try at `next_at`.
    ///
    /// A `lost` answer leaves a doubt behind: the request left, and the token may have been consumed by it.
    ///
    /// # Errors
    ///
    /// When the claim is no longer the one the record holds.
    pub fn release(mut self, claim: &Claim, failure: Failure) -> Result<Self, Superseded> {
        self.holds(claim)?;
        let (failures, first_at) = self.backoff.map_or((0, failure.at), |backoff| (backoff.failures, backoff.first_at));
        self.renewal = Renewal::Idle;
        self.backoff = failure.next_at.map(|next_at| Backoff {
            failures: failures.saturating_add(1),
            first_at,
            next_at,
            cause: failure.cause,
        });
        self.last_refresh = Some(LastRefresh { at: failure.at, outcome: RefreshOutcome::Failed(failure.cause) });
        let lost = failure.lost.map(|since| Doubt { since, attempted: false });
        self.doubt = self.doubt.or(lost);
        Ok(self)
    }

    /// Takes a claim back under which nothing was sent, and makes good what it had changed.
    ///
    /// # Errors
    ///
    /// When the claim is not the one the record holds.
    pub fn withdraw(mut self, claim: &Claim, renewal: Renewal, doubt: Option<Doubt>) -> Result<Self, Superseded> {
        self.holds(claim)?;
        (self.renewal, self.doubt) = (renewal, doubt);
        Ok(self)
    }

    /// Gives up on the grant: the platform's definitive word.
    ///
    /// # Errors
    ///
    /// When the claim is no longer the one the record holds: somebody else's answer may be the newer word.
    pub fn die(mut self, claim: &Claim, cause: Cause, at: Timestamp) -> Result<Self, Superseded> {
        self.holds(claim)?;
        self.renewal = Renewal::Idle;
        self.backoff = None;
        self.health = Health::Dead { at, cause };
        self.last_refresh = Some(LastRefresh { at, outcome: RefreshOutcome::Dead(cause) });
        Ok(self)
    }

    /// Corrects an expiry that was only assumed.
    ///
    /// # Errors
    ///
    /// When the record holds another generation than the one the expiry belongs to.
    pub fn expiring_at(mut self, generation: Generation, at: Timestamp) -> Result<Self, Superseded> {
        if self.generation != generation {
            return Err(Superseded);
        }
        self.grant.expires_at = Some(at);
        Ok(self)
    }

    /// Whether using the refresh token now could cost the grant: an earlier answer may have consumed it, and the
    /// platform is not known to tolerate a second use after `elapsed`.
    #[must_use]
    pub fn is_at_risk(&self, rule: &RefreshRule, sight: Sight) -> bool {
        let abandoned = match self.renewal {
            Renewal::Claimed(held) if held.is_over(sight) => Some(held.began()),
            Renewal::Claimed(_) | Renewal::Idle => None,
        };
        // What was claimed in the future was claimed by another clock: nobody knows how long ago that is.
        let elapsed = |since| if since > sight.now { Duration::MAX } else { sight.now.since(since) };
        let since = self.doubt.map(|doubt| doubt.since).or(abandoned);
        since.is_some_and(|since| !rule.tolerates_retry(elapsed(since)))
    }

    fn holds(&self, claim: &Claim) -> Result<(), Superseded> {
        match self.renewal {
            Renewal::Claimed(held) if held.fence == claim.fence && held.owner == claim.owner => Ok(()),
            Renewal::Claimed(_) | Renewal::Idle => Err(Superseded),
        }
    }
}

/// A refresh that failed but is not the end.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Of what.
    pub cause: Cause,
    /// No attempt before this; `None` where the failure says nothing about this connection.
    pub next_at: Option<Timestamp>,
    /// When the refresh token was claimed, if the platform may have consumed it.
    pub lost: Option<Timestamp>,
}

// === impl Claim ===

impl Claim {
    /// The longest time by which two clocks may differ before a claim is taken from its owner by mistake.
    const CLOCKS_APART: Duration = Duration::from_hours(3);

    /// Whether its owner has had its time.
    ///
    /// The deadline alone does not tell: one clock may be behind and another ahead. Whoever has watched the claim for
    /// as long as it holds knows, whatever the clocks show; and so does who finds it when no clock can be that wrong.
    #[must_use]
    pub fn is_over(&self, sight: Sight) -> bool {
        sight.watched >= self.lease || sight.now >= self.deadline + Self::CLOCKS_APART
    }

    /// How much longer somebody has to watch it.
    #[must_use]
    pub fn rest(&self, sight: Sight) -> Duration {
        if self.is_over(sight) { Duration::ZERO } else { self.lease.saturating_sub(sight.watched) }
    }

    /// When it was made, by the clock of its owner.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.deadline - self.lease
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests;
