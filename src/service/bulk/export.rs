//! Everything in a store, in an order in which it can be put elsewhere.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Pages, drawers};
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, Hints, Index, Item, Store, StoreError};

/// Walks through everything there is.
pub struct ExportVault {
    /// Of this store.
    pub store: Arc<dyn Store>,
    /// By this index.
    pub index: Arc<dyn Index>,
}

/// Why not everything was told.
#[derive(Debug, thiserror::Error)]
pub enum ExportFailed<E> {
    /// The store failed.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// Whoever was told failed.
    #[error("the export cannot be written")]
    Sink(#[source] E),
}

// === impl ExportVault ===

impl ExportVault {
    /// Tells everything there is, exactly as it lies there. While others write, each user is told as they were at some
    /// moment of the walk.
    ///
    /// # Errors
    ///
    /// As [`ExportFailed`] says.
    pub async fn run<E>(&self, mut tell: impl FnMut(&Item) -> Result<(), E>) -> Result<(), ExportFailed<E>> {
        let mut pages = Pages::of(Arc::clone(&self.index));
        let (mut seen, mut told) = (HashSet::new(), HashSet::new());
        while let Some(page) = pages.next().await? {
            for item in drawers(page).iter().flatten() {
                match &item.address {
                    Address::TenantKeyring { tenant } => told.insert(tenant.clone()),
                    Address::UserKey { tenant, .. } if !seen.contains(tenant) => seen.insert(tenant.clone()),
                    Address::UserKey { .. }
                    | Address::Connection(_)
                    | Address::Document { .. }
                    | Address::Lease { .. }
                    | Address::Epoch => false,
                };
                tell(item).map_err(ExportFailed::Sink)?;
            }
        }
        // A tenant that came while the walk was past the place of its keys.
        let late: Vec<TenantId> = seen.difference(&told).cloned().collect();
        for tenant in late {
            let address = Address::TenantKeyring { tenant };
            if let Some(stored) = self.store.get(&address).await? {
                tell(&Item { address, stored, hints: Hints::default() }).map_err(ExportFailed::Sink)?;
            }
        }
        Ok(())
    }
}
