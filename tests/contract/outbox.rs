//! What `domain::ports::Outbox` promises, of the outbox in a folder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use vault_engine::adapters::outbox::{Bounds, FolderOutbox, Kind, OpenError, folders_in, list};
use vault_engine::adapters::system::{SystemClock, SystemRandom};
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{EntryName, Outbox, OutboxEntry, OutboxError};

const ROOMY: Bounds = Bounds { entries: 1_000, bytes: 64 * 1_024 * 1_024 };

fn open(root: &TempDir) -> FolderOutbox {
    bounded(root, ROOMY)
}

fn bounded(root: &TempDir, bounds: Bounds) -> FolderOutbox {
    FolderOutbox::open(&outboxes(root), bounds, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap()
}

fn take_over(folder: &Path) -> Result<FolderOutbox, OpenError> {
    FolderOutbox::take_over(folder, ROOMY, Arc::new(SystemClock), Arc::new(SystemRandom))
}

fn outboxes(root: &TempDir) -> PathBuf {
    root.path().join("outbox")
}

fn key(user: &str) -> ConnectionKey {
    ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "p".parse().unwrap() }
}

fn entry(user: &str, sealed: &[u8]) -> OutboxEntry {
    OutboxEntry { key: key(user), sealed: Bytes::copy_from_slice(sealed) }
}

async fn put(outbox: &FolderOutbox, user: &str) -> EntryName {
    outbox.put(outbox.reserve().unwrap(), entry(user, b"sealed")).await.unwrap()
}

/// The names of what waits.
fn names(outbox: &FolderOutbox) -> Vec<EntryName> {
    outbox.waiting().into_iter().map(|(name, _)| name).collect()
}

/// The files of the only folder there is that end like this.
fn files(root: &TempDir, kind: &str) -> Vec<PathBuf> {
    let folders = folders_in(&outboxes(root)).unwrap();
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    files.filter(|path| path.extension().is_some_and(|is| is == kind)).collect()
}

#[tokio::test]
async fn what_was_put_is_read_back_byte_for_byte() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    for sealed in [&b""[..], &[0], &vec![0xff; 100_000]] {
        let put = entry("ada", sealed);
        let name = outbox.put(outbox.reserve().unwrap(), put.clone()).await.unwrap();
        assert_eq!(outbox.get(&name).await.unwrap(), Some(put));
    }
}

#[tokio::test]
async fn many_entries_put_at_once_are_all_there() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let users: Vec<_> = (0..500).map(|n| format!("user-{n}")).collect();
    let put = futures_util::future::join_all(users.iter().map(|user| put(&outbox, user))).await;
    for (user, name) in users.iter().zip(put) {
        assert_eq!(outbox.get(&name).await.unwrap().unwrap().key, key(user));
    }
    assert_eq!(files(&root, "answer").len(), 500);
}

#[tokio::test]
async fn what_waits_is_listed_the_oldest_first_and_by_connection() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let (first, second) = (put(&outbox, "ada").await, put(&outbox, "grace").await);
    let mut sorted = [first.clone(), second.clone()];
    sorted.sort();
    assert_eq!(names(&outbox), sorted);
    assert_eq!((outbox.waiting_for(&key("ada")), outbox.waiting_for(&key("grace"))), (vec![first], vec![second]));
    assert!(outbox.waiting_for(&key("nobody")).is_empty());
}

#[tokio::test]
async fn entries_and_rooms_together_never_exceed_the_bound() {
    let root = TempDir::new().unwrap();
    let outbox = bounded(&root, Bounds { entries: 3, ..ROOMY });
    let name = put(&outbox, "ada").await;
    let rooms = (outbox.reserve().unwrap(), outbox.reserve().unwrap());
    assert!(matches!(outbox.reserve(), Err(OutboxError::Full)));

    drop(rooms.0);
    let another = outbox.reserve().unwrap();
    assert!(matches!(outbox.reserve(), Err(OutboxError::Full)));

    outbox.remove(&name);
    assert!(outbox.reserve().is_ok());
    drop((rooms.1, another));
}

#[tokio::test]
async fn the_bytes_of_all_entries_never_exceed_the_bound() {
    let root = TempDir::new().unwrap();
    let outbox = bounded(&root, Bounds { bytes: 400_000, ..ROOMY });
    let (first, second) = (outbox.reserve().unwrap(), outbox.reserve().unwrap());
    outbox.put(first, entry("ada", &vec![0; 300_000])).await.unwrap();

    assert!(matches!(outbox.put(second, entry("grace", &vec![0; 300_000])).await, Err(OutboxError::Full)));
    assert!(matches!(outbox.reserve(), Err(OutboxError::Full)));
    assert_eq!(files(&root, "answer").len(), 1);
}

#[tokio::test]
async fn an_entry_outlives_its_owner_and_goes_to_the_next_one() {
    let root = TempDir::new().unwrap();
    let first = open(&root);
    let owner = first.owner().unwrap();
    let name = put(&first, "ada").await;
    drop(first);

    let second = open(&root);
    assert!(second.waiting().is_empty(), "not before it is asked to tend");
    assert_eq!(second.tend().await, [owner]);

    assert_eq!(second.waiting(), [(name.clone(), key("ada"))]);
    assert_eq!(second.get(&name).await.unwrap(), Some(entry("ada", b"sealed")));
    assert_eq!(folders_in(&outboxes(&root)).unwrap().len(), 1, "the folder of the dead owner is gone");
}

#[tokio::test]
async fn what_belongs_to_an_owner_that_lives_is_not_touched() {
    let root = TempDir::new().unwrap();
    let first = open(&root);
    let name = put(&first, "ada").await;
    let second = open(&root);
    assert!(second.tend().await.is_empty());

    assert!(second.waiting().is_empty());
    assert_eq!(names(&first), [name]);
    let folder = files(&root, "answer")[0].parent().unwrap().to_owned();
    assert!(matches!(take_over(&folder), Err(OpenError::Owned(_))));
    assert!(list(&folder).unwrap().lives);
    drop(first);
    assert!(!list(&folder).unwrap().lives);
    assert_eq!(take_over(&folder).unwrap().waiting().len(), 1);
}

#[tokio::test]
async fn an_outbox_takes_over_only_what_it_has_room_for() {
    let root = TempDir::new().unwrap();
    let first = open(&root);
    for user in ["ada", "grace", "edsger"] {
        put(&first, user).await;
    }
    let owner = first.owner().unwrap();
    drop(first);
    let second = bounded(&root, Bounds { entries: 2, ..ROOMY });
    assert!(second.tend().await.is_empty(), "there is more of that owner");
    let taken = names(&second);
    assert_eq!(taken.len(), 2);

    outbox_is_empty_of(&second, &taken);
    assert_eq!(second.tend().await, [owner]);
    assert_eq!(second.waiting().len(), 1, "the rest");
}

fn outbox_is_empty_of(outbox: &FolderOutbox, names: &[EntryName]) {
    for name in names {
        outbox.remove(name);
    }
    assert!(outbox.waiting().is_empty());
}

#[tokio::test]
async fn a_removed_entry_is_gone_at_once_and_for_good() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let name = put(&outbox, "ada").await;
    outbox.remove(&name);
    assert!(outbox.waiting().is_empty());
    assert_eq!(outbox.get(&name).await.unwrap(), None);
    outbox.remove(&name);
    drop(outbox);
    assert!(folders_in(&outboxes(&root)).unwrap().is_empty(), "an empty folder goes with its owner");
}

#[tokio::test]
async fn a_quarantined_entry_no_longer_waits_and_is_kept() {
    let root = TempDir::new().unwrap();
    let outbox = bounded(&root, Bounds { entries: 1, ..ROOMY });
    let name = put(&outbox, "ada").await;
    outbox.quarantine(&name);

    assert!(outbox.waiting().is_empty());
    assert!(outbox.reserve().is_ok(), "it takes up no room");
    drop(outbox);
    let next = open(&root);
    next.tend().await;
    assert!(next.waiting().is_empty());
    let folders = folders_in(&outboxes(&root)).unwrap();
    let found: Vec<_> = folders.iter().flat_map(|folder| list(folder).unwrap().found).collect();
    assert_eq!((found.len(), found[0].kind, found[0].key.clone()), (1, Kind::Quarantined, Some(key("ada"))));
}

#[tokio::test]
async fn an_entry_that_was_cut_or_altered_is_malformed() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let name = put(&outbox, "ada").await;
    let file = &files(&root, "answer")[0];
    let whole = fs::read(file).unwrap();

    fs::write(file, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(outbox.get(&name).await, Err(OutboxError::Malformed)));
    let mut altered = whole.clone();
    altered[8] ^= 1;
    fs::write(file, altered).unwrap();
    assert!(matches!(outbox.get(&name).await, Err(OutboxError::Malformed)));
    fs::write(file, whole).unwrap();
    assert!(outbox.get(&name).await.unwrap().is_some());
}

#[tokio::test]
async fn an_entry_whose_file_is_gone_no_longer_waits() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let name = put(&outbox, "ada").await;
    fs::remove_file(&files(&root, "answer")[0]).unwrap();

    assert_eq!(outbox.get(&name).await.unwrap(), None);

    assert!(outbox.waiting().is_empty());
}

#[tokio::test]
async fn what_a_dead_owner_left_half_written_is_put_aside() {
    let root = TempDir::new().unwrap();
    let first = open(&root);
    put(&first, "ada").await;
    drop(first);
    let file = &files(&root, "answer")[0];
    fs::write(file, b"TVOB\x01").unwrap();

    let second = open(&root);
    second.tend().await;

    assert!(second.waiting().is_empty());
    assert_eq!((files(&root, "answer").len(), files(&root, "quarantined").len()), (0, 1));
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_promised_until_writing_works_again() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let (place, folder) = (outbox.reserve().unwrap(), folders_in(&outboxes(&root)).unwrap().remove(0));
    let away = root.path().join("away");
    fs::rename(&folder, &away).unwrap();

    assert!(matches!(outbox.put(place, entry("ada", b"sealed")).await, Err(OutboxError::Unavailable { .. })));
    assert!(matches!(outbox.reserve(), Err(OutboxError::Unavailable { .. })));
    outbox.tend().await;
    assert!(outbox.reserve().is_err(), "it does not work yet");

    fs::rename(&away, &folder).unwrap();
    outbox.tend().await;
    put(&outbox, "ada").await;
    assert_eq!(outbox.waiting().len(), 1, "what could not be written is not there");
}

#[tokio::test]
async fn an_entry_larger_than_any_record_is_refused() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let huge = outbox.put(outbox.reserve().unwrap(), entry("ada", &vec![0; 2 * 1_024 * 1_024])).await;
    assert!(matches!(huge, Err(OutboxError::Full)));
    assert!(outbox.reserve().is_ok());
}

#[tokio::test]
async fn nobody_else_may_look_and_no_name_says_whose_it_is() {
    let root = TempDir::new().unwrap();
    let outbox = open(&root);
    let name = put(&outbox, "ada").await;
    assert!(!name.as_str().contains("ada"));
    let file = &files(&root, "answer")[0];
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = file.parent().unwrap();
    assert_eq!((mode(&outboxes(&root)), mode(folder), mode(file)), (0o700, 0o700, 0o600));
    assert_eq!(mode(&folder.join("lock")), 0o600);
}
