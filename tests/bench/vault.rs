//! Vaults as they ship, each in a folder of its own over a store of its own.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use vault_engine::domain::id::TenantId;
use vault_engine::domain::method::Method;
use vault_engine::domain::ports::Partition;

use crate::engine::{self, Engine};
use crate::load::Load;
use crate::postgres_server::{PASSWORD, PostgresServer, USERNAME};
use crate::redis_server::{RedisOptions, RedisServer};
use crate::server::Server;
use crate::traffic::{self, Connection};

/// Where a vault keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Postgres,
    Redis,
}

/// What a vault remembers of what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NearCache {
    AsItShips,
    Off,
}

/// A running vault.
pub(crate) struct Vault {
    pub(crate) server: Server,
    key: String,
    redis: Option<RedisServer>,
    _folder: TempDir,
}

// === impl Vault ===

impl Vault {
    pub(crate) fn start(store: Store, near_cache: NearCache) -> Result<Self, Box<dyn Error>> {
        Self::start_with(store, near_cache, |_| Ok(String::new()))
    }

    /// With more lines of configuration; what they refer to may be put into the folder.
    pub(crate) fn start_with(
        store: Store,
        near_cache: NearCache,
        more: impl FnOnce(&Path) -> Result<String, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let (file, data) = (folder.path().join("vault.yaml"), folder.path().join("data"));
        let redis = (store == Store::Redis).then(|| RedisServer::start(RedisOptions::default()));
        let section = match (store, &redis) {
            (Store::Postgres, _) => in_postgres(folder.path())?,
            (Store::Redis, Some(redis)) => {
                format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }}", redis.port())
            }
            (Store::Embedded | Store::Redis, _) => "kind: embedded".to_owned(),
        };
        let near_cache = match near_cache {
            NearCache::AsItShips => "",
            NearCache::Off => "near_cache: { max_mebibytes: 0 }\n",
        };
        let more = more(folder.path())?;
        fs::write(&file, format!("environment: dev\nstore: {{ {section} }}\n{near_cache}{more}"))?;
        if store == Store::Postgres {
            Server::migrate(&file)?;
        }
        let server = Server::vault(&data, &file)?;
        Ok(Self { server, key: engine_key(&data)?, redis, _folder: folder })
    }

    /// Stores tokens of these connections that stay fresh.
    pub(crate) fn store_fresh(&self, connections: impl IntoIterator<Item = Connection>) -> Result<(), Box<dyn Error>> {
        engine::store_fresh(self.server.address(), &self.key, connections)
    }

    /// Asks for the tokens of these.
    pub(crate) fn get_token(&self, connections: impl Iterator<Item = Connection>) -> Arc<Load> {
        self.load(Method::GetToken, traffic::requests(connections), traffic::answer_bytes())
    }

    /// Asks this; every answer has so many bytes.
    pub(crate) fn load(&self, method: Method, requests: Vec<Vec<u8>>, answer_bytes: usize) -> Arc<Load> {
        Arc::new(Load::new(self.server.address(), method, &self.key, requests, answer_bytes))
    }

    /// An engine that calls it.
    pub(crate) fn engine(&self) -> Result<Engine, Box<dyn Error>> {
        Engine::new(self.server.address(), &self.key)
    }

    /// The Redis server it keeps its records in.
    pub(crate) fn redis(&self) -> Result<&RedisServer, &'static str> {
        self.redis.as_ref().ok_or("this vault keeps nothing in Redis")
    }

    /// Bytes of a stored connection, as Redis has it.
    pub(crate) fn record_bytes(&self) -> Result<usize, Box<dyn Error>> {
        let Connection { user, platform } = Connection::of_user(0);
        let partition = Partition::of(&TenantId::default_tenant(), &user.parse()?);
        let key = format!("vault:{{{}}}:default/{user}", partition.number());
        Ok(self.redis()?.ask(&[b"HSTRLEN", key.as_bytes(), platform.as_bytes()]).parse()?)
    }
}

/// What stands in `store` for a new database.
fn in_postgres(folder: &Path) -> Result<String, Box<dyn Error>> {
    let server = PostgresServer::shared();
    let (database, password) = (server.make_database(), folder.join("password"));
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let (port, password) = (server.port(), password.display());
    Ok(format!(
        "kind: postgres, postgres: {{ url: \"postgres://127.0.0.1:{port}/{database}\", username: {USERNAME}, \
         sslmode: disable, password: {{ file: {password} }} }}"
    ))
}

/// The key of the engine that asks, as `dev` wrote it down.
fn engine_key(data: &Path) -> Result<String, Box<dyn Error>> {
    let keys: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(data.join("engine-keys.json"))?)?;
    Ok(keys.get(engine::NAME).cloned().ok_or("no such engine")?)
}
