//! A store that fails on demand, as one behind a broken network does: it refuses, it hangs, or it does what it was told
//! and the answer is lost. Only connections suffer; keys are read and written as ever.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use vault_engine::domain::id::{TenantId, UserId};
use vault_engine::domain::ports::{Address, Expected, Record, Store, StoreError, Stored, UserDrawer, Version};

/// What becomes of a write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It does not happen.
    Refused,
    /// It does not happen, and nobody ever says so.
    Hangs,
    /// It happens, and nobody ever learns of it.
    AnswerLost,
}

/// Another store, with faults.
pub(crate) struct FailingStore {
    inner: Arc<dyn Store>,
    next_writes: Mutex<VecDeque<Fault>>,
    reads_fail: AtomicBool,
    reads_hang: AtomicBool,
    writes_fail: AtomicBool,
    reads: AtomicUsize,
    failures: AtomicUsize,
}

// === impl FailingStore ===

impl FailingStore {
    /// Nothing goes wrong yet.
    pub(crate) fn around(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            next_writes: Mutex::default(),
            reads_fail: AtomicBool::new(false),
            reads_hang: AtomicBool::new(false),
            writes_fail: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// The next write that has no fault yet suffers this one.
    pub(crate) fn fail_next_write(&self, fault: Fault) {
        self.next_writes.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// From now on every write is refused, as by a server whose disk is full.
    pub(crate) fn refuse_writes(&self) {
        self.writes_fail.store(true, Ordering::SeqCst);
    }

    /// From now on nothing works.
    pub(crate) fn go_away(&self) {
        self.refuse_writes();
        self.reads_fail.store(true, Ordering::SeqCst);
    }

    /// From now on no read is answered and every write is refused.
    pub(crate) fn freeze(&self) {
        self.refuse_writes();
        self.reads_hang.store(true, Ordering::SeqCst);
    }

    /// From now on everything works again.
    pub(crate) fn come_back(&self) {
        self.reads_hang.store(false, Ordering::SeqCst);
        self.reads_fail.store(false, Ordering::SeqCst);
        self.writes_fail.store(false, Ordering::SeqCst);
    }

    /// How many reads of connections there were, answered or not.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many writes of connections have failed.
    pub(crate) fn failed_writes(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }

    fn next_fault(&self) -> Option<Fault> {
        let scripted = self.next_writes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let fault = scripted.or_else(|| self.writes_fail.load(Ordering::SeqCst).then_some(Fault::Refused));
        if fault.is_some() {
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
        fault
    }
}

fn gone() -> StoreError {
    StoreError::unavailable("connection")
}

#[async_trait]
impl Store for FailingStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        if matches!(address, Address::Connection(_)) {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.reads_hang.load(Ordering::SeqCst) {
                return pending().await;
            }
            if self.reads_fail.load(Ordering::SeqCst) {
                return Err(gone());
            }
        }
        self.inner.get(address).await
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        if !matches!(address, Address::Connection(_)) {
            return self.inner.put(address, expected, record).await;
        }
        match self.next_fault() {
            None => self.inner.put(address, expected, record).await,
            Some(Fault::Refused) => Err(gone()),
            Some(Fault::Hangs) => pending().await,
            Some(Fault::AnswerLost) => {
                self.inner.put(address, expected, record).await?;
                Err(gone())
            }
        }
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        if self.writes_fail.load(Ordering::SeqCst) && matches!(address, Address::Connection(_)) {
            return Err(gone());
        }
        self.inner.restore(address, version, record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        if self.reads_fail.load(Ordering::SeqCst) {
            return Err(gone());
        }
        self.inner.list_user(tenant, user).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}
