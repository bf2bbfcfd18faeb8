//! Seals connections and opens them again.

use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::format::Header;
use super::record;
use super::seal;
use super::user_keys::{Found, Owner, UserKeys};
use crate::domain::connection::Entry;
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, Environment, TenantId, UserId};
use crate::domain::ports::{Random, Stored, UserDrawer, Version};
use crate::domain::time::Timestamp;

/// Seals connections under their user's key and opens them again.
pub struct Sealer {
    environment: Environment,
    keys: Arc<UserKeys>,
    random: Arc<dyn Random>,
}

// === impl Sealer ===

impl Sealer {
    /// A sealer of one installation.
    #[must_use]
    pub fn new(environment: Environment, keys: Arc<UserKeys>, random: Arc<dyn Random>) -> Self {
        Self { environment, keys, random }
    }

    /// Seals an entry as the given version of a connection.
    ///
    /// # Errors
    ///
    /// When the user's key cannot be had.
    pub async fn seal(&self, key: &ConnectionKey, version: Version, entry: &Entry) -> Result<Bytes, VaultError> {
        self.seal_at(&Context::token(&self.environment, key), key, version, entry).await
    }

    /// Seals what is to become the given version of a connection, for the outbox: it opens nowhere else.
    ///
    /// # Errors
    ///
    /// As for `seal`.
    pub async fn seal_for_outbox(
        &self,
        key: &ConnectionKey,
        version: Version,
        entry: &Entry,
    ) -> Result<Bytes, VaultError> {
        self.seal_at(&Context::outbox_entry(&self.environment, key), key, version, entry).await
    }

    async fn seal_at(
        &self,
        context: &Context,
        key: &ConnectionKey,
        version: Version,
        entry: &Entry,
    ) -> Result<Bytes, VaultError> {
        let keyring = self.keys.for_sealing(&Owner::of(key)).await?;
        let (generation, user_key) = keyring.newest().ok_or(CorruptRecord::KeyMissing)?;
        let plaintext = record::encode(entry);
        let sealed = seal::seal(&*self.random, user_key, generation, version.0, context, &plaintext);
        Ok(Bytes::from(sealed))
    }

    /// Opens what was sealed for the outbox, and tells as which version.
    ///
    /// # Errors
    ///
    /// As for `open`; [`VaultError::Missing`] if the user has been erased since.
    pub async fn open_from_outbox(&self, key: &ConnectionKey, sealed: &[u8]) -> Result<(Entry, Version), VaultError> {
        let generation = Header::parse(sealed)?.parent_generation;
        let keyring = self.keys.knowing(&Owner::of(key), generation, None).await?;
        let user_key = match keyring.find(generation) {
            Some(Found::Key(user_key)) => user_key,
            Some(Found::Erased(_)) => return Err(VaultError::Missing),
            None => return Err(CorruptRecord::KeyMissing.into()),
        };
        let opened = seal::open(user_key, generation, &Context::outbox_entry(&self.environment, key), sealed)?;
        Ok((record::decode(&opened.plaintext)?, Version(opened.version)))
    }

    /// Opens what is stored for a connection. `drawer` is what else was read of this user, if it was. What was sealed
    /// before the user was erased is a deleted connection.
    ///
    /// # Errors
    ///
    /// [`VaultError::Corrupt`] if it does not belong there as it is, or when the user's key cannot be had.
    pub async fn open(
        &self,
        key: &ConnectionKey,
        stored: &Stored,
        drawer: Option<&UserDrawer>,
    ) -> Result<Entry, VaultError> {
        let generation = Header::parse(&stored.value)?.parent_generation;
        let keyring = self.keys.knowing(&Owner::of(key), generation, drawer).await?;
        let user_key = match keyring.find(generation) {
            Some(Found::Key(user_key)) => user_key,
            Some(Found::Erased(at)) => return Ok(Entry::erased(stored.version, at)),
            None => return Err(CorruptRecord::KeyMissing.into()),
        };
        let opened = seal::open(user_key, generation, &Context::token(&self.environment, key), &stored.value)?;
        // The store's own version is what the next write is compared with; it must be the one that was sealed.
        if opened.version != stored.version.0 {
            return Err(VaultError::Corrupt(CorruptRecord::Commitment));
        }
        Ok(record::decode(&opened.plaintext)?)
    }

    /// Whether the key is there that opens what is stored for a connection. Does not open it.
    ///
    /// # Errors
    ///
    /// When the user's keys cannot be had.
    pub async fn has_key(&self, key: &ConnectionKey, stored: &Stored, drawer: &UserDrawer) -> Result<bool, VaultError> {
        let generation = Header::parse(&stored.value)?.parent_generation;
        let keyring = self.keys.knowing(&Owner::of(key), generation, Some(drawer)).await?;
        Ok(matches!(keyring.find(generation), Some(Found::Key(_))))
    }

    /// The generation of the user key that opens this, as it says itself; `None` if it is no sealed record.
    #[must_use]
    pub fn generation(stored: &Stored) -> Option<u32> {
        Header::parse(&stored.value).ok().map(|header| header.parent_generation)
    }

    /// Whether the user was given another key since this was sealed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn is_outdated(&self, key: &ConnectionKey, sealed: &[u8]) -> Result<bool, VaultError> {
        let generation = Header::parse(sealed)?.parent_generation;
        self.keys.is_outdated(&Owner::of(key), generation).await
    }

    /// Makes everything that was sealed for a user until now unreadable for ever: which generations of keys are gone, from
    /// the first through this one; `None` if there never was anything.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand: then it has to be done again.
    pub async fn erase(&self, tenant: &TenantId, user: &UserId, at: Timestamp) -> Result<Option<u32>, VaultError> {
        self.keys.erase(&Owner { tenant: tenant.clone(), user: user.clone() }, at).await
    }

    /// Lets go of keys that have been held for as long as they may be.
    pub fn sweep(&self) {
        self.keys.sweep();
    }
}
