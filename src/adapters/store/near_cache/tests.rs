//! When what is at hand is handed out, and when it is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes as Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::*;
use crate::adapters::store::embedded::EmbeddedStore;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{ChangeCursor, Changes, Due, Page, Partition, ScanCursor, Scope};
use crate::domain::time::Timestamp;

/// A real store whose reads are counted and can be held up on their way back, and whose telling is done by hand, as if
/// other instances wrote to it.
struct Remote {
    store: EmbeddedStore,
    reads: AtomicUsize,
    answers: Semaphore,
    pushes: Pushes,
    listener: Mutex<Option<Arc<dyn Listener>>>,
    _directory: TempDir,
}

impl Remote {
    fn new(pushes: Pushes) -> Arc<Self> {
        let directory = TempDir::new().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("vault.redb")).unwrap();
        let answers = Semaphore::new(1);
        let (reads, listener) = Default::default();
        Arc::new(Self { store, reads, answers, pushes, listener, _directory: directory })
    }

    fn near(self: &Arc<Self>, max_bytes: u64) -> NearCache {
        NearCache::over(Arc::clone(self) as Arc<dyn Store>, &**self, max_bytes)
    }

    fn listener(&self) -> Arc<dyn Listener> {
        self.listener.lock().unwrap().clone().unwrap()
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// No read is answered while this is held.
    async fn hold_answers(&self) -> SemaphorePermit<'_> {
        self.answers.acquire().await.unwrap()
    }
}

#[async_trait]
impl Store for Remote {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.store.get(address).await;
        drop(self.answers.acquire().await.unwrap());
        found
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.store.put(address, expected, record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.store.restore(address, version, record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        self.store.list_user(tenant, user).await
    }

    fn kind(&self) -> &'static str {
        "remote"
    }
}

#[async_trait]
impl Index for Remote {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.store.due(partition, by, limit).await
    }

    async fn changes(&self, of: Partition, after: Option<&ChangeCursor>, limit: usize) -> Result<Changes, StoreError> {
        self.store.changes(of, after, limit).await
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scope, after, limit).await
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Pushes {
        *self.listener.lock().unwrap() = Some(listener);
        self.pushes
    }
}

const ROOM: u64 = 1_000_000;

fn of(user: &str) -> Address {
    let (tenant, user, platform) = (TenantId::default_tenant(), user.parse().unwrap(), "gmail".parse().unwrap());
    Address::Connection(ConnectionKey { tenant, user, platform })
}

fn user() -> (TenantId, UserId) {
    (TenantId::default_tenant(), "u".parse().unwrap())
}

async fn write(store: &dyn Store, version: u64) {
    let expected = version
        .checked_sub(1)
        .filter(|before| *before > 0)
        .map_or(Expected::Absent, |before| Expected::Version(Version(before)));
    store.put(&of("u"), expected, Value::from(format!("v{version}")).into()).await.unwrap();
}

async fn recent(near: &NearCache) -> u64 {
    near.get_recent(&of("u")).await.unwrap().unwrap().version.0
}

#[tokio::test]
async fn the_second_read_asks_nobody() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = remote.near(ROOM);
    write(&near, 1).await;
    assert_eq!((recent(&near).await, recent(&near).await, remote.reads()), (1, 1, 1));
    assert_eq!(near.get(&of("u")).await.unwrap().unwrap().version, Version(1));
    assert_eq!(remote.reads(), 2, "who wants the latest is given the latest");
}

#[tokio::test]
async fn what_this_instance_wrote_is_never_missed() {
    let remote = Remote::new(Pushes::Never);
    let near = remote.near(ROOM);
    for version in 1..=20 {
        write(&near, version).await;
        assert_eq!(recent(&near).await, version);
        assert_eq!(recent(&near).await, version);
    }
}

#[tokio::test]
async fn what_another_instance_wrote_is_seen_once_it_is_told() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = remote.near(ROOM);
    write(&near, 1).await;
    assert_eq!(recent(&near).await, 1);
    write(&remote.store, 2).await;
    assert_eq!(recent(&near).await, 1, "nobody has said so yet");
    remote.listener().changed(&user().0, &user().1);
    assert_eq!(recent(&near).await, 2);
}

#[tokio::test]
async fn an_answer_that_was_overtaken_by_news_is_not_remembered() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = Arc::new(remote.near(ROOM));
    write(&*near, 1).await;
    let held_up = remote.hold_answers().await;
    let address = of("u");
    let mut slow = Box::pin(near.get_recent(&address));
    assert!(futures_util::poll!(&mut slow).is_pending());
    write(&remote.store, 2).await;
    remote.listener().changed(&user().0, &user().1);
    drop(held_up);
    assert_eq!(slow.await.unwrap().unwrap().version, Version(1), "it was asked before the news");
    assert_eq!(recent(&near).await, 2);
}

#[tokio::test]
async fn without_news_nothing_is_older_than_the_bound() {
    let remote = Remote::new(Pushes::Never);
    let near = remote.near(ROOM);
    write(&near, 1).await;
    write(&remote.store, 2).await;
    tokio::time::pause();
    assert_eq!(recent(&near).await, 2);
    tokio::time::resume();
    write(&remote.store, 3).await;
    tokio::time::pause();
    tokio::time::advance(STALENESS / 2).await;
    assert_eq!(recent(&near).await, 2, "within the bound");
    tokio::time::advance(STALENESS / 2 + Duration::from_millis(1)).await;
    assert_eq!(recent(&near).await, 3);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_believed_for_the_bound_only() {
    let remote = Remote::new(Pushes::WhileConnected);
    let near = remote.near(ROOM);
    write(&near, 1).await;
    tokio::time::pause();
    assert_eq!(recent(&near).await, 1);
    for _ in 0..10 {
        tokio::time::advance(STALENESS / 2).await;
        remote.listener().caught_up(Instant::now().into());
        assert_eq!(recent(&near).await, 1);
    }
    assert_eq!(remote.reads(), 1, "it is told that nothing changed");
    tokio::time::resume();
    write(&remote.store, 2).await;
    tokio::time::pause();
    tokio::time::advance(STALENESS + Duration::from_millis(1)).await;
    assert_eq!(recent(&near).await, 2, "the connection is silent");
}

#[tokio::test]
async fn a_connection_that_was_lost_takes_everything_with_it() {
    let remote = Remote::new(Pushes::WhileConnected);
    let near = remote.near(ROOM);
    write(&near, 1).await;
    assert_eq!(recent(&near).await, 1);
    write(&remote.store, 2).await;
    remote.listener().caught_up(Instant::now().into());
    remote.listener().lost();
    assert_eq!(recent(&near).await, 2);
}

#[tokio::test]
async fn memory_is_bounded_by_bytes() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = remote.near(100_000);
    for number in 0..100 {
        let address = of(&format!("u{number}"));
        near.put(&address, Expected::Absent, Value::from(vec![7; 10_000]).into()).await.unwrap();
        near.get_recent(&address).await.unwrap();
    }
    assert!(near.memory.users.weight() <= 100_000, "{}", near.memory.users.weight());
    assert!(near.memory.users.len() >= 5, "{}", near.memory.users.len());
}

#[tokio::test]
async fn platforms_of_one_user_are_held_beside_each_other() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = remote.near(ROOM);
    let (tenant, user) = user();
    let at = |platform: &str| {
        Address::Connection(ConnectionKey {
            tenant: tenant.clone(),
            user: user.clone(),
            platform: platform.parse().unwrap(),
        })
    };
    for platform in ["a", "b", "c"] {
        near.put(&at(platform), Expected::Absent, Value::from(platform.to_owned()).into()).await.unwrap();
    }
    for _ in 0..2 {
        for platform in ["a", "b", "c"] {
            assert_eq!(near.get_recent(&at(platform)).await.unwrap().unwrap().value, platform);
        }
    }
    assert_eq!(remote.reads(), 3);
}

#[tokio::test]
async fn keys_and_what_is_not_there_are_not_held() {
    let remote = Remote::new(Pushes::AtOnce);
    let near = remote.near(ROOM);
    let key = Address::UserKey { tenant: user().0, user: user().1, generation: 1 };
    near.put(&key, Expected::Absent, Value::from_static(b"key").into()).await.unwrap();
    for _ in 0..2 {
        near.get_recent(&key).await.unwrap();
        assert_eq!(near.get_recent(&of("nobody")).await.unwrap(), None);
    }
    assert_eq!(remote.reads(), 4);
}
