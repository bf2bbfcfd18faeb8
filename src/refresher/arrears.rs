//! What this instance owes the store: the end of a claim that could not be written down. Until it is, everybody else has
//! to think that the refresh token is in use, or was when its user vanished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::claimed::Current;
use super::coordinator::Refresher;
use crate::domain::connection::{Claim, Connection, Doubt, Entry, Renewal, Superseded};
use crate::domain::error::VaultError;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{Expected, Version};

/// What is owed, by connection.
#[derive(Default)]
pub(super) struct Arrears(Mutex<HashMap<ConnectionKey, Debt>>);

/// What has to be written down about a claim.
#[derive(Clone)]
pub(super) struct Debt {
    claim: Claim,
    end: End,
}

/// How a claim ended.
#[derive(Clone)]
enum End {
    /// Nobody knows whether it was written. Nothing was sent under it: the connection is to be what it was before, with
    /// what was owed about it then.
    Withdrawn { renewal: Renewal, doubt: Option<Doubt>, version: Version, before: Option<Transition> },
    /// With a failure that is known.
    Failed(Transition),
}

/// What a failure makes of a connection.
pub(super) type Transition = Arc<dyn Fn(Connection) -> Result<Connection, Superseded> + Send + Sync>;

/// More than refreshes can be under way when a store goes away. What is over runs out by itself.
const MOST: usize = 4_096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

// === impl Debt ===

impl Debt {
    /// A claim is to be taken back, if it was written at all, on a connection that was this before.
    pub(super) fn withdrawal(claim: Claim, before: &Current) -> Self {
        let Connection { renewal, doubt, .. } = before.connection;
        Self { claim, end: End::Withdrawn { renewal, doubt, version: before.version, before: None } }
    }

    pub(super) const fn failure(claim: Claim, transition: Transition) -> Self {
        Self { claim, end: End::Failed(transition) }
    }

    /// What the connection is to become. `None`: it moved on, and nothing is owed any more.
    fn on(&self, current: Current) -> Option<Connection> {
        match &self.end {
            // It may still be on its way. Over a newer version it finds no place.
            End::Withdrawn { version, before, .. } if *version == current.version => match before {
                Some(transition) => transition(current.connection).ok(),
                None => Some(current.connection),
            },
            End::Withdrawn { renewal, doubt, .. } => current.connection.withdraw(&self.claim, *renewal, *doubt).ok(),
            End::Failed(transition) => transition(current.connection).ok(),
        }
    }

    /// On top of what was owed already.
    fn after(mut self, earlier: Option<Self>) -> Self {
        if let (End::Withdrawn { before, .. }, Some(Self { end, .. })) = (&mut self.end, earlier) {
            *before = match end {
                End::Withdrawn { before, .. } => before,
                End::Failed(transition) => Some(transition),
            };
        }
        self
    }
}

// === impl Arrears ===

impl Arrears {
    pub(super) fn owe(&self, key: &ConnectionKey, debt: Debt) {
        let mut owed = self.lock();
        if owed.len() < MOST || owed.contains_key(key) {
            let earlier = owed.remove(key);
            owed.insert(key.clone(), debt.after(earlier));
        }
    }

    /// The connection as if everything were written down. What it has left behind is not owed any more.
    pub(super) fn settled(&self, key: &ConnectionKey, current: Current) -> Current {
        let Some(debt) = self.of(key) else { return current };
        if let Some(connection) = debt.on(current.clone()) {
            return Current { connection, version: current.version };
        }
        self.forget(key, &debt);
        current
    }

    /// Somebody has written over all that.
    pub(super) fn clear(&self, key: &ConnectionKey) {
        self.lock().remove(key);
    }

    fn of(&self, key: &ConnectionKey) -> Option<Debt> {
        self.lock().get(key).cloned()
    }

    /// Forgets this debt, and not one that has come since.
    fn forget(&self, key: &ConnectionKey, debt: &Debt) {
        let mut owed = self.lock();
        if owed.get(key).is_some_and(|owed| owed.claim == debt.claim) {
            owed.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionKey, Debt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refresher {
    /// Writes down what is owed about a connection as soon as the store takes it; once more at the stop, and that is all.
    pub(super) async fn pay(&self, key: &ConnectionKey) {
        let Some(debt) = self.arrears.of(key) else { return };
        let (began, mut longest, mut last) = (Instant::now(), FIRST_PAUSE, false);
        while !self.is_paid(key, &debt).await && !last && began.elapsed() < self.settings.commit {
            tokio::select! {
                () = self.pause(longest / 2, longest) => {}
                () = self.parts.tasks.stopping() => last = true,
            }
            longest = (longest * 2).min(LONGEST_PAUSE);
        }
        self.arrears.forget(key, &debt);
    }

    async fn is_paid(&self, key: &ConnectionKey, debt: &Debt) -> bool {
        if self.arrears.of(key).is_none_or(|owed| owed.claim != debt.claim) {
            return true;
        }
        let current = match self.read(key).await {
            Ok(current) => current,
            Err(error) => return matches!(error, VaultError::Missing),
        };
        let version = current.version;
        let Some(next) = debt.on(current) else { return true };
        let written = self.parts.records.save(key, Expected::Version(version), &Entry::Live(Box::new(next))).await;
        if written.is_ok() {
            tracing::info!(record = %key, "the end of a claim is written down, late");
        }
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::{Generation, Grant, InstanceId, OriginFingerprint, Sight};
    use crate::domain::secret::{AccessToken, RefreshToken};
    use crate::domain::time::Timestamp;

    fn stored() -> Connection {
        let grant = Grant {
            access: AccessToken::new("a".to_owned()).unwrap(),
            refresh: RefreshToken::new("r".to_owned()),
            previous_refresh: None,
            expires_at: None,
            issued_at: Timestamp::EPOCH,
            scopes: Vec::new(),
            token_type: None,
            refresh_expires_at: None,
            origin: OriginFingerprint(1),
        };
        Connection::stored(grant, Generation(1), Timestamp::EPOCH)
    }

    fn claimed(fence: u64) -> (Connection, Claim) {
        let sight = Sight { now: Timestamp::EPOCH, watched: Duration::ZERO };
        stored().claim(InstanceId(7), fence, sight, Duration::from_secs(20)).unwrap()
    }

    fn at(version: u64, connection: Connection) -> Current {
        Current { connection, version: Version(version) }
    }

    #[test]
    fn a_claim_that_is_taken_back_is_not_another_one_made_over_the_same_version() {
        let ((lost, first), (_, second)) = (claimed(11), claimed(12));
        let debt = Debt::withdrawal(first, &at(5, stored()));
        assert_eq!(debt.on(at(6, lost)).unwrap().renewal, Renewal::Idle);
        let (since, _) = claimed(12);
        assert_eq!(since.renewal, Renewal::Claimed(second));
        assert!(debt.on(at(6, since)).is_none());
    }

    #[test]
    fn what_has_moved_on_is_left_alone() {
        let (_, claim) = claimed(11);
        let debt = Debt::withdrawal(claim, &at(5, stored()));
        assert!(debt.on(at(5, stored())).is_some(), "it may still be on its way");
        assert!(debt.on(at(6, stored())).is_none());
    }
}
