//! Writers that never stop: what they were told is held against what they find.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use vault_engine::domain::ports::{Address, Expected, Store, StoreError, Version};

use super::promises::connection;

/// The longest a call of a store may take, whatever becomes of its servers, on a loaded machine.
const LONGEST_CALL: Duration = Duration::from_millis(3_500);

/// Writers of a user each.
pub(crate) struct Load {
    writers: Vec<Arc<Writer>>,
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

/// One writer, and what it was told.
pub(crate) struct Writer {
    user: String,
    store: Arc<dyn Store>,
    acknowledged: AtomicU64,
    last_success: Mutex<Instant>,
    /// How often what it found was older than what it had been told is there.
    gone_back: AtomicU64,
}

// === impl Load ===

impl Load {
    /// Begins to write for this many users.
    pub(crate) fn begin(store: &Arc<dyn Store>, users: usize) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let writer = |number| {
            let writer = Arc::new(Writer {
                user: format!("u{number}"),
                store: Arc::clone(store),
                acknowledged: AtomicU64::new(0),
                last_success: Mutex::new(Instant::now()),
                gone_back: AtomicU64::new(0),
            });
            tasks.spawn(Arc::clone(&writer).run(Arc::clone(&stop)));
            writer
        };
        Self { writers: (0..users).map(writer).collect(), tasks, stop }
    }

    pub(crate) fn writers(&self) -> &[Arc<Writer>] {
        &self.writers
    }

    /// Whether every one of these was successful after this moment.
    pub(crate) fn all_succeeded_after(&self, moment: Instant, which: impl Fn(&Writer) -> bool) -> bool {
        self.writers.iter().filter(|writer| which(writer)).all(|writer| *writer.last_success.lock().unwrap() > moment)
    }

    /// Ends, and holds what everybody was told against what is there. Says how many acknowledged versions were found
    /// gone on the way.
    pub(crate) async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let mut gone_back = 0;
        for writer in &self.writers {
            let found = writer.store.get(&writer.address()).await.unwrap().unwrap();
            assert_eq!(found.version.0, writer.acknowledged.load(Ordering::SeqCst), "{}", writer.user);
            assert_eq!(found.value, writer.value(found.version));
            gone_back += writer.gone_back.load(Ordering::SeqCst);
        }
        gone_back
    }
}

// === impl Writer ===

impl Writer {
    pub(crate) fn address(&self) -> Address {
        connection("default", &self.user, "gmail")
    }

    fn value(&self, version: Version) -> Bytes {
        Bytes::from(format!("{} {}", self.user, version.0))
    }

    async fn run(self: Arc<Self>, stop: Arc<AtomicBool>) {
        let mut expected = Expected::Absent;
        // Ends with a write that was acknowledged.
        let mut certain = false;
        while !(certain && stop.load(Ordering::SeqCst)) {
            let begun = Instant::now();
            let verdict = self.store.put(&self.address(), expected, self.value(expected.next()).into()).await;
            assert!(begun.elapsed() < LONGEST_CALL, "a write took {:?}", begun.elapsed());
            certain = verdict.is_ok();
            match verdict {
                Ok(()) => {
                    self.acknowledged.store(expected.next().0, Ordering::SeqCst);
                    *self.last_success.lock().unwrap() = Instant::now();
                    expected = Expected::Version(expected.next());
                }
                Err(StoreError::Conflict | StoreError::Unavailable { .. }) => expected = self.look(expected).await,
                Err(StoreError::Corrupt) => panic!("nobody else writes here"),
            }
        }
    }

    /// Finds out what is there, if it can.
    async fn look(&self, expected: Expected) -> Expected {
        match self.store.get(&self.address()).await {
            Ok(Some(found)) => {
                assert_eq!(found.value, self.value(found.version), "the answer to another question");
                if found.version.0 < self.acknowledged.load(Ordering::SeqCst) {
                    self.gone_back.fetch_add(1, Ordering::SeqCst);
                }
                Expected::Version(found.version)
            }
            Ok(None) => {
                if self.acknowledged.load(Ordering::SeqCst) > 0 {
                    self.gone_back.fetch_add(1, Ordering::SeqCst);
                }
                Expected::Absent
            }
            Err(_) => {
                tokio::task::yield_now().await;
                expected
            }
        }
    }
}
