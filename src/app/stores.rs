//! Opening the store that is configured.

use std::sync::Arc;

use super::StartError;
use crate::adapters::store::embedded::EmbeddedStore;
#[cfg(feature = "redis")]
use crate::adapters::store::redis as redis_store;
use crate::config::StoreConfig;
use crate::domain::ports::{Index, Store};

/// A store, as it was opened.
pub(super) struct OpenStore {
    /// Its records.
    pub(super) store: Arc<dyn Store>,
    /// Its indices.
    pub(super) index: Arc<dyn Index>,
    /// What the operator should know about it.
    pub(super) notes: Vec<String>,
}

// === impl OpenStore ===

impl OpenStore {
    fn new(store: impl Store + Index + 'static, notes: Vec<String>) -> Self {
        let store = Arc::new(store);
        Self { index: Arc::clone(&store) as _, store, notes }
    }
}

/// Opens the store of the configuration.
#[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "connecting to a server waits"))]
pub(super) async fn open(config: &StoreConfig) -> Result<OpenStore, StartError> {
    match config {
        StoreConfig::Embedded { path } => Ok(OpenStore::new(EmbeddedStore::open(path)?, Vec::new())),
        #[cfg(feature = "redis")]
        StoreConfig::Redis(redis) => {
            let settings = redis_settings(redis)?;
            let store = redis_store::RedisStore::connect(&settings).await?;
            let notes = store.notes().iter().map(ToString::to_string).collect();
            Ok(OpenStore::new(store, notes))
        }
        #[cfg(not(feature = "redis"))]
        StoreConfig::Redis(_) => Err(StartError::NotBuiltIn("redis")),
    }
}

#[cfg(feature = "redis")]
fn redis_settings(config: &crate::config::RedisConfig) -> Result<redis_store::RedisSettings, StartError> {
    use redis_store::{ClientCertificate, RedisSettings, TlsSettings};
    let url = url::Url::parse(&config.url).map_err(|_| StartError::RedisUrl("it is not a URL"))?;
    let host = url.host_str().ok_or(StartError::RedisUrl("it names no host"))?;
    let database = match url.path().trim_matches('/') {
        "" => 0,
        number => number.parse().map_err(|_| StartError::RedisUrl("its path is not the number of a database"))?,
    };
    let tls = (url.scheme() == "rediss").then(|| TlsSettings {
        ca_file: config.tls.ca_file.clone(),
        client: config.tls.client.clone().map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file }),
    });
    let defaults = RedisSettings::default();
    let prefixed = !config.key_prefix.is_empty();
    Ok(RedisSettings {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(defaults.port),
        database,
        username: config.username.clone(),
        password: config.password.clone(),
        tls,
        key_prefix: if prefixed { config.key_prefix.clone() } else { defaults.key_prefix },
        connections: config.connections,
        connect_timeout: config.connect_timeout,
        response_timeout: config.command_timeout,
        operation_timeout: config.connect_timeout + config.command_timeout,
    })
}
