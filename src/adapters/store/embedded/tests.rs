//! What only this store promises: its file, its batches, its recovery. What every store promises is in
//! `tests/contract`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;

use redb::StorageBackend;
use redb::backends::FileBackend;
use tempfile::TempDir;

use super::*;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::Version;

fn address(user: &str) -> Address {
    Address::Connection(ConnectionKey {
        tenant: TenantId::default_tenant(),
        user: user.parse().unwrap(),
        platform: "gmail".parse().unwrap(),
    })
}

async fn create(store: &EmbeddedStore, user: &str) -> Result<(), StoreError> {
    store.put(&address(user), Expected::Absent, Bytes::from(user.to_owned()).into()).await
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_and_its_directory_are_for_the_owner_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("data/vault.redb");
    let _store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(mode_of(path.parent().unwrap()), 0o700);
}

#[test]
fn a_file_that_was_open_to_others_is_closed_to_them() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    drop(EmbeddedStore::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_file_in_use_says_by_whom() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    let _store = EmbeddedStore::open(&path).unwrap();
    let refused = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }));
    assert!(refused.to_string().contains("in use by another vault-engine"), "{refused}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    fs::write(&path, b"somebody's letters".repeat(1_000)).unwrap();
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), OpenError::Database { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"somebody's letters".repeat(1_000));
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    create(&store, "u1").await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    let stored = store.get(&address("u1")).await.unwrap();
    assert_eq!(stored, Some(Stored { version: Version::FIRST, value: Bytes::from_static(b"u1") }));
}

#[tokio::test]
async fn closing_finishes_the_writes_that_wait() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    for number in 0..200 {
        let user = format!("u{number}");
        // Polled once, so that it is in the queue, and dropped.
        let mut put = Box::pin(create(&store, &user));
        assert!(futures_util::poll!(put.as_mut()).is_pending());
    }
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    for number in 0..200 {
        assert!(store.get(&address(&format!("u{number}"))).await.unwrap().is_some(), "u{number}");
    }
}

#[tokio::test]
async fn many_writes_share_a_commit() {
    let directory = TempDir::new().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("vault.redb")).unwrap();
    let users: Vec<String> = (0..1_000).map(|number| format!("u{number}")).collect();
    let verdicts = futures_util::future::join_all(users.iter().map(|user| create(&store, user))).await;
    assert!(verdicts.iter().all(Result::is_ok));
    assert!(store.commits() <= 100, "{} commits", store.commits());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "tests have no task tracker")]
async fn whoever_has_written_reads_it_whatever_others_read_and_write() {
    let directory = TempDir::new().unwrap();
    let store = Arc::new(EmbeddedStore::open(&directory.path().join("vault.redb")).unwrap());
    let calls = (0..8).map(|number| {
        let (store, user) = (Arc::clone(&store), format!("u{number}"));
        tokio::spawn(async move {
            let mut expected = Expected::Absent;
            for _ in 0..50 {
                store.put(&address(&user), expected, Bytes::from_static(b"v").into()).await.unwrap();
                expected = Expected::Version(expected.next());
                let found = store.get(&address(&user)).await.unwrap().unwrap();
                assert_eq!(Expected::Version(found.version), expected);
                let drawer = store.list_user(&TenantId::default_tenant(), &user.parse().unwrap()).await.unwrap();
                assert_eq!(drawer.connections.first().map(|(_, found)| found.version), Some(found.version));
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn reading_between_writes_keeps_no_page_from_being_used_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    let value = Bytes::from(vec![7; 32 * 1_024]);
    let mut expected = Expected::Absent;
    for _ in 0..300 {
        store.put(&address("u"), expected, value.clone().into()).await.unwrap();
        expected = Expected::Version(expected.next());
        assert!(store.get(&address("u")).await.unwrap().is_some());
    }
    // 9.4 MiB were written.
    let length = fs::metadata(&path).unwrap().len();
    assert!(length < 4 * 1_024 * 1_024, "{length} bytes");
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "holding it is what stalls the disk")]
async fn more_writes_than_the_queue_holds_are_refused_at_once() {
    let directory = TempDir::new().unwrap();
    let (disk, store) = on_a_faulty_disk(&directory);
    let stall = disk.stall.lock().unwrap();
    let users: Vec<String> = (0..=QUEUE_LENGTH + BATCH_AT_MOST).map(|number| format!("u{number}")).collect();
    let mut puts: Vec<_> = users.iter().map(|user| Box::pin(create(&store, user))).collect();
    let mut refused = Vec::new();
    for put in &mut puts {
        if let Poll::Ready(verdict) = futures_util::poll!(put.as_mut()) {
            refused.push(verdict);
        }
    }
    drop(stall);
    assert!(!refused.is_empty());
    for verdict in refused {
        assert!(matches!(verdict, Err(StoreError::Unavailable { reason: reason::BUSY, .. })), "{verdict:?}");
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "holding it is what stalls the disk")]
async fn nobody_is_answered_while_the_disk_has_not_answered() {
    let directory = TempDir::new().unwrap();
    let (disk, store) = on_a_faulty_disk(&directory);
    disk.flushing.store(false, SeqCst);
    let mut put = Box::pin(create(&store, "u1"));
    {
        let _stall = disk.stall.lock().unwrap();
        assert!(futures_util::poll!(put.as_mut()).is_pending());
        let patience = tokio::time::Instant::now() + Duration::from_secs(10);
        while !disk.flushing.load(SeqCst) {
            assert!(tokio::time::Instant::now() < patience, "the write never reached the disk");
            thread::yield_now();
        }
        // Readers do not wait for the disk meanwhile, and see nothing that is not durable.
        assert!(store.get(&address("u1")).await.unwrap().is_none());
        assert!(futures_util::poll!(put.as_mut()).is_pending());
    }
    put.await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_is_told_and_one_that_recovers_is_used_again() {
    let directory = TempDir::new().unwrap();
    let (disk, store) = on_a_faulty_disk(&directory);
    create(&store, "before").await.unwrap();
    disk.fails.store(true, SeqCst);
    let verdict = create(&store, "during").await;
    assert!(matches!(verdict, Err(StoreError::Unavailable { reason: reason::DISK, .. })), "{verdict:?}");
    disk.fails.store(false, SeqCst);
    // The first one makes the writer open the file again; it may still fail itself.
    drop(create(&store, "trial").await);
    create(&store, "after").await.unwrap();
    assert!(store.get(&address("before")).await.unwrap().is_some());
    assert!(store.get(&address("after")).await.unwrap().is_some());
}

#[tokio::test]
async fn readers_alone_get_a_file_opened_again() {
    let directory = TempDir::new().unwrap();
    let (disk, store) = on_a_faulty_disk(&directory);
    create(&store, "before").await.unwrap();
    disk.fails.store(true, SeqCst);
    assert!(create(&store, "during").await.is_err());
    disk.fails.store(false, SeqCst);
    let mut answer = store.get(&address("before")).await;
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    while answer.is_err() && tokio::time::Instant::now() < patience {
        tokio::task::yield_now().await;
        answer = store.get(&address("before")).await;
    }
    assert!(answer.unwrap().is_some());
}

/// Enough that the batch in hand and the full queue cannot hold them all.
const BATCH_AT_MOST: usize = 512;

/// A disk with one field per failure.
#[derive(Debug, Default)]
struct Disk {
    /// Writing and flushing fail.
    fails: AtomicBool,
    /// A flush has begun.
    flushing: AtomicBool,
    /// Flushing waits for as long as somebody holds this.
    stall: Mutex<()>,
}

#[derive(Debug)]
struct OnDisk {
    disk: Arc<Disk>,
    file: FileBackend,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(SeqCst) { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.flushing.store(true, SeqCst);
        drop(self.disk.stall.lock().unwrap());
        self.disk.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.check()?;
        self.file.write(offset, data)
    }
}

fn on_a_faulty_disk(directory: &TempDir) -> (Arc<Disk>, EmbeddedStore) {
    let path = directory.path().join("vault.redb");
    drop(EmbeddedStore::open(&path).unwrap());
    let disk = Arc::new(Disk::default());
    let for_file = Arc::clone(&disk);
    let opener = move || {
        let refused = |source: redb::Error| OpenError::Database { path: path.clone(), source };
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let file = FileBackend::new(file).map_err(|error| refused(error.into()))?;
        redb::Builder::new()
            .create_with_backend(OnDisk { disk: Arc::clone(&for_file), file })
            .map_err(|error| refused(error.into()))
    };
    let file = RecordFile::with_opener(Box::new(opener)).unwrap();
    (disk, EmbeddedStore::serve(file).unwrap())
}
