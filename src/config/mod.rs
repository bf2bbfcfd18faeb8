//! The configuration of an installation, read from one YAML file and the environment, one section per file here.
//!
//! Plain data: nothing is opened, connected or resolved, except that secrets are fetched from where they are kept, so that
//! a missing one stops the start and not the first refresh. Whether a platform exists is not known here.

mod audit;
mod engine_policy;
mod engines;
mod kms;
mod log;
mod near_cache;
mod outbound;
mod outbox;
mod overlay;
mod platforms;
mod refresh;
mod registry;
mod secret;
mod server;
mod store;
mod tls;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use audit::{AuditConfig, AuditSinkConfig};
pub use engines::{EngineConfig, EngineKeyConfig};
pub use kms::{AwsKmsConfig, KmsConfig, LocalKmsConfig};
pub use log::{LogConfig, LogFormat, LogLevel};
pub use near_cache::NearCacheConfig;
pub use outbound::OutboundConfig;
pub use outbox::OutboxConfig;
pub use platforms::PlatformConfig;
pub use refresh::{BackgroundConfig, RefreshConfig};
pub use registry::RegistryConfig;
pub use server::ServerConfig;
pub use store::{
    DynamoConfig, PostgresConfig, PostgresTlsConfig, RedisConfig, RedisNode, RedisSentinelConfig, RedisServersConfig,
    RedisTlsConfig, StoreConfig,
};
pub use tls::{ClientCertificates, TlsConfig};
pub use watch::WatchConfig;

use crate::document::{Document, Fault, Limits, Mismatch, Node, Readers, Section, check_access};
use crate::domain::id::{Environment, PlatformId};

const LIMITS: Limits = Limits { bytes: 256 * 1_024, depth: 12 };

/// Environments in which conveniences are allowed that would be mistakes elsewhere.
const DEVELOPMENT: [&str; 2] = ["dev", "test"];

/// Everything an installation is told.
#[derive(Debug)]
pub struct Config {
    /// Which installation this is; bound into every sealed record. `prod` unless said otherwise, because what is
    /// forgotten must not be what weakens an installation.
    pub environment: Environment,
    /// Where it listens and how it stops.
    pub server: ServerConfig,
    /// How it proves who it is, and who calls; `None`: in the clear.
    pub tls: Option<TlsConfig>,
    /// Where local files are kept.
    pub data_dir: PathBuf,
    /// Where records are kept.
    pub store: StoreConfig,
    /// How much of it is kept at hand.
    pub near_cache: NearCacheConfig,
    /// Who wraps the data keys.
    pub kms: KmsConfig,
    /// Who may call.
    pub engines: Vec<EngineConfig>,
    /// Who else may call.
    pub registry: RegistryConfig,
    /// The clients registered at platforms.
    pub platforms: BTreeMap<PlatformId, PlatformConfig>,
    /// The platforms in use; `None`: all that have a profile.
    pub enabled_platforms: Option<Vec<PlatformId>>,
    /// A folder with profiles that add to or replace the shipped ones.
    pub profiles_dir: Option<PathBuf>,
    /// Which addresses may be called.
    pub outbound: OutboundConfig,
    /// Where answers lie until the store has them.
    pub outbox: OutboxConfig,
    /// Where the audit trail goes.
    pub audit: AuditConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// How refreshes are paced.
    pub refresh: RefreshConfig,
    /// How many may watch, and how patiently.
    pub watch: WatchConfig,
}

/// What the readers of the sections have in common.
struct Context<'e> {
    variables: &'e BTreeMap<String, String>,
    data_dir: PathBuf,
    development: bool,
}

// === impl Config ===

impl Config {
    /// Reads a file, if one is given, and lays the environment over it.
    ///
    /// `VAULT_ENGINE_STORE__REDIS__URL` sets `store.redis.url`: two underscores lead one level down, the value is YAML,
    /// lists are written `[a, b]`, an empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// All faults that were found.
    pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let variables: BTreeMap<String, String> = environment.collect();
        let mut document = path.map_or_else(|| Ok(Document::empty()), |path| Document::load(path, LIMITS))?;
        overlay::lay_over(&mut document, &variables)?;
        document.read(|section| config(section, &variables))
    }

    /// Reads a file as it stands, where the environment is another configuration's too: variables are only what it refers
    /// to.
    ///
    /// # Errors
    ///
    /// All faults that were found.
    pub fn load_alone(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let variables: BTreeMap<String, String> = environment.collect();
        Document::load(path, LIMITS)?.read(|section| config(section, &variables))
    }

    /// Whether conveniences are allowed that would be mistakes elsewhere.
    #[must_use]
    pub fn is_development(&self) -> bool {
        is_development(&self.environment)
    }
}

fn is_development(environment: &Environment) -> bool {
    DEVELOPMENT.contains(&environment.as_str())
}

fn config(section: &mut Section<'_>, variables: &BTreeMap<String, String>) -> Option<Config> {
    let environment = match section.optional("environment", Node::parse) {
        None if section.has("environment") => None,
        None => "prod".parse().ok(),
        given => given,
    };
    let data_dir = section.optional("data_dir", path).unwrap_or_else(|| PathBuf::from("/var/lib/vault-engine"));
    let development = environment.as_ref().is_some_and(is_development);
    let context = Context { variables, data_dir, development };

    let tls = tls::read(section);
    let server = server::read(section, &context);
    let store = section.section("store", |section| store::read(section, &context)).flatten();
    let near_cache = section.section("near_cache", near_cache::read);
    let kms = section.section("kms", |section| kms::read(section, &context)).flatten();
    let engines = engines::read(section, tls.as_ref());
    let registry = section.section("registry", registry::read);
    let platforms = platforms::read(section, &context);
    let enabled_platforms = section.list("enabled_platforms", Node::parse);
    let profiles_dir = section.optional("profiles_dir", path);
    let outbound = section.section("outbound", |section| outbound::read(section, &context));
    let outbox = section.section("outbox", |section| outbox::read(section, &context));
    let audit = section.section("audit", |section| audit::read(section, &context));
    let log = section.section("log", log::read);
    let refresh = section.section("refresh", refresh::read);
    let watch = section.section("watch", watch::read);
    Some(Config {
        environment: environment?,
        server,
        tls,
        data_dir: context.data_dir,
        store: store?,
        near_cache: near_cache?,
        kms: kms?,
        engines,
        registry: registry?,
        platforms,
        enabled_platforms,
        profiles_dir,
        outbound: outbound?,
        outbox: outbox?,
        audit: audit?,
        log: log?,
        refresh: refresh?,
        watch: watch?,
    })
}

/// A path. Relative ones start at the working directory of the process.
fn path(node: Node<'_>) -> Result<PathBuf, Mismatch> {
    node.text().map(PathBuf::from)
}

/// The path of a file with a secret in it: if it is there already, others must not be able to read it.
fn private_file(node: Node<'_>) -> Result<PathBuf, Mismatch> {
    let path = path(node)?;
    if path.exists() {
        check_access(&path, Readers::OwnerAndGroup).map_err(|mismatch| {
            Mismatch::new(format!("names `{}`, which {}", path.display(), mismatch.problem), mismatch.hint)
        })?;
    }
    Ok(path)
}

/// A whole number of seconds, within bounds; else a default.
fn seconds(section: &mut Section<'_>, key: &str, bounds: std::ops::RangeInclusive<u64>, default: u64) -> Duration {
    Duration::from_secs(section.optional(key, |node| node.number(bounds)).unwrap_or(default))
}

#[cfg(test)]
mod tests;
