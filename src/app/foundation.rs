//! What stands under everything else: the store and the keys.

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::StartError;
use super::stores::{self, OpenStore};
use crate::access::Pepper;
use crate::adapters::keys::guarded::{Guarded, Limits};
use crate::adapters::keys::local::{InProduction, LocalKeys};
use crate::adapters::steady::SteadyClock;
use crate::adapters::store::near_cache::NearCache;
use crate::adapters::store::retry::RetryingStore;
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::config::{Config, KmsConfig, StoreConfig};
use crate::domain::catalog::Catalog;
use crate::domain::id::Environment;
use crate::domain::ports::{Clock, Index, KeyProvider, Random, Store, Tasks};
use crate::envelope::{DocumentSeal, EpochSeal, KeyLimits, Sealer, TenantKeys, Tickets, UserKeys};
use crate::lifecycle::Lifecycle;
use crate::service::{Epochs, Records, Registrar};

/// What engine keys are peppered with is derived for this purpose.
const ENGINE_KEYS: &str = "engine keys";

/// Between two attempts to start.
const PAUSE: Duration = Duration::from_secs(1);

/// Store and keys: what stands under everything else.
#[derive(Clone)]
pub struct Foundation {
    /// Where records are.
    pub store: Arc<dyn Store>,
    /// How they are found.
    pub index: Arc<dyn Index>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How their keys are obtained.
    pub tenant_keys: Arc<TenantKeys>,
    /// What the operator should know about the store.
    pub notes: Vec<String>,
    /// The kind of key provider.
    pub keys_kind: &'static str,
}

// === impl Foundation ===

impl Foundation {
    /// Opens store and keys, which may be starting at the same time: what does not answer yet is tried again for as long
    /// as the configuration says.
    ///
    /// # Errors
    ///
    /// When either cannot be used as configured, or the process is asked to stop meanwhile.
    pub async fn lay_patiently(config: &Config, lifecycle: &Lifecycle) -> Result<Self, StartError> {
        let deadline = Instant::now() + config.server.start;
        loop {
            let laid = async {
                let foundation = Self::lay(config, lifecycle).await?;
                foundation.pepper().await?;
                foundation.epochs(&config.environment).learn().await.map_err(StartError::Epoch)?;
                Ok(foundation)
            };
            let laid: Result<Self, StartError> = tokio::select! {
                laid = laid => laid,
                () = lifecycle.drained() => return Err(StartError::Stopped),
            };
            match laid {
                Err(error) if error.may_pass() && Instant::now() + PAUSE < deadline => {
                    let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                    tracing::warn!(error = &error as &dyn Error, seconds_left = left, "cannot start yet; trying again");
                }
                laid => return laid,
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = lifecycle.drained() => return Err(StartError::Stopped),
            }
        }
    }

    /// Opens store and keys.
    ///
    /// # Errors
    ///
    /// When either cannot be used as configured.
    pub async fn lay(config: &Config, lifecycle: &Lifecycle) -> Result<Self, StartError> {
        make_private_dir(&config.data_dir)?;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::around(Arc::new(SystemClock)));
        let tasks: Arc<dyn Tasks> = Arc::new(lifecycle.clone());
        let OpenStore { store, index, notes } = stores::open(&config.store).await?;
        let store: Arc<dyn Store> =
            Arc::new(RetryingStore::new(store, Arc::clone(&random), stores::retry_policy(&config.store)));
        // What is in this process already is not worth a second copy.
        let near = config.near_cache.max_bytes > 0 && !matches!(config.store, StoreConfig::Embedded { .. });
        let store = if near { Arc::new(NearCache::over(store, &*index, config.near_cache.max_bytes)) } else { store };
        let provider = open_keys(config, &random).await?;
        let keys_kind = provider.kind();
        let tenant_keys = Arc::new(TenantKeys::new(
            config.environment.clone(),
            Arc::clone(&store),
            provider,
            (Arc::clone(&clock), random, tasks),
            KeyLimits::default(),
        ));
        Ok(Self { store, index, clock, tenant_keys, notes, keys_kind })
    }

    /// What engine keys are peppered with.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn pepper(&self) -> Result<Pepper, StartError> {
        self.tenant_keys.system_key(ENGINE_KEYS).await.map(Pepper::new).map_err(StartError::SystemKeys)
    }

    /// The epoch of the store.
    #[must_use]
    pub fn epochs(&self, environment: &Environment) -> Arc<Epochs> {
        let seal = EpochSeal::new(environment.clone(), Arc::clone(&self.tenant_keys), Arc::new(SystemRandom));
        Arc::new(Epochs::new(Arc::clone(&self.store), seal))
    }

    /// The registries in the store.
    ///
    /// # Errors
    ///
    /// When the epoch of the store cannot be read.
    pub async fn registrar(
        &self,
        environment: &Environment,
        tickets: &Arc<Tickets>,
    ) -> Result<Arc<Registrar>, StartError> {
        let seal = DocumentSeal::new(environment.clone(), Arc::clone(&self.tenant_keys), Arc::new(SystemRandom));
        // Its own: whoever notices that the store was set back forgets what they have seen, each once.
        let epochs = self.epochs(environment);
        epochs.learn().await.map_err(StartError::Epoch)?;
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Ok(Arc::new(Registrar::new(store, seal, Arc::clone(tickets), epochs, clock)))
    }

    /// The connections in the store.
    #[must_use]
    pub fn records(&self, environment: &Environment, catalog: &Arc<Catalog>, limits: KeyLimits) -> Records {
        let user_keys = Arc::new(self.user_keys(environment, limits));
        let sealer = Sealer::new(environment.clone(), user_keys, Arc::new(SystemRandom));
        Records::new(Arc::clone(&self.store), sealer, Arc::clone(catalog), Arc::clone(&self.clock))
    }

    /// The keys of users.
    #[must_use]
    pub fn user_keys(&self, environment: &Environment, limits: KeyLimits) -> UserKeys {
        let (tenants, store) = (Arc::clone(&self.tenant_keys), Arc::clone(&self.store));
        UserKeys::new(environment.clone(), tenants, store, Arc::new(SystemRandom), limits)
    }
}

#[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "finding AWS credentials waits"))]
async fn open_keys(config: &Config, random: &Arc<dyn Random>) -> Result<Arc<dyn KeyProvider>, StartError> {
    match &config.kms {
        KmsConfig::Local(local) => {
            // Whether local keys are acceptable here was decided when the configuration was read.
            let keys = LocalKeys::open(&local.key_file, &config.environment, InProduction::Accept, Arc::clone(random))?;
            Ok(Arc::new(Guarded::new(keys, Limits::default())))
        }
        #[cfg(feature = "aws")]
        KmsConfig::Aws(aws) => {
            let settings = crate::adapters::keys::aws::AwsKmsSettings {
                key_id: aws.key_id.clone(),
                other_key_ids: aws.other_key_ids.clone(),
                region: aws.region.clone(),
                endpoint: aws.endpoint.clone(),
            };
            let keys = crate::adapters::keys::aws::AwsKms::connect(settings).await?;
            Ok(Arc::new(Guarded::new(keys, Limits::default())))
        }
        #[cfg(not(feature = "aws"))]
        KmsConfig::Aws(_) => Err(StartError::NotBuiltIn("aws")),
    }
}

pub(super) fn make_private_dir(path: &Path) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::DataDir { path: path.to_owned(), source })
}
