//! The default store: one file in this process, no server.
//!
//! Writes go to one thread that commits many of them at once (see `writer`); reads do not. How the file is opened, and
//! opened again after a fault, is in `file`.

mod file;
mod index;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use self::file::OpenError;
use self::file::{Fault, RecordFile, Records};
use self::writer::{Job, Write};
use super::frame::Condition;
use super::life::Mark;
use super::listeners::Listeners;
use super::place::{self, Place};
use super::{frame, reason};
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{
    Address, ChangeCursor, Changes, Due, Expected, Index, Listener, Page, Partition, Pushes, Record, ScanCursor, Scope,
    Store, StoreError, Stored, UserDrawer, Version,
};
use crate::domain::time::Timestamp;

/// How many writes may wait. Beyond it a caller is told at once, because waiting longer only makes a stalled disk worse.
const QUEUE_LENGTH: usize = 1_024;

/// How long a write may take, whatever the disk does.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Everything in one file.
///
/// Dropping it finishes the writes that wait and closes the file.
#[derive(Debug)]
pub struct EmbeddedStore {
    file: Arc<RecordFile>,
    listeners: Arc<Listeners>,
    /// Present until the drop, which closes the queue by taking it.
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

// === impl EmbeddedStore ===

impl EmbeddedStore {
    /// Opens the file, making it (mode 0600) and the directories above it (mode 0700) where they do not exist.
    ///
    /// # Errors
    ///
    /// When another process has it open, or it cannot be opened, or it is no store.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::serve(RecordFile::at(path)?)
    }

    /// How many durable transactions have been made since it was opened. Many writes share one.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.file.commits()
    }

    fn serve(file: RecordFile) -> Result<Self, OpenError> {
        let file = Arc::new(file);
        let (queue, jobs) = sync_channel(QUEUE_LENGTH);
        let listeners = Arc::new(Listeners::default());
        let (for_writer, told) = (Arc::clone(&file), Arc::clone(&listeners));
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&for_writer, &told, &jobs))
            .map_err(OpenError::Thread)?;
        Ok(Self { file, listeners, queue: Some(queue), writer: Some(writer) })
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::unavailable(reason::CLOSED))?;
        queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::unavailable(reason::BUSY),
            TrySendError::Disconnected(_) => StoreError::unavailable(reason::CLOSED),
        })
    }

    async fn write(
        &self,
        address: &Address,
        condition: Condition,
        version: Version,
        record: &Record,
    ) -> Result<(), StoreError> {
        let frame = frame::encode(version, record)?;
        let (answer, verdict) = oneshot::channel();
        let key = file::key(&Place::from(address));
        let (address, hints) = (address.clone(), record.hints);
        self.enqueue(Job::Write(Write { key, condition, frame, address, version, hints, answer }))?;
        match timeout(TIME_LIMIT, verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Err(StoreError::unavailable(reason::CLOSED)),
            Err(_) => Err(StoreError::unavailable(reason::TIMEOUT)),
        }
    }

    /// Reads on the thread of the caller. A read is a few look-ups in pages that are in memory, some microseconds, and
    /// takes no lock that a commit holds while it waits for the disk; handing it to another thread would cost more than
    /// the read. The price: a page that is not in memory is read from the disk right here.
    fn read<T>(&self, look: impl FnOnce(&Records) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.file.read(look).map_err(|fault| self.mended_after(fault))
    }

    fn look_up<T>(&self, look: impl FnOnce(&redb::Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.file.look_up(look).map_err(|fault| self.mended_after(fault))
    }

    fn mended_after(&self, fault: Fault) -> StoreError {
        if fault.needs_reopening() {
            // The writer owns the file. If its queue is full it has its own reasons to find the fault.
            drop(self.enqueue(Job::Mend));
        }
        fault.into()
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the store had died");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let key = file::key(&Place::from(address));
        let found =
            self.read(|records| Ok(records.get(key.as_slice())?.map(|frame| Bytes::copy_from_slice(frame.value()))))?;
        found.map(frame::decode).transpose()
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::Is(expected), expected.next(), &record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::OlderThan(version), version, &record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        let (from, to) = file::span(&place::drawer_of(tenant, user));
        let found = self.read(|records| {
            let mut found = Vec::new();
            for record in records.range(from.as_slice()..to.as_slice())? {
                let (key, frame) = record?;
                found.push((key.value().to_vec(), Bytes::copy_from_slice(frame.value())));
            }
            Ok(found)
        })?;
        let mut drawer = UserDrawer::default();
        for (key, frame) in found {
            let field = key.strip_prefix(from.as_slice()).ok_or(StoreError::Corrupt)?;
            place::add(&mut drawer, field, frame)?;
        }
        Ok(drawer)
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }
}

#[async_trait]
impl Index for EmbeddedStore {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        let found = self.look_up(|database| index::due(database, partition, by, limit))?;
        found.iter().map(|found| index::parse_due(found)).collect()
    }

    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let after = after.map(Mark::read).transpose()?;
        index::parse_changes(self.look_up(|database| index::changes(database, partition, after, limit))?)
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        let after = after.map(|cursor| cursor.0.as_slice());
        index::parse_page(self.look_up(|database| index::scan(database, scope, after, limit))?)
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Pushes {
        self.listeners.add(listener);
        Pushes::AtOnce
    }
}

#[cfg(test)]
mod tests;
