//! Connections as they lie in the store: sealed, versioned, and never older than last seen.

mod outlines;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::outlines::Recollection;
use super::Epochs;
use super::floor::{Floor, Mark, Progress};
use super::sightings::Sightings;
use crate::domain::catalog::Catalog;
use crate::domain::connection::{Connection, Entry, Renewal, Sight};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, TenantId, UserId};
use crate::domain::ports::{Address, Clock, Expected, Record, Store, Stored, UserDrawer, Version};
use crate::domain::schedule;
use crate::envelope::Sealer;

/// The connections of one installation.
pub struct Records {
    store: Arc<dyn Store>,
    sealer: Sealer,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    floor: Floor,
    sightings: Sightings,
    recollection: Recollection,
    epochs: Option<Arc<Epochs>>,
}

/// A connection, and the version it was read at: what the next write is compared with.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is stored.
    pub entry: Entry,
    /// The version of it.
    pub version: Version,
}

/// How often what somebody writes during an erasure is erased, too.
const ERASE_ROUNDS: u32 = 16;

// === impl Records ===

impl Records {
    /// The connections in this store. What is known about their platforms decides when they are due.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, sealer: Sealer, catalog: Arc<Catalog>, clock: Arc<dyn Clock>) -> Self {
        let (floor, sightings) = (Floor::new(), Sightings::default());
        let recollection = Recollection::new();
        Self { store, sealer, catalog, clock, floor, sightings, recollection, epochs: None }
    }

    /// With an eye on the epoch of the store: what was set back on purpose is no loss.
    #[must_use]
    pub fn noticing(self, epochs: Arc<Epochs>) -> Self {
        Self { epochs: Some(epochs), ..self }
    }

    /// Reads a connection.
    ///
    /// # Errors
    ///
    /// When the store or the keys are not at hand, or what is stored cannot be trusted.
    pub async fn load(&self, key: &ConnectionKey) -> Result<Option<Loaded>, VaultError> {
        let resets = self.floor.resets();
        let mut loaded = self.read(key).await;
        if self.was_set_back(&loaded, resets).await {
            loaded = self.read(key).await;
        }
        loaded.inspect_err(|error| alarm(key, error))
    }

    /// Reads a connection as it was a moment ago at the earliest: what this instance has at hand will do.
    ///
    /// # Errors
    ///
    /// As for `load`.
    pub async fn load_recent(&self, key: &ConnectionKey) -> Result<Option<Loaded>, VaultError> {
        let mark = self.floor.mark(key);
        let opened = async {
            let stored = self.store.get_recent(&Address::Connection(key.clone())).await?;
            self.open(key, mark, stored.as_ref(), None).await
        };
        match opened.await {
            // What is at hand may be older than what this instance has seen since. Whether it is worse than that, the
            // store itself tells.
            Err(VaultError::Corrupt(_)) => self.load(key).await,
            opened => opened,
        }
    }

    /// Writes a connection over the version it was read at.
    ///
    /// # Errors
    ///
    /// [`VaultError::WriteContended`] when somebody else wrote in between.
    pub async fn save(&self, key: &ConnectionKey, expected: Expected, entry: &Entry) -> Result<Version, VaultError> {
        // Nobody knows a claim better than who makes it, even if nobody ever learns whether it was written.
        self.note_claim(key, entry);
        let mut expected = expected;
        loop {
            let version = expected.next();
            let record = self.record(key, version, entry).await?;
            let (resets, sealed) = (self.floor.resets(), record.value.clone());
            self.store.put(&Address::Connection(key.clone()), expected, record).await?;
            self.floor.wrote(key, Progress { version, generation: entry.generation() }, resets);
            // An erasure meanwhile has not seen what was not there yet, and this is sealed with a key that is gone.
            if expected != Expected::Absent || !self.sealer.is_outdated(key, &sealed).await? {
                return Ok(version);
            }
            expected = Expected::Version(version);
        }
    }

    /// Writes an answer of a platform over a record that has gone back in time while the answer was on its way, as the
    /// version it was meant for. `None` where there is something newer: in the store, or where this instance has seen it.
    ///
    /// # Errors
    ///
    /// When the store or the keys are not at hand, or what is stored was not sealed here.
    pub async fn make_good(
        &self,
        key: &ConnectionKey,
        meant: Version,
        answered: impl FnOnce(Connection) -> Option<Connection> + Send,
    ) -> Result<Option<Connection>, VaultError> {
        let address = Address::Connection(key.clone());
        let (mark, stored) = (self.floor.mark(key), self.store.get(&address).await?);
        let Some(stored) = stored.filter(|stored| stored.version < meant && !mark.has_seen(meant)) else {
            return Ok(None);
        };
        let Entry::Live(found) = self.sealer.open(key, &stored, None).await? else { return Ok(None) };
        let Some(next) = answered(*found) else { return Ok(None) };
        let entry = Entry::Live(Box::new(next.clone()));
        let record = self.record(key, meant, &entry).await?;
        self.store.restore(&address, meant, record).await?;
        self.floor.wrote(key, Progress { version: meant, generation: entry.generation() }, mark.resets());
        tracing::warn!(record = %key, found = stored.version.0, written = meant.0, "the store had gone back in time: new tokens are written over what it has");
        Ok(Some(next))
    }

    async fn record(&self, key: &ConnectionKey, version: Version, entry: &Entry) -> Result<Record, VaultError> {
        let value = self.sealer.seal(key, version, entry).await.inspect_err(|error| alarm(key, error))?;
        let platform = self.catalog.get(&key.platform).map(Arc::as_ref);
        Ok(Record { value, hints: schedule::hints(entry, platform, key, self.clock.now()) })
    }

    /// What this instance knows about time where this connection is concerned: how long it has seen the claim on it.
    #[must_use]
    pub fn sight(&self, key: &ConnectionKey, connection: &Connection) -> Sight {
        let watched = match &connection.renewal {
            Renewal::Claimed(claim) => self.sightings.note(key, claim, self.clock.monotonic()),
            Renewal::Idle => Duration::ZERO,
        };
        Sight { now: self.clock.now(), watched }
    }

    /// Seals a connection as it is to be, to be kept aside until the store has it.
    ///
    /// # Errors
    ///
    /// When the keys are not at hand.
    pub async fn seal_aside(
        &self,
        key: &ConnectionKey,
        expected: Expected,
        next: &Connection,
    ) -> Result<Bytes, VaultError> {
        let entry = Entry::Live(Box::new(next.clone()));
        self.sealer.seal_for_outbox(key, expected.next(), &entry).await
    }

    /// Opens what was kept aside, and tells as which version it was meant to be written.
    ///
    /// # Errors
    ///
    /// When the keys are not at hand, or it cannot be trusted; [`VaultError::Missing`] if the user has been erased since.
    pub async fn open_aside(&self, key: &ConnectionKey, sealed: &[u8]) -> Result<(Connection, Version), VaultError> {
        match self.sealer.open_from_outbox(key, sealed).await? {
            (Entry::Live(connection), meant) => Ok((*connection, meant)),
            (Entry::Deleted(_), _) => Err(CorruptRecord::Content.into()),
        }
    }

    /// Makes everything of a user unreadable for ever, and puts a tombstone in the place of each connection. Safe to
    /// repeat. How many records of connections were overwritten.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand: then it has to be done again.
    pub async fn erase(&self, tenant: &TenantId, user: &UserId) -> Result<u64, VaultError> {
        let at = self.clock.now();
        let Some(through) = self.sealer.erase(tenant, user, at).await? else { return Ok(0) };
        let mut erased = 0;
        for _ in 0..ERASE_ROUNDS {
            let mut left = self.drawer(tenant, user).await?.connections;
            left.retain(|(_, stored)| Sealer::generation(stored).is_none_or(|generation| generation <= through));
            if left.is_empty() {
                return Ok(erased);
            }
            for (platform, stored) in left {
                let key = ConnectionKey { tenant: tenant.clone(), user: user.clone(), platform };
                let tombstone = Entry::erased(stored.version, at);
                match self.save(&key, Expected::Version(stored.version), &tombstone).await {
                    Ok(_) => erased += 1,
                    // Written once more with the old key, by somebody who has not seen the new one yet.
                    Err(VaultError::WriteContended) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(VaultError::WriteContended)
    }

    /// Lets go of keys that have been held for as long as they may be.
    pub fn sweep(&self) {
        self.sealer.sweep();
    }

    async fn read(&self, key: &ConnectionKey) -> Result<Option<Loaded>, VaultError> {
        let mark = self.floor.mark(key);
        let stored = self.store.get(&Address::Connection(key.clone())).await?;
        self.open(key, mark, stored.as_ref(), None).await
    }

    /// Whether what looks lost was set back on purpose: everything seen before is forgotten then, and reading again
    /// tells what is.
    async fn was_set_back<T>(&self, read: &Result<T, VaultError>, resets: u64) -> bool {
        let Err(VaultError::Corrupt(CorruptRecord::Rollback | CorruptRecord::Vanished)) = read else { return false };
        let Some(epochs) = &self.epochs else { return false };
        epochs.notice(|| self.floor.reset()).await;
        self.floor.resets() != resets
    }

    /// Everything of one user, still sealed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn drawer(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, VaultError> {
        let drawer = self.store.list_user(tenant, user).await.map_err(VaultError::from);
        drawer.inspect_err(|error| alarm(&format_args!("{tenant}/{user}"), error))
    }

    /// Opens a connection that was found in the drawer of its user.
    ///
    /// # Errors
    ///
    /// As for `load`.
    pub async fn open_found(
        &self,
        key: &ConnectionKey,
        stored: &Stored,
        drawer: &UserDrawer,
    ) -> Result<Option<Loaded>, VaultError> {
        match self.sealer.open(key, stored, Some(drawer)).await {
            Ok(entry) if self.floor.check(self.floor.mark(key), Some(progress(&entry, stored))).is_ok() => {
                self.note_claim(key, &entry);
                Ok(Some(Loaded { entry, version: stored.version }))
            }
            // What was found a moment ago may be older than what this instance has seen since. Whether it is worse than
            // that, the store itself tells.
            Ok(_) | Err(VaultError::Corrupt(_)) => self.load(key).await,
            Err(error) => Err(error),
        }
    }

    fn note_claim(&self, key: &ConnectionKey, entry: &Entry) {
        if let Entry::Live(connection) = entry
            && let Renewal::Claimed(claim) = &connection.renewal
        {
            self.sightings.note(key, claim, self.clock.monotonic());
        }
    }

    async fn open(
        &self,
        key: &ConnectionKey,
        mark: Mark,
        stored: Option<&Stored>,
        drawer: Option<&UserDrawer>,
    ) -> Result<Option<Loaded>, VaultError> {
        let Some(stored) = stored else {
            self.floor.check(mark, None)?;
            return Ok(None);
        };
        let entry = self.sealer.open(key, stored, drawer).await?;
        // Only a record that opened may raise the floor: anybody who can write to the store can write a high version.
        self.floor.check(mark, Some(progress(&entry, stored)))?;
        self.note_claim(key, &entry);
        Ok(Some(Loaded { entry, version: stored.version }))
    }
}

// === impl Loaded ===

impl Loaded {
    /// What a write over this expects to find.
    #[must_use]
    pub const fn expected(&self) -> Expected {
        Expected::Version(self.version)
    }
}

fn progress(entry: &Entry, stored: &Stored) -> Progress {
    Progress { version: stored.version, generation: entry.generation() }
}

fn alarm(record: &impl fmt::Display, error: &VaultError) {
    if let VaultError::Corrupt(corrupt) = error {
        let advice = match corrupt {
            CorruptRecord::Rollback | CorruptRecord::Vanished => {
                "the store lost acknowledged writes or was restored from an older state"
            }
            CorruptRecord::Format
            | CorruptRecord::Commitment
            | CorruptRecord::Tag
            | CorruptRecord::Content
            | CorruptRecord::KeyMissing
            | CorruptRecord::KeyRetired => "somebody else writes to the store, or it is damaged",
        };
        tracing::error!(alarm = "record_corrupt", reason = corrupt.reason(), %record, advice, "a record cannot be trusted");
    }
}
