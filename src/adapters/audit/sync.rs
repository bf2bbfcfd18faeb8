//! The thread that waits for the disk, so that the one that writes does not: whoever is content with what the operating
//! system has never queues behind those who are not.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::place::Place;

/// Lines the operating system has.
pub(super) struct Unsynced {
    pub(super) file: Arc<File>,
    /// Who waits until they are on disk.
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    /// The newest note about them, and where it is kept once they are there: a note about lines that a power cut took
    /// away would look like lines that somebody took away.
    pub(super) note: Option<(PathBuf, String)>,
}

/// The thread, and the way to it.
pub(super) struct Syncer {
    ways: Option<Sender<Unsynced>>,
    thread: Option<JoinHandle<()>>,
}

/// Two syncs do not begin closer together than this: what comes in between goes together.
const WINDOW: Duration = Duration::from_millis(2);

// === impl Syncer ===

impl Syncer {
    /// `failed` is called when the disk refuses.
    pub(super) fn start(failed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (ways, work) = channel();
        let thread = thread::Builder::new().name("audit-sync".to_owned()).spawn(move || run(&work, failed))?;
        Ok(Self { ways: Some(ways), thread: Some(thread) })
    }

    pub(super) fn give(&self, unsynced: Unsynced) {
        // If the thread is gone, whoever waits is told so by its channel.
        let _ = self.ways.as_ref().map(|ways| ways.send(unsynced));
    }
}

impl Drop for Syncer {
    /// Waits until everything is on disk.
    fn drop(&mut self) {
        drop(self.ways.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(work: &Receiver<Unsynced>, failed: impl Fn()) {
    let mut began: Option<Instant> = None;
    while let Ok(first) = work.recv() {
        let mut batch = vec![first];
        let until = began.map(|began| began + WINDOW);
        loop {
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            match work.recv_timeout(left) {
                Ok(more) => batch.push(more),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        began = Some(Instant::now());
        sync(batch, &failed);
    }
}

fn sync(batch: Vec<Unsynced>, failed: &impl Fn()) {
    let mut synced: Vec<(Arc<File>, bool)> = Vec::new();
    let mut newest = None;
    for Unsynced { file, waiters, note } in batch.into_iter().rev() {
        let known = synced.iter().find(|(other, _)| Arc::ptr_eq(other, &file)).map(|(_, written)| *written);
        let written = known.unwrap_or_else(|| {
            let outcome = file.sync_data();
            if let Err(error) = &outcome {
                tracing::error!(alarm = "audit_unavailable", %error, "the audit trail cannot be brought to disk");
                failed();
            }
            synced.push((file, outcome.is_ok()));
            outcome.is_ok()
        });
        if written {
            for waiter in waiters {
                // Whoever gave up waiting has had its answer.
                let _ = waiter.send(());
            }
            newest = newest.or(note);
        }
    }
    if let Some((path, note)) = newest
        && let Err(error) = Place::replace(&path, &note)
    {
        tracing::warn!(%error, "the newest note about the audit trail cannot be kept");
    }
}
