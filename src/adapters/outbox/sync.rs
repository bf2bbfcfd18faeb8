//! The thread that waits for the disk, so that the one that writes does not: an answer the kernel has survives the
//! process, and should not queue for that behind others that are on their way to the disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bounds::Ledger;
use crate::domain::ports::{OutboxError, Room};

/// An entry the kernel has.
pub(super) struct Unsynced {
    pub(super) file: File,
    pub(super) receipt: Receipt,
}

/// Who waits for an entry to be on disk, and since when. Its room is kept until it is there.
pub(super) struct Receipt {
    pub(super) room: Room,
    pub(super) asked_at: Instant,
    pub(super) done: oneshot::Sender<Result<(), OutboxError>>,
}

/// The thread, and the way to it.
pub(super) struct Syncer {
    ways: Sender<Unsynced>,
    thread: JoinHandle<()>,
}

/// How many entries are on their way to the disk at once. A file system takes along what is waited for together; one after
/// the other, each would wait for a write of the disk of its own.
const AT_ONCE: usize = 16;

// === impl Syncer ===

impl Syncer {
    pub(super) fn start(folder: PathBuf, ledger: Arc<Ledger>) -> io::Result<Self> {
        let (ways, work) = channel();
        let thread = thread::Builder::new().name("outbox-sync".to_owned());
        let thread = thread.spawn(move || run(&folder, &ledger, &work))?;
        Ok(Self { ways, thread })
    }

    pub(super) fn give(&self, unsynced: Unsynced, ledger: &Ledger) {
        if let Err(refused) = self.ways.send(unsynced) {
            refused.0.receipt.give(ledger, Err(OutboxError::unavailable("closed")));
        }
    }

    /// Waits until everything is on disk.
    pub(super) fn finish(self) {
        drop(self.ways);
        let _ = self.thread.join();
    }
}

/// One sync of the folder covers every entry that is synced before it.
fn run(folder: &Path, ledger: &Ledger, work: &Receiver<Unsynced>) {
    while let Ok(first) = work.recv() {
        let batch = std::iter::once(first).chain(std::iter::from_fn(|| work.try_recv().ok()));
        let synced = sync(batch.collect());
        let named = File::open(folder).and_then(|folder| folder.sync_all());
        let named = named.map_err(|error| OutboxError::caused_by("disk", error));
        for (written, Unsynced { receipt, .. }) in synced {
            // What could not be synced stays: the kernel has it, and a replay does no harm.
            let outcome = written.map_err(|error| OutboxError::caused_by("disk", error));
            let outcome = outcome.and_then(|()| named.clone());
            receipt.give(ledger, outcome);
        }
    }
}

/// Syncs entries, some at once.
fn sync(batch: Vec<Unsynced>) -> Vec<(io::Result<()>, Unsynced)> {
    let threads = batch.len().min(AT_ONCE);
    let left = Mutex::new(batch.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).map(|entry| (entry.file.sync_all(), entry)).collect::<Vec<_>>();
    thread::scope(|scope| {
        // Where no thread is to be had, those there are do its work.
        let begin = |_| thread::Builder::new().name("outbox-sync".to_owned()).spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(begin).collect();
        let mut synced = work();
        synced.extend(others.into_iter().flat_map(|thread| thread.join().unwrap_or_default()));
        synced
    })
}

// === impl Receipt ===

impl Receipt {
    /// Tells whoever waits, and remembers that entries cannot be written.
    pub(super) fn give(self, ledger: &Ledger, outcome: Result<(), OutboxError>) {
        let Self { room, asked_at, done } = self;
        match &outcome {
            Ok(()) => tracing::debug!(microseconds = microseconds(asked_at), "an answer is written"),
            Err(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(alarm = "outbox_unavailable", cause, "an answer could not be written to the outbox");
            }
        }
        // That one was written does not say that the one before it would be now: that is found out by trying.
        if outcome.is_err() {
            ledger.mark(true);
        }
        drop(room);
        // Whoever gave up waiting has had its answer.
        let _ = done.send(outcome);
    }
}

/// The time since then.
pub(super) fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
