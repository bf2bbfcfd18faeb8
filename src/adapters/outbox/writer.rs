//! The thread that works in the folder: writes, reads, removes, and takes over what others left. It does not wait for the
//! disk: that is what `sync` does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::bounds::Ledger;
use super::entry::{self, LARGEST};
use super::owner::Owned;
use super::sync::{Receipt, Syncer, Unsynced, microseconds};
use crate::domain::connection::InstanceId;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{EntryName, OutboxError};

/// What the thread is asked to do.
pub(super) enum Order {
    Write(Written),
    Read { name: EntryName, done: oneshot::Sender<Result<Option<Vec<u8>>, OutboxError>> },
    Remove(EntryName),
    Quarantine(EntryName),
    Tend { done: oneshot::Sender<Vec<InstanceId>> },
}

/// An entry to be written.
pub(super) struct Written {
    pub(super) name: EntryName,
    pub(super) key: ConnectionKey,
    pub(super) bytes: Vec<u8>,
    pub(super) receipt: Receipt,
}

/// What the thread works on.
pub(super) struct Writer {
    folder: Owned,
    /// Where dead owners leave their folders; `None` where only this one folder matters.
    root: Option<PathBuf>,
    ledger: Arc<Ledger>,
    syncer: Syncer,
    /// What lies in the folder and could not be read so far.
    unread: Vec<PathBuf>,
}

pub(super) const WAITING: &str = "answer";
pub(super) const QUARANTINED: &str = "quarantined";
const PROBE: &str = "probe";

// === impl Writer ===

impl Writer {
    pub(super) fn new(folder: Owned, root: Option<PathBuf>, ledger: Arc<Ledger>, syncer: Syncer) -> Self {
        Self { folder, root, ledger, syncer, unread: Vec::new() }
    }

    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(entry) => self.write(entry),
                Order::Read { name, done } => drop(done.send(self.read(&name))),
                Order::Remove(name) => self.remove(&name),
                Order::Quarantine(name) => self.quarantine(&name),
                Order::Tend { done } => drop(done.send(self.tend())),
            }
        }
        self.syncer.finish();
        self.folder.leave();
    }

    /// Says of which owners everything was taken over.
    fn tend(&mut self) -> Vec<InstanceId> {
        if self.ledger.is_failing() {
            self.ledger.mark(self.probe().is_err());
        }
        for path in std::mem::take(&mut self.unread) {
            self.enter(path);
        }
        let Some(root) = &self.root else { return Vec::new() };
        let folders = match fs::read_dir(root) {
            Ok(folders) => folders.flatten().map(|folder| folder.path()),
            Err(error) => {
                tracing::warn!(root = %root.display(), %error, "the outbox cannot be looked through");
                return Vec::new();
            }
        };
        let mut departed = Vec::new();
        let folders: Vec<_> = folders.filter(|path| path.is_dir() && path != self.folder.path()).collect();
        for folder in folders {
            match self.take_over(&folder) {
                Ok(owner) => departed.extend(owner),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "an outbox folder cannot be looked at");
                }
            }
        }
        departed
    }

    /// Enters what lies in the own folder.
    pub(super) fn load(&mut self) -> io::Result<()> {
        for path in entries_in(self.folder.path())? {
            self.enter(path);
        }
        Ok(())
    }

    fn write(&self, Written { name, key, bytes, receipt }: Written) {
        let path = self.path(&name, WAITING);
        match create(&path, &bytes) {
            Ok(file) => {
                tracing::debug!(record = %key, microseconds = microseconds(receipt.asked_at), "an answer survives this process");
                self.ledger.add(name, key, bytes.len() as u64);
                self.syncer.give(Unsynced { file, receipt }, &self.ledger);
            }
            Err(error) => {
                // What is known not to be whole is of no use to anybody: its answer is still in memory.
                let _ = fs::remove_file(&path);
                receipt.give(&self.ledger, Err(OutboxError::caused_by("disk", error)));
            }
        }
    }

    /// The bytes of an entry; `None` if somebody has taken its file away.
    fn read(&self, name: &EntryName) -> Result<Option<Vec<u8>>, OutboxError> {
        match read_bounded(&self.path(name, WAITING)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(alarm = "outbox_unavailable", entry = %name, "the file of an answer is gone: somebody else has removed it");
                self.ledger.strike(name);
                Ok(None)
            }
            Err(error) => Err(OutboxError::caused_by("disk", error)),
        }
    }

    fn remove(&self, name: &EntryName) {
        // Not synced: an entry that comes back after a power cut is found to be in the store already.
        if let Err(error) = fs::remove_file(self.path(name, WAITING)) {
            tracing::warn!(entry = %name, %error, "an entry of the outbox cannot be removed; it will be looked at again");
        }
    }

    fn quarantine(&self, name: &EntryName) {
        let (from, to) = (self.path(name, WAITING), self.path(name, QUARANTINED));
        match fs::rename(from, &to) {
            Ok(()) => tracing::error!(
                alarm = "outbox_quarantined",
                entry = %to.display(),
                "an answer cannot be opened and was put aside; find out why before the user is asked to connect again"
            ),
            Err(error) => {
                tracing::error!(alarm = "outbox_quarantined", entry = %name, %error, "an answer cannot be opened");
            }
        }
    }

    /// Moves what a dead owner left here. The order makes a crash harmless: an entry is always in one of both folders.
    /// Names the owner if that was everything.
    fn take_over(&mut self, path: &Path) -> io::Result<Option<InstanceId>> {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || super::owner::lives(path) {
            return Ok(None);
        }
        let Some(abandoned) = Owned::claim(path)? else { return Ok(None) };
        let mut moved = 0_usize;
        for from in entries_in(abandoned.path())? {
            if !self.ledger.has_room() {
                break;
            }
            let Some(name) = from.file_name() else { continue };
            let to = self.folder.path().join(name);
            fs::rename(&from, &to)?;
            self.enter(to);
            moved += 1;
        }
        if moved > 0 {
            File::open(self.folder.path())?.sync_all()?;
            tracing::info!(entries = moved, folder = %path.display(), "took over what an instance left that is gone");
        }
        let owner = abandoned.owner();
        Ok(if abandoned.leave() && self.unread.is_empty() { owner } else { None })
    }

    /// Enters one file into the ledger, or puts it aside; what cannot be read is tried again later.
    fn enter(&mut self, path: PathBuf) {
        let Some(name) = entry_name(&path) else { return };
        match read_bounded(&path) {
            Ok(bytes) => match entry::decode(&bytes) {
                Some(entry) => self.ledger.add(name, entry.key, bytes.len() as u64),
                None => self.quarantine(&name),
            },
            Err(error) => {
                tracing::error!(alarm = "outbox_unavailable", entry = %name, %error, "an entry cannot be read");
                if error.kind() != io::ErrorKind::NotFound {
                    self.unread.push(path);
                }
            }
        }
    }

    fn probe(&self) -> io::Result<()> {
        let path = self.folder.path().join(PROBE);
        let _ = fs::remove_file(&path);
        let written = create(&path, &[0; 4_096]).and_then(|file| file.sync_all());
        let _ = fs::remove_file(&path);
        written
    }

    fn path(&self, name: &EntryName, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{kind}"))
    }
}

/// The files of the entries that wait in a folder, the oldest first.
fn entries_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.flatten().map(|file| file.path());
    let mut entries: Vec<_> = files.filter(|path| entry_name(path).is_some()).collect();
    entries.sort();
    Ok(entries)
}

/// The name of the entry that waits in this file, if one does.
fn entry_name(path: &Path) -> Option<EntryName> {
    let waits = path.extension().is_some_and(|kind| kind == WAITING);
    waits.then(|| path.file_stem()?.to_str()?.parse().ok()).flatten()
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Reads a file, and not more than an entry can have.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
