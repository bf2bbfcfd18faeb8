//! A store, a key service that fails on demand, and everything between them.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use vault_engine::adapters::keys::local::{InProduction, LocalKeys};
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::connection::{Connection, Entry, Generation, Grant, OriginFingerprint};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Clock, Expected, Index, Store, Tasks, Version};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::{KeyLimits, Sealer, TenantKeys, UserKeys};

use crate::faulty::FaultyKeys;

/// One installation: what it is made of, and what it does.
pub(crate) struct House {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) keys: FaultyKeys,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<Hands>,
    folder: TempDir,
}

/// A clock that is set by hand.
#[derive(Default)]
pub(crate) struct Hands(AtomicI64);

/// What one instance has in memory.
pub(crate) struct Memory {
    pub(crate) tenants: Arc<TenantKeys>,
    pub(crate) users: Arc<UserKeys>,
    pub(crate) sealer: Sealer,
}

struct Spawn;

impl Tasks for Spawn {
    fn spawn(&self, _: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        #[expect(clippy::disallowed_methods, reason = "this is the Tasks port")]
        tokio::spawn(work);
    }
}

// === impl Hands ===

impl Hands {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

// === impl House ===

impl House {
    pub(crate) fn new(limits: KeyLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = FaultyKeys::around(Arc::new(local_keys(folder.path())));
        let embedded = Arc::new(EmbeddedStore::open(&folder.path().join("db")).unwrap());
        let (store, index): (Arc<dyn Store>, Arc<dyn Index>) = (Arc::clone(&embedded) as _, embedded);
        let clock = Arc::new(Hands::default());
        let sealer = Self::memory(&store, &keys, &clock, limits).sealer;
        Self { store, index, keys, sealer, clock, folder }
    }

    /// Another instance over the same store and key service, with nothing in memory.
    pub(crate) fn another(&self, limits: KeyLimits) -> Sealer {
        self.instance(limits).sealer
    }

    /// The same, all of it.
    pub(crate) fn instance(&self, limits: KeyLimits) -> Memory {
        Self::memory(&self.store, &self.keys, &self.clock, limits)
    }

    /// Another one, that has read the file with the local keys again.
    pub(crate) fn instance_with_the_keys_of_now(&self) -> Memory {
        let keys = FaultyKeys::around(Arc::new(local_keys(self.folder.path())));
        Self::memory(&self.store, &keys, &self.clock, KeyLimits::default())
    }

    /// Where the local keys are.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn memory(store: &Arc<dyn Store>, keys: &FaultyKeys, clock: &Arc<Hands>, limits: KeyLimits) -> Memory {
        let environment: vault_engine::domain::id::Environment = "test".parse().unwrap();
        let tenants = Arc::new(TenantKeys::new(
            environment.clone(),
            Arc::clone(store),
            Arc::new(keys.clone()),
            (Arc::clone(clock) as _, Arc::new(SystemRandom), Arc::new(Spawn)),
            limits,
        ));
        let (store, random) = (Arc::clone(store), Arc::new(SystemRandom));
        let users = UserKeys::new(environment.clone(), Arc::clone(&tenants), store, random, limits);
        let users = Arc::new(users);
        let sealer = Sealer::new(environment, Arc::clone(&users), Arc::new(SystemRandom));
        Memory { tenants, users, sealer }
    }

    pub(crate) async fn put(&self, key: &ConnectionKey) {
        self.put_with(&self.sealer, key).await;
    }

    /// As another instance: this one has never held the user's key.
    pub(crate) async fn put_elsewhere(&self, key: &ConnectionKey) {
        self.put_with(&self.another(KeyLimits::default()), key).await;
    }

    pub(crate) async fn put_with(&self, sealer: &Sealer, key: &ConnectionKey) {
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

fn local_keys(folder: &Path) -> LocalKeys {
    let environment = "test".parse().unwrap();
    LocalKeys::open(&folder.join("key"), &environment, InProduction::Refuse, Arc::new(SystemRandom)).unwrap()
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
