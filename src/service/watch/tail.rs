//! The follower: one task of this instance that finds out what has changed, while there is somebody to tell.
//!
//! It is woken by the store where that tells of changes, and asks from time to time where it does not. What it found
//! last is kept, so that streams that are up to date need not ask the store themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::change::Batch;
use super::{WatchParts, Work};
use crate::domain::error::VaultError;
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{ChangeCursor, Changes, Index, Listener, Partition, Pushes, Random, StoreError, Tasks};

/// What has changed last.
pub(super) struct Tail {
    index: Arc<dyn Index>,
    tasks: Arc<dyn Tasks>,
    random: Arc<dyn Random>,
    poll: Duration,
    bell: Arc<Bell>,
    pushes: Pushes,
    state: Mutex<State>,
    news: watch::Sender<()>,
}

/// A stream's claim on some partitions.
pub(super) struct Subscription {
    tail: Arc<Tail>,
    partitions: BTreeSet<Partition>,
    news: watch::Receiver<()>,
}

/// What is known to come after a place.
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// This.
    Changes(Arc<Batch>),
    /// The follower does not know that place; how far it is itself.
    Elsewhere(u64),
    /// The index cannot be read.
    Failing(StoreError),
}

#[derive(Default)]
struct State {
    running: bool,
    strands: BTreeMap<Partition, Strand>,
}

/// What is known of one partition that is watched.
#[derive(Default)]
struct Strand {
    watchers: usize,
    /// The place after everything that was found.
    end: Option<ChangeCursor>,
    /// Grows whenever something was found, and when the end was found first.
    moved: u64,
    batches: VecDeque<Arc<Batch>>,
    failing: Option<StoreError>,
}

/// Where the store rings.
struct Bell {
    /// One bit for each partition in which something has changed.
    changed: AtomicU32,
    rung: Notify,
    caught_up: Mutex<Option<Instant>>,
}

/// Changes that are asked for at once.
pub(super) const AT_ONCE: usize = 256;
/// Batches of each partition that are kept.
const KEPT: usize = 8;
/// How often to ask although the store tells of everything: in case it did not.
const RARELY: u32 = 10;
/// Failures in a row that are waited out.
const PATIENCE: u32 = 3;

// === impl Tail ===

impl Tail {
    pub(super) fn new(parts: &WatchParts, poll: Duration) -> Arc<Self> {
        let bell = Arc::new(Bell { changed: AtomicU32::new(0), rung: Notify::new(), caught_up: Mutex::new(None) });
        Arc::new(Self {
            index: Arc::clone(&parts.index),
            tasks: Arc::clone(&parts.tasks),
            random: Arc::clone(&parts.random),
            poll,
            pushes: parts.index.listen(Arc::clone(&bell) as Arc<dyn Listener>),
            bell,
            state: Mutex::default(),
            news: watch::Sender::new(()),
        })
    }

    /// Follows these partitions for as long as the subscription lives.
    pub(super) fn subscribe(self: &Arc<Self>, partitions: BTreeSet<Partition>) -> Subscription {
        let news = self.news.subscribe();
        let mut state = self.state();
        for partition in &partitions {
            state.strands.entry(*partition).or_default().watchers += 1;
        }
        if !state.running {
            state.running = true;
            let follower: Work = Box::pin(Arc::clone(self).follow());
            self.tasks.spawn("status follower", follower);
        }
        drop(state);
        self.bell.rung.notify_one();
        Subscription { tail: Arc::clone(self), partitions, news }
    }

    async fn follow(self: Arc<Self>) {
        let (mut ask_all_at, mut failures) = (Instant::now(), 0_u32);
        while let Some(watched) = self.watched() {
            let changed = self.bell.changed.swap(0, Ordering::AcqRel);
            let asks_all = Instant::now() >= ask_all_at;
            let mut failed = None;
            for (partition, end) in watched {
                if !asks_all && end.is_some() && changed & bit(partition) == 0 {
                    continue;
                }
                if let Err(error) = self.look(partition, end).await {
                    self.bell.changed.fetch_or(bit(partition), Ordering::AcqRel);
                    failed = Some(error);
                }
            }
            failures = if failed.is_some() { failures.saturating_add(1) } else { 0 };
            if let Some(error) = &failed {
                tracing::warn!(failures, %error, "what has changed in the store cannot be found out");
            }
            self.fails(failed.as_ref().filter(|_| failures >= PATIENCE));
            if asks_all {
                ask_all_at = Instant::now() + self.interval();
            }
            let again_at = if failures > 0 { Instant::now() + self.poll } else { ask_all_at };
            tokio::select! {
                () = self.bell.rung.notified() => {}
                () = sleep_until(again_at) => {}
            }
        }
    }

    /// The partitions somebody watches; without any the follower ends.
    fn watched(&self) -> Option<Vec<(Partition, Option<ChangeCursor>)>> {
        let mut state = self.state();
        if state.strands.is_empty() {
            state.running = false;
            return None;
        }
        Some(state.strands.iter().map(|(partition, strand)| (*partition, strand.end.clone())).collect())
    }

    /// Finds what comes after the end of a partition, or the end itself.
    async fn look(&self, partition: Partition, end: Option<ChangeCursor>) -> Result<(), StoreError> {
        let mut end = end;
        loop {
            let found = self.index.changes(partition, end.as_ref(), AT_ONCE).await?;
            let mut state = self.state();
            let Some(strand) = state.strands.get_mut(&partition).filter(|strand| strand.end == end) else {
                return Ok(());
            };
            let more = match (found, end.take()) {
                (Changes::Next { cursor, .. }, None) => {
                    strand.end = Some(cursor);
                    false
                }
                (Changes::Next { changes, cursor }, Some(from)) if changes.is_empty() || cursor == from => {
                    return Ok(());
                }
                (Changes::Next { changes, cursor }, Some(from)) => {
                    let more = changes.len() >= AT_ONCE;
                    strand.batches.push_back(Arc::new(Batch::new(partition, from, changes)));
                    if strand.batches.len() > KEPT {
                        strand.batches.pop_front();
                    }
                    strand.end = Some(cursor);
                    more
                }
                (Changes::Forgotten, _) => {
                    strand.end = None;
                    strand.batches.clear();
                    true
                }
            };
            strand.moved += 1;
            end.clone_from(&strand.end);
            drop(state);
            self.news.send_replace(());
            if !more {
                return Ok(());
            }
        }
    }

    fn fails(&self, error: Option<&StoreError>) {
        let mut state = self.state();
        for strand in state.strands.values_mut() {
            strand.failing = error.cloned();
        }
        drop(state);
        if error.is_some() {
            self.news.send_replace(());
        }
    }

    /// How long until all partitions are asked again, give or take a tenth.
    fn interval(&self) -> Duration {
        let told = match self.pushes {
            Pushes::AtOnce => true,
            Pushes::WhileConnected => self.bell.caught_up().is_some_and(|at| at.elapsed() < self.poll),
            Pushes::Never => false,
        };
        let interval = if told { self.poll * RARELY } else { self.poll };
        let mut chance = [0];
        self.random.fill(&mut chance);
        interval / 10 * 9 + interval / 5 * u32::from(chance[0]) / 256
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn bit(partition: Partition) -> u32 {
    1 << partition.number()
}

// === impl Subscription ===

impl Subscription {
    pub(super) fn partitions(&self) -> &BTreeSet<Partition> {
        &self.partitions
    }

    /// What comes after a place.
    pub(super) fn after(&self, partition: Partition, cursor: &ChangeCursor) -> Known {
        let state = self.tail.state();
        let Some(strand) = state.strands.get(&partition) else { return Known::Elsewhere(0) };
        if let Some(error) = &strand.failing {
            return Known::Failing(error.clone());
        }
        if strand.end.as_ref() == Some(cursor) {
            return Known::Nothing;
        }
        let batch = strand.batches.iter().find(|batch| batch.after(cursor).is_some());
        batch.map_or(Known::Elsewhere(strand.moved), |batch| Known::Changes(Arc::clone(batch)))
    }

    /// Waits until the follower has found something.
    pub(super) async fn news(&mut self) -> Result<(), VaultError> {
        self.news.changed().await.map_err(|_| VaultError::Internal("the follower of changes is gone"))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.tail.state();
        for partition in &self.partitions {
            if let Some(strand) = state.strands.get_mut(partition) {
                strand.watchers = strand.watchers.saturating_sub(1);
                if strand.watchers == 0 {
                    state.strands.remove(partition);
                }
            }
        }
        drop(state);
        self.tail.bell.rung.notify_one();
    }
}

// === impl Bell ===

impl Bell {
    fn caught_up(&self) -> Option<Instant> {
        *self.caught_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_caught_up(&self, at: Option<Instant>) {
        *self.caught_up.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Listener for Bell {
    fn changed(&self, tenant: &TenantId, user: &UserId) {
        self.changed.fetch_or(bit(Partition::of(tenant, user)), Ordering::AcqRel);
        self.rung.notify_one();
    }

    fn caught_up(&self, as_of: std::time::Instant) {
        self.set_caught_up(Some(as_of.into()));
    }

    fn lost(&self) {
        self.set_caught_up(None);
        self.changed.fetch_or(u32::MAX, Ordering::AcqRel);
        self.rung.notify_one();
    }
}
