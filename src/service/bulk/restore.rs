//! Setting a vault back to what it was when it was exported.

use std::sync::Arc;

use super::gather::Gather;
use super::{Placement, Placing, Tally, place};
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, Clock, Epoch, Item, Store, StoreError, Stored, Version};
use crate::service::Epochs;

/// Sets a vault back.
pub struct RestoreVault {
    /// Into this store.
    pub store: Arc<dyn Store>,
    /// Whose epoch is raised, so that instances which have seen later versions know that they are gone on purpose.
    pub epochs: Arc<Epochs>,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// What became of the records.
    pub tally: Tally,
    /// The epoch the store is in now.
    pub epoch: Epoch,
    /// The version of its record.
    pub version: Version,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError<E> {
    /// The export has no keys of an installation.
    #[error("the export holds no vault: the keys of the installation are not in it")]
    NoVault,
    /// Something else is there. Nothing was written.
    #[error(
        "the store has other keys for tenant `{0}`: what is in this export could not be opened beside them; restore \
         into an empty store, or into the one it was made from"
    )]
    OtherKeys(TenantId),
    /// The keys do not open what they were made for.
    #[error("the key service does not open the keys of this export ({}); configure `kms` as it was", .0.reason())]
    Keys(#[source] VaultError),
    /// The store failed.
    #[error("the store cannot be used; run this again to go on")]
    Store(#[from] StoreError),
    /// The records are there, and instances do not know it yet.
    #[error("the records are restored, and the epoch of the store could not be raised ({}); run this again", .0.reason())]
    Epoch(#[source] VaultError),
    /// The export cannot be read any more.
    #[error("the export changed while it was read")]
    Export(#[source] E),
}

// === impl RestoreVault ===

impl RestoreVault {
    /// Sets back everything `next` tells, after its keyrings, and raises the epoch. Safe to repeat. What is newer in
    /// the store stays.
    ///
    /// # Errors
    ///
    /// As [`RestoreError`] says.
    pub async fn run<E>(
        &self,
        keyrings: Vec<Item>,
        epoch: Option<&Stored>,
        mut next: impl FnMut() -> Result<Option<Item>, E>,
        mut tell: impl FnMut(&Placement),
    ) -> Result<Restored, RestoreError<E>> {
        self.check(&keyrings).await?;
        self.place_system_keyring(keyrings).await?;
        let mut placing = Placing::into_store(Arc::clone(&self.store));
        let mut gather = Gather::default();
        while let Some(item) = next().map_err(RestoreError::Export)? {
            if let Some(drawer) = gather.add(item) {
                placing.add(drawer, &mut tell).await?;
            }
        }
        if let Some(drawer) = gather.finish() {
            placing.add(drawer, &mut tell).await?;
        }
        let tally = placing.finish(&mut tell).await?;
        // Last: until everything is there, what instances cannot find is rightly called lost.
        let (epoch, version) = self.epochs.raise(epoch, self.clock.now()).await.map_err(RestoreError::Epoch)?;
        Ok(Restored { tally, epoch, version })
    }

    /// Before anything is written.
    async fn check<E>(&self, keyrings: &[Item]) -> Result<(), RestoreError<E>> {
        for keyring in keyrings {
            let Address::TenantKeyring { tenant } = &keyring.address else { continue };
            let found = self.store.get(&keyring.address).await?;
            let same_version = found.filter(|found| found.version == keyring.stored.version);
            if same_version.is_some_and(|found| found != keyring.stored) {
                return Err(RestoreError::OtherKeys(tenant.clone()));
            }
        }
        Ok(())
    }

    /// The first record there is: whoever looked for the keys of the installation before would make new ones. Then
    /// they are tried, before anything is put beside them.
    async fn place_system_keyring<E>(&self, keyrings: Vec<Item>) -> Result<(), RestoreError<E>> {
        let system = Address::TenantKeyring { tenant: TenantId::system() };
        let keyring = keyrings.into_iter().find(|keyring| keyring.address == system).ok_or(RestoreError::NoVault)?;
        place(&*self.store, vec![keyring]).await?;
        self.epochs.try_keys().await.map_err(RestoreError::Keys)
    }
}
