//! Telling of every change of a connection's status, for as long as somebody listens.
//!
//! A stream begins with a snapshot and goes on with what the store's index of changes says. Where it stands is in every
//! message, sealed, so that it can be taken up again on any instance. One follower per instance (`tail`) finds out what
//! has changed; what a change amounts to is read once and told to every stream that covers it (`change`). A stream that
//! lags behind what the follower remembers reads the index itself (`feed`).

mod change;
mod feed;
mod position;
mod slots;
mod tail;
mod told;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::feed::{Feed, Start};
use self::position::{Position, Resumption};
use self::slots::{Slot, Slots};
use self::tail::Tail;
use super::{PlatformStatus, Records, enabled};
use crate::domain::catalog::Catalog;
use crate::domain::error::{Fault, InvalidArgument, VaultError};
use crate::domain::id::{ConnectionKey, PlatformId, TenantId, UserId};
use crate::domain::ports::{Changes, Clock, Index, Partition, Random, StoreError, Tasks, Version};
use crate::domain::registry::Principal;
use crate::envelope::context::Kind;
use crate::envelope::{Ticket, Tickets};

/// Tells of changes.
pub struct WatchStatus {
    parts: Arc<WatchParts>,
    limits: WatchLimits,
    tail: Arc<Tail>,
    slots: Arc<Slots>,
}

/// What it works with.
pub struct WatchParts {
    /// The connections.
    pub records: Arc<Records>,
    /// What has changed.
    pub index: Arc<dyn Index>,
    /// The platforms whose connections are told of.
    pub catalog: Arc<Catalog>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub random: Arc<dyn Random>,
    /// Where a stream stands is given to callers as one of these.
    pub tickets: Arc<Tickets>,
    /// Where streams and the follower run.
    pub tasks: Arc<dyn Tasks>,
}

/// How many streams there may be, and how patient they are.
#[derive(Debug, Clone, Copy)]
pub struct WatchLimits {
    /// Streams of this instance.
    pub streams: usize,
    /// Streams of one engine.
    pub streams_per_engine: usize,
    /// Messages that wait for a reader.
    pub buffer: usize,
    /// How long a full buffer waits for its reader.
    pub slow_reader: Duration,
    /// The longest silence.
    pub heartbeat: Duration,
    /// How often the index is asked where the store tells nothing.
    pub poll: Duration,
}

/// What is to be watched.
#[derive(Debug)]
pub struct WatchQuery {
    /// Who watches.
    pub engine: Principal,
    /// The tenant.
    pub tenant: TenantId,
    /// Only these users; empty: all.
    pub users: BTreeSet<UserId>,
    /// Only these platforms; empty: every enabled one.
    pub platforms: BTreeSet<PlatformId>,
    /// Where another stream broke off; empty: nowhere.
    pub resume_token: String,
    /// When the stream is to end; `None`: never.
    pub until: Option<Instant>,
}

/// One message of a stream.
#[derive(Debug)]
pub struct WatchMessage {
    /// What it says.
    pub event: WatchEvent,
    /// Where to go on after it.
    pub resume_token: String,
}

/// What a message says.
#[derive(Debug)]
pub enum WatchEvent {
    /// What there is follows.
    SnapshotStart {
        /// Whether that is because what came after the token is no longer known.
        reset: bool,
    },
    /// How a connection stands.
    Connection {
        /// Whose.
        user: UserId,
        /// As of which version.
        version: Version,
        /// How.
        status: PlatformStatus,
    },
    /// That was all there is; from now on, what changes.
    SnapshotEnd,
    /// Nothing has changed.
    Heartbeat,
}

/// A stream that was opened. It ends when it is dropped.
pub struct Watching {
    messages: mpsc::Receiver<WatchMessage>,
    failure: Arc<Mutex<Option<VaultError>>>,
    _slot: Slot,
}

/// What a stream covers.
#[derive(Debug, Clone)]
struct Filter {
    tenant: TenantId,
    users: BTreeSet<UserId>,
    platforms: BTreeSet<PlatformId>,
    /// The tickets of this stream are good for this only.
    request: String,
}

// === impl WatchLimits ===

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            streams: 64,
            streams_per_engine: 8,
            buffer: 256,
            slow_reader: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}

// === impl WatchStatus ===

impl WatchStatus {
    /// Nobody watches yet, and nothing runs.
    #[must_use]
    pub fn new(parts: WatchParts, limits: WatchLimits) -> Self {
        let tail = Tail::new(&parts, limits.poll);
        let slots = Slots::new(limits.streams, limits.streams_per_engine);
        Self { parts: Arc::new(parts), limits, tail, slots }
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// When there are too many, a platform is not enabled, the token is not one of ours, or the store cannot be read.
    pub async fn open(&self, query: WatchQuery) -> Result<Watching, VaultError> {
        let slot = self.slots.take(&query.engine)?;
        for platform in &query.platforms {
            enabled(&self.parts.catalog, platform)?;
        }
        let WatchQuery { tenant, users, platforms, resume_token, until, .. } = query;
        let filter = Filter::new(tenant, users, platforms);
        let partitions = filter.partitions();
        let resumed = match resume_token.as_str() {
            "" => None,
            token => Some(self.resumption(&filter, &partitions, token).await?),
        };
        // Before anything else is read: what changes from here on is told as a change, if not in the snapshot.
        let (start, position) = match resumed {
            Some(Resumption::From(position)) => (Start::Resumed, position),
            Some(Resumption::Anew) => (Start::Snapshot { reset: true }, self.parts.ends(&partitions).await?),
            None => (Start::Snapshot { reset: false }, self.parts.ends(&partitions).await?),
        };
        let (sender, messages) = mpsc::channel(self.limits.buffer);
        let feed = Feed::new(
            Arc::clone(&self.parts),
            self.limits,
            filter,
            (position, self.tail.subscribe(partitions)),
            sender.clone(),
        );
        let failure = Arc::new(Mutex::new(None));
        let (verdict, stopping) = (Arc::clone(&failure), self.parts.tasks.stopping());
        let feeding = async move {
            let ended = tokio::select! {
                ended = feed.run(start) => ended,
                () = stopping => Err(VaultError::Stopping),
                () = end_of(until) => Ok(()),
                // Nobody reads any more.
                () = sender.closed() => Ok(()),
            };
            if let Err(VaultError::SlowReader) = &ended {
                tracing::warn!("a stream was read too slowly");
            }
            *verdict.lock().unwrap_or_else(PoisonError::into_inner) = ended.err();
        };
        self.parts.tasks.spawn("status stream", Box::pin(feeding));
        Ok(Watching { messages, failure, _slot: slot })
    }

    async fn resumption(
        &self,
        filter: &Filter,
        partitions: &BTreeSet<Partition>,
        token: &str,
    ) -> Result<Resumption, VaultError> {
        let bytes = self.parts.tickets.open(filter.ticket(), token).await?;
        let not_ours = InvalidArgument { field: "resume_token", fault: Fault::NotOurs };
        Ok(bytes.and_then(|bytes| Resumption::parse(&bytes, partitions)).ok_or(not_ours)?)
    }
}

async fn end_of(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

// === impl WatchParts ===

impl WatchParts {
    /// The ends of these partitions.
    async fn ends(&self, partitions: &BTreeSet<Partition>) -> Result<Position, VaultError> {
        let ends = partitions.iter().map(async |partition| match self.index.changes(*partition, None, 1).await? {
            Changes::Next { cursor, .. } => Ok((*partition, cursor)),
            // There is always an end.
            Changes::Forgotten => Err(StoreError::Corrupt),
        });
        Ok(Position(try_join_all(ends).await?.into_iter().collect()))
    }
}

// === impl Watching ===

impl Watching {
    /// The next message; `None` when the stream has come to its end.
    ///
    /// # Errors
    ///
    /// Why it was cut, once.
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchMessage, VaultError>>> {
        self.messages.poll_recv(cx).map(|message| match message {
            Some(message) => Some(Ok(message)),
            None => self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map(Err),
        })
    }
}

// === impl Filter ===

impl Filter {
    fn new(tenant: TenantId, users: BTreeSet<UserId>, platforms: BTreeSet<PlatformId>) -> Self {
        let named: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let at: Vec<&str> = platforms.iter().map(PlatformId::as_str).collect();
        let request = format!("users {} platforms {}", named.join(","), at.join(","));
        Self { tenant, users, platforms, request }
    }

    fn ticket(&self) -> Ticket<'_> {
        Ticket { kind: Kind::ResumeToken, tenant: &self.tenant, request: &self.request }
    }

    fn covers(&self, key: &ConnectionKey) -> bool {
        key.tenant == self.tenant
            && (self.users.is_empty() || self.users.contains(&key.user))
            && (self.platforms.is_empty() || self.platforms.contains(&key.platform))
    }

    fn partitions(&self) -> BTreeSet<Partition> {
        if self.users.is_empty() {
            Partition::all().collect()
        } else {
            self.users.iter().map(|user| Partition::of(&self.tenant, user)).collect()
        }
    }
}

/// What is spawned.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
