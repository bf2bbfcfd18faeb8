//! The writer of the audit trail: one thread, so that a slow disk holds up whoever waits for it and nobody else.
//!
//! Calls put their line into a shared buffer and wait; the thread takes the whole buffer, writes it in one go and tells
//! everybody in it. Whoever puts in the first line calls the thread, but lets every call that can go on without waiting
//! put in its own before: under load a batch holds many lines, and waiting for it costs little.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::line;
use crate::domain::audit::AuditEntry;
use crate::domain::ports::{AuditSink, AuditUnavailable};
use crate::domain::time::Timestamp;

/// Where the trail is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the end of this file; made with mode 0600 if it is not there.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// The trail cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("the audit file `{}` cannot be opened for writing", path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// An audit trail in a file or on standard output.
pub struct AuditLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    writable: AtomicBool,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    waiters: Vec<oneshot::Sender<()>>,
    /// Whether the writer is called, or somebody has taken it upon them to call it.
    batch: Batch,
    dropped: u64,
    closed: bool,
}

/// How far the lines in the queue are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Batch {
    /// There are none.
    #[default]
    Empty,
    /// Somebody is about to call the writer.
    Gathering,
    /// The writer is called.
    Ready,
}

/// The duty to call the writer. It is done when this is dropped, so also when the call that had it is given up.
struct Bell<'a>(&'a Shared);

/// Bytes that may wait to be written before new lines are refused.
const MAX_QUEUED: usize = 8 * 1_024 * 1_024;
/// Bytes that lines nobody waits for may take of that, so that a flood of refused calls cannot crowd out the others.
const MAX_POSTED: usize = MAX_QUEUED / 2;
/// How long a call waits for its line. Long enough for a disk that is busy and a machine that is overloaded; a caller who
/// is in a hurry has a deadline of its own.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

// === impl AuditLog ===

impl AuditLog {
    /// Opens the trail, and its writer. A first line finds out whether it can be written: if it cannot, because a disk
    /// is full, nothing is released until it can.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened: there is no service without a trail.
    pub fn open(target: &Target, at: Timestamp) -> Result<Self, OpenError> {
        match target {
            Target::File(path) => {
                let opened = open_file(path).map_err(|source| OpenError { path: path.clone(), source })?;
                let (file, torn) = opened;
                Ok(Self::begin(file, torn, at))
            }
            Target::Stdout => Ok(Self::begin(io::stdout(), false, at)),
        }
    }

    /// A trail over any writer; `torn` says that the last line in it is not whole.
    fn begin(mut writer: impl Write + Send + 'static, torn: bool, at: Timestamp) -> Self {
        let mut opening = if torn { b"\n".to_vec() } else { Vec::new() };
        line::write_opened(&mut opening, at);
        let opened = writer.write_all(&opening).and_then(|()| writer.flush());
        if let Err(error) = &opened {
            tracing::error!(alarm = "audit_unavailable", %error, "the audit trail cannot be written");
        }
        let torn = opened.is_err();
        let shared =
            Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), writable: AtomicBool::new(!torn) });
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(writer, torn)
        });
        if thread.is_err() {
            shared.writable.store(false, Ordering::Release);
        }
        Self { shared, thread: thread.ok() }
    }
}

/// Opens the file, and finds out whether a crash left half a line at its end.
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
        return Ok((file, false));
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok((file, last != *b"\n"))
}

#[async_trait]
impl AuditSink for AuditLog {
    async fn append(&self, entry: AuditEntry) -> Result<(), AuditUnavailable> {
        let (written, wait) = oneshot::channel();
        let first = {
            let mut queue = self.shared.lock();
            if queue.closed || queue.lines.len() >= MAX_QUEUED {
                return Err(AuditUnavailable);
            }
            line::write(&mut queue.lines, &entry);
            queue.waiters.push(written);
            queue.gather()
        };
        if first {
            let bell = Bell(&self.shared);
            tokio::task::yield_now().await;
            drop(bell);
        }
        match tokio::time::timeout(WRITE_LIMIT, wait).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(AuditUnavailable),
            Err(_) => {
                self.shared.mark(false);
                Err(AuditUnavailable)
            }
        }
    }

    fn post(&self, entry: AuditEntry) {
        let first = {
            let mut queue = self.shared.lock();
            if queue.closed || queue.lines.len() >= MAX_POSTED {
                queue.dropped = queue.dropped.saturating_add(1);
                return;
            }
            if queue.dropped > 0 {
                let dropped = std::mem::take(&mut queue.dropped);
                line::write_dropped(&mut queue.lines, entry.at, dropped);
            }
            line::write(&mut queue.lines, &entry);
            queue.gather()
        };
        if first {
            drop(Bell(&self.shared));
        }
    }

    fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Acquire)
    }
}

impl Drop for AuditLog {
    /// Writes what was handed over before.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Whether the line just put in is the first of its batch: whoever put it in has to call the writer.
    fn gather(&mut self) -> bool {
        let first = self.batch == Batch::Empty;
        if first {
            self.batch = Batch::Gathering;
        }
        first
    }
}

// === impl Bell ===

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.lock().batch = Batch::Ready;
        self.0.wake.notify_one();
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self, mut writer: impl Write, mut torn: bool) {
        let mut lines = Vec::new();
        let mut waiters = Vec::new();
        loop {
            {
                let queue = self.lock();
                let idle = |queue: &mut Queue| queue.batch != Batch::Ready && !queue.closed;
                let mut queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
                if queue.lines.is_empty() {
                    return;
                }
                queue.batch = Batch::Empty;
                std::mem::swap(&mut lines, &mut queue.lines);
                std::mem::swap(&mut waiters, &mut queue.waiters);
            }
            // After a write that failed half way, the next line must not continue the torn one.
            let separated = if torn { writer.write_all(b"\n") } else { Ok(()) };
            let written = separated.and_then(|()| writer.write_all(&lines)).and_then(|()| writer.flush());
            torn = written.is_err();
            self.mark(written.is_ok());
            match written {
                Ok(()) => {
                    for waiter in waiters.drain(..) {
                        // Whoever gave up waiting has had its answer.
                        let _ = waiter.send(());
                    }
                }
                Err(error) => {
                    tracing::error!(alarm = "audit_unavailable", %error, "the audit trail cannot be written");
                    waiters.clear();
                }
            }
            lines.clear();
        }
    }

    fn mark(&self, writable: bool) {
        let before = self.writable.swap(writable, Ordering::AcqRel);
        if writable && !before {
            tracing::info!("the audit trail can be written again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{AuditAction, AuditResult, Subject};
    use std::sync::mpsc;

    fn entry(id: &str) -> AuditEntry {
        AuditEntry {
            at: Timestamp::EPOCH,
            request_id: id.parse().unwrap(),
            engine: None,
            key_id: None,
            peer: None,
            action: AuditAction::UnknownMethod,
            subject: Subject::default(),
            result: AuditResult::Ok,
            reason: "",
            latency: Duration::ZERO,
            record_version: None,
            items: None,
        }
    }

    /// A writer that does what it is told for each write, and writes when it is told nothing.
    struct Told {
        orders: mpsc::Receiver<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(order) = self.orders.try_recv() {
                order?;
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Orders = mpsc::Sender<io::Result<()>>;

    fn told() -> (AuditLog, Orders, Arc<Mutex<Vec<u8>>>) {
        let (send, orders) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        (AuditLog::begin(Told { orders, written: Arc::clone(&written) }, false, Timestamp::EPOCH), send, written)
    }

    #[tokio::test]
    async fn a_line_is_written_before_append_returns() {
        let (log, _orders, written) = told();
        log.append(entry("r-1")).await.unwrap();
        assert!(String::from_utf8(written.lock().unwrap().clone()).unwrap().contains("r-1"));
    }

    #[tokio::test]
    async fn calls_that_go_on_together_share_a_write() {
        struct Counts(Arc<Mutex<Vec<usize>>>);
        impl Write for Counts {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().push(bytes.split(|byte| *byte == b'\n').count() - 1);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writes = Arc::new(Mutex::new(Vec::new()));
        let log = AuditLog::begin(Counts(Arc::clone(&writes)), false, Timestamp::EPOCH);
        let appends = (0..64).map(|n| log.append(entry(&format!("r-{n}"))));
        assert!(futures_util::future::join_all(appends).await.into_iter().all(|written| written.is_ok()));
        // The line the trail begins with, and then all of them in one go.
        assert_eq!(*writes.lock().unwrap(), [1, 64]);
    }

    #[tokio::test]
    async fn the_line_of_a_call_that_was_given_up_is_written_like_any_other() {
        let (log, _orders, written) = told();
        let given_up = log.append(entry("r-1"));
        assert!(futures_util::future::poll_immediate(given_up).await.is_none());
        log.append(entry("r-2")).await.unwrap();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("r-1") && text.contains("r-2"), "{text}");
    }

    #[tokio::test]
    async fn a_failed_write_fails_the_call_and_the_next_good_one_heals_the_trail() {
        let (log, orders, _written) = told();
        orders.send(Err(io::Error::other("no space"))).unwrap();
        assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
        assert!(!log.is_writable());
        log.append(entry("r-2")).await.unwrap();
        assert!(log.is_writable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_hangs_does_not_hang_the_call() {
        struct Hangs(mpsc::Receiver<()>);
        impl Write for Hangs {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, hang) = mpsc::channel();
        release.send(()).unwrap(); // for the line the trail begins with
        let log = AuditLog::begin(Hangs(hang), false, Timestamp::EPOCH);
        assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
        assert!(!log.is_writable());
        drop(release);
    }

    #[test]
    fn what_was_handed_over_is_written_before_the_log_closes() {
        let (log, _orders, written) = told();
        for n in 0..100 {
            log.post(entry(&format!("r-{n}")));
        }
        drop(log);
        assert_eq!(written.lock().unwrap().split(|b| *b == b'\n').count(), 102);
    }

    #[test]
    fn half_a_line_left_by_a_crash_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"half\":").unwrap();
        let log = AuditLog::open(&Target::File(path.clone()), Timestamp::EPOCH).unwrap();
        log.post(entry("r-1"));
        drop(log);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).is_ok(), "{text}");
    }

    #[test]
    fn a_directory_is_no_audit_file() {
        assert!(AuditLog::open(&Target::File(std::env::temp_dir()), Timestamp::EPOCH).is_err());
    }
}
