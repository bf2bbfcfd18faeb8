//! Seals connections and opens them again.

use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::format::Header;
use super::record;
use super::seal;
use super::user_keys::{Owner, UserKey, UserKeys};
use crate::domain::connection::Entry;
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, Environment};
use crate::domain::ports::{Random, Stored, UserDrawer, Version};

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
        let (generation, user_key) = self.keys.for_sealing(&key.tenant, &key.user).await?;
        let plaintext = record::encode(entry);
        let sealed = seal::seal(&*self.random, user_key.bytes(), generation, version.0, context, &plaintext);
        Ok(Bytes::from(sealed))
    }

    /// Opens what was sealed for the outbox, and tells as which version.
    ///
    /// # Errors
    ///
    /// As for `open`.
    pub async fn open_from_outbox(&self, key: &ConnectionKey, sealed: &[u8]) -> Result<(Entry, Version), VaultError> {
        let generation = Header::parse(sealed)?.parent_generation;
        let owner = Owner { tenant: key.tenant.clone(), user: key.user.clone(), generation };
        let user_key = self.keys.existing(owner, None).await?;
        let context = Context::outbox_entry(&self.environment, key);
        let opened = seal::open(user_key.bytes(), generation, &context, sealed)?;
        Ok((record::decode(&opened.plaintext)?, Version(opened.version)))
    }

    /// Opens what is stored for a connection. `drawer` is what else was read of this user, if it was.
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
        let (generation, user_key) = self.key_of(key, stored, drawer).await?;
        let context = Context::token(&self.environment, key);
        let opened = seal::open(user_key.bytes(), generation, &context, &stored.value)?;
        // The store's own version is what the next write is compared with; it must be the one that was sealed.
        if opened.version != stored.version.0 {
            return Err(VaultError::Corrupt(CorruptRecord::Commitment));
        }
        Ok(record::decode(&opened.plaintext)?)
    }

    /// Makes sure of the key that opens what is stored for a connection, and does not open it.
    ///
    /// # Errors
    ///
    /// When the user's key cannot be had.
    pub async fn ensure_key(
        &self,
        key: &ConnectionKey,
        stored: &Stored,
        drawer: &UserDrawer,
    ) -> Result<(), VaultError> {
        self.key_of(key, stored, Some(drawer)).await.map(drop)
    }

    async fn key_of(
        &self,
        key: &ConnectionKey,
        stored: &Stored,
        drawer: Option<&UserDrawer>,
    ) -> Result<(u32, Arc<UserKey>), VaultError> {
        let generation = Header::parse(&stored.value)?.parent_generation;
        let at_hand = drawer.and_then(|drawer| drawer.keys.iter().find(|(held, _)| *held == generation));
        let owner = Owner { tenant: key.tenant.clone(), user: key.user.clone(), generation };
        let user_key = self.keys.existing(owner, at_hand.map(|(_, stored)| stored)).await?;
        Ok((generation, user_key))
    }
}
