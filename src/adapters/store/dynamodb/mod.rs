//! The store in Amazon DynamoDB, for many vault instances over one table.
//!
//! ```text
//! pk = drawer               sk = field                 the records         see `item`
//! pk = "#due:" partition    sk = when, which           what is due         see `due`
//! pk = "#inbox:" ...        pk = "#log:" ...           what has changed    see `changes`
//! pk = "#drawers:" ...      sk = drawer                what there is       see `scan`
//! ```
//!
//! A record and its indices change in one transaction, on the condition that the record has the version its writer
//! expects. Transactions cost twice what plain writes do, and that is the price of an index that is never wrong: writing
//! a connection of 2 KB costs about ten write units and one read unit, reading it one. A user's drawer is read by one
//! query, which returns up to 1 MB; whoever has more costs a further request for each further megabyte.

mod changes;
mod due;
mod fault;
mod item;
mod read;
mod scan;
mod settings;
mod startup;
mod table;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::ConfigLoader;
use aws_sdk_dynamodb::config::ProvideCredentials;
use tokio::time::timeout;

use self::changes::Log;
pub use self::fault::DynamoFault;
pub use self::settings::DynamoSettings;
use self::settings::behavior_version;
pub use self::startup::{ConnectError, Note};
use self::table::Table;
use self::write::Write;
use super::frame::{self, Condition};
use super::life::Mark;
use super::place::{self, Place};
use super::reason;
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{
    Address, ChangeCursor, Changes, Clock, Due, Expected, Index, Listener, Page, Partition, Pushes, Record, ScanCursor,
    Scope, Store, StoreError, Stored, UserDrawer, Version,
};
use crate::domain::time::Timestamp;

/// How long one call of the indices may take. It may be many requests.
const INDEX_LIMIT: Duration = Duration::from_secs(15);

/// Everything in one table of DynamoDB.
pub struct DynamoStore {
    table: Table,
    clock: Arc<dyn Clock>,
    time_limit: Duration,
    notes: Vec<Note>,
}

// === impl DynamoStore ===

impl DynamoStore {
    /// Finds region and credentials, in AWS's usual order, and looks whether the table may be relied on.
    ///
    /// # Errors
    ///
    /// When the settings cannot work, DynamoDB does not answer within a few attempts or does not let the vault work, or
    /// the table is missing or not a vault's.
    pub async fn connect(settings: &DynamoSettings, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        Self::open(settings, aws_config::defaults(behavior_version()), clock).await
    }

    /// As [`DynamoStore::connect`], with these credentials and no others.
    ///
    /// # Errors
    ///
    /// As for [`DynamoStore::connect`].
    pub async fn connect_as(
        settings: &DynamoSettings,
        credentials: impl ProvideCredentials + 'static,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let loader = aws_config::defaults(behavior_version()).credentials_provider(credentials);
        Self::open(settings, loader, clock).await
    }

    /// Makes the table where there is none: paid by request, protected from deletion, and rid of what has expired by
    /// itself. Waits until it is ready. A table that is there is left as it is, but for its time to live.
    ///
    /// # Errors
    ///
    /// As for [`DynamoStore::connect`].
    pub async fn create_table(settings: &DynamoSettings) -> Result<(), ConnectError> {
        startup::make(&reach(settings, aws_config::defaults(behavior_version())).await?).await
    }

    /// As [`DynamoStore::create_table`], with these credentials and no others.
    ///
    /// # Errors
    ///
    /// As for [`DynamoStore::connect`].
    pub async fn create_table_as(
        settings: &DynamoSettings,
        credentials: impl ProvideCredentials + 'static,
    ) -> Result<(), ConnectError> {
        let loader = aws_config::defaults(behavior_version()).credentials_provider(credentials);
        startup::make(&reach(settings, loader).await?).await
    }

    /// What an operator should know about this table.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    async fn open(
        settings: &DynamoSettings,
        loader: ConfigLoader,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectError> {
        let table = reach(settings, loader).await?;
        let notes = startup::inspect(&table).await?;
        Ok(Self { table, clock, time_limit: settings.operation_timeout, notes })
    }

    async fn write(
        &self,
        address: &Address,
        condition: Condition,
        version: Version,
        record: &Record,
    ) -> Result<(), StoreError> {
        let write = Write { address, condition, version, record, now: self.clock.now() };
        within(self.time_limit, write.run(&self.table)).await
    }
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let place = Place::from(address);
        let found = within(self.time_limit, read::record(&self.table, &place)).await?;
        found.map(frame::decode).transpose()
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::Is(expected), expected.next(), &record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.write(address, Condition::OlderThan(version), version, &record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        let name = place::drawer_of(tenant, user);
        let mut drawer = UserDrawer::default();
        for (field, frame) in within(self.time_limit, read::drawer(&self.table, &name)).await? {
            place::add(&mut drawer, field.as_bytes(), frame)?;
        }
        Ok(drawer)
    }

    fn kind(&self) -> &'static str {
        "dynamodb"
    }
}

#[async_trait]
impl Index for DynamoStore {
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError> {
        within(INDEX_LIMIT, due::find(&self.table, partition, by, limit)).await
    }

    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let after = after.map(Mark::read).transpose()?;
        let log = Log::of(&self.table, partition, self.clock.now());
        within(INDEX_LIMIT, Box::pin(log.after(after, limit))).await
    }

    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError> {
        within(INDEX_LIMIT, scan::page(&self.table, scope, after, limit)).await
    }

    /// DynamoDB tells nobody of changes.
    fn listen(&self, _listener: Arc<dyn Listener>) -> Pushes {
        Pushes::Never
    }
}

async fn reach(settings: &DynamoSettings, loader: ConfigLoader) -> Result<Table, ConnectError> {
    settings.check()?;
    Ok(Table { client: settings.client(loader).await?, name: settings.table.clone() })
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(limit, work).await.unwrap_or(Err(StoreError::unavailable(reason::TIMEOUT)))
}
