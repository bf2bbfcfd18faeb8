//! One look at one connection that seems to be due: the record decides what is done, and how long it is left alone after.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::coordinator::Refresher;
use crate::domain::connection::{Entry, Renewal};
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{Renewal as _, Wanted};
use crate::domain::schedule::{self, Work};
use crate::service::Loaded;

/// What is being looked at, and what was looked at a while ago.
#[derive(Default)]
pub(super) struct Attention {
    state: Mutex<State>,
    tally: Tally,
}

#[derive(Default)]
struct State {
    running: HashSet<ConnectionKey>,
    resting: HashMap<ConnectionKey, Instant>,
}

/// What came of looking.
#[derive(Default)]
struct Tally {
    renewed: AtomicU32,
    failed: AtomicU32,
    corrected: AtomicU32,
    unreadable: AtomicU32,
}

/// What came of looking since it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub(super) renewed: u32,
    pub(super) failed: u32,
    pub(super) corrected: u32,
    pub(super) unreadable: u32,
}

/// A look that has begun. Dropping it, for whatever reason, lets the next one begin.
pub(super) struct Look {
    key: ConnectionKey,
    attention: Arc<Attention>,
}

/// Nothing is looked at again sooner, whatever the index says.
const SHORTEST_REST: Duration = Duration::from_secs(30);

/// What looking again will hardly change is left alone for this long.
const LONG_REST: Duration = Duration::from_mins(15);

/// However long something asks to be left alone.
const LONGEST_REST: Duration = Duration::from_hours(1);

/// How many that rest are remembered, some megabytes. Beyond that some are looked at more often.
const MOST_RESTING: usize = 16_384;

/// A refresh ends within this, one way or the other.
const PATIENCE: Duration = Duration::from_mins(2);

// === impl Attention ===

impl Attention {
    /// Whether this connection may be looked at now.
    pub(super) fn is_free(&self, key: &ConnectionKey) -> bool {
        let state = self.lock();
        !state.running.contains(key) && state.resting.get(key).is_none_or(|until| Instant::now() >= *until)
    }

    /// Begins a look, unless there is one.
    pub(super) fn begin(self: &Arc<Self>, key: ConnectionKey) -> Option<Look> {
        let began = self.lock().running.insert(key.clone());
        began.then(|| Look { key, attention: Arc::clone(self) })
    }

    /// What came of looking since this was last asked.
    pub(super) fn count(&self) -> Count {
        let taken = |counter: &AtomicU32| counter.swap(0, Ordering::Relaxed);
        let Tally { renewed, failed, corrected, unreadable } = &self.tally;
        Count {
            renewed: taken(renewed),
            failed: taken(failed),
            corrected: taken(corrected),
            unreadable: taken(unreadable),
        }
    }

    fn rest(&self, key: &ConnectionKey, pause: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.resting.len() >= MOST_RESTING {
            state.resting.retain(|_, until| now < *until);
        }
        if state.resting.len() < MOST_RESTING {
            state.resting.insert(key.clone(), now + pause.clamp(SHORTEST_REST, LONGEST_REST));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Look ===

impl Look {
    /// Reads the record, and refreshes what is due by it, on the same way as for a caller. What is not due by it gets
    /// hints that say so.
    pub(super) async fn run(self, refresher: &Arc<Refresher>, request: &RequestId) {
        let tally = &self.attention.tally;
        let (counter, pause) = match refresher.parts.records.load(&self.key).await {
            Ok(Some(loaded)) if self.is_due(refresher, &loaded.entry) => {
                if let Some(rest) = self.rest_of_claim(refresher, &loaded.entry) {
                    // Seen, and from now on watched: that is what this look was for.
                    self.attention.rest(&self.key, rest);
                    return;
                }
                match refresher.renew_and_wait(&self.key, request, Wanted::Due, PATIENCE).await {
                    Ok(_) => (&tally.renewed, SHORTEST_REST),
                    Err(error) => (&tally.failed, pause_after(&error)),
                }
            }
            Ok(Some(loaded)) => match self.correct(refresher, loaded).await {
                Ok(()) => (&tally.corrected, LONG_REST),
                Err(error) => (&tally.failed, pause_after(&error)),
            },
            // Whoever asks for it gets the alarm; here it must only not be in the way of the others.
            Ok(None) | Err(VaultError::Corrupt(_)) => (&tally.unreadable, LONG_REST),
            Err(error) => (&tally.failed, pause_after(&error)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.attention.rest(&self.key, pause);
    }

    fn is_due(&self, refresher: &Refresher, entry: &Entry) -> bool {
        let Entry::Live(connection) = entry else { return false };
        let platform = refresher.parts.catalog.get(&self.key.platform).map(Arc::as_ref);
        schedule::next(connection, platform, &self.key)
            .is_some_and(|next| next.work == Work::Renew && next.at <= refresher.parts.clock.now())
    }

    /// How long a claim on it has to be watched before it can be taken over.
    fn rest_of_claim(&self, refresher: &Refresher, entry: &Entry) -> Option<Duration> {
        let Entry::Live(connection) = entry else { return None };
        let Renewal::Claimed(claim) = connection.renewal else { return None };
        let rest = claim.rest(refresher.parts.records.sight(&self.key, connection));
        (!rest.is_zero()).then_some(rest)
    }

    /// Writes the record as it is: the hints come with it. Also how the end of a token that nothing renews is told.
    async fn correct(&self, refresher: &Refresher, loaded: Loaded) -> Result<(), VaultError> {
        match refresher.parts.records.save(&self.key, loaded.expected(), &loaded.entry).await {
            // Somebody else wrote meanwhile, and right hints with it.
            Ok(_) | Err(VaultError::WriteContended) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.attention.lock().running.remove(&self.key);
    }
}

fn pause_after(error: &VaultError) -> Duration {
    match error {
        VaultError::ProviderUnavailable { retry_after, .. }
        | VaultError::Contended { retry_after }
        | VaultError::TooManyWaiters { retry_after } => *retry_after,
        VaultError::AppMisconfigured | VaultError::Corrupt(_) | VaultError::Internal(_) | VaultError::Invalid(_) => {
            LONG_REST
        }
        VaultError::Missing
        | VaultError::ReauthRequired { .. }
        | VaultError::WriteContended
        | VaultError::TooManyStreams
        | VaultError::SlowReader
        | VaultError::Stopping
        | VaultError::Store(_)
        | VaultError::Keys(_)
        | VaultError::Outbox(_)
        | VaultError::Audit(_)
        | VaultError::Registry(_) => SHORTEST_REST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "p".parse().unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_looked_at_is_left_alone_for_a_while() {
        let attention = Arc::new(Attention::default());
        let look = attention.begin(key("u")).unwrap();
        assert!(!attention.is_free(&key("u")));
        assert!(attention.begin(key("u")).is_none());
        attention.rest(&key("u"), Duration::ZERO);
        drop(look);
        assert!(!attention.is_free(&key("u")));
        tokio::time::advance(SHORTEST_REST).await;
        assert!(attention.is_free(&key("u")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_is_remembered_within_bounds() {
        let attention = Attention::default();
        for user in 0..MOST_RESTING + 10 {
            attention.rest(&key(&format!("u{user}")), Duration::MAX);
        }
        assert_eq!(attention.lock().resting.len(), MOST_RESTING);
        tokio::time::advance(LONGEST_REST).await;
        attention.rest(&key("late"), Duration::MAX);
        assert_eq!(attention.lock().resting.len(), 1);
    }
}
