//! The outbox as the vault sees it: what is asked of the thread that writes, and how long its answer is waited for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bounds::{Bounds, Ledger};
use super::entry;
use super::owner::Owned;
use super::sync::{Receipt, Syncer};
use super::writer::{Order, Writer, Written};
use crate::domain::connection::InstanceId;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::{Clock, EntryName, Outbox, OutboxEntry, OutboxError, Random, Room};

/// An outbox in a folder that belongs to this process.
pub struct FolderOutbox {
    owner: Option<InstanceId>,
    ledger: Arc<Ledger>,
    /// `None` once the outbox closes.
    orders: Mutex<Option<Sender<Order>>>,
    thread: Option<JoinHandle<()>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refuses.
    #[error("the outbox in `{}` cannot be opened: set `outbox.dir` to a folder this user may write to", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The owner of the folder lives, and sees to it itself.
    #[error("the folder `{}` belongs to a vault that is running: it replays its own answers", .0.display())]
    Owned(PathBuf),
}

/// How long anybody waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long for looking through all folders.
const TENDING: Duration = Duration::from_secs(30);

// === impl FolderOutbox ===

impl FolderOutbox {
    /// Makes a folder of its own below `root`. What dead owners left there is taken over when the outbox is tended.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(
        root: &Path,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Disk { path: root.to_owned(), source };
        let folder = Owned::make(root, &*random).map_err(failed)?;
        Self::begin(folder, Some(root.to_owned()), bounds, clock, random).map_err(failed)
    }

    /// Takes over one folder of an owner that is gone, where it is.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or its owner lives.
    pub fn take_over(
        folder: &Path,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Disk { path: folder.to_owned(), source };
        let owned = Owned::claim(folder).map_err(failed)?.ok_or_else(|| OpenError::Owned(folder.to_owned()))?;
        Self::begin(owned, None, bounds, clock, random).map_err(failed)
    }

    fn begin(
        folder: Owned,
        root: Option<PathBuf>,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> io::Result<Self> {
        // Whoever takes over one folder works off what lies in it, and claims nothing.
        let owner = root.as_ref().and_then(|_| folder.owner());
        let ledger = Ledger::new(bounds);
        let syncer = Syncer::start(folder.path().to_owned(), Arc::clone(&ledger))?;
        let mut writer = Writer::new(folder, root, Arc::clone(&ledger), syncer);
        writer.load()?;
        let (orders, given): (_, Receiver<Order>) = channel();
        let thread = std::thread::Builder::new().name("outbox".to_owned()).spawn(move || writer.run(&given))?;
        Ok(Self { owner, ledger, orders: Mutex::new(Some(orders)), thread: Some(thread), clock, random })
    }

    fn give(&self, order: Order) -> Result<(), OutboxError> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let given = orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if given { Ok(()) } else { Err(OutboxError::unavailable("closed")) }
    }

    fn name(&self) -> Result<EntryName, OutboxError> {
        let mut chance = [0; 8];
        self.random.fill(&mut chance);
        let millis = self.clock.now().unix_millis().max(0);
        let name = format!("{millis:013}-{:016x}", u64::from_be_bytes(chance));
        name.parse().map_err(|_| OutboxError::unavailable("closed"))
    }
}

#[async_trait]
impl Outbox for FolderOutbox {
    fn owner(&self) -> Option<InstanceId> {
        self.owner
    }

    fn reserve(&self) -> Result<Room, OutboxError> {
        self.ledger.reserve()
    }

    async fn put(&self, room: Room, entry: OutboxEntry) -> Result<EntryName, OutboxError> {
        let bytes = entry::encode(&entry).ok_or(OutboxError::Full)?;
        if !self.ledger.fits(bytes.len() as u64) {
            return Err(OutboxError::Full);
        }
        let (name, (done, written)) = (self.name()?, oneshot::channel());
        let entry = Written {
            name: name.clone(),
            key: entry.key,
            bytes,
            receipt: Receipt { room, asked_at: Instant::now(), done },
        };
        self.give(Order::Write(entry))?;
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(outcome)) => outcome.map(|()| name),
            Ok(Err(_)) => Err(OutboxError::unavailable("closed")),
            Err(_) => {
                self.ledger.mark(true);
                Err(OutboxError::unavailable("timeout"))
            }
        }
    }

    async fn get(&self, name: &EntryName) -> Result<Option<OutboxEntry>, OutboxError> {
        if !self.ledger.holds(name) {
            return Ok(None);
        }
        let (done, read) = oneshot::channel();
        self.give(Order::Read { name: name.clone(), done })?;
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(Ok(Some(bytes)))) => entry::decode(&bytes).map(Some).ok_or(OutboxError::Malformed),
            Ok(Ok(Ok(None))) => Ok(None),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(OutboxError::unavailable("closed")),
            Err(_) => Err(OutboxError::unavailable("timeout")),
        }
    }

    fn remove(&self, name: &EntryName) {
        if self.ledger.strike(name) {
            let _ = self.give(Order::Remove(name.clone()));
        }
    }

    fn quarantine(&self, name: &EntryName) {
        if self.ledger.strike(name) {
            let _ = self.give(Order::Quarantine(name.clone()));
        }
    }

    fn waiting(&self) -> Vec<(EntryName, ConnectionKey)> {
        self.ledger.all()
    }

    fn waiting_for(&self, key: &ConnectionKey) -> Vec<EntryName> {
        self.ledger.of(key)
    }

    async fn tend(&self) -> Vec<InstanceId> {
        let (done, tended) = oneshot::channel();
        if self.give(Order::Tend { done }).is_err() {
            return Vec::new();
        }
        tokio::time::timeout(TENDING, tended).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for FolderOutbox {
    /// Does what was asked before.
    fn drop(&mut self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
