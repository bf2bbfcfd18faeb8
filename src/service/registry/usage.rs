//! When keys were used last: written from time to time, by every instance that has seen them used.

use std::collections::BTreeMap;

use super::Registrar;
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, DocumentName, Expected, Record, StoreError};
use crate::domain::registry::KeyUsage;
use crate::domain::time::Timestamp;
use crate::service::WRITE_ATTEMPTS;

impl Registrar {
    /// When the keys of this tenant's engines were used last. What cannot be trusted counts as never.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand.
    pub async fn usage(&self, tenant: &TenantId) -> Result<KeyUsage, VaultError> {
        self.read_usage(tenant).await.map(|(usage, _)| usage)
    }

    /// Writes that these keys were used. What another instance has seen later stays, and keys nobody remembers are
    /// forgotten.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand, or others keep writing.
    pub async fn note_usage(&self, tenant: &TenantId, used: &BTreeMap<String, Timestamp>) -> Result<(), VaultError> {
        let document = self.held().get(tenant).map(|held| held.document.clone()).unwrap_or_default();
        let is_known = |id: &str| document.engines.values().any(|engine| engine.key(id).is_ok());
        for _ in 0..WRITE_ATTEMPTS {
            let (mut usage, expected) = self.read_usage(tenant).await?;
            for (key, at) in used {
                let known = usage.0.entry(key.clone()).or_default();
                *known = (*known).max(*at);
            }
            usage.0.retain(|key, _| is_known(key));
            let sealed = self.seal.seal_usage(tenant, expected.next(), &usage).await?;
            match self.store.put(&address(tenant), expected, Record::from(sealed)).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::WriteContended)
    }

    async fn read_usage(&self, tenant: &TenantId) -> Result<(KeyUsage, Expected), VaultError> {
        let Some(stored) = self.store.get(&address(tenant)).await? else {
            return Ok((KeyUsage::default(), Expected::Absent));
        };
        let expected = Expected::Version(stored.version);
        match self.seal.open_usage(tenant, &stored).await {
            Ok(usage) => Ok((usage, expected)),
            // It decides nothing, and is written anew.
            Err(VaultError::Corrupt(_)) => Ok((KeyUsage::default(), expected)),
            Err(error) => Err(error),
        }
    }
}

fn address(tenant: &TenantId) -> Address {
    Address::Document { tenant: tenant.clone(), name: DocumentName::KeyUsage }
}
