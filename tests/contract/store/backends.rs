//! The stores under test, each with the real thing behind it.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "redis")]
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
#[cfg(feature = "dynamodb")]
use vault_engine::adapters::store::dynamodb::{DynamoSettings, DynamoStore};
use vault_engine::adapters::store::embedded::EmbeddedStore;
#[cfg(feature = "postgres")]
use vault_engine::adapters::store::postgres::{PostgresSettings, PostgresStore};
#[cfg(feature = "redis")]
use vault_engine::adapters::store::redis::{
    ClientCertificate, Endpoint, RedisSettings, RedisStore, SentinelSettings, Shape, TlsSettings,
};
use vault_engine::adapters::store::retry::{RetryPolicy, RetryingStore};
#[cfg(feature = "dynamodb")]
use vault_engine::adapters::system::SystemClock;
use vault_engine::adapters::system::SystemRandom;
#[cfg(feature = "redis")]
use vault_engine::domain::ports::Partition;
use vault_engine::domain::ports::{Index, Store};

#[cfg(feature = "dynamodb")]
use super::dynamodb_server::{self, DynamoServer, Peer};
#[cfg(feature = "postgres")]
use super::postgres_server::{PASSWORD as POSTGRES_PASSWORD, PostgresServer, USERNAME as POSTGRES_USERNAME};
#[cfg(feature = "redis")]
use super::redis_server::{PASSWORD, RedisOptions, RedisServer, USERNAME};
#[cfg(feature = "redis")]
use super::redis_shapes::{MASTER_NAME, Nodes, Shared, Watched};

/// A store under test.
pub(crate) trait Backend: Sized {
    /// An empty one.
    async fn start() -> Self;
    /// The store.
    fn store(&self) -> Arc<dyn Store>;
    /// Its indices.
    fn index(&self) -> Arc<dyn Index>;
    /// The same store as another instance sees it.
    async fn another_instance(&self) -> Arc<dyn Store>;
    /// Writes bytes into a place behind the back of the vault. Nobody may hold the store.
    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]);
}

/// A file.
pub(crate) struct Embedded {
    directory: TempDir,
    store: Option<Arc<EmbeddedStore>>,
}

/// A database of the server of all tests.
#[cfg(feature = "postgres")]
pub(crate) struct Postgres {
    database: String,
    store: Arc<PostgresStore>,
}

/// A server that anybody may use.
#[cfg(feature = "redis")]
pub(crate) struct PlainRedis {
    server: RedisServer,
    store: Arc<RedisStore>,
}

/// A server behind TLS with client certificates, and a user with few rights.
#[cfg(feature = "redis")]
pub(crate) struct SecuredRedis {
    server: RedisServer,
    store: Arc<RedisStore>,
}

/// A table of Amazon's DynamoDB Local.
#[cfg(feature = "dynamodb")]
pub(crate) struct DynamoLocal(Table);

/// A table of ministack's DynamoDB.
#[cfg(feature = "dynamodb")]
pub(crate) struct Ministack(Table);

#[cfg(feature = "dynamodb")]
struct Table {
    server: &'static DynamoServer,
    settings: DynamoSettings,
    store: Arc<DynamoStore>,
}

/// A primary that sentinels know. Many tests share it, each with a prefix of its own.
#[cfg(feature = "redis")]
pub(crate) struct SentinelRedis {
    servers: Arc<Watched>,
    settings: RedisSettings,
    store: Arc<RedisStore>,
}

/// A cluster. Many tests share it, each with a prefix of its own.
#[cfg(feature = "redis")]
pub(crate) struct ClusterRedis {
    servers: Arc<Nodes>,
    settings: RedisSettings,
    store: Arc<RedisStore>,
}

/// Another one, tried again.
pub(crate) struct Retrying<B>(B);

// === impl Embedded ===

impl Embedded {
    fn path(&self) -> PathBuf {
        self.directory.path().join("vault.redb")
    }
}

impl Backend for Embedded {
    async fn start() -> Self {
        let mut backend = Self { directory: TempDir::new().unwrap(), store: None };
        backend.store = Some(Arc::new(EmbeddedStore::open(&backend.path()).unwrap()));
        backend
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap()) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(self.store.as_ref().unwrap()) as Arc<dyn Index>
    }

    /// One file serves one process, so there is no other instance.
    async fn another_instance(&self) -> Arc<dyn Store> {
        self.store()
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        drop(Arc::into_inner(self.store.take().unwrap()).unwrap());
        let database = redb::Database::open(self.path()).unwrap();
        let transaction = database.begin_write().unwrap();
        let records = redb::TableDefinition::<&[u8], &[u8]>::new("records");
        let key = format!("{drawer}:{field}");
        transaction.open_table(records).unwrap().insert(key.as_bytes(), bytes).unwrap();
        transaction.commit().unwrap();
        drop(database);
        self.store = Some(Arc::new(EmbeddedStore::open(&self.path()).unwrap()));
    }
}

// === impl Postgres ===

#[cfg(feature = "postgres")]
impl Backend for Postgres {
    async fn start() -> Self {
        let server = PostgresServer::shared();
        let database = server.make_database();
        let settings = in_database(server, &database);
        PostgresStore::migrate(&settings).await.unwrap();
        Self { store: Arc::new(PostgresStore::connect(&settings).await.unwrap()), database }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.store) as Arc<dyn Index>
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        let settings = in_database(PostgresServer::shared(), &self.database);
        Arc::new(PostgresStore::connect(&settings).await.unwrap())
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        let frame = bytes.iter().fold(String::new(), |frame, byte| frame + &format!("{byte:02x}"));
        let statement = format!(
            "INSERT INTO vault_record (drawer, field, partition, frame) VALUES ('{drawer}', '{field}', 0, '\\x{frame}')
             ON CONFLICT (drawer, field) DO UPDATE SET frame = excluded.frame"
        );
        PostgresServer::shared().ask(&self.database, &statement);
    }
}

#[cfg(feature = "postgres")]
impl Drop for Postgres {
    fn drop(&mut self) {
        PostgresServer::shared().drop_database(&self.database);
    }
}

// === impl PlainRedis ===

#[cfg(feature = "redis")]
impl Backend for PlainRedis {
    async fn start() -> Self {
        let server = RedisServer::start(RedisOptions::default());
        let store = Arc::new(RedisStore::connect(&plain(&server)).await.unwrap());
        Self { server, store }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.store) as Arc<dyn Index>
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        Arc::new(RedisStore::connect(&plain(&self.server)).await.unwrap())
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        assert!(plant(&self.server, &drawer_key(drawer), field, bytes));
    }
}

// === impl SecuredRedis ===

#[cfg(feature = "redis")]
impl Backend for SecuredRedis {
    async fn start() -> Self {
        let server = RedisServer::start(RedisOptions { secured: true, durable: true, ..RedisOptions::default() });
        let store = Arc::new(RedisStore::connect(&secured(&server)).await.unwrap());
        Self { server, store }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.store) as Arc<dyn Index>
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        Arc::new(RedisStore::connect(&secured(&self.server)).await.unwrap())
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        assert!(plant(&self.server, &drawer_key(drawer), field, bytes));
    }
}

// === impl SentinelRedis ===

#[cfg(feature = "redis")]
impl Backend for SentinelRedis {
    async fn start() -> Self {
        static SHARED: Shared<Watched> = Shared::new();
        let servers = SHARED.get(async || Watched::start(None).await).await;
        let settings = RedisSettings { key_prefix: own_prefix(), ..watched(&servers) };
        let store = Arc::new(RedisStore::connect(&settings).await.unwrap());
        Self { servers, settings, store }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.store) as Arc<dyn Index>
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        Arc::new(RedisStore::connect(&self.settings).await.unwrap())
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        let key = prefixed_key(&self.settings.key_prefix, drawer);
        assert!(self.servers.servers.iter().any(|server| plant(server, &key, field, bytes)));
    }
}

// === impl ClusterRedis ===

#[cfg(feature = "redis")]
impl Backend for ClusterRedis {
    async fn start() -> Self {
        static SHARED: Shared<Nodes> = Shared::new();
        let servers = SHARED.get(async || Nodes::start().await).await;
        let settings = RedisSettings { key_prefix: own_prefix(), ..clustered(&servers) };
        let store = Arc::new(RedisStore::connect(&settings).await.unwrap());
        Self { servers, settings, store }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.store) as Arc<dyn Index>
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        Arc::new(RedisStore::connect(&self.settings).await.unwrap())
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        let key = prefixed_key(&self.settings.key_prefix, drawer);
        assert!(self.servers.nodes.iter().any(|node| plant(node, &key, field, bytes)));
    }
}

// === impl DynamoLocal, Ministack ===

#[cfg(feature = "dynamodb")]
impl Table {
    async fn of(peer: Peer) -> Self {
        let server = DynamoServer::of(peer).await;
        let settings = server.table().await;
        let store = dynamodb(&settings).await;
        Self { server, settings, store }
    }
}

#[cfg(feature = "dynamodb")]
macro_rules! backend_of_a_table {
    ($name:ident, $peer:expr) => {
        impl Backend for $name {
            async fn start() -> Self {
                Self(Table::of($peer).await)
            }

            fn store(&self) -> Arc<dyn Store> {
                Arc::clone(&self.0.store) as Arc<dyn Store>
            }

            fn index(&self) -> Arc<dyn Index> {
                Arc::clone(&self.0.store) as Arc<dyn Index>
            }

            async fn another_instance(&self) -> Arc<dyn Store> {
                dynamodb(&self.0.settings).await
            }

            async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
                self.0.server.plant(&self.0.settings.table, drawer, field, bytes).await;
            }
        }
    };
}

#[cfg(feature = "dynamodb")]
backend_of_a_table!(DynamoLocal, Peer::Local);
#[cfg(feature = "dynamodb")]
backend_of_a_table!(Ministack, Peer::Ministack);

// === impl Retrying ===

impl<B: Backend> Backend for Retrying<B> {
    async fn start() -> Self {
        Self(B::start().await)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(RetryingStore::new(self.0.store(), Arc::new(SystemRandom), RetryPolicy::default()))
    }

    fn index(&self) -> Arc<dyn Index> {
        self.0.index()
    }

    async fn another_instance(&self) -> Arc<dyn Store> {
        let other = self.0.another_instance().await;
        Arc::new(RetryingStore::new(other, Arc::new(SystemRandom), RetryPolicy::default()))
    }

    async fn plant(&mut self, drawer: &str, field: &str, bytes: &[u8]) {
        self.0.plant(drawer, field, bytes).await;
    }
}

/// How to reach a database, with time limits for a machine that runs many tests at once.
#[cfg(feature = "postgres")]
pub(crate) fn in_database(server: &PostgresServer, database: &str) -> PostgresSettings {
    PostgresSettings {
        port: server.port(),
        database: database.to_owned(),
        username: POSTGRES_USERNAME.to_owned(),
        password: Some(POSTGRES_PASSWORD.to_owned().into()),
        connect_timeout: std::time::Duration::from_secs(20),
        command_timeout: std::time::Duration::from_secs(10),
        ..PostgresSettings::default()
    }
}

/// The store in this table.
#[cfg(feature = "dynamodb")]
pub(crate) async fn dynamodb(settings: &DynamoSettings) -> Arc<DynamoStore> {
    let store = DynamoStore::connect_as(settings, dynamodb_server::credentials(), Arc::new(SystemClock)).await;
    Arc::new(store.unwrap())
}

/// How to reach a server that anybody may use.
#[cfg(feature = "redis")]
pub(crate) fn plain(server: &RedisServer) -> RedisSettings {
    at_port(server.port())
}

/// How to reach a secured server.
#[cfg(feature = "redis")]
pub(crate) fn secured(server: &RedisServer) -> RedisSettings {
    let client =
        ClientCertificate { cert_file: server.tls_file("client.crt"), key_file: server.tls_file("client.key") };
    RedisSettings {
        shape: Shape::Server(local(server.tls_port())),
        username: Some(USERNAME.to_owned()),
        password: Some(PASSWORD.to_owned().into()),
        tls: Some(TlsSettings { ca_file: Some(server.tls_file("ca.crt")), client: Some(client) }),
        ..RedisSettings::default()
    }
}

/// How to reach the primary that sentinels know.
#[cfg(feature = "redis")]
pub(crate) fn watched(servers: &Watched) -> RedisSettings {
    let shape = Shape::Sentinel(SentinelSettings {
        addresses: servers.sentinels.iter().map(|sentinel| local(sentinel.port())).collect(),
        master_name: MASTER_NAME.to_owned(),
        username: None,
        password: None,
        tls: None,
    });
    RedisSettings { shape, ..RedisSettings::default() }
}

/// How to reach a cluster, of which two nodes are told.
#[cfg(feature = "redis")]
pub(crate) fn clustered(servers: &Nodes) -> RedisSettings {
    let seeds = servers.nodes.iter().take(2).map(|node| local(node.port())).collect();
    RedisSettings { shape: Shape::Cluster(seeds), ..RedisSettings::default() }
}

/// How to reach whatever listens at a port of this machine.
#[cfg(feature = "redis")]
pub(crate) fn at_port(port: u16) -> RedisSettings {
    RedisSettings { shape: Shape::Server(local(port)), ..RedisSettings::default() }
}

#[cfg(feature = "redis")]
pub(crate) fn local(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

/// A prefix no other test has.
#[cfg(feature = "redis")]
fn own_prefix() -> String {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    format!("test{}", TAKEN.fetch_add(1, Ordering::Relaxed))
}

/// Writes as an operator; says whether this server took it.
#[cfg(feature = "redis")]
fn plant(server: &RedisServer, key: &str, field: &str, bytes: &[u8]) -> bool {
    server.try_ask(&[b"HSET", key.as_bytes(), field.as_bytes(), bytes]).is_ok()
}

/// The key of a user's drawer.
#[cfg(feature = "redis")]
pub(crate) fn drawer_key(drawer: &str) -> String {
    prefixed_key("vault", drawer)
}

#[cfg(feature = "redis")]
fn prefixed_key(prefix: &str, drawer: &str) -> String {
    let (tenant, user) = drawer.split_once('/').unwrap();
    let partition = Partition::of(&tenant.parse().unwrap(), &user.parse().unwrap());
    format!("{prefix}:{{{}}}:{drawer}", partition.number())
}
