//! A key provider that fails on demand: for what no emulator does by itself.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use vault_engine::domain::ports::{DataKey, EncryptionContext, KeyError, KeyFault, KeyProvider, WrappedDataKey};

/// What goes wrong with every call from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The answer comes this much later.
    Latency(Duration),
    /// The service says it is asked too often.
    Throttled,
    /// The service says no for good, for this reason.
    Refused(&'static str),
    /// The service cannot answer, for this reason.
    Unavailable(&'static str),
    /// No answer ever comes.
    Hang,
    /// The service is asked with another generation than the caller's.
    WrongContext,
}

/// Another provider, with faults. Clones share faults and counts.
#[derive(Clone)]
pub(crate) struct FaultyKeys {
    inner: Arc<dyn KeyProvider>,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Mutex<Fault>,
    calls: AtomicUsize,
}

// === impl FaultyKeys ===

impl FaultyKeys {
    /// Nothing goes wrong yet.
    pub(crate) fn around(inner: Arc<dyn KeyProvider>) -> Self {
        Self { inner, shared: Arc::new(Shared { fault: Mutex::new(Fault::None), calls: AtomicUsize::new(0) }) }
    }

    /// From now on, every call has this fault.
    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How many calls have reached it, answered or not.
    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Suffers the fault; what comes out is the context to go on with.
    async fn suffer(&self, context: &EncryptionContext) -> Result<EncryptionContext, KeyError> {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        let fault = *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Fault::None => Ok(context.clone()),
            Fault::Latency(latency) => {
                let _ = timeout(latency, pending::<()>()).await;
                Ok(context.clone())
            }
            Fault::Throttled => Err(KeyError::Unavailable(KeyFault::new("throttled"))),
            Fault::Refused(reason) => Err(KeyError::Refused(KeyFault::new(reason))),
            Fault::Unavailable(reason) => Err(KeyError::Unavailable(KeyFault::new(reason))),
            Fault::Hang => pending().await,
            Fault::WrongContext => {
                Ok(EncryptionContext { generation: context.generation.wrapping_add(1), ..context.clone() })
            }
        }
    }
}

#[async_trait]
impl KeyProvider for FaultyKeys {
    async fn generate_data_key(&self, context: &EncryptionContext) -> Result<(DataKey, WrappedDataKey), KeyError> {
        let context = self.suffer(context).await?;
        self.inner.generate_data_key(&context).await
    }

    async fn decrypt(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyError> {
        let context = self.suffer(context).await?;
        self.inner.decrypt(&context, wrapped).await
    }

    async fn reencrypt(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<WrappedDataKey, KeyError> {
        let context = self.suffer(context).await?;
        self.inner.reencrypt(&context, wrapped).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}
