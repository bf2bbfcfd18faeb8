//! The epoch of a store, sealed: whoever can write to the store cannot raise it without the installation's keys, and so
//! cannot make instances forget what they have seen.

use std::sync::Arc;

use bytes::Bytes;

use super::TenantKeys;
use super::context::{Context, Kind};
use super::seal;
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{Environment, TenantId};
use crate::domain::ports::{Epoch, Random, Stored, Version};

/// Seals the epoch of one installation's store and opens it again.
pub struct EpochSeal {
    environment: Environment,
    keys: Arc<TenantKeys>,
    random: Arc<dyn Random>,
}

/// What the key is derived for.
const PURPOSE: &str = "store epoch";

/// The key it is sealed under is the same in every generation of the installation's keys.
const GENERATION: u32 = 1;

// === impl EpochSeal ===

impl EpochSeal {
    /// The seal of one installation.
    #[must_use]
    pub fn new(environment: Environment, keys: Arc<TenantKeys>, random: Arc<dyn Random>) -> Self {
        Self { environment, keys, random }
    }

    /// Seals an epoch as the given version of its record.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn seal(&self, version: Version, epoch: Epoch) -> Result<Bytes, VaultError> {
        let key = self.keys.system_key(PURPOSE).await?;
        let plaintext = epoch.0.to_be_bytes();
        Ok(seal::seal(&*self.random, &key, GENERATION, version.0, &self.context(), &plaintext).into())
    }

    /// Opens what is stored as the epoch.
    ///
    /// # Errors
    ///
    /// [`VaultError::Corrupt`] if this installation did not seal it, or when its keys cannot be had.
    pub async fn open(&self, stored: &Stored) -> Result<Epoch, VaultError> {
        let key = self.keys.system_key(PURPOSE).await?;
        let opened = seal::open(&key, GENERATION, &self.context(), &stored.value)?;
        if opened.version != stored.version.0 {
            return Err(CorruptRecord::Commitment.into());
        }
        let bytes = opened.plaintext.as_slice().try_into().map_err(|_| CorruptRecord::Content)?;
        Ok(Epoch(u64::from_be_bytes(bytes)))
    }

    fn context(&self) -> Context {
        Context::new(Kind::StoreEpoch, &self.environment, &TenantId::system(), "", "")
    }
}
