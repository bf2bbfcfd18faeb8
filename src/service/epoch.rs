//! The epoch of the store: whether what looks like a loss is somebody setting the store back on purpose.

use std::sync::{Arc, Mutex, PoisonError};

use super::WRITE_ATTEMPTS;
use crate::domain::error::VaultError;
use crate::domain::ports::{Address, Epoch, Expected, Record, Store, Stored, Version};
use crate::domain::time::Timestamp;
use crate::envelope::EpochSeal;

/// The epoch of the store this instance works on.
pub struct Epochs {
    store: Arc<dyn Store>,
    seal: EpochSeal,
    /// What this instance has seen.
    known: Mutex<Epoch>,
}

// === impl Epochs ===

impl Epochs {
    /// The epoch of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, seal: EpochSeal) -> Self {
        Self { store, seal, known: Mutex::new(Epoch::default()) }
    }

    /// Reads the epoch before anything else is read, so that a later one is known as such. If it cannot be trusted it
    /// counts as the last there is: whoever damaged it must not be the one who raises it.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand.
    pub async fn learn(&self) -> Result<Epoch, VaultError> {
        let epoch = match self.read().await {
            Ok((epoch, _)) => epoch,
            Err(VaultError::Corrupt(corrupt)) => {
                let advice = "a restore makes a new one; until then none is noticed";
                tracing::error!(
                    alarm = "record_corrupt",
                    reason = corrupt.reason(),
                    record = "epoch",
                    advice,
                    "the epoch of the store cannot be trusted"
                );
                Epoch(u64::MAX)
            }
            Err(error) => return Err(error),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        Ok(epoch)
    }

    /// Finds out whether the epoch could be raised, without doing it.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn try_keys(&self) -> Result<(), VaultError> {
        self.seal.seal(Version::FIRST, Epoch::default()).await.map(|_| ())
    }

    /// Raises the epoch above this one and whatever is stored. It is the time in milliseconds where that is enough: also
    /// an instance that remembers the epochs of a store whose records are all gone takes it for a later one.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand.
    pub async fn raise(&self, above: Option<&Stored>, now: Timestamp) -> Result<(Epoch, Version), VaultError> {
        for _ in 0..WRITE_ATTEMPTS {
            let stored = self.store.get(&Address::Epoch).await?;
            let expected = stored.as_ref().map_or(Expected::Absent, |stored| Expected::Version(stored.version));
            let mut before = Epoch::default();
            for sealed in stored.iter().chain(above) {
                match self.seal.open(sealed).await {
                    // What cannot be trusted is replaced.
                    Err(VaultError::Corrupt(_)) => {}
                    opened => before = before.max(opened?),
                }
            }
            let now = u64::try_from(now.unix_millis()).unwrap_or(0);
            let epoch = Epoch(now.max(before.0.saturating_add(1)));
            let value = self.seal.seal(expected.next(), epoch).await?;
            match self.store.put(&Address::Epoch, expected, Record::from(value)).await.map_err(VaultError::from) {
                Ok(()) => return Ok((epoch, expected.next())),
                Err(VaultError::WriteContended) => {}
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::WriteContended)
    }

    /// Looks whether the epoch was raised since it was last seen, and if so does this, once.
    pub(super) async fn notice(&self, raised: impl FnOnce()) {
        match self.read().await {
            Ok((epoch, _)) => {
                // Held while it is done: who comes next finds it done, and not only begun.
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if epoch > *known {
                    *known = epoch;
                    raised();
                    tracing::warn!(
                        epoch = epoch.0,
                        "the store was restored: versions seen before do not count any more"
                    );
                }
            }
            Err(error) => tracing::warn!(reason = error.reason(), "the epoch of the store cannot be read"),
        }
    }

    async fn read(&self) -> Result<(Epoch, Expected), VaultError> {
        match self.store.get(&Address::Epoch).await? {
            None => Ok((Epoch::default(), Expected::Absent)),
            Some(stored) => Ok((self.seal.open(&stored).await?, Expected::Version(stored.version))),
        }
    }
}
