//! What may be told of the connections of a user, in one round trip. What was opened before and lies there unchanged is not
//! opened again: what came out of it is remembered, without the tokens.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{Mark, Progress, Records, alarm, progress};
use crate::domain::connection::{Entry, Renewal};
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, PlatformId, TenantId, UserId};
use crate::domain::outline::Outline;
use crate::domain::ports::{Stored, UserDrawer};

/// What records were when they were last opened.
pub(super) struct Recollection {
    known: Cache<ConnectionKey, Known, Bytes>,
    hasher: RandomState,
}

#[derive(Clone)]
struct Known {
    progress: Progress,
    /// Of the sealed bytes, by a key nobody knows: who writes others into the store cannot make them look like these.
    fingerprint: u64,
    /// `None`: what a deleted connection left.
    outline: Option<Arc<Outline>>,
}

/// Counts the bytes of what is remembered, about.
#[derive(Clone)]
struct Bytes;

/// What became of reading all of them.
struct ReadAll {
    result: Result<Vec<(PlatformId, Arc<Outline>)>, VaultError>,
    /// Which one it failed at.
    at: Option<ConnectionKey>,
}

/// Some 40,000 connections.
const MOST_BYTES: u64 = 16 * 1_024 * 1_024;
/// One of them, beside its scopes.
const USUAL_BYTES: usize = 384;

// === impl Records ===

impl Records {
    /// Reads these platforms of one user, in one round trip. What is not there is not in the answer, which is in their
    /// order.
    ///
    /// # Errors
    ///
    /// As for `load`; one record that cannot be trusted fails the whole answer, because a snapshot without it would
    /// say `missing`.
    pub async fn outlines(
        &self,
        tenant: &TenantId,
        user: &UserId,
        platforms: impl Iterator<Item = PlatformId>,
    ) -> Result<Vec<(PlatformId, Arc<Outline>)>, VaultError> {
        let key = |platform| ConnectionKey { tenant: tenant.clone(), user: user.clone(), platform };
        let keys: Vec<_> = platforms.map(key).collect();
        let resets = self.floor.resets();
        let mut read = self.read_all(tenant, user, &keys).await;
        if self.was_set_back(&read.result, resets).await {
            read = self.read_all(tenant, user, &keys).await;
        }
        let ReadAll { result, at } = read;
        result.inspect_err(|error| match at {
            Some(key) => alarm(&key, error),
            None => alarm(&format_args!("{tenant}/{user}"), error),
        })
    }

    async fn read_all(&self, tenant: &TenantId, user: &UserId, keys: &[ConnectionKey]) -> ReadAll {
        let marks: Vec<_> = keys.iter().map(|key| self.floor.mark(key)).collect();
        let mut drawer = match self.store.list_user(tenant, user).await {
            Ok(drawer) => drawer,
            Err(error) => return ReadAll { result: Err(error.into()), at: None },
        };
        drawer.connections.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut outlines = Vec::with_capacity(drawer.connections.len());
        for (key, mark) in keys.iter().zip(marks) {
            let found = drawer.connections.binary_search_by(|(platform, _)| platform.cmp(&key.platform));
            let stored = found.ok().and_then(|place| drawer.connections.get(place)).map(|(_, stored)| stored);
            match self.outline(key, mark, stored, &drawer).await {
                Ok(outline) => outlines.extend(outline.map(|outline| (key.platform.clone(), outline))),
                Err(error) => return ReadAll { result: Err(error), at: Some(key.clone()) },
            }
        }
        ReadAll { result: Ok(outlines), at: None }
    }

    /// What one record says, if it is there and not deleted.
    async fn outline(
        &self,
        key: &ConnectionKey,
        mark: Mark,
        stored: Option<&Stored>,
        drawer: &UserDrawer,
    ) -> Result<Option<Arc<Outline>>, VaultError> {
        let Some(stored) = stored else {
            self.floor.check(mark, None)?;
            return Ok(None);
        };
        let fingerprint = self.recollection.fingerprint(stored);
        // Whoever may not have the key any more is told nothing.
        let remembered = match self.recollection.of(key, stored, fingerprint) {
            Some(known) if self.sealer.has_key(key, stored, drawer).await? => Some(known),
            Some(_) | None => None,
        };
        let known = if let Some(known) = &remembered {
            known.clone()
        } else {
            let entry = self.sealer.open(key, stored, Some(drawer)).await?;
            let outline = match &entry {
                Entry::Live(connection) => Some(Arc::new(Outline::from(&**connection))),
                Entry::Deleted(_) => None,
            };
            Known { progress: progress(&entry, stored), fingerprint, outline }
        };
        self.floor.check(mark, Some(known.progress))?;
        if let Some(Renewal::Claimed(claim)) = known.outline.as_ref().map(|outline| outline.renewal) {
            self.sightings.note(key, &claim, self.clock.monotonic());
        }
        if remembered.is_none() {
            self.recollection.remember(key, known.clone());
        }
        Ok(known.outline)
    }
}

// === impl Recollection ===

impl Recollection {
    pub(super) fn new() -> Self {
        Self { known: Cache::with_weighter(1_024, MOST_BYTES, Bytes), hasher: RandomState::new() }
    }

    fn fingerprint(&self, stored: &Stored) -> u64 {
        self.hasher.hash_one(&*stored.value)
    }

    /// What is known of exactly this record.
    fn of(&self, key: &ConnectionKey, stored: &Stored, fingerprint: u64) -> Option<Known> {
        let known = self.known.get(key)?;
        (known.fingerprint == fingerprint && known.progress.version == stored.version).then_some(known)
    }

    fn remember(&self, key: &ConnectionKey, known: Known) {
        self.known.insert(key.clone(), known);
    }
}

impl Weighter<ConnectionKey, Known> for Bytes {
    fn weight(&self, _: &ConnectionKey, known: &Known) -> u64 {
        let scopes = known.outline.iter().flat_map(|outline| outline.scopes.iter());
        (USUAL_BYTES + scopes.map(|scope| scope.len() + size_of::<String>()).sum::<usize>()) as u64
    }
}
