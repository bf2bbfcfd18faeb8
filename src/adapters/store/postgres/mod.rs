//! The store in a PostgreSQL database, for many vault instances over one store.
//!
//! ```text
//! vault_record     drawer, field (as in every store) -> frame, and what the server itself reads out of it
//! vault_partition  partition -> the number of its last change
//! vault_change     partition, number -> what was written
//! ```
//!
//! Every call is one statement in a transaction of its own (see `statements`), so that no connection is kept while
//! something else is waited for. Connections are lent in `pool`, other instances heard of in `listening`; what is asked
//! of the server at the start is in `startup`, its tables in `schema`.

mod fault;
mod index;
mod listening;
mod pool;
mod schema;
mod settings;
mod startup;
mod statements;
mod upkeep;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use sqlx::Row as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

pub use self::fault::PostgresFault;
use self::index::{Mark, Span, unexpected};
use self::pool::Pool;
pub use self::schema::Migrated;
pub use self::settings::{ClientCertificate, PostgresSettings, TlsSettings, Verify};
pub use self::startup::{ConnectError, Note};
use self::statements::{CHANGES, CREATE, DUE, GET, LIST, REPLACE, RESTORE, SCAN};
use super::frame;
use super::listeners::Listeners;
use super::place::{self, Place};
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{
    Address, ChangeCursor, Changes, Due, Expected, Index, Listener, Page, Partition, Pushes, Record, ScanCursor, Scope,
    Store, StoreError, Stored, UserDrawer, Version,
};
use crate::domain::time::Timestamp;

/// Everything in a PostgreSQL database.
pub struct PostgresStore {
    pool: Arc<Pool>,
    settings: PostgresSettings,
    listeners: Arc<Listeners>,
    /// Rung when something was written that others listen for.
    bell: Arc<Notify>,
    notes: Vec<Note>,
    runtime: Handle,
    /// Runs from when somebody listens.
    listening: OnceLock<AbortOnDropHandle<()>>,
    _upkeep: [AbortOnDropHandle<()>; 2],
}

// === impl PostgresStore ===

impl PostgresStore {
    /// Connects, and looks whether the server may be relied on and has the schema of this binary. To be called on the
    /// runtime that the store is to live on.
    ///
    /// # Errors
    ///
    /// When the settings cannot work, the server does not answer within a few attempts or does not let the vault work, is
    /// a standby or too old, or its schema is another one.
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, ConnectError> {
        settings.check().await?;
        let pool = Arc::new(Pool::new(settings));
        let notes = startup::inspect(settings, &pool).await?;
        let bell = Arc::new(Notify::new());
        // These end with the store, and shutdown has nothing to wait for in them.
        let runtime = Handle::current();
        let ring = runtime.spawn(upkeep::ring(Arc::clone(&pool), Arc::clone(&bell)));
        let tidy = runtime.spawn(upkeep::tidy(Arc::clone(&pool)));
        Ok(Self {
            pool,
            settings: settings.clone(),
            listeners: Arc::default(),
            bell,
            notes,
            runtime,
            listening: OnceLock::new(),
            _upkeep: [ring, tidy].map(AbortOnDropHandle::new),
        })
    }

    /// Gives the database the schema of this binary.
    ///
    /// # Errors
    ///
    /// As for `connect`, and when its schema is newer or a migration fails.
    pub async fn migrate(settings: &PostgresSettings) -> Result<Migrated, ConnectError> {
        settings.check().await?;
        let pool = Arc::new(Pool::new(settings));
        startup::knock(settings, &pool).await?;
        schema::migrate(settings, &pool).await
    }

    /// What an operator should know about this server.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Writes a frame by a statement that answers how many records it wrote.
    async fn write(
        &self,
        address: &Address,
        statement: &'static str,
        frame: Vec<u8>,
        over: Option<Version>,
    ) -> Result<(), StoreError> {
        let place = Place::from(address);
        let heard = matches!(address, Address::Connection(_) | Address::UserKey { .. });
        let mut query = sqlx::query(statement)
            .bind(place.drawer)
            .bind(place.field)
            .bind(partition_number(address.partition()))
            .bind(frame)
            .bind(heard);
        if let Some(version) = over {
            query = query.bind(version.0.cast_signed());
        }
        let answer = self.pool.fetch(query).await?;
        let written: i64 = answer.first().ok_or(PostgresFault::Unexpected)?.try_get(0).map_err(unexpected)?;
        if written == 0 {
            return Err(StoreError::Conflict);
        }
        if heard {
            self.listeners.tell(address);
            self.bell.notify_one();
        }
        Ok(())
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let place = Place::from(address);
        let rows = self.pool.fetch(sqlx::query(GET).bind(place.drawer).bind(place.field)).await?;
        rows.first().map(|row| frame::decode(index::frame(row, 0)?)).transpose()
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        let frame = frame::encode(expected.next(), &record)?;
        match expected {
            Expected::Absent => self.write(address, CREATE, frame, None).await,
            Expected::Version(version) => self.write(address, REPLACE, frame, Some(version)).await,
        }
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.write(address, RESTORE, frame::encode(version, &record)?, None).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        let rows = self.pool.fetch(sqlx::query(LIST).bind(place::drawer_of(tenant, user))).await?;
        let mut drawer = UserDrawer::default();
        for row in rows {
            let field: &str = row.try_get(0).map_err(unexpected)?;
            place::add(&mut drawer, field.as_bytes(), index::frame(&row, 1)?)?;
        }
        Ok(drawer)
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }
}

#[async_trait]
impl Index for PostgresStore {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        let query = sqlx::query(DUE).bind(partition_number(partition)).bind(by.unix_seconds()).bind(bound(limit));
        self.pool.fetch(query).await?.iter().map(index::due).collect()
    }

    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let after = after.map(Mark::read).transpose()?;
        let number = after.map(|mark| mark.number);
        let query = sqlx::query(CHANGES).bind(partition_number(partition)).bind(number).bind(bound(limit));
        index::changes(&self.pool.fetch(query).await?, after)
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        let (span, limit) = (Span::new(scope, after)?, bound(limit).max(1));
        let query = sqlx::query(SCAN).bind(&span.0).bind(span.end()).bind(limit);
        index::page(self.pool.fetch(query).await?, limit)
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Pushes {
        self.listeners.add(listener);
        self.listening.get_or_init(|| {
            let work = listening::run(self.settings.clone(), Arc::clone(&self.listeners));
            AbortOnDropHandle::new(self.runtime.spawn(work))
        });
        Pushes::WhileConnected
    }
}

fn partition_number(partition: Partition) -> i16 {
    i16::from(partition.number())
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
