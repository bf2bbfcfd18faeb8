//! Opening the store that is configured.

use std::sync::Arc;

use super::StartError;
#[cfg(feature = "dynamodb")]
use crate::adapters::store::dynamodb as dynamodb_store;
use crate::adapters::store::embedded::EmbeddedStore;
#[cfg(feature = "postgres")]
use crate::adapters::store::postgres as postgres_store;
#[cfg(feature = "redis")]
use crate::adapters::store::redis as redis_store;
use crate::adapters::store::retry::RetryPolicy;
#[cfg(feature = "dynamodb")]
use crate::adapters::system::SystemClock;
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
#[cfg_attr(
    not(any(feature = "dynamodb", feature = "postgres", feature = "redis")),
    expect(clippy::unused_async, reason = "connecting to a server waits")
)]
pub(super) async fn open(config: &StoreConfig) -> Result<OpenStore, StartError> {
    match config {
        #[cfg(feature = "dynamodb")]
        StoreConfig::Dynamodb(dynamodb) => {
            let settings = dynamodb_settings(dynamodb);
            let connecting = dynamodb_store::DynamoStore::connect(&settings, Arc::new(SystemClock));
            let store = Box::pin(connecting).await?;
            let notes = store.notes().iter().map(ToString::to_string).collect();
            Ok(OpenStore::new(store, notes))
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreConfig::Dynamodb(_) => Err(StartError::NotBuiltIn("dynamodb")),
        StoreConfig::Embedded { path } => Ok(OpenStore::new(EmbeddedStore::open(path)?, Vec::new())),
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres(postgres) => {
            let store = postgres_store::PostgresStore::connect(&postgres_settings(postgres)).await?;
            let notes = store.notes().iter().map(ToString::to_string).collect();
            Ok(OpenStore::new(store, notes))
        }
        #[cfg(not(feature = "postgres"))]
        StoreConfig::Postgres(_) => Err(StartError::NotBuiltIn("postgres")),
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

/// How long, and how often, the store of the configuration is tried: each of its own time limits is let have its effect.
pub(super) fn retry_policy(config: &StoreConfig) -> RetryPolicy {
    match config {
        StoreConfig::Embedded { .. } => RetryPolicy::default(),
        // A write is a look, and a transaction.
        StoreConfig::Dynamodb(dynamodb) => {
            RetryPolicy::for_operations_of(dynamodb.connect_timeout + dynamodb.command_timeout * 2)
        }
        StoreConfig::Postgres(postgres) => {
            RetryPolicy::for_operations_of(postgres.connect_timeout + postgres.command_timeout)
        }
        StoreConfig::Redis(redis) => RetryPolicy::for_operations_of(redis.connect_timeout + redis.command_timeout),
    }
}

/// What a migration did to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// The store needs none: it makes what it needs when it is opened.
    NotNeeded {
        /// The kind of store.
        kind: &'static str,
    },
    /// Its table is there, and as it has to be.
    Table {
        /// Its name.
        name: String,
    },
    /// Its schema was this version, and is now that; 0: there was none.
    Schema {
        /// Before.
        from: i64,
        /// Now.
        to: i64,
    },
}

/// Gives the store of the configuration the schema this binary needs.
///
/// # Errors
///
/// When the store cannot be reached, or does not let itself be changed.
pub async fn migrate(config: &StoreConfig) -> Result<Migration, StartError> {
    match config {
        #[cfg(feature = "dynamodb")]
        StoreConfig::Dynamodb(dynamodb) => {
            let settings = dynamodb_settings(dynamodb);
            Box::pin(dynamodb_store::DynamoStore::create_table(&settings)).await?;
            Ok(Migration::Table { name: settings.table })
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreConfig::Dynamodb(_) => Err(StartError::NotBuiltIn("dynamodb")),
        StoreConfig::Embedded { .. } => Ok(Migration::NotNeeded { kind: "embedded" }),
        #[cfg(feature = "postgres")]
        StoreConfig::Postgres(postgres) => {
            let done = postgres_store::PostgresStore::migrate(&postgres_settings(postgres)).await?;
            Ok(Migration::Schema { from: done.from, to: done.to })
        }
        #[cfg(not(feature = "postgres"))]
        StoreConfig::Postgres(_) => Err(StartError::NotBuiltIn("postgres")),
        StoreConfig::Redis(_) => Ok(Migration::NotNeeded { kind: "redis" }),
    }
}

#[cfg(feature = "postgres")]
fn postgres_settings(config: &crate::config::PostgresConfig) -> postgres_store::PostgresSettings {
    use postgres_store::{ClientCertificate, PostgresSettings, TlsSettings, Verify};
    let tls = config.tls.as_ref().map(|tls| TlsSettings {
        verify: if tls.any_host { Verify::Authority } else { Verify::Full },
        ca_file: tls.ca_file.clone(),
        client: tls.client.clone().map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file }),
    });
    PostgresSettings {
        host: config.host.clone(),
        port: config.port,
        database: config.database.clone(),
        username: config.username.clone(),
        password: config.password.clone(),
        tls,
        max_connections: config.max_connections,
        connect_timeout: config.connect_timeout,
        command_timeout: config.command_timeout,
    }
}

#[cfg(feature = "dynamodb")]
fn dynamodb_settings(config: &crate::config::DynamoConfig) -> dynamodb_store::DynamoSettings {
    dynamodb_store::DynamoSettings {
        table: config.table.clone(),
        region: config.region.clone(),
        endpoint: config.endpoint.clone(),
        connect_timeout: config.connect_timeout,
        request_timeout: config.connect_timeout + config.command_timeout,
        // A write is a look, and a transaction.
        operation_timeout: config.connect_timeout + config.command_timeout * 2,
    }
}

#[cfg(feature = "redis")]
fn redis_settings(config: &crate::config::RedisConfig) -> Result<redis_store::RedisSettings, StartError> {
    use redis_store::{ClientCertificate, Endpoint, RedisSettings, SentinelSettings, Shape, TlsSettings};

    use crate::config::{RedisNode, RedisServersConfig, RedisTlsConfig};

    let endpoints = |nodes: &[RedisNode]| {
        nodes.iter().map(|RedisNode { host, port }| Endpoint { host: host.clone(), port: *port }).collect()
    };
    let tls = |tls: &RedisTlsConfig| TlsSettings {
        ca_file: tls.ca_file.clone(),
        client: tls.client.clone().map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file }),
    };
    let defaults = RedisSettings::default();
    let (shape, database) = match &config.servers {
        RedisServersConfig::Server { url } => {
            let url = url::Url::parse(url).map_err(|_| StartError::RedisUrl("it is not a URL"))?;
            let host = url.host_str().ok_or(StartError::RedisUrl("it names no host"))?;
            let database = match url.path().trim_matches('/') {
                "" => 0,
                number => {
                    number.parse().map_err(|_| StartError::RedisUrl("its path is not the number of a database"))?
                }
            };
            let host = host.trim_matches(['[', ']']).to_owned();
            (Shape::Server(Endpoint { host, port: url.port().unwrap_or(6379) }), database)
        }
        RedisServersConfig::Sentinel(sentinel) => {
            let settings = SentinelSettings {
                addresses: endpoints(&sentinel.nodes),
                master_name: sentinel.master_name.clone(),
                username: sentinel.username.clone(),
                password: sentinel.password.clone(),
                tls: sentinel.tls.as_ref().map(tls),
            };
            (Shape::Sentinel(settings), 0)
        }
        RedisServersConfig::Cluster { nodes } => (Shape::Cluster(endpoints(nodes)), 0),
    };
    let prefixed = !config.key_prefix.is_empty();
    Ok(RedisSettings {
        shape,
        database,
        username: config.username.clone(),
        password: config.password.clone(),
        tls: config.tls.as_ref().map(tls),
        key_prefix: if prefixed { config.key_prefix.clone() } else { defaults.key_prefix },
        connections: config.connections,
        connect_timeout: config.connect_timeout,
        response_timeout: config.command_timeout,
        operation_timeout: config.connect_timeout + config.command_timeout,
    })
}
