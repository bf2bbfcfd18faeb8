//! Forgetting the tokens of a connection.

use std::sync::Arc;

use super::{Records, WRITE_ATTEMPTS};
use crate::domain::connection::Entry;
use crate::domain::error::VaultError;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{Clock, Version};

/// Deletes tokens.
pub struct DeleteToken {
    /// Where.
    pub records: Arc<Records>,
    /// When.
    pub clock: Arc<dyn Clock>,
}

/// What was deleted.
#[derive(Debug, Clone, Copy)]
pub struct DeleteTokenAnswer {
    /// The version of the tombstone; `None` when there was nothing to delete.
    pub version: Option<Version>,
}

// === impl DeleteToken ===

impl DeleteToken {
    /// Puts a tombstone in the place of the tokens. A refresh in flight finds it there and drops its answer.
    ///
    /// # Errors
    ///
    /// When the record cannot be written.
    pub async fn run(&self, key: &ConnectionKey) -> Result<DeleteTokenAnswer, VaultError> {
        for _ in 0..WRITE_ATTEMPTS {
            let Some(loaded) = self.records.load(key).await? else { return Ok(DeleteTokenAnswer { version: None }) };
            if matches!(loaded.entry, Entry::Deleted(_)) {
                return Ok(DeleteTokenAnswer { version: None });
            }
            let tombstone = loaded.entry.deleted(self.clock.now());
            match self.records.save(key, loaded.expected(), &tombstone).await {
                Ok(version) => return Ok(DeleteTokenAnswer { version: Some(version) }),
                Err(VaultError::WriteContended) => {}
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::WriteContended)
    }
}
