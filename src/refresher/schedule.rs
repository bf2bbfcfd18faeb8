//! Refreshes what is due before anybody asks for it. Nothing depends on it: who asks for a token that nobody refreshed
//! gets it refreshed then.
//!
//! Each tick it asks the index of every partition it holds for what is due, and spreads that evenly over the time until
//! the next tick, never faster than the platform's budget. So its work grows with what is due and not with what is
//! stored, and callers always find room at the platform.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::coordinator::Refresher;
use super::leases::Leases;
use super::look::{Attention, Count};
use crate::domain::id::{ConnectionKey, PlatformId, RequestId};
use crate::domain::ports::{Due, Index, Partition, Store};

/// The numbers of the scheduler, for one instance.
#[derive(Debug, Clone, Copy)]
pub struct BackgroundSettings {
    /// How often it looks for what is due.
    pub tick: Duration,
    /// Refreshes of one platform it begins per second, at most.
    pub per_second: u32,
    /// Refreshes of one platform it has under way at once, at most.
    pub concurrency: usize,
    /// How long a partition whose instance died waits for another one.
    pub lease: Duration,
}

/// Refreshes what is due.
pub struct Scheduler {
    refresher: Arc<Refresher>,
    index: Arc<dyn Index>,
    settings: BackgroundSettings,
    leases: Leases,
    attention: Arc<Attention>,
    lanes: HashMap<PlatformId, Lane>,
    windows: HashMap<Partition, usize>,
    looks: u64,
}

/// The way of one platform's refreshes.
struct Lane {
    permits: Arc<Semaphore>,
    /// The earliest time for the next one.
    free_at: Instant,
}

/// How many entries of one partition are asked for at first.
const WINDOW: usize = 256;

/// How many are asked for at most, when most of them cannot be refreshed now and hide what is behind them.
const WIDEST_WINDOW: usize = 2_048;

/// How long giving leases back may take.
const PARTING: Duration = Duration::from_secs(2);

// === impl BackgroundSettings ===

impl Default for BackgroundSettings {
    fn default() -> Self {
        Self { tick: Duration::from_secs(5), per_second: 50, concurrency: 32, lease: Duration::from_mins(1) }
    }
}

// === impl Scheduler ===

impl Scheduler {
    /// A scheduler over this store and its index; what it finds is refreshed by `refresher`.
    #[must_use]
    pub fn new(
        refresher: Arc<Refresher>,
        store: Arc<dyn Store>,
        index: Arc<dyn Index>,
        settings: BackgroundSettings,
    ) -> Self {
        let leases = Leases::new(store, refresher.instance, settings.lease);
        let (lanes, windows) = (HashMap::new(), HashMap::new());
        Self { refresher, index, settings, leases, attention: Arc::default(), lanes, windows, looks: 0 }
    }

    /// Works until `stop`. What has begun by then goes on as a task of its own.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = self.tick() => {}
            }
        }
        self.retire().await;
    }

    /// Leaves the partitions to others.
    pub async fn retire(mut self) {
        if tokio::time::timeout(PARTING, self.leases.give_back()).await.is_err() {
            tracing::warn!("the leases of the scheduler could not be given back; others wait until they end");
        }
    }

    /// Looks once for what is due and refreshes it; ends when the next tick should begin.
    pub async fn tick(&mut self) {
        let end = Instant::now() + self.settings.tick;
        self.leases.keep().await;
        let partitions = self.leases.held();
        let due = self.find(&partitions).await;
        for (at, due) in self.plan(due) {
            sleep_until(at).await;
            self.launch(due.key);
        }
        sleep_until(end).await;
        let count = self.attention.count();
        if count != Count::default() {
            let Count { renewed, failed, corrected, unreadable } = count;
            let partitions = partitions.len();
            tracing::info!(renewed, failed, corrected, unreadable, partitions, "refreshed in the background");
        }
    }

    /// What is due and may be refreshed now, by platform, the earliest first, and no more than fits into a tick.
    async fn find(&mut self, partitions: &[Partition]) -> BTreeMap<PlatformId, Vec<Due>> {
        let now = self.refresher.parts.clock.now();
        let mut found: BTreeMap<PlatformId, Vec<Due>> = BTreeMap::new();
        let mut crowded = Vec::new();
        for partition in partitions {
            let window = self.windows.remove(partition).unwrap_or(WINDOW);
            let due = match self.index.due(*partition, now, window).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "what is due cannot be found now");
                    break;
                }
            };
            let full = due.len() >= window;
            let usable: Vec<_> = due.into_iter().filter(|due| self.may_begin(&due.key)).collect();
            if full {
                crowded.push((*partition, window, usable.len() < window / 2));
            }
            for due in usable {
                found.entry(due.key.platform.clone()).or_default().push(due);
            }
        }
        let quota = self.quota();
        // Behind a platform with more than fits there may be others with less.
        let over_budget = found.values().any(|due| due.len() > quota);
        for (partition, window, blocked) in crowded {
            if blocked || over_budget {
                self.windows.insert(partition, (window * 2).min(WIDEST_WINDOW));
            }
        }
        for due in found.values_mut() {
            due.sort_by_key(|due| due.at);
            due.truncate(quota);
        }
        found
    }

    /// How many refreshes of one platform fit into a tick.
    fn quota(&self) -> usize {
        let quota = self.settings.tick.as_secs_f64() * f64::from(self.settings.per_second);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        let quota = quota.ceil() as usize;
        quota.max(1)
    }

    fn may_begin(&self, key: &ConnectionKey) -> bool {
        self.attention.is_free(key) && self.refresher.circuits.admit(&key.platform)
    }

    /// When each of them is to begin: evenly over the tick, at the pace of the platform's budget at most.
    fn plan(&mut self, found: BTreeMap<PlatformId, Vec<Due>>) -> Vec<(Instant, Due)> {
        let now = Instant::now();
        let fastest = Duration::from_secs(1) / self.settings.per_second.max(1);
        let mut plan = Vec::new();
        for (platform, due) in found {
            let pace = self.settings.tick / u32::try_from(due.len().max(1)).unwrap_or(u32::MAX);
            let pace = pace.max(fastest);
            let lane = self
                .lanes
                .entry(platform)
                .or_insert_with(|| Lane { permits: Arc::new(Semaphore::new(self.settings.concurrency)), free_at: now });
            let mut at = lane.free_at.max(now);
            for due in due {
                plan.push((at, due));
                at += pace;
            }
            lane.free_at = at.min(now + self.settings.tick);
        }
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Begins a look, if there is still room and reason for it: what is passed over is found again at the next tick.
    fn launch(&mut self, key: ConnectionKey) {
        let Some(lane) = self.lanes.get(&key.platform) else { return };
        let Ok(permit) = Arc::clone(&lane.permits).try_acquire_owned() else { return };
        if !self.may_begin(&key) {
            return;
        }
        let Some(look) = self.attention.begin(key) else { return };
        let Some(request) = self.next_request() else { return };
        let refresher = Arc::clone(&self.refresher);
        self.refresher.parts.tasks.spawn(
            "background refresh",
            Box::pin(async move {
                look.run(&refresher, &request).await;
                drop(permit);
            }),
        );
    }

    /// The audit trail's name for one look.
    fn next_request(&mut self) -> Option<RequestId> {
        self.looks += 1;
        format!("background-{}-{:x}", self.refresher.instance, self.looks).parse().ok()
    }
}
