//! A store in memory, for tests that stop the clock: nothing in it waits for a thread or a disk. It counts what is asked
//! of it, and keeps no changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use vault_engine::domain::id::{ConnectionKey, TenantId, UserId};
use vault_engine::domain::ports::{
    Address, ChangeCursor, Changes, Due, Expected, Index, Listener, Page, Partition, Pushes, Record, ScanCursor, Scope,
    Store, StoreError, Stored, UserDrawer, Version,
};
use vault_engine::domain::time::Timestamp;

/// Everything in maps.
#[derive(Default)]
pub(crate) struct MemoryStore {
    maps: Mutex<Maps>,
    calls: AtomicUsize,
}

#[derive(Default)]
struct Maps {
    records: HashMap<Address, (Version, Record)>,
    due: BTreeMap<(Partition, i64, String), ConnectionKey>,
}

impl MemoryStore {
    /// How often it was asked for anything.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// What is there now, to go back to.
    pub(crate) fn now_at(&self, address: &Address) -> (Version, Record) {
        self.with(|maps| maps.records[address].clone())
    }

    /// Goes back in time, as a server does that takes over without the last writes of the one before.
    pub(crate) fn go_back(&self, address: &Address, (version, record): (Version, Record)) {
        self.with(|maps| maps.write(address, version, record));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Maps) -> T) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        act(&mut self.maps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Maps {
    fn write(&mut self, address: &Address, version: Version, record: Record) {
        if let Address::Connection(key) = address {
            let entry = |record: &Record| {
                let at = record.hints.due_at?.unix_seconds();
                Some((address.partition(), at, format!("{key:?}")))
            };
            if let Some(before) = self.records.get(address).and_then(|(_, before)| entry(before)) {
                self.due.remove(&before);
            }
            if let Some(after) = entry(&record) {
                self.due.insert(after, key.clone());
            }
        }
        self.records.insert(address.clone(), (version, record));
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        Ok(self.with(|maps| {
            let (version, record) = maps.records.get(address)?;
            Some(Stored { version: *version, value: record.value.clone() })
        }))
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.with(|maps| {
            let found = maps.records.get(address).map_or(Expected::Absent, |(version, _)| Expected::Version(*version));
            if found != expected {
                return Err(StoreError::Conflict);
            }
            maps.write(address, expected.next(), record);
            Ok(())
        })
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.with(|maps| {
            if maps.records.get(address).is_some_and(|(found, _)| *found >= version) {
                return Err(StoreError::Conflict);
            }
            maps.write(address, version, record);
            Ok(())
        })
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        Ok(self.with(|maps| {
            let mut drawer = UserDrawer::default();
            for (address, (version, record)) in &maps.records {
                let stored = Stored { version: *version, value: record.value.clone() };
                match address {
                    Address::Connection(key) if (&key.tenant, &key.user) == (tenant, user) => {
                        drawer.connections.push((key.platform.clone(), stored));
                    }
                    Address::UserKey { tenant: of, user: whose, generation } if (of, whose) == (tenant, user) => {
                        drawer.keys.push((*generation, stored));
                    }
                    _ => {}
                }
            }
            drawer
        }))
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}

#[async_trait]
impl Index for MemoryStore {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        let (first, last) = ((partition, 0, String::new()), (partition, by.unix_seconds() + 1, String::new()));
        let due = |((_, at, _), key): (&(Partition, i64, String), &ConnectionKey)| Due {
            at: Timestamp::from_unix_seconds(*at),
            key: key.clone(),
        };
        Ok(self.with(|maps| maps.due.range(first..last).take(limit).map(due).collect()))
    }

    async fn changes(&self, _: Partition, _: Option<&ChangeCursor>, _: usize) -> Result<Changes, StoreError> {
        Ok(Changes::Forgotten)
    }

    async fn scan(&self, _: &Scope, _: Option<&ScanCursor>, _: usize) -> Result<Page, StoreError> {
        Err(StoreError::unavailable("not_kept"))
    }

    fn listen(&self, _: Arc<dyn Listener>) -> Pushes {
        Pushes::Never
    }
}
