//! The store in a Redis server, for many vault instances over one store.
//!
//! A record and its indices change in one script, so that nothing comes between the comparison and the write, and no index
//! is ever without its record (`script`). Under which keys they are is in `layout`, what is asked of the indices in `index`,
//! and how the server tells of changes in `tracking`. How connections are made, given up and replaced is in `line`; what is
//! asked of the server at the start in `startup`.

mod access;
mod cluster;
mod fault;
mod index;
mod layout;
mod line;
mod script;
mod sentinel;
mod servers;
mod settings;
mod slots;
mod startup;
mod tracking;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::access::Access;
pub use self::fault::RedisFault;
use self::index::{ScanPlace, StreamId};
use self::layout::Layout;
use self::script::{Scripts, Write};
use self::servers::Servers;
pub use self::settings::{ClientCertificate, Endpoint, RedisSettings, SentinelSettings, Shape, TlsSettings};
pub use self::startup::{ConnectError, Note};
use self::tracking::Follower;
use super::frame::{self, Condition};
use super::listeners::Listeners;
use super::place::{self, Place};
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{
    Address, ChangeCursor, Changes, Due, Expected, Hints, Index, Listener, Page, Partition, Pushes, Record, ScanCursor,
    Scope, Store, StoreError, Stored, UserDrawer, Version,
};
use crate::domain::time::Timestamp;

/// How many drawers are fetched at once in a scan: a bound on what a page holds beyond what it was asked for.
const DRAWERS_AT_ONCE: usize = 64;

/// Everything in Redis.
pub struct RedisStore {
    servers: Arc<Servers>,
    layout: Layout,
    scripts: Scripts,
    listeners: Arc<Listeners>,
    /// What follows the changes; nothing where the server does not tell of them. Runs from the first listener on.
    following: Mutex<Following>,
    /// What it runs on.
    runtime: Handle,
    /// What else runs until the store is dropped.
    _watch: JoinSet<()>,
    /// How long one page of a scan may take.
    page_timeout: Duration,
    notes: Vec<Note>,
}

/// How changes are followed.
enum Following {
    Refused,
    Ready(Box<Follower>),
    /// Until the store is dropped.
    Running(JoinSet<()>),
}

// === impl RedisStore ===

impl RedisStore {
    /// Connects, and looks whether the server may be relied on.
    ///
    /// # Errors
    ///
    /// When the settings cannot work, the server does not answer within a few attempts or does not let the vault work, or
    /// it is one that would lose tokens in ordinary operation.
    pub async fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        settings.check()?;
        let access = Arc::new(Access::to_records(settings).await?);
        let servers = Arc::new(Servers::new(settings, &access).await?);
        let address = settings.address();
        let mut notes = startup::inspect(&servers, &address).await?;
        let (layout, listeners) = (Layout::new(&settings.key_prefix), Arc::new(Listeners::default()));
        let follower = Follower {
            access,
            servers: Arc::clone(&servers),
            layout: layout.clone(),
            listeners: Arc::clone(&listeners),
            patience: settings.response_timeout,
        };
        let following = if follower.is_refused().await {
            notes.push(Note::NoTracking);
            Following::Refused
        } else {
            Following::Ready(Box::new(follower))
        };
        let mut watch = JoinSet::new();
        if let Servers::Sentinel { sentinels, .. } = &*servers {
            watch.spawn(Arc::clone(sentinels).watch());
        }
        let store = Self {
            servers,
            layout,
            scripts: Scripts::new(),
            listeners,
            following: Mutex::new(following),
            runtime: Handle::current(),
            _watch: watch,
            page_timeout: settings.operation_timeout * 2,
            notes,
        };
        store.try_commands().await.map_err(|source| ConnectError::after_an_answer(address, source))?;
        Ok(store)
    }

    /// What an operator should know about this server.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Takes the commands the store needs through the server's access rules, changing nothing: no record has version 0.
    async fn try_commands(&self) -> Result<(), RedisFault> {
        // All partitions, because each may be on a server of its own.
        for partition in Partition::all() {
            self.send(partition, &script::may_all(&self.layout, partition)).await?;
            let write = Write {
                address: &Address::Lease { partition },
                condition: Condition::Is(Expected::Version(Version(0))),
                hints: Hints::default(),
                frame: &[],
            };
            let send = |command: Cmd| async move { self.send(partition, &command).await };
            self.scripts.write(&self.layout, &write, send).await?;
        }
        Ok(())
    }

    async fn send(&self, partition: Partition, command: &Cmd) -> Result<Value, RedisFault> {
        self.servers.send(partition, command).await
    }

    async fn ask(&self, partition: Partition, command: &Cmd) -> Result<Value, StoreError> {
        self.send(partition, command).await.map_err(unreadable)
    }

    async fn write(
        &self,
        address: &Address,
        condition: Condition,
        version: Version,
        record: &Record,
    ) -> Result<(), StoreError> {
        let frame = frame::encode(version, record)?;
        let write = Write { address, condition, hints: record.hints, frame: &frame };
        let partition = address.partition();
        let send = |command: Cmd| async move { self.send(partition, &command).await };
        match self.scripts.write(&self.layout, &write, send).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Conflict),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn drawer(&self, partition: Partition, drawer: &str) -> Result<Value, StoreError> {
        self.ask(partition, cmd("HGETALL").arg(self.layout.drawer(partition, drawer))).await
    }

    async fn page(&self, scope: &Scope, mut place: ScanPlace, limit: usize) -> Result<Page, StoreError> {
        let mut items = Vec::new();
        loop {
            let partition = place.partition;
            let wanted = limit.saturating_sub(items.len()).clamp(1, DRAWERS_AT_ONCE);
            let key = self.layout.drawers(partition);
            let found = self.ask(partition, &index::drawers_after(&key, scope, &place, wanted)).await?;
            let drawers = index::read_drawers(found)?;
            let fetched = try_join_all(drawers.iter().map(|drawer| self.drawer(partition, drawer))).await?;
            for (drawer, found) in drawers.iter().zip(fetched) {
                items.extend(index::read_items(drawer, found)?);
            }
            let more = drawers.len() == wanted;
            let next = match drawers.into_iter().next_back() {
                Some(after) if more => Some(ScanPlace { partition, after: Some(after) }),
                Some(_) | None => place.next_partition(),
            };
            match next {
                Some(next) if items.len() < limit => place = next,
                next => return Ok(Page { items, next: next.map(|next| next.cursor()) }),
            }
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let (partition, place) = (address.partition(), Place::from(address));
        let key = self.layout.drawer(partition, &place.drawer);
        match self.ask(partition, cmd("HGET").arg(key).arg(&place.field)).await? {
            Value::Nil => Ok(None),
            Value::BulkString(frame) => frame::decode(Bytes::from(frame)).map(Some),
            _ => Err(RedisFault::Unexpected.into()),
        }
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::Is(expected), expected.next(), &record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::OlderThan(version), version, &record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        let found = self.drawer(Partition::of(tenant, user), &place::drawer_of(tenant, user)).await?;
        let mut drawer = UserDrawer::default();
        for (field, frame) in index::understood::<Vec<(Vec<u8>, Vec<u8>)>>(found)? {
            place::add(&mut drawer, &field, Bytes::from(frame))?;
        }
        Ok(drawer)
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

#[async_trait]
impl Index for RedisStore {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        index::read_due(self.ask(partition, &index::due(&self.layout.due(partition), by, limit)).await?)
    }

    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let key = self.layout.changes(partition);
        let Some(after) = after else {
            return index::read_last_change(self.ask(partition, &index::last_change(&key)).await?);
        };
        let place = StreamId::read(after)?;
        let found = self.ask(partition, &index::changes_from(&key, place, limit)).await?;
        let changes = index::read_changes(found, place, limit)?;
        // At the beginning is no change whose absence would tell that others have gone.
        let begun = place == StreamId::BEGIN && changes != Changes::Next { changes: Vec::new(), cursor: after.clone() };
        if begun && !index::read_whole(self.ask(partition, &index::whole(&key)).await?)? {
            return Ok(Changes::Forgotten);
        }
        Ok(changes)
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        let place = ScanPlace::read(after)?;
        let page = timeout(self.page_timeout, self.page(scope, place, limit)).await;
        page.unwrap_or_else(|_| Err(RedisFault::Silence.into()))
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Pushes {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match std::mem::replace(&mut *following, Following::Refused) {
            Following::Refused => return Pushes::Never,
            Following::Running(tasks) => tasks,
            Following::Ready(follower) => {
                let mut tasks = JoinSet::new();
                tasks.spawn_on(follower.run(), &self.runtime);
                tasks
            }
        };
        *following = Following::Running(running);
        self.listeners.add(listener);
        Pushes::WhileConnected
    }
}

fn unreadable(fault: RedisFault) -> StoreError {
    if fault.is_wrong_type() { StoreError::Corrupt } else { fault.into() }
}
