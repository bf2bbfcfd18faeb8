//! The registry as it lies in the store: one sealed document per tenant, changed by compare-and-swap, and never older
//! than this instance has seen.
//!
//! The document of the system tenant says which version each other document has at least. A change is written to its
//! document first and announced there then; whoever looks reads that one document, and of the others those that have
//! changed. A document that is older than announced was set back, which also an instance sees that has just started.

mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, stream};

use super::{Epochs, WRITE_ATTEMPTS};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::TenantId;
use crate::domain::ports::{
    Address, Clock, DocumentName, Expected, MAX_VALUE_BYTES, Record, Store, StoreError, Stored, Version,
};
use crate::domain::registry::{Document, RegistryError};
use crate::domain::time::Timestamp;
use crate::envelope::context::Kind;
use crate::envelope::{DocumentSeal, Ticket, Tickets};

/// Reads and changes the registries of an installation.
pub struct Registrar {
    store: Arc<dyn Store>,
    seal: DocumentSeal,
    tickets: Arc<Tickets>,
    epochs: Arc<Epochs>,
    clock: Arc<dyn Clock>,
    held: Mutex<BTreeMap<TenantId, Held>>,
    looks: AtomicU64,
    /// What an alarm was raised about, so that it is raised once and not with every look.
    alarmed: Mutex<BTreeMap<TenantId, CorruptRecord>>,
}

/// A document as this instance has seen it last.
#[derive(Clone)]
struct Held {
    version: Version,
    document: Arc<Document>,
}

/// What every store can keep in one record, DynamoDB's bound being the lowest, with room for what stands around it.
const MAX_DOCUMENT_BYTES: usize = 360 * 1_024;
const _: () = assert!(MAX_DOCUMENT_BYTES < MAX_VALUE_BYTES);

/// Documents that are read at once.
const AT_ONCE: usize = 16;

/// Each look reads one of so many documents whatever was announced: somebody may have written and died.
const SHARE: u64 = 16;

// === impl Registrar ===

impl Registrar {
    /// The registries in this store. Nothing is known of them before the first look.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        seal: DocumentSeal,
        tickets: Arc<Tickets>,
        epochs: Arc<Epochs>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            seal,
            tickets,
            epochs,
            clock,
            held: Mutex::default(),
            looks: AtomicU64::new(0),
            alarmed: Mutex::default(),
        }
    }

    /// Everything this instance has seen last.
    #[must_use]
    pub fn documents(&self) -> Vec<(TenantId, Arc<Document>)> {
        self.held().iter().map(|(tenant, held)| (tenant.clone(), Arc::clone(&held.document))).collect()
    }

    /// Looks what has changed; whether anything has. Of what cannot be trusted, what was known before stays.
    ///
    /// # Errors
    ///
    /// When the store or the keys are not at hand.
    pub async fn look(&self) -> Result<bool, VaultError> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let system = TenantId::system();
        let mut changed = self.look_at(&system, 0).await?;
        let Some(Held { document, .. }) = self.held().get(&system).cloned() else { return Ok(changed) };
        let due = document.tenants.iter().zip(0_u64..).filter_map(|((tenant, record), number)| {
            let known = self.held().get(tenant).map_or(0, |held| held.version.0);
            let has_turn = number % SHARE == look % SHARE;
            (record.document > known || has_turn).then(|| (tenant.clone(), record.document))
        });
        let due: Vec<(TenantId, u64)> = due.collect();
        let looks = due.into_iter().map(async |(tenant, announced)| self.look_at(&tenant, announced).await);
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            changed |= looked?;
        }
        Ok(changed)
    }

    /// Changes a document. `change` may be called more than once, each time with what is there.
    ///
    /// # Errors
    ///
    /// When `change` refuses, or store or keys are not at hand. Whether it was done is not known then.
    pub async fn change<T>(
        &self,
        tenant: &TenantId,
        mut change: impl FnMut(&mut Document, Timestamp) -> Result<T, RegistryError> + Send,
    ) -> Result<T, VaultError> {
        let (answer, version) = self.write(tenant, &mut change).await?;
        let system = TenantId::system();
        if *tenant != system {
            let mut announce = |document: &mut Document, _| match document.tenants.get_mut(tenant) {
                Some(record) => {
                    record.document = record.document.max(version.0);
                    Ok(())
                }
                None => Err(RegistryError::NotFound("tenant")),
            };
            self.write(&system, &mut announce).await?;
        }
        Ok(answer)
    }

    /// A document as it is in the store now.
    ///
    /// # Errors
    ///
    /// When it cannot be trusted, or store or keys are not at hand.
    pub async fn read(&self, tenant: &TenantId) -> Result<Arc<Document>, VaultError> {
        Ok(self.load(tenant).await?.map(|held| held.document).unwrap_or_default())
    }

    /// Cuts a page out of a sorted list of names, of a list that is called so; and the token of the next page.
    ///
    /// # Errors
    ///
    /// When the token is not one that was given out for this list. The inner error is for the caller.
    pub async fn page(
        &self,
        (tenant, list): (&TenantId, &'static str),
        names: Vec<String>,
        (size, token): (usize, &str),
    ) -> Result<Option<(Vec<String>, String)>, VaultError> {
        let ticket = Ticket { kind: Kind::PageToken, tenant, request: list };
        let after = if token.is_empty() { None } else { Some(self.tickets.open(ticket, token).await?) };
        let after = match after {
            None => String::new(),
            Some(None) => return Ok(None),
            Some(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
        };
        let mut rest = names.into_iter().filter(|name| *name > after);
        let page: Vec<String> = rest.by_ref().take(size).collect();
        let next = match page.last() {
            Some(end) if rest.next().is_some() => self.tickets.seal(ticket, end.as_bytes()).await?,
            Some(_) | None => String::new(),
        };
        Ok(Some((page, next)))
    }

    async fn write<T>(
        &self,
        tenant: &TenantId,
        change: &mut (impl FnMut(&mut Document, Timestamp) -> Result<T, RegistryError> + Send),
    ) -> Result<(T, Version), VaultError> {
        let address = address(tenant);
        for _ in 0..WRITE_ATTEMPTS {
            let before = self.load(tenant).await?;
            let expected = before.as_ref().map_or(Expected::Absent, |held| Expected::Version(held.version));
            let mut document = before.map(|held| Document::clone(&held.document)).unwrap_or_default();
            let answer = change(&mut document, self.clock.now())?;
            let version = expected.next();
            let sealed = self.seal.seal_registry(tenant, version, &document).await?;
            if sealed.len() > MAX_DOCUMENT_BYTES {
                return Err(RegistryError::Full.into());
            }
            match self.store.put(&address, expected, Record::from(sealed)).await {
                Ok(()) => {
                    self.hold(tenant, Held { version, document: Arc::new(document) });
                    return Ok((answer, version));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::WriteContended)
    }

    /// Looks at one document; whether it has changed.
    async fn look_at(&self, tenant: &TenantId, announced: u64) -> Result<bool, VaultError> {
        let before = self.held().get(tenant).map(|held| held.version);
        match self.load(tenant).await {
            Ok(Some(held)) if held.version.0 >= announced => {
                let changed = before != Some(held.version);
                self.alarmed().remove(tenant);
                self.hold(tenant, held);
                Ok(changed)
            }
            Ok(None) if announced == 0 => Ok(false),
            Ok(_) => {
                self.alarm(tenant, CorruptRecord::Rollback);
                Ok(false)
            }
            Err(VaultError::Corrupt(corrupt)) => {
                self.alarm(tenant, corrupt);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn load(&self, tenant: &TenantId) -> Result<Option<Held>, VaultError> {
        match self.load_once(tenant).await {
            Err(VaultError::Corrupt(CorruptRecord::Rollback | CorruptRecord::Vanished)) => {
                // Set back on purpose, perhaps: then everything seen before does not count any more.
                self.epochs.notice(|| self.held().clear()).await;
                self.load_once(tenant).await
            }
            loaded => loaded,
        }
    }

    async fn load_once(&self, tenant: &TenantId) -> Result<Option<Held>, VaultError> {
        let before = self.held().get(tenant).cloned();
        let stored: Option<Stored> = self.store.get(&address(tenant)).await?;
        match (stored, before) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(CorruptRecord::Vanished.into()),
            (Some(stored), Some(before)) if stored.version < before.version => Err(CorruptRecord::Rollback.into()),
            (Some(stored), Some(before)) if stored.version == before.version => Ok(Some(before)),
            (Some(stored), _) => {
                let document = Arc::new(self.seal.open_registry(tenant, &stored).await?);
                Ok(Some(Held { version: stored.version, document }))
            }
        }
    }

    /// Remembers a document, unless a later one is known.
    fn hold(&self, tenant: &TenantId, held: Held) {
        let mut all = self.held();
        if all.get(tenant).is_none_or(|known| known.version < held.version) {
            all.insert(tenant.clone(), held);
        }
    }

    fn alarm(&self, tenant: &TenantId, corrupt: CorruptRecord) {
        if self.alarmed().insert(tenant.clone(), corrupt) == Some(corrupt) {
            return;
        }
        let advice = "what was known before stays in force here; the store lost acknowledged writes, was set back, or \
                      somebody else writes to it";
        tracing::error!(
            alarm = "record_corrupt",
            reason = corrupt.reason(),
            record = %format_args!("registry of {tenant}"),
            advice,
            "a registry cannot be trusted"
        );
    }

    fn alarmed(&self) -> MutexGuard<'_, BTreeMap<TenantId, CorruptRecord>> {
        self.alarmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<TenantId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(tenant: &TenantId) -> Address {
    Address::Document { tenant: tenant.clone(), name: DocumentName::Registry }
}
