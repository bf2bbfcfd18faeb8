//! A store that is set back on purpose: instances that have seen later versions call it a loss until they are told.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use vault_engine::adapters::keys::local::{InProduction, LocalKeys};
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::adapters::system::{SystemClock, SystemRandom};
use vault_engine::domain::catalog::Catalog;
use vault_engine::domain::connection::{Connection, Entry, Generation, Grant, OriginFingerprint};
use vault_engine::domain::error::{CorruptRecord, VaultError};
use vault_engine::domain::id::{ConnectionKey, Environment, TenantId, UserId};
use vault_engine::domain::ports::{
    Address, Expected, Item, Record, Store, StoreError, Stored, Tasks, UserDrawer, Version,
};
use vault_engine::domain::secret::AccessToken;
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::{EpochSeal, KeyLimits, Sealer, TenantKeys, UserKeys};
use vault_engine::service::bulk::{ExportVault, RestoreVault};
use vault_engine::service::{Epochs, Records};

use crate::site::{everything, open};

/// What a name stands for: another server is put in the place of the one that was lost.
struct Renamed(RwLock<Arc<EmbeddedStore>>);

/// Instances of one installation.
struct House {
    folder: TempDir,
    store: Arc<Renamed>,
}

/// What one instance has.
pub(crate) struct Instance {
    pub(crate) records: Records,
    epochs: Arc<Epochs>,
}

struct Spawn;

impl Tasks for Spawn {
    fn spawn(&self, _: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(work);
    }
}

// === impl Renamed ===

impl Renamed {
    fn inner(&self) -> Arc<EmbeddedStore> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Renamed {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.inner().get(address).await
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.inner().put(address, expected, record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.inner().restore(address, version, record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        self.inner().list_user(tenant, user).await
    }

    fn kind(&self) -> &'static str {
        self.inner().kind()
    }
}

// === impl House ===

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Renamed(RwLock::new(open(&folder.path().join("first")))));
        Self { folder, store }
    }

    async fn instance(&self) -> Instance {
        let instance = self.instance_that_knows_nothing();
        instance.epochs.learn().await.unwrap();
        instance
    }

    fn instance_that_knows_nothing(&self) -> Instance {
        Instance::over(Arc::clone(&self.store) as _, &self.folder.path().join("key"), "test")
    }

    /// Everything there is, as an export tells it.
    async fn export(&self) -> Vec<Item> {
        let store = self.store.inner();
        let mut items = Vec::new();
        let vault = ExportVault { store: Arc::clone(&store) as _, index: store };
        let walk = vault.run(|item| {
            items.push(item.clone());
            Ok::<_, VaultError>(())
        });
        walk.await.unwrap();
        items
    }

    /// All that was there is gone.
    fn lose(&self) {
        let name = format!("another-{}", std::fs::read_dir(self.folder.path()).unwrap().count());
        *self.store.0.write().unwrap() = open(&self.folder.path().join(name));
    }

    /// The records of an export come back, and nobody is told.
    async fn put_back(&self, export: &[Item]) {
        for item in export {
            let record = Record { value: item.stored.value.clone(), hints: item.hints };
            self.store.restore(&item.address, item.stored.version, record).await.unwrap();
        }
    }

    /// As an operator does it.
    async fn restore(&self, export: &[Item]) {
        let epochs = self.instance_that_knows_nothing().epochs;
        let vault = RestoreVault { store: Arc::clone(&self.store) as _, epochs, clock: Arc::new(SystemClock) };
        let keyrings = export.iter().filter(|item| matches!(item.address, Address::TenantKeyring { .. }));
        let keyrings = keyrings.cloned().collect();
        let mut items = export.iter().cloned();
        vault.run(keyrings, None, || Ok::<_, VaultError>(items.next()), |_| ()).await.unwrap();
    }
}

// === impl Instance ===

impl Instance {
    /// One over this store, with the key in this file.
    pub(crate) fn over(store: Arc<dyn Store>, key_file: &Path, environment: &str) -> Self {
        let environment: Environment = environment.parse().unwrap();
        let keys = LocalKeys::open(key_file, &environment, InProduction::Refuse, Arc::new(SystemRandom)).unwrap();
        let limits = KeyLimits::default();
        let tools = (Arc::new(SystemClock) as _, Arc::new(SystemRandom) as _, Arc::new(Spawn) as _);
        let tenants = Arc::new(TenantKeys::new(environment.clone(), Arc::clone(&store), Arc::new(keys), tools, limits));
        let seal = EpochSeal::new(environment.clone(), Arc::clone(&tenants), Arc::new(SystemRandom));
        let epochs = Arc::new(Epochs::new(Arc::clone(&store), seal));
        let users = UserKeys::new(environment.clone(), tenants, Arc::clone(&store), Arc::new(SystemRandom), limits);
        let sealer = Sealer::new(environment, Arc::new(users), Arc::new(SystemRandom));
        let (catalog, clock) = (Arc::new(Catalog::new(Vec::new())), Arc::new(SystemClock));
        let records = Records::new(store, sealer, catalog, clock).noticing(Arc::clone(&epochs));
        Self { records, epochs }
    }

    async fn write(&self, user: &str, access: &str) {
        let expected = self.records.load(&key(user)).await.unwrap();
        let expected = expected.map_or(Expected::Absent, |loaded| loaded.expected());
        self.records.save(&key(user), expected, &entry(access)).await.unwrap();
    }

    async fn read(&self, user: &str) -> Result<String, VaultError> {
        match self.records.load(&key(user)).await?.unwrap().entry {
            Entry::Live(connection) => Ok(connection.grant.access.expose().to_owned()),
            Entry::Deleted(_) => panic!("nothing was deleted"),
        }
    }

    #[track_caller]
    fn lost(read: Result<String, VaultError>) -> CorruptRecord {
        match read {
            Err(VaultError::Corrupt(corrupt)) => corrupt,
            other => panic!("{other:?}"),
        }
    }
}

fn key(user: &str) -> ConnectionKey {
    ConnectionKey {
        tenant: TenantId::default_tenant(),
        user: user.parse().unwrap(),
        platform: "gmail".parse().unwrap(),
    }
}

fn entry(access: &str) -> Entry {
    let now = Timestamp::from_unix_seconds(1_700_000_000);
    let grant = Grant {
        access: AccessToken::new(access.to_owned()).unwrap(),
        refresh: None,
        previous_refresh: None,
        expires_at: None,
        issued_at: now,
        scopes: Vec::new(),
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(0),
    };
    Entry::Live(Box::new(Connection::stored(grant, Generation(1), now)))
}

/// A vault of two users, each of whom has two versions by now; an export of the first; an instance that has seen both.
async fn with_history() -> (House, Instance, Vec<Item>) {
    let house = House::new();
    let instance = house.instance().await;
    // An installation that serves has keys of its own.
    instance.epochs.try_keys().await.unwrap();
    for user in ["ada", "bob"] {
        instance.write(user, "older").await;
    }
    let export = house.export().await;
    for user in ["ada", "bob"] {
        instance.write(user, "newer").await;
    }
    (house, instance, export)
}

#[tokio::test]
async fn a_restore_is_a_loss_to_a_running_instance_until_the_epoch_is_raised() {
    let (house, instance, export) = with_history().await;
    house.lose();
    assert_eq!(Instance::lost(instance.read("ada").await), CorruptRecord::Vanished);
    house.put_back(&export).await;
    assert_eq!(Instance::lost(instance.read("ada").await), CorruptRecord::Rollback);

    house.restore(&export).await;

    for user in ["ada", "bob"] {
        assert_eq!(instance.read(user).await.unwrap(), "older");
        instance.write(user, "newest").await;
        assert_eq!(instance.read(user).await.unwrap(), "newest");
    }
}

#[tokio::test]
async fn every_reader_at_once_finds_the_restored_record() {
    let (house, instance, export) = with_history().await;
    house.lose();
    house.restore(&export).await;
    let reads = (0..50).map(|number| instance.read(if number % 2 == 0 { "ada" } else { "bob" }));
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read.unwrap(), "older");
    }
}

#[tokio::test]
async fn all_platforms_of_a_user_are_found_again_at_once() {
    let (house, instance, export) = with_history().await;
    house.lose();
    let ada = key("ada");
    let all = || instance.records.outlines(&ada.tenant, &ada.user, std::iter::once(ada.platform.clone()));
    assert!(matches!(all().await, Err(VaultError::Corrupt(CorruptRecord::Vanished))));
    house.restore(&export).await;
    assert_eq!(all().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_loss_after_a_restore_is_a_loss_again() {
    let (house, instance, export) = with_history().await;
    house.lose();
    house.restore(&export).await;
    assert_eq!(instance.read("ada").await.unwrap(), "older");
    instance.write("ada", "newest").await;
    let epoch = house.store.get(&Address::Epoch).await.unwrap().unwrap();

    house.lose();
    house.put_back(&export).await;
    // Also with the epoch that was raised before.
    house.store.restore(&Address::Epoch, epoch.version, Record::from(epoch.value)).await.unwrap();

    assert_eq!(Instance::lost(instance.read("ada").await), CorruptRecord::Rollback);
}

#[tokio::test]
async fn a_second_restore_of_the_same_export_is_noticed_by_those_who_know_the_first() {
    let (house, instance, export) = with_history().await;
    for _ in 0..2 {
        house.lose();
        house.restore(&export).await;
        assert_eq!(instance.read("ada").await.unwrap(), "older");
        instance.write("ada", "newest").await;
    }
}

#[tokio::test]
async fn whoever_can_only_write_to_the_store_cannot_raise_its_epoch() {
    let (house, instance, export) = with_history().await;
    house.lose();
    house.put_back(&export).await;
    let forged = [
        Bytes::from_static(&[0xff; 8]),
        Bytes::from(vec![0; 104]),
        // Something this installation has sealed, for another place.
        everything(&house.store.inner()).await.pop().unwrap().stored.value,
    ];
    for (number, value) in forged.into_iter().enumerate() {
        let version = Version(number as u64 + 1);
        house.store.restore(&Address::Epoch, version, Record::from(value)).await.unwrap();
        assert_eq!(Instance::lost(instance.read("ada").await), CorruptRecord::Rollback, "{number}");
    }

    // A restore does not trust it either.
    house.restore(&export).await;
    assert_eq!(instance.read("ada").await.unwrap(), "older");
}

#[tokio::test]
async fn an_epoch_that_cannot_be_trusted_at_the_start_stops_nothing_and_excuses_nothing() {
    let (house, instance, export) = with_history().await;
    house.store.restore(&Address::Epoch, Version(1), Record::from(Bytes::from_static(b"x"))).await.unwrap();
    let started = house.instance().await;
    assert_eq!(started.read("ada").await.unwrap(), "newer");
    house.lose();
    house.restore(&export).await;
    assert_eq!(Instance::lost(started.read("ada").await), CorruptRecord::Rollback, "until it starts again");
    assert_eq!(instance.read("ada").await.unwrap(), "older");
    assert_eq!(house.instance().await.read("ada").await.unwrap(), "older");
}
