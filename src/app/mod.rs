//! The composition root: a configuration in, a vault that is ready to serve out. The only place that names concrete
//! adapters.

mod outbox;
mod stores;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::outbox::{answers, open_outbox, records, take_over_outbox};
use self::stores::OpenStore;
pub use self::stores::{Migration, migrate};
use crate::access::{Engine, EngineKey, Guard, KeyVerifier, Pepper, Registry};
use crate::adapters::audit::{AuditLog, OpenError as AuditOpenError, Target};
use crate::adapters::keys::guarded::{Guarded, Limits};
use crate::adapters::keys::local::{InProduction, LocalKeys, LocalKeysError};
use crate::adapters::oauth::{HttpTokenEndpoint, OutboundError, OutboundSettings};
use crate::adapters::outbox::OpenError as OutboxOpenError;
use crate::adapters::profiles::Profiles;
use crate::adapters::steady::SteadyClock;
use crate::adapters::store::embedded::OpenError as StoreOpenError;
use crate::adapters::store::near_cache::NearCache;
#[cfg(feature = "postgres")]
use crate::adapters::store::postgres as postgres_store;
#[cfg(feature = "redis")]
use crate::adapters::store::redis as redis_store;
use crate::adapters::store::retry::{RetryPolicy, RetryingStore};
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::config::{AuditConfig, BackgroundConfig, Config, EngineConfig, KmsConfig, StoreConfig};
use crate::document::Fault;
use crate::domain::catalog::{App as Client, Catalog, Platform};
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, PlatformId};
use crate::domain::ports::{Clock, Index, KeyProvider, Random, Store, Tasks};
use crate::domain::profile::UrlTemplateError;
use crate::envelope::{KeyLimits, TenantKeys, Tickets};
use crate::lifecycle::Lifecycle;
use crate::refresher::{BackgroundSettings, RefreshSettings, Refresher, RefresherParts, Scheduler};
use crate::service::{
    BatchGetStatus, DeleteToken, GetStatus, GetToken, ListTokens, StoreToken, WatchLimits, WatchParts, WatchStatus,
};

/// What engine keys are peppered with is derived for this purpose.
const ENGINE_KEYS: &str = "engine keys";

/// Why the vault cannot start. Each says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or a profile has faults.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
    /// A platform is named in the configuration and has no profile.
    #[error("`platforms.{0}` is configured and there is no profile for it: add `{0}.yaml` to `profiles_dir`")]
    NoProfile(PlatformId),
    /// The variables of a platform's URLs are not as its profile needs them.
    #[error("`platforms.{platform}.vars` {error}")]
    Variables {
        /// The platform.
        platform: PlatformId,
        /// What is wrong with them.
        error: UrlTemplateError,
    },
    /// The data directory cannot be made.
    #[error("the directory `{}` cannot be made: set `data_dir` to one this user may write to", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no audit trail, and so no service.
    #[error("there is no service without an audit trail")]
    Audit(#[from] AuditOpenError),
    /// The outbox cannot be opened.
    #[error("there is no place to keep what platforms answer")]
    Outbox(#[from] OutboxOpenError),
    /// The embedded store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreOpenError),
    /// DynamoDB cannot be used.
    #[cfg(feature = "dynamodb")]
    #[error("the store cannot be used")]
    Dynamo(#[from] crate::adapters::store::dynamodb::ConnectError),
    /// PostgreSQL cannot be used.
    #[cfg(feature = "postgres")]
    #[error("the store cannot be used")]
    Postgres(#[from] postgres_store::ConnectError),
    /// Redis cannot be used.
    #[cfg(feature = "redis")]
    #[error("the store cannot be used")]
    Redis(#[from] redis_store::ConnectError),
    /// Redis settings cannot be used.
    #[error("`store.redis.url` cannot be used: {0}")]
    RedisUrl(&'static str),
    /// The local keys cannot be used.
    #[error("the local keys cannot be used")]
    LocalKeys(#[from] LocalKeysError),
    /// AWS KMS cannot be used.
    #[cfg(feature = "aws")]
    #[error("AWS KMS cannot be used")]
    Aws(#[from] crate::adapters::keys::aws::AwsKmsError),
    /// The binary was built without it.
    #[error("this binary was built without `{0}`")]
    NotBuiltIn(&'static str),
    /// The way to the platforms cannot be set up.
    #[error("the way to the platforms cannot be set up")]
    Outbound(#[from] OutboundError),
    /// The keys of the installation itself cannot be had.
    #[error("the installation's own keys cannot be had ({})", .0.reason())]
    SystemKeys(#[source] VaultError),
    /// A verifier in the configuration is none.
    #[error("a verifier of engine `{0}` is not one: make the key again with `vault-engine key generate`")]
    Verifier(EngineId),
}

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

/// A vault that is ready to serve.
pub struct App {
    /// The only way in.
    pub guard: Arc<Guard>,
    /// The enabled platforms.
    pub catalog: Arc<Catalog>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What it stands on, for the log: store and key provider.
    pub kinds: (&'static str, &'static str),
}

/// An engine whose keys were made here, with the keys at hand.
pub struct MadeEngine {
    /// What it may do.
    pub config: EngineConfig,
    /// Its key.
    pub key: EngineKey,
}

// === impl Foundation ===

impl Foundation {
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
        let store: Arc<dyn Store> = Arc::new(RetryingStore::new(store, Arc::clone(&random), RetryPolicy::default()));
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
}

// === impl App ===

impl App {
    /// Puts the vault together.
    ///
    /// # Errors
    ///
    /// When something it cannot do without is missing.
    pub async fn assemble(config: Config, lifecycle: &Lifecycle, made: &[MadeEngine]) -> Result<Self, StartError> {
        let foundation = Foundation::lay(&config, lifecycle).await?;
        Self::over(foundation, config, lifecycle, made).await
    }

    /// Puts the vault together over what stands already. Any number of them stand on one foundation.
    ///
    /// # Errors
    ///
    /// When something it cannot do without is missing.
    pub async fn over(
        foundation: Foundation,
        config: Config,
        lifecycle: &Lifecycle,
        made: &[MadeEngine],
    ) -> Result<Self, StartError> {
        let audit = Arc::new(open_audit(&config.audit)?);
        let clock = Arc::clone(&foundation.clock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let registry = registry(&config.engines, made, foundation.pepper().await?)?;
        let endpoint = HttpTokenEndpoint::new(
            &OutboundSettings {
                url_policy: config.outbound.url_policy(),
                allowed_hosts: config.outbound.allowed_hosts.iter().cloned().collect(),
                extra_ca_file: None,
            },
            Arc::clone(&clock),
        )?;
        let refresh = RefreshSettings {
            lease: config.refresh.lease,
            exchange: RefreshSettings::default().exchange.min(config.refresh.lease / 2),
            backoff_base: config.refresh.backoff_base,
            backoff_max: config.refresh.backoff_max,
            max_waiters: config.refresh.max_waiters,
            handover: if config.outbox.enabled { config.outbox.handover } else { Duration::ZERO },
            ..RefreshSettings::default()
        };
        let background = config.refresh.background;
        let watch = WatchLimits {
            streams: config.watch.streams,
            streams_per_engine: config.watch.streams_per_engine,
            slow_reader: config.watch.slow_reader,
            heartbeat: config.watch.heartbeat,
            ..WatchLimits::default()
        };
        let environment = config.environment.clone();
        let outbox = open_outbox(&config.outbox)?;
        let catalog = Arc::new(catalog(config)?);
        let tickets = Tickets::new(environment.clone(), Arc::clone(&foundation.tenant_keys), Arc::clone(&random));
        let tickets = Arc::new(tickets);
        let records = records(&environment, &foundation, &catalog);
        let answers = outbox.map(|outbox| answers(&records, outbox, Arc::clone(&audit) as _));
        let watch_status = WatchStatus::new(
            WatchParts {
                records: Arc::clone(&records),
                index: Arc::clone(&foundation.index),
                catalog: Arc::clone(&catalog),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
                tickets: Arc::clone(&tickets),
                tasks: Arc::new(lifecycle.clone()),
            },
            watch,
        );
        let refresher = Refresher::new(
            RefresherParts {
                records: Arc::clone(&records),
                catalog: Arc::clone(&catalog),
                endpoint: Arc::new(endpoint),
                audit: Arc::clone(&audit) as _,
                clock: Arc::clone(&clock),
                random,
                tasks: Arc::new(lifecycle.clone()),
                answers,
            },
            refresh,
        );
        outbox::keep_tended(&refresher, lifecycle).await;
        if let Some(background) = background {
            start_scheduler(&foundation, &refresher, background, lifecycle);
        }
        let get_status =
            || GetStatus { records: Arc::clone(&records), catalog: Arc::clone(&catalog), clock: Arc::clone(&clock) };
        let guard = Guard {
            registry,
            audit,
            clock: Arc::clone(&clock),
            store_token: StoreToken {
                records: Arc::clone(&records),
                catalog: Arc::clone(&catalog),
                clock: Arc::clone(&clock),
            },
            get_token: GetToken {
                records: Arc::clone(&records),
                catalog: Arc::clone(&catalog),
                clock: Arc::clone(&clock),
                renewal: Arc::new(refresher),
            },
            get_status: get_status(),
            batch_get_status: BatchGetStatus { each: get_status() },
            list_tokens: ListTokens {
                records: Arc::clone(&records),
                index: Arc::clone(&foundation.index),
                catalog: Arc::clone(&catalog),
                clock: Arc::clone(&clock),
                tickets,
            },
            watch_status,
            delete_token: DeleteToken { records: Arc::clone(&records), clock: Arc::clone(&clock) },
        };
        let kinds = (foundation.store.kind(), foundation.keys_kind);
        Ok(Self { guard: Arc::new(guard), catalog, notes: foundation.notes, kinds })
    }
}

/// Refreshes what is due until the process is asked to stop.
fn start_scheduler(
    foundation: &Foundation,
    refresher: &Arc<Refresher>,
    config: BackgroundConfig,
    lifecycle: &Lifecycle,
) {
    let settings = BackgroundSettings {
        tick: config.tick,
        per_second: config.per_platform_per_second,
        concurrency: config.concurrency,
        ..BackgroundSettings::default()
    };
    let (store, index) = (Arc::clone(&foundation.store), Arc::clone(&foundation.index));
    let scheduler = Scheduler::new(Arc::clone(refresher), store, index, settings);
    let stop = lifecycle.clone();
    lifecycle.spawn("scheduler", Box::pin(async move { scheduler.run(stop.drained()).await }));
}

/// Opens the audit trail.
///
/// # Errors
///
/// When it cannot be opened: there is no service without it.
pub fn open_audit(config: &AuditConfig) -> Result<AuditLog, StartError> {
    let target = match config {
        AuditConfig::File { path } => Target::File(path.clone()),
        AuditConfig::Stdout => Target::Stdout,
    };
    Ok(AuditLog::open(&target, SystemClock.now())?)
}

/// The platforms of an installation: every profile, unless the configuration narrows it.
///
/// # Errors
///
/// When a profile has faults, or one that is asked for is not there.
pub fn catalog(config: Config) -> Result<Catalog, StartError> {
    let mut profiles = Profiles::builtin().map_err(StartError::Faults)?;
    if let Some(folder) = &config.profiles_dir {
        profiles.load_dir(folder, config.outbound.url_policy()).map_err(StartError::Faults)?;
    }
    let named = config.platforms.keys().chain(config.enabled_platforms.iter().flatten());
    if let Some(unknown) = named.into_iter().find(|id| profiles.get(id).is_none()) {
        return Err(StartError::NoProfile(unknown.clone()));
    }
    let policy = config.outbound.url_policy();
    let mut configured = config.platforms;
    let mut platforms = Vec::new();
    for profile in profiles {
        let chosen = config.enabled_platforms.as_ref().is_none_or(|chosen| chosen.contains(&profile.id));
        let told = configured.remove(&profile.id);
        if !chosen || told.as_ref().is_some_and(|told| !told.enabled) {
            continue;
        }
        let (app, given) = told.map_or_else(Default::default, |told| {
            let secrets = told.client_secrets;
            (told.client_id.map(|client_id| Client { client_id, secrets }), told.vars)
        });
        let vars = profile.fill_vars(&given, policy);
        let vars = vars.map_err(|error| StartError::Variables { platform: profile.id.clone(), error })?;
        platforms.push(Platform { profile, app, vars });
    }
    Ok(Catalog::new(platforms))
}

fn registry(engines: &[EngineConfig], made: &[MadeEngine], pepper: Pepper) -> Result<Registry, StartError> {
    let engine = |config: &EngineConfig, keys: Vec<KeyVerifier>| Engine {
        id: config.id.clone(),
        actions: config.actions.clone(),
        tenants: config.tenants.iter().cloned().collect(),
        keys,
    };
    let mut known = Vec::with_capacity(engines.len() + made.len());
    for config in engines {
        let keys = config.keys.iter().map(|key| KeyVerifier::parse(&key.id, &key.verifier));
        let keys: Option<Vec<_>> = keys.collect();
        known.push(engine(config, keys.ok_or_else(|| StartError::Verifier(config.id.clone()))?));
    }
    for MadeEngine { config, key } in made {
        known.push(engine(config, vec![key.verifier(&pepper, config.id.as_str())]));
    }
    Ok(Registry::new(pepper, known, EngineKey::make(&SystemRandom)))
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

fn make_private_dir(path: &Path) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::DataDir { path: path.to_owned(), source })
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
