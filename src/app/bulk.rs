//! What an operator needs to work on a whole vault: a store without keys, an import, a restore, a line in the trail.

use std::sync::Arc;

use super::foundation::make_private_dir;
use super::{Foundation, StartError, catalog, open_audit, stores};
use crate::adapters::audit::AuditLog;
use crate::adapters::store::retry::RetryingStore;
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::config::{Config, KmsConfig, StoreConfig};
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
use crate::domain::error::VaultError;
use crate::domain::id::RequestId;
use crate::domain::ports::{AuditSink as _, Clock as _, Index, Random as _, Store, Version};
use crate::envelope::KeyLimits;
use crate::lifecycle::Lifecycle;
use crate::service::StoreToken;
use crate::service::bulk::{ImportToken, OnConflict, RestoreVault};

/// A store without the keys to what is in it.
pub struct SealedStore {
    /// Its records.
    pub store: Arc<dyn Store>,
    /// How they are found.
    pub index: Arc<dyn Index>,
}

/// An operator at work, as the audit trail sees it.
pub struct OperatorTrail {
    log: Arc<AuditLog>,
    request: RequestId,
    operator: Arc<str>,
}

/// User keys held during an import: lines of one user stand together, if they do at all.
const IMPORT_USERS: u64 = 4_096;

// === impl SealedStore ===

impl SealedStore {
    /// Opens the store of a configuration, without its keys. One in a file is made if it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let opened = stores::open(&config.store).await?;
        let store =
            Arc::new(RetryingStore::new(opened.store, Arc::new(SystemRandom), stores::retry_policy(&config.store)));
        Ok(Self { store, index: opened.index })
    }

    /// Opens one that must be there.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be used.
    pub async fn open_existing(config: &Config) -> Result<Self, StartError> {
        match &config.store {
            StoreConfig::Embedded { path } if !path.exists() => Err(StartError::NoStore(path.clone())),
            _ => Self::open(config).await,
        }
    }
}

// === impl OperatorTrail ===

impl OperatorTrail {
    /// Opens the trail of a configuration, for one run of one command.
    ///
    /// # Errors
    ///
    /// When it cannot be written: nothing is done then.
    pub fn open(config: &Config, command: &'static str) -> Result<Self, StartError> {
        make_private_dir(&config.data_dir)?;
        let mut run = [0; 8];
        SystemRandom.fill(&mut run);
        let request = format!("{command}-{:016x}", u64::from_be_bytes(run));
        // Made of what an id may be made of.
        let request = request.parse().map_err(|_| StartError::NotBuiltIn("request ids"))?;
        let operator = format!("cli uid:{}", rustix::process::getuid().as_raw());
        Ok(Self { log: Arc::new(open_audit(config, None, Arc::new(SystemClock))?), request, operator: operator.into() })
    }

    /// Writes that something is done with the whole vault, or was.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub async fn write(
        &self,
        action: AuditAction,
        ended: (AuditResult, &'static str),
        version: Option<Version>,
    ) -> Result<(), VaultError> {
        self.append(action, Subject::default(), ended, (version, None)).await
    }

    /// Writes that something is done with all of a tenant, or of one of its users, or was: with how many.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub async fn write_about(
        &self,
        action: AuditAction,
        subject: Subject,
        ended: (AuditResult, &'static str),
        items: Option<u64>,
    ) -> Result<(), VaultError> {
        self.append(action, subject, ended, (None, items)).await
    }

    async fn append(
        &self,
        action: AuditAction,
        subject: Subject,
        (result, reason): (AuditResult, &'static str),
        (version, items): (Option<Version>, Option<u64>),
    ) -> Result<(), VaultError> {
        let entry = AuditEntry {
            at: SystemClock.now(),
            request_id: self.request.clone(),
            engine: None,
            key_id: None,
            peer: Some(Arc::clone(&self.operator)),
            spiffe_id: None,
            action,
            subject,
            result,
            reason,
            latency: std::time::Duration::ZERO,
            record_version: version.map(|version| version.0),
            items,
            token_fp: None,
        };
        Ok(self.log.append(entry).await?)
    }

    /// The id of the run: what its lines are found by.
    #[must_use]
    pub const fn id(&self) -> &RequestId {
        &self.request
    }

    /// The id of one part of the run.
    #[must_use]
    pub fn request(&self, part: u64) -> RequestId {
        format!("{}-{part}", self.request).parse().unwrap_or_else(|_| self.request.clone())
    }
}

/// Puts together what imports.
///
/// # Errors
///
/// When store, keys or trail cannot be used.
pub async fn importer(
    config: Config,
    lifecycle: &Lifecycle,
    trail: &OperatorTrail,
    on_conflict: OnConflict,
) -> Result<ImportToken, StartError> {
    let foundation = Foundation::lay(&config, lifecycle).await?;
    // An installation has keys of its own from its first day.
    foundation.pepper().await?;
    trail.log.sign_with(foundation.audit_keys(&config).await?);
    let environment = config.environment.clone();
    let limits = KeyLimits { users: IMPORT_USERS, ..KeyLimits::default() };
    let catalog = Arc::new(catalog(config)?);
    let records = Arc::new(foundation.records(&environment, &catalog, limits));
    let clock = foundation.clock;
    Ok(ImportToken {
        store_token: StoreToken { records, catalog, clock: Arc::clone(&clock) },
        audit: Arc::clone(&trail.log) as _,
        clock,
        operator: Arc::clone(&trail.operator),
        on_conflict,
    })
}

/// Puts together what restores.
///
/// # Errors
///
/// When store or keys cannot be used.
pub async fn restorer(config: &Config, lifecycle: &Lifecycle) -> Result<RestoreVault, StartError> {
    // A key that is made now opens nothing that was sealed before.
    if let KmsConfig::Local(local) = &config.kms
        && !local.key_file.exists()
    {
        return Err(StartError::NoKeyFile(local.key_file.clone()));
    }
    let foundation = Foundation::lay(config, lifecycle).await?;
    // Nothing here may ask for the keys of the installation before they are restored: it would make others.
    let epochs = foundation.epochs(&config.environment);
    Ok(RestoreVault { store: foundation.store, epochs, clock: foundation.clock })
}
