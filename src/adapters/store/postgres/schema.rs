//! The schema: the migrations in this binary, applying them, and whether the database has exactly those.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection as _, PgConnection, Row as _, SqlSafeStr as _};
use tokio::time::timeout;

use super::pool::Pool;
use super::settings::PostgresSettings;
use super::startup::ConnectError;
use super::statements::{HAS_SCHEMA, MIGRATION_TABLE, SCHEMA};

/// The migrations, in their order: number, name, statements. Those that were released never change.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "records", include_str!("migrations/0001_records.sql"))];

/// How long a migration may take: large tables take long.
const TIME_LIMIT: Duration = Duration::from_hours(1);

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version of the schema before; 0: there was none.
    pub from: i64,
    /// The version it has now.
    pub to: i64,
}

/// The version this binary works with.
pub(super) fn needed() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

/// Applies what is missing. Two that do it at the same time do it one after the other.
pub(super) async fn migrate(settings: &PostgresSettings, pool: &Arc<Pool>) -> Result<Migrated, ConnectError> {
    let from = found(settings, pool).await?;
    if from > needed() {
        return Err(ConnectError::NewerSchema { found: from, known: needed() });
    }
    let migrations = MIGRATIONS.map(|(version, name, statements)| {
        Migration::new(version, name.into(), MigrationType::Simple, statements.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.into());
    migrator.dangerous_set_table_name(MIGRATION_TABLE);
    let work = async {
        let mut connection = PgConnection::connect_with(&settings.options()).await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
        Ok(())
    };
    let done = timeout(TIME_LIMIT, work).await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
    done.map_err(ConnectError::Migration)?;
    Ok(Migrated { from, to: needed() })
}

/// Refuses a database whose schema is not the one this binary was made for.
pub(super) async fn check(settings: &PostgresSettings, pool: &Arc<Pool>) -> Result<(), ConnectError> {
    judge(found(settings, pool).await?, needed(), settings)
}

fn judge(found: i64, needed: i64, settings: &PostgresSettings) -> Result<(), ConnectError> {
    match found {
        0 => Err(ConnectError::NoSchema { address: settings.address() }),
        found if found < needed => Err(ConnectError::OlderSchema { found, needed }),
        found if found > needed => Err(ConnectError::NewerSchema { found, known: needed }),
        _ => Ok(()),
    }
}

/// The version of the schema in the database; 0: none.
async fn found(settings: &PostgresSettings, pool: &Arc<Pool>) -> Result<i64, ConnectError> {
    let refused = |source| ConnectError::after_an_answer(settings, source);
    let answer = pool.fetch(sqlx::query(HAS_SCHEMA)).await.map_err(refused)?;
    if !answer.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        return Ok(0);
    }
    let answer = pool.fetch(sqlx::query(SCHEMA)).await.map_err(refused)?;
    Ok(answer.first().and_then(|row| row.try_get::<Option<i64>, _>(0).ok().flatten()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_schema_of_this_binary_will_do() {
        let judge = |found| judge(found, 7, &PostgresSettings::default()).map_err(|error| error.to_string());
        assert!(judge(0).unwrap_err().contains("run `vault-engine migrate`"));
        let older = judge(6).unwrap_err();
        assert!(older.contains("version 6, and this binary needs 7: run `vault-engine migrate`"), "{older}");
        let newer = judge(8).unwrap_err();
        assert!(newer.contains("version 8, and this binary knows 7") && !newer.contains("migrate"), "{newer}");
        assert_eq!(judge(7), Ok(()));
    }

    #[test]
    fn migrations_are_numbered_from_one_without_gaps() {
        assert!(MIGRATIONS.iter().zip(1..).all(|((version, ..), number)| *version == number));
    }
}
