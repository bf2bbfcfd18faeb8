//! Everything in a store, page by page.

use std::sync::Arc;

use super::patience::Patience;
use crate::domain::id::TenantId;
use crate::domain::ports::{Index, Item, ScanCursor, Scope, StoreError};

/// A walk through everything in a store, or everything of a tenant in it.
pub struct Pages {
    index: Arc<dyn Index>,
    scope: Scope,
    after: Option<ScanCursor>,
    done: bool,
}

/// How many records are asked for at once.
const PAGE: usize = 256;

// === impl Pages ===

impl Pages {
    /// Begins at the beginning.
    #[must_use]
    pub fn of(index: Arc<dyn Index>) -> Self {
        Self { index, scope: Scope::All, after: None, done: false }
    }

    /// Through the users of one tenant, from a place where another walk has come by.
    #[must_use]
    pub fn of_tenant(index: Arc<dyn Index>, tenant: TenantId, after: Option<ScanCursor>) -> Self {
        Self { index, scope: Scope::Tenant(tenant), after, done: false }
    }

    /// Where another walk can go on; `None`: at the beginning, or nowhere.
    #[must_use]
    pub const fn place(&self) -> Option<&ScanCursor> {
        self.after.as_ref()
    }

    /// The next page; `None`: that was all.
    ///
    /// # Errors
    ///
    /// When the store does not answer, or holds what no vault wrote.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let mut patience = Patience::new();
        let page = loop {
            match self.index.scan(&self.scope, self.after.as_ref(), PAGE).await {
                Err(StoreError::Unavailable { .. }) if patience.pause().await => {}
                page => break page?,
            }
        };
        self.done = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.items))
    }
}
