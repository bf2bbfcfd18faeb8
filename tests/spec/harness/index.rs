//! The index of a store as another store's might be: it tells of nothing by itself, returns changes twice, or fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vault_engine::domain::ports::{
    ChangeCursor, Changes, Due, Index, Listener, Page, Partition, Pushes, ScanCursor, Scope, StoreError,
};
use vault_engine::domain::time::Timestamp;

/// An index that has to be asked.
pub(crate) struct QuietIndex {
    inner: Arc<dyn Index>,
    fails: AtomicBool,
}

// === impl QuietIndex ===

impl QuietIndex {
    pub(super) fn over(inner: Arc<dyn Index>) -> Arc<Self> {
        Arc::new(Self { inner, fails: AtomicBool::new(false) })
    }

    /// From now on nobody finds out what has changed.
    pub(crate) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Index for QuietIndex {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.inner.due(partition, by, limit).await
    }

    /// Every change twice.
    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("connection"));
        }
        Ok(match self.inner.changes(partition, after, limit).await? {
            Changes::Next { changes, cursor } => {
                let twice = changes.into_iter().flat_map(|change| [change.clone(), change]);
                Changes::Next { changes: twice.collect(), cursor }
            }
            Changes::Forgotten => Changes::Forgotten,
        })
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(scope, after, limit).await
    }

    fn listen(&self, _: Arc<dyn Listener>) -> Pushes {
        Pushes::Never
    }
}
