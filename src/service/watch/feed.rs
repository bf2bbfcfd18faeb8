//! What fills one stream: a snapshot, then changes, and a sign of life when there are none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::change::{Batch, Noted};
use super::position::{Position, Resumption};
use super::tail::{AT_ONCE, Known, Subscription};
use super::told::Told;
use super::{Filter, WatchEvent, WatchLimits, WatchMessage, WatchParts};
use crate::domain::connection::Entry;
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, UserId};
use crate::domain::outline::Outline;
use crate::domain::ports::{ChangeCursor, Changes, Partition, Scope, StoreError, UserDrawer, Version};
use crate::service::list_tokens::drawers;
use crate::service::{ConnectionStatus, Loaded, PlatformStatus};

/// What fills one stream.
pub(super) struct Feed {
    parts: Arc<WatchParts>,
    limits: WatchLimits,
    filter: Filter,
    position: Position,
    changes: Subscription,
    /// How far the follower was when this stream last read a partition itself and found no more.
    read_at: HashMap<Partition, u64>,
    told: Told,
    in_snapshot: bool,
    messages: mpsc::Sender<WatchMessage>,
    sent_at: Instant,
}

/// How a stream begins.
pub(super) enum Start {
    /// With everything there is.
    Snapshot {
        /// Although it was to be taken up elsewhere.
        reset: bool,
    },
    /// Where another broke off.
    Resumed,
}

/// Why feeding stopped.
enum Halt {
    /// What comes next is not known any more.
    Forgotten,
    /// For good.
    Failed(VaultError),
}

/// Records of a snapshot that are read at once.
const PAGE: usize = 256;

// === impl Feed ===

impl Feed {
    pub(super) fn new(
        parts: Arc<WatchParts>,
        limits: WatchLimits,
        filter: Filter,
        (position, changes): (Position, Subscription),
        messages: mpsc::Sender<WatchMessage>,
    ) -> Self {
        Self {
            parts,
            limits,
            filter,
            position,
            changes,
            read_at: HashMap::new(),
            told: Told::default(),
            in_snapshot: false,
            messages,
            sent_at: Instant::now(),
        }
    }

    /// Feeds the stream until something cuts it.
    pub(super) async fn run(mut self, mut start: Start) -> Result<(), VaultError> {
        loop {
            match self.feed(start).await {
                Halt::Failed(error) => return Err(error),
                Halt::Forgotten => {
                    self.position = self.parts.ends(self.changes.partitions()).await?;
                    self.read_at.clear();
                    start = Start::Snapshot { reset: true };
                }
            }
        }
    }

    async fn feed(&mut self, start: Start) -> Halt {
        let fed = async {
            if let Start::Snapshot { reset } = start {
                self.snapshot(reset).await?;
            }
            loop {
                self.catch_up().await?;
                let heartbeat_at = self.sent_at + self.limits.heartbeat;
                tokio::select! {
                    news = self.changes.news() => news?,
                    () = sleep_until(heartbeat_at) => self.send(WatchEvent::Heartbeat).await?,
                }
            }
        };
        let fed: Result<std::convert::Infallible, Halt> = fed.await;
        match fed {
            Err(halt) => halt,
            Ok(never) => match never {},
        }
    }

    async fn snapshot(&mut self, reset: bool) -> Result<(), Halt> {
        self.told = Told::default();
        self.in_snapshot = true;
        self.send(WatchEvent::SnapshotStart { reset }).await?;
        if self.filter.users.is_empty() {
            let (scope, mut cursor) = (Scope::Tenant(self.filter.tenant.clone()), None);
            loop {
                let page = self.parts.index.scan(&scope, cursor.as_ref(), PAGE).await?;
                self.tell_page(drawers(page.items)).await?;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        } else {
            for user in self.filter.users.clone() {
                let drawer = self.parts.records.drawer(&self.filter.tenant, &user).await?;
                self.tell_page(BTreeMap::from([(user, drawer)])).await?;
            }
        }
        // What was told has its changes behind it before anybody may go on from here.
        for partition in self.changes.partitions().clone() {
            while self.read(partition).await? {}
        }
        self.told.snapshot_ended();
        self.in_snapshot = false;
        self.send(WatchEvent::SnapshotEnd).await
    }

    async fn tell_page(&mut self, page: BTreeMap<UserId, UserDrawer>) -> Result<(), Halt> {
        for (user, drawer) in page {
            for (platform, stored) in &drawer.connections {
                let (tenant, user) = (self.filter.tenant.clone(), user.clone());
                let key = ConnectionKey { tenant, user, platform: platform.clone() };
                let Some(enabled) = self.parts.catalog.get(platform) else { continue };
                if !self.filter.covers(&key) {
                    continue;
                }
                let (version, status) = match self.parts.records.open_found(&key, stored, &drawer).await {
                    Ok(Some(Loaded { entry: Entry::Live(connection), version })) => {
                        (version, PlatformStatus::of(enabled, &Outline::from(&*connection), self.parts.clock.now()))
                    }
                    Ok(Some(Loaded { entry: Entry::Deleted(_), .. }) | None) => continue,
                    Err(VaultError::Corrupt(corrupt)) => {
                        (stored.version, PlatformStatus::without(enabled, ConnectionStatus::Unreadable(corrupt)))
                    }
                    Err(error) => return Err(error.into()),
                };
                self.tell(key, version, status, false).await?;
            }
        }
        if self.sent_at.elapsed() >= self.limits.heartbeat {
            self.send(WatchEvent::Heartbeat).await?;
        }
        // So that the changes during a long snapshot are neither told late nor many at its end.
        self.catch_up().await
    }

    /// Tells of everything the follower has found and this stream has not told.
    async fn catch_up(&mut self) -> Result<(), Halt> {
        for partition in self.changes.partitions().clone() {
            loop {
                let cursor = self.cursor(partition)?;
                match self.changes.after(partition, &cursor) {
                    Known::Nothing => break,
                    Known::Changes(batch) => self.take_all(batch.after(&cursor).unwrap_or_default()).await?,
                    Known::Elsewhere(moved) if self.read_at.get(&partition) == Some(&moved) => break,
                    Known::Elsewhere(moved) => {
                        if !self.read(partition).await? {
                            self.read_at.insert(partition, moved);
                        }
                    }
                    Known::Failing(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Reads what comes next in a partition, past the follower; whether that led anywhere.
    async fn read(&mut self, partition: Partition) -> Result<bool, Halt> {
        let cursor = self.cursor(partition)?;
        match self.parts.index.changes(partition, Some(&cursor), AT_ONCE).await {
            Ok(Changes::Next { changes, .. }) => {
                let batch = Batch::new(partition, cursor, changes);
                self.take_all(&batch.changes).await?;
                // What is told again without a step forward is no reason to ask again.
                Ok(self.position.0.get(&partition) != Some(&batch.from))
            }
            // The store has no such place: it is another one than the stream was begun on.
            Ok(Changes::Forgotten) | Err(StoreError::Corrupt) => Err(Halt::Forgotten),
            Err(error) => Err(error.into()),
        }
    }

    async fn take_all(&mut self, changes: &[Noted]) -> Result<(), Halt> {
        for noted in changes {
            let key = &noted.change.key;
            let connection = (key.user.clone(), key.platform.clone());
            let concerns = self.filter.covers(key) && !self.told.covers(&connection, noted.change.version);
            let parts = Arc::clone(&self.parts);
            let news = if concerns { noted.amounts_to(&parts).await? } else { None };
            self.position.0.insert(noted.partition, noted.after.clone());
            if let Some((version, status)) = news {
                self.tell(key.clone(), *version, status.clone(), true).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &mut self,
        key: ConnectionKey,
        version: Version,
        status: PlatformStatus,
        changed: bool,
    ) -> Result<(), Halt> {
        let connection = (key.user.clone(), key.platform);
        if self.told.covers(&connection, version) {
            return Ok(());
        }
        if changed && self.in_snapshot {
            // Whoever is told more slowly than so much changes will never be told everything.
            self.told.tell_during_snapshot(connection, version).map_err(|_| VaultError::SlowReader)?;
        } else {
            self.told.tell(connection, version);
        }
        self.send(WatchEvent::Connection { user: key.user, version, status }).await
    }

    async fn send(&mut self, event: WatchEvent) -> Result<(), Halt> {
        let content = if self.in_snapshot { Resumption::anew() } else { Resumption::after(&self.position) };
        let resume_token = self.parts.tickets.seal(self.filter.ticket(), &content).await?;
        match timeout(self.limits.slow_reader, self.messages.send(WatchMessage { event, resume_token })).await {
            Ok(Ok(())) => {
                self.sent_at = Instant::now();
                Ok(())
            }
            // Nobody reads any more; what waits for that ends the stream.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => Err(VaultError::SlowReader.into()),
        }
    }

    fn cursor(&self, partition: Partition) -> Result<ChangeCursor, Halt> {
        let missing = VaultError::Internal("a stream does not know where it stands");
        self.position.0.get(&partition).cloned().ok_or(Halt::Failed(missing))
    }
}

// === impl Halt ===

impl From<VaultError> for Halt {
    fn from(error: VaultError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}
