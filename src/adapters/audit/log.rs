//! The audit trail as the vault sees it: what is asked of the thread that writes, and how long its answer is waited for.
//!
//! Calls put their line into a shared buffer and wait; the thread takes the whole buffer, links the lines, writes them in
//! one go and tells everybody in it. Whoever puts in the first line calls the thread, but lets every call that can go on
//! without waiting put in its own before: under load a batch holds many lines, and waiting for it costs little.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::about::Before;
use super::chain::Chain;
use super::flood::Refused;
use super::line;
use super::note::TrailKeys;
use super::place::{self, Place};
use super::recover::{make_instance, recover, sweep};
use super::segments::{Segments, append_to};
use super::sync::Syncer;
use super::syslog::Syslog;
use super::writer::{Limits, Sink, Waiter, Writer};
use crate::domain::audit::{AuditEntry, AuditResult, Fingerprint};
use crate::domain::id::Environment;
use crate::domain::ports::{AuditSink, AuditUnavailable, Clock, Random};
use crate::domain::secret::AccessToken;

/// Where the trail is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the end of this file, made with mode 0600 if it is not there; what is closed goes into a folder beside it.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// How a trail is written.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to.
    pub target: Target,
    /// The environment of the installation.
    pub environment: Environment,
    /// Whether a line about secrets that are released or changed is waited for until it is on disk.
    pub durable: bool,
    /// The socket of a syslog daemon that gets a copy.
    pub syslog: Option<PathBuf>,
    /// How many refused calls of one source are written in a minute, before they are counted.
    pub refused_verbatim: u32,
    /// How it is cut up.
    pub limits: Limits,
}

/// The trail cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("the audit file `{}` cannot be opened for writing", path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// An audit trail in files or on standard output.
pub struct AuditLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    writable: AtomicBool,
    durable: bool,
    refused: Mutex<Refused>,
    keys: Arc<OnceLock<TrailKeys>>,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    waiters: Vec<Waiter>,
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
/// How often the writer looks whether there is something to do that nobody calls it for.
const TICK: Duration = Duration::from_secs(1);

// === impl Settings ===

impl Settings {
    /// A trail there, as most are.
    #[must_use]
    pub fn new(target: Target, environment: Environment) -> Self {
        let limits = Limits::default();
        Self { target, environment, durable: false, syslog: None, refused_verbatim: 10, limits }
    }
}

// === impl AuditLog ===

impl AuditLog {
    /// Opens the trail, and its writer. A first line finds out whether it can be written: if it cannot, because a disk
    /// is full, nothing is released until it can. Without keys it is linked and not signed.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened: there is no service without a trail.
    pub fn open(
        settings: &Settings,
        keys: Option<TrailKeys>,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let env = settings.environment.as_str();
        match &settings.target {
            Target::File(path) if place::is_ours(path) => {
                let opened = open_trail(path, env, random);
                let (sink, chain, before) = opened.map_err(|source| OpenError { path: path.clone(), source })?;
                Ok(Self::begin((sink, chain, &before), settings, keys, clock))
            }
            Target::File(path) => {
                let device = append_to(path).map_err(|source| OpenError { path: path.clone(), source })?;
                Ok(Self::stream(Box::new(device), settings, keys, clock, random))
            }
            Target::Stdout => Ok(Self::stream(Box::new(io::stdout()), settings, keys, clock, random)),
        }
    }

    /// A trail of which nothing is known once it is written.
    fn stream(
        stream: Box<dyn Write + Send>,
        settings: &Settings,
        keys: Option<TrailKeys>,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Self {
        let chain = Chain::new(settings.environment.as_str(), make_instance(random));
        Self::begin((Sink::Stream(stream), chain, &Before::default()), settings, keys, clock)
    }

    fn begin(
        (sink, chain, before): (Sink, Chain, &Before),
        settings: &Settings,
        keys: Option<TrailKeys>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            writable: AtomicBool::new(true),
            durable: settings.durable,
            refused: Mutex::new(Refused::new(settings.refused_verbatim)),
            keys: Arc::new(keys.map_or_else(OnceLock::new, OnceLock::from)),
        });
        let syncer = matches!(sink, Sink::Trail(_)).then(|| {
            let shared = Arc::clone(&shared);
            Syncer::start(move || shared.mark(false))
        });
        let syslog = settings.syslog.as_deref().map(Syslog::open);
        let beside = (unless_failed(syslog), unless_failed(syncer));
        let mut writer = Writer::new((sink, chain), clock, settings.limits, Arc::clone(&shared.keys), beside);
        if let Err(error) = writer.begin(settings.environment.as_str(), before) {
            shared.fail(&error);
        }
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(writer)
        });
        if thread.is_err() {
            shared.mark(false);
        }
        Self { shared, thread: thread.ok() }
    }

    /// Signs the trail from now on, if it was not signed before.
    pub fn sign_with(&self, keys: TrailKeys) {
        // Whoever was first gave the same: there is one installation.
        let _ = self.shared.keys.set(keys);
    }
}

/// Finds the trail at a path, and what there is to say of the time before.
fn open_trail(path: &Path, env: &str, random: &dyn Random) -> io::Result<(Sink, Chain, Before)> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let (place, lock): (Place, File) = Place::claim(path)?;
    if place.active != path {
        tracing::warn!(path = %place.active.display(), "another process writes the audit trail; this one goes beside it");
    }
    let found = recover(&place, env, random)?;
    sweep(&place)?;
    let first = found.first.unwrap_or(found.chain.seq + 1);
    Ok((Sink::Trail(Segments::open(place, lock, first)?), found.chain, found.before))
}

/// What makes the trail better, and without which there is one all the same.
fn unless_failed<T>(started: Option<io::Result<T>>) -> Option<T> {
    let failed = |error| tracing::error!(alarm = "audit_unavailable", %error, "the audit trail lacks a part of it");
    started.and_then(|started| started.map_err(failed).ok())
}

#[async_trait]
impl AuditSink for AuditLog {
    async fn append(&self, entry: AuditEntry) -> Result<(), AuditUnavailable> {
        let (done, wait) = oneshot::channel();
        let disk = self.shared.durable && entry.result == AuditResult::Ok && entry.action.moves_secrets();
        let first = {
            let mut queue = self.shared.lock();
            if queue.closed || queue.lines.len() >= MAX_QUEUED {
                return Err(AuditUnavailable);
            }
            line::write(&mut queue.lines, &entry);
            queue.waiters.push(Waiter { done, disk });
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
        if !self.shared.admits(&entry) {
            return;
        }
        let first = {
            let mut queue = self.shared.lock();
            if queue.closed || queue.lines.len() >= MAX_POSTED {
                queue.dropped = queue.dropped.saturating_add(1);
                return;
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

    fn fingerprint(&self, token: &AccessToken) -> Option<Fingerprint> {
        self.shared.keys.get().map(|keys| keys.fingerprint(token))
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
    fn run(&self, mut writer: Writer) {
        let mut lines = Vec::new();
        let mut waiters = Vec::new();
        loop {
            let (dropped, closed) = {
                let queue = self.lock();
                let idle = |queue: &mut Queue| queue.batch != Batch::Ready && !queue.closed;
                let waited = self.wake.wait_timeout_while(queue, TICK, idle);
                let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if queue.batch == Batch::Ready || queue.closed {
                    queue.batch = Batch::Empty;
                    std::mem::swap(&mut lines, &mut queue.lines);
                    std::mem::swap(&mut waiters, &mut queue.waiters);
                }
                (std::mem::take(&mut queue.dropped), queue.closed)
            };
            writer.miss(dropped);
            let counted = self.refused.lock().unwrap_or_else(PoisonError::into_inner).settle(closed);
            if !counted.is_empty()
                && let Err(error) = writer.say(&counted)
            {
                self.fail(&error);
            }
            if lines.is_empty() {
                let done = if closed { writer.end() } else { writer.tick() };
                match done {
                    Err(error) if closed => return self.fail(&error),
                    done => self.mark(done.is_ok()),
                }
                if closed {
                    return;
                }
                continue;
            }
            match writer.batch(&lines) {
                Ok(()) => {
                    self.mark(true);
                    writer.tell(&mut waiters);
                }
                Err(error) => {
                    self.fail(&error);
                    waiters.clear();
                }
            }
            lines.clear();
        }
    }

    /// Whether the line of a refused call is to be written.
    fn admits(&self, entry: &AuditEntry) -> bool {
        match (&entry.engine, &entry.peer, entry.result) {
            (None, Some(peer), AuditResult::Denied) => {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).admits(peer, entry.reason)
            }
            _ => true,
        }
    }

    fn fail(&self, error: &io::Error) {
        self.mark(false);
        tracing::error!(alarm = "audit_unavailable", %error, "the audit trail cannot be written");
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
mod tests;
