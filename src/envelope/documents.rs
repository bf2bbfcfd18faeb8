//! The documents of a tenant, sealed: whoever can write to the store can neither read them nor put one in the place of
//! another, or of another tenant's.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use zeroize::Zeroizing;

use super::TenantKeys;
use super::context::{Context, Kind};
use super::{registry_document, seal};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{Environment, TenantId};
use crate::domain::ports::{DocumentName, Random, Stored, Version};
use crate::domain::registry::{Document, KeyUsage};
use crate::pb::store_v1 as pb;

/// Seals the documents of one installation and opens them again.
pub struct DocumentSeal {
    environment: Environment,
    keys: Arc<TenantKeys>,
    random: Arc<dyn Random>,
}

/// What the key is derived for. It is the same in every generation of the installation's keys.
const PURPOSE: &str = "documents";
const GENERATION: u32 = 1;

// === impl DocumentSeal ===

impl DocumentSeal {
    /// The seal of one installation.
    #[must_use]
    pub fn new(environment: Environment, keys: Arc<TenantKeys>, random: Arc<dyn Random>) -> Self {
        Self { environment, keys, random }
    }

    /// Seals a registry as the given version of its record.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn seal_registry(
        &self,
        tenant: &TenantId,
        version: Version,
        document: &Document,
    ) -> Result<Bytes, VaultError> {
        let plaintext = Zeroizing::new(registry_document::encode(document).encode_to_vec());
        self.seal(tenant, DocumentName::Registry, version, &plaintext).await
    }

    /// Opens what is stored as a registry.
    ///
    /// # Errors
    ///
    /// [`VaultError::Corrupt`] if this installation did not seal it as this, or when its keys cannot be had.
    pub async fn open_registry(&self, tenant: &TenantId, stored: &Stored) -> Result<Document, VaultError> {
        let plaintext = self.open(tenant, DocumentName::Registry, stored).await?;
        let document = pb::Registry::decode(plaintext.as_slice()).map_err(|_| CorruptRecord::Content)?;
        Ok(registry_document::decode(document).ok_or(CorruptRecord::Content)?)
    }

    /// Seals when keys were used last.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn seal_usage(&self, tenant: &TenantId, version: Version, usage: &KeyUsage) -> Result<Bytes, VaultError> {
        let last_used = usage.0.iter().map(|(key, at)| (key.clone(), at.unix_seconds())).collect();
        let plaintext = pb::KeyUsage { last_used }.encode_to_vec();
        self.seal(tenant, DocumentName::KeyUsage, version, &plaintext).await
    }

    /// Opens when keys were used last.
    ///
    /// # Errors
    ///
    /// As for a registry.
    pub async fn open_usage(&self, tenant: &TenantId, stored: &Stored) -> Result<KeyUsage, VaultError> {
        let plaintext = self.open(tenant, DocumentName::KeyUsage, stored).await?;
        let usage = pb::KeyUsage::decode(plaintext.as_slice()).map_err(|_| CorruptRecord::Content)?;
        Ok(registry_document::usage(usage))
    }

    async fn seal(
        &self,
        tenant: &TenantId,
        name: DocumentName,
        version: Version,
        plaintext: &[u8],
    ) -> Result<Bytes, VaultError> {
        let key = self.keys.system_key(PURPOSE).await?;
        let context = self.context(tenant, name);
        Ok(seal::seal(&*self.random, &key, GENERATION, version.0, &context, plaintext).into())
    }

    async fn open(
        &self,
        tenant: &TenantId,
        name: DocumentName,
        stored: &Stored,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = self.keys.system_key(PURPOSE).await?;
        let opened = seal::open(&key, GENERATION, &self.context(tenant, name), &stored.value)?;
        if opened.version != stored.version.0 {
            return Err(CorruptRecord::Commitment.into());
        }
        Ok(opened.plaintext)
    }

    fn context(&self, tenant: &TenantId, name: DocumentName) -> Context {
        let kind = match name {
            DocumentName::Registry => Kind::EngineRegistry,
            DocumentName::KeyUsage => Kind::KeyUsage,
        };
        Context::new(kind, &self.environment, tenant, "", "")
    }
}
