//! A store, a key service that fails on demand, and everything between them.

use std::pin::Pin;
use std::sync::Arc;

use tempfile::TempDir;
use vault_engine::adapters::keys::local::{InProduction, LocalKeys};
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::adapters::system::{SystemClock, SystemRandom};
use vault_engine::domain::connection::{Connection, Entry, Generation, Grant, OriginFingerprint};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Expected, Store, Tasks, Version};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::{KeyLimits, Sealer, TenantKeys, UserKeys};

use crate::faulty::FaultyKeys;

/// One installation: what it is made of, and what it does.
pub(crate) struct House {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: FaultyKeys,
    pub(crate) sealer: Sealer,
    _folder: TempDir,
}

struct Spawn;

impl Tasks for Spawn {
    fn spawn(&self, _: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        #[expect(clippy::disallowed_methods, reason = "this is the Tasks port")]
        tokio::spawn(work);
    }
}

impl House {
    pub(crate) fn new(limits: KeyLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let environment = "test".parse().unwrap();
        let local =
            LocalKeys::open(&folder.path().join("key"), &environment, InProduction::Refuse, Arc::new(SystemRandom));
        let keys = FaultyKeys::around(Arc::new(local.unwrap()));
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&folder.path().join("db")).unwrap());
        let sealer = Self::sealer(&store, &keys, limits);
        Self { store, keys, sealer, _folder: folder }
    }

    /// Another instance over the same store and key service, with nothing in memory.
    pub(crate) fn another(&self, limits: KeyLimits) -> Sealer {
        Self::sealer(&self.store, &self.keys, limits)
    }

    fn sealer(store: &Arc<dyn Store>, keys: &FaultyKeys, limits: KeyLimits) -> Sealer {
        let environment: vault_engine::domain::id::Environment = "test".parse().unwrap();
        let tenants = Arc::new(TenantKeys::new(
            environment.clone(),
            Arc::clone(store),
            Arc::new(keys.clone()),
            (Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(Spawn)),
            limits,
        ));
        let users = UserKeys::new(environment.clone(), tenants, Arc::clone(store), Arc::new(SystemRandom), limits);
        Sealer::new(environment, Arc::new(users), Arc::new(SystemRandom))
    }

    pub(crate) async fn put(&self, key: &ConnectionKey) {
        self.put_with(&self.sealer, key).await;
    }

    /// As another instance: this one has never held the user's key.
    pub(crate) async fn put_elsewhere(&self, key: &ConnectionKey) {
        self.put_with(&self.another(KeyLimits::default()), key).await;
    }

    async fn put_with(&self, sealer: &Sealer, key: &ConnectionKey) {
        let value = sealer.seal(key, Version::FIRST, &entry(key.user.as_str())).await.unwrap();
        self.store.put(&Address::Connection(key.clone()), Expected::Absent, value.into()).await.unwrap();
    }

    pub(crate) async fn open(&self, key: &ConnectionKey) -> Result<String, VaultError> {
        self.open_with(&self.sealer, key).await
    }

    pub(crate) async fn open_with(&self, sealer: &Sealer, key: &ConnectionKey) -> Result<String, VaultError> {
        let stored = self.store.get(&Address::Connection(key.clone())).await?.unwrap();
        match sealer.open(key, &stored, None).await? {
            Entry::Live(connection) => Ok(connection.grant.access.expose().to_owned()),
            Entry::Deleted(_) => panic!("nothing was deleted"),
        }
    }
}

pub(crate) fn key(tenant: &str, user: &str) -> ConnectionKey {
    ConnectionKey { tenant: tenant.parse().unwrap(), user: user.parse().unwrap(), platform: "gmail".parse().unwrap() }
}

pub(crate) fn entry(access: &str) -> Entry {
    let grant = Grant {
        access: AccessToken::new(access.to_owned()).unwrap(),
        refresh: RefreshToken::new("refresh".to_owned()),
        previous_refresh: None,
        expires_at: Some(Timestamp::from_unix_seconds(1_700_003_600)),
        issued_at: Timestamp::from_unix_seconds(1_700_000_000),
        scopes: Vec::new(),
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(u64::MAX),
    };
    Entry::Live(Box::new(Connection::stored(grant, Generation(1), Timestamp::from_unix_seconds(1_700_000_000))))
}
