//! The composition root: a configuration in, a vault that is ready to serve out. The only place that names concrete
//! adapters.

mod audit;
mod bulk;
mod foundation;
mod init;
mod outbox;
mod start_error;
mod stores;
mod tls;

use std::sync::Arc;
use std::time::Duration;

pub use self::audit::{audit_events, open_audit};
pub use self::bulk::{OperatorTrail, SealedStore, importer, restorer};
pub use self::foundation::Foundation;
pub use self::init::init;
pub use self::outbox::{answers, open_outbox, take_over_outbox};
pub use self::start_error::StartError;
pub use self::stores::{Migration, migrate};
pub use self::tls::{TlsFiles, TlsFilesError, date};
use crate::access::admin::Administration;
use crate::access::{Engine, EngineKey, Guard, KeyVerifier, Pepper, Registry, RegistryFollower};
use crate::adapters::oauth::{HttpTokenEndpoint, OutboundSettings};
use crate::adapters::profiles::Profiles;
use crate::adapters::system::SystemRandom;
use crate::config::{BackgroundConfig, Config, EngineConfig};
use crate::domain::catalog::{App as Client, Catalog, Platform};
use crate::domain::ports::{Clock, Random, Tasks as _};
use crate::envelope::{KeyLimits, Tickets};
use crate::lifecycle::Lifecycle;
use crate::refresher::{BackgroundSettings, RefreshSettings, Refresher, RefresherParts, Scheduler};
use crate::service::{
    BatchGetStatus, DeleteToken, GetStatus, GetToken, ListTokens, Records, Registrar, StoreToken, WatchLimits,
    WatchParts, WatchStatus,
};

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

/// How often keys are looked for that have been held for as long as they may be.
const SWEEP: Duration = Duration::from_mins(1);

// === impl App ===

impl App {
    /// Puts the vault together.
    ///
    /// # Errors
    ///
    /// When something it cannot do without is missing.
    pub async fn assemble(config: Config, lifecycle: &Lifecycle, made: &[MadeEngine]) -> Result<Self, StartError> {
        let foundation = Foundation::lay_patiently(&config, lifecycle).await?;
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
        let clock = Arc::clone(&foundation.clock);
        let trail_keys = foundation.audit_keys(&config).await?;
        let audit = Arc::new(open_audit(&config, Some(trail_keys), Arc::clone(&clock))?);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let epochs = foundation.epochs(&config.environment);
        epochs.learn().await.map_err(StartError::Epoch)?;
        let registry = Arc::new(registry(&config.engines, made, foundation.pepper().await?)?);
        let endpoint = token_endpoint(&config, &clock)?;
        let registry_refresh = config.registry.enabled.then_some(config.registry.refresh);
        let refresh = refresh_settings(&config);
        let background = config.refresh.background;
        let watch = watch_limits(&config);
        let environment = config.environment.clone();
        let tends_outbox = config.outbox.enabled;
        let outbox = open_outbox(&config.outbox)?;
        let catalog = Arc::new(catalog(config)?);
        let tickets = Tickets::new(environment.clone(), Arc::clone(&foundation.tenant_keys), Arc::clone(&random));
        let tickets = Arc::new(tickets);
        let registrar = match registry_refresh {
            Some(refresh) => {
                let registrar = foundation.registrar(&environment, &tickets).await?;
                keep_up(&registry, &registrar, refresh, lifecycle).await?;
                Some(registrar)
            }
            None => None,
        };
        let records = foundation.records(&environment, &catalog, KeyLimits::default());
        let records = Arc::new(records.noticing(epochs));
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
                random: Arc::clone(&random),
                tasks: Arc::new(lifecycle.clone()),
                answers,
            },
            refresh,
        );
        keep_keys_short(&foundation, &records, lifecycle);
        if tends_outbox {
            outbox::keep_tended(&refresher, lifecycle).await;
        }
        if let Some(background) = background {
            start_scheduler(&foundation, &refresher, background, lifecycle);
        }
        let get_status =
            || GetStatus { records: Arc::clone(&records), catalog: Arc::clone(&catalog), clock: Arc::clone(&clock) };
        let administration =
            Administration { registrar, registry: Arc::clone(&registry), clock: Arc::clone(&clock), random };
        let guard = Guard {
            registry,
            administration,
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

/// Looks who may call, once before anybody does, and from then on until the process is asked to stop.
async fn keep_up(
    registry: &Arc<Registry>,
    registrar: &Arc<Registrar>,
    refresh: Duration,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let (registry, registrar) = (Arc::clone(registry), Arc::clone(registrar));
    let follower = RegistryFollower { registry, registrar, refresh };
    follower.look().await.map_err(StartError::Registry)?;
    let stop = lifecycle.clone();
    lifecycle.spawn("registry", Box::pin(async move { follower.run(stop.drained()).await }));
    Ok(())
}

fn token_endpoint(config: &Config, clock: &Arc<dyn Clock>) -> Result<HttpTokenEndpoint, StartError> {
    let settings = OutboundSettings {
        url_policy: config.outbound.url_policy(),
        allowed_hosts: config.outbound.allowed_hosts.iter().cloned().collect(),
        extra_ca_file: None,
    };
    Ok(HttpTokenEndpoint::new(&settings, Arc::clone(clock))?)
}

fn watch_limits(config: &Config) -> WatchLimits {
    WatchLimits {
        streams: config.watch.streams,
        streams_per_engine: config.watch.streams_per_engine,
        slow_reader: config.watch.slow_reader,
        heartbeat: config.watch.heartbeat,
        ..WatchLimits::default()
    }
}

fn refresh_settings(config: &Config) -> RefreshSettings {
    RefreshSettings {
        lease: config.refresh.lease,
        exchange: RefreshSettings::default().exchange.min(config.refresh.lease / 2),
        backoff_base: config.refresh.backoff_base,
        backoff_max: config.refresh.backoff_max,
        max_waiters: config.refresh.max_waiters,
        handover: if config.outbox.enabled { config.outbox.handover } else { Duration::ZERO },
        ..RefreshSettings::default()
    }
}

/// Lets go of keys nobody asks for again, until the process is asked to stop.
fn keep_keys_short(foundation: &Foundation, records: &Arc<Records>, lifecycle: &Lifecycle) {
    let (tenant_keys, records) = (Arc::clone(&foundation.tenant_keys), Arc::clone(records));
    let stop = lifecycle.clone();
    let sweeping = async move {
        loop {
            tokio::select! {
                () = stop.drained() => break,
                () = tokio::time::sleep(SWEEP) => {
                    records.sweep();
                    tenant_keys.sweep();
                }
            }
        }
    };
    lifecycle.spawn("keys", Box::pin(sweeping));
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
        spiffe_ids: config.spiffe_ids.clone(),
        ..Engine::configured(config.id.clone(), config.policy.clone(), config.limits, keys)
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
