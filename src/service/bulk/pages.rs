//! Everything in a store, page by page.

use std::sync::Arc;

use super::patience::Patience;
use crate::domain::ports::{Index, Item, ScanCursor, Scope, StoreError};

/// A walk through everything in a store.
pub struct Pages {
    index: Arc<dyn Index>,
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
        Self { index, after: None, done: false }
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
            match self.index.scan(&Scope::All, self.after.as_ref(), PAGE).await {
                Err(StoreError::Unavailable { .. }) if patience.pause().await => {}
                page => break page?,
            }
        };
        self.done = page.next.is_none();
        self.after = page.next;
        Ok(Some(page.items))
    }
}
