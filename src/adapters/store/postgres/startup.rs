//! What is asked of the server before the vault relies on it.
//!
//! A vault that starts against a database that is down, a copy, or of another schema would find out with the first token
//! it loses. So it does not start. What merely may lose writes in a crash is said, loudly, and left to the operator.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;
use tokio::time::sleep;

use super::fault::PostgresFault;
use super::pool::Pool;
use super::schema;
use super::settings::PostgresSettings;
use super::statements::{MISSING_RIGHTS, SERVER};

/// How often the server is tried before the start is given up.
const ATTEMPTS: u32 = 3;

/// The pause between two attempts: longer than the cool-down of the pool.
const PAUSE: Duration = Duration::from_millis(500);

/// The oldest server that is relied on.
const OLDEST_SERVER: i32 = 15;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting cannot work.
    #[error("the postgres setting `{field}` {fault}")]
    Settings {
        /// Its name.
        field: &'static str,
        /// What would be right.
        fault: &'static str,
    },
    /// A file that the settings name cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server does not answer.
    #[error("postgres at `{address}` cannot be reached ({attempts} attempts)")]
    Unreachable {
        /// The host, port and database.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt failed.
        #[source]
        source: PostgresFault,
    },
    /// The server is there and does not let the vault work.
    #[error("postgres at `{address}` does not let the vault work")]
    Refused {
        /// The host, port and database.
        address: String,
        /// What it said.
        #[source]
        source: PostgresFault,
    },
    /// The user lacks rights on the tables of the vault.
    #[error("the user of postgres at `{address}` may not do what the vault has to: grant {missing}")]
    Rights {
        /// The host, port and database.
        address: String,
        /// Which.
        missing: String,
    },
    /// The server is too old.
    #[error("postgres at `{address}` is version {found}, and at least {OLDEST_SERVER} is needed")]
    OldServer {
        /// The host, port and database.
        address: String,
        /// Its version.
        found: i32,
    },
    /// The server copies another one.
    #[error("postgres at `{address}` is a standby: give the address of the primary")]
    Standby {
        /// The host, port and database.
        address: String,
    },
    /// The tables of the vault are not there.
    #[error("the database at `{address}` has no tables of a vault yet: run `vault-engine migrate`")]
    NoSchema {
        /// The host, port and database.
        address: String,
    },
    /// The tables are those of an earlier binary.
    #[error(
        "the schema of the database is version {found}, and this binary needs {needed}: run `vault-engine migrate`"
    )]
    OlderSchema {
        /// The version there.
        found: i64,
        /// The version needed.
        needed: i64,
    },
    /// The tables are those of a later binary.
    #[error(
        "the schema of the database is version {found}, and this binary knows {known}: run the vault-engine that made it, \
         or a later one"
    )]
    NewerSchema {
        /// The version there.
        found: i64,
        /// The version this binary knows.
        known: i64,
    },
    /// A migration failed. The schema is as it was before it.
    #[error("the schema of the database could not be changed")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

// === impl ConnectError ===

impl ConnectError {
    /// What a fault after the first answer means: what passes by itself is no refusal.
    pub(super) fn after_an_answer(settings: &PostgresSettings, source: PostgresFault) -> Self {
        let address = settings.address();
        match source {
            PostgresFault::Standby => Self::Standby { address },
            source if source.is_final() => Self::Refused { address, source },
            source => Self::Unreachable { address, attempts: 1, source },
        }
    }
}

/// Something an operator should know about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Writes are in memory only.
    NoFsync,
    /// Writes reach the disk some time after they are acknowledged.
    LateCommit,
    /// Everybody on the way can read along and alter.
    InTheClear,
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFsync => "postgres runs with `fsync=off`: a crash of its machine loses tokens; set `fsync=on`",
            Self::LateCommit => {
                "postgres acknowledges writes before they are on the disk: a crash may lose the last of them; set \
                 `synchronous_commit=on`"
            }
            Self::InTheClear => {
                "the connection to postgres is not encrypted and the server does not prove who it is; set `sslmode: \
                 verify-full`"
            }
        })
    }
}

/// Waits, within bounds, until the server answers, and refuses one that must not be relied on.
pub(super) async fn inspect(settings: &PostgresSettings, pool: &Arc<Pool>) -> Result<Vec<Note>, ConnectError> {
    let address = settings.address();
    let refused = |source| ConnectError::after_an_answer(settings, source);
    let server = knock(settings, pool).await?;
    // Before the schema: without a right on its table that cannot be told.
    let rights = pool.fetch(sqlx::query(MISSING_RIGHTS)).await.map_err(refused)?;
    let missing = rights.first().ok_or(PostgresFault::Unexpected).map_err(refused)?;
    if let Some(missing) = missing.try_get(0).map_err(|error| refused(error.into()))? {
        return Err(ConnectError::Rights { address, missing });
    }
    schema::check(settings, pool).await?;
    let mut notes = Vec::new();
    if server.fsync == "off" {
        notes.push(Note::NoFsync);
    }
    if server.synchronous_commit == "off" {
        notes.push(Note::LateCommit);
    }
    if settings.tls.is_none() && !settings.is_on_this_machine() {
        notes.push(Note::InTheClear);
    }
    Ok(notes)
}

/// What a server says of itself.
pub(super) struct Server {
    fsync: String,
    synchronous_commit: String,
}

/// Waits, within bounds, until the server answers, and refuses one that is too old.
pub(super) async fn knock(settings: &PostgresSettings, pool: &Arc<Pool>) -> Result<Server, ConnectError> {
    let address = settings.address();
    let mut attempts = 1;
    let answer = loop {
        match pool.fetch(sqlx::query(SERVER)).await {
            Ok(answer) => break answer,
            Err(PostgresFault::Standby) => return Err(ConnectError::Standby { address }),
            Err(source) if source.is_final() => return Err(ConnectError::Refused { address, source }),
            Err(source) if attempts >= ATTEMPTS => {
                return Err(ConnectError::Unreachable { address, attempts, source });
            }
            Err(_) => {
                attempts += 1;
                sleep(PAUSE).await;
            }
        }
    };
    let (number, server) = understood(&answer).map_err(|source| ConnectError::Refused { address, source })?;
    if number / 10_000 < OLDEST_SERVER {
        return Err(ConnectError::OldServer { address: settings.address(), found: number / 10_000 });
    }
    Ok(server)
}

fn understood(answer: &[sqlx::postgres::PgRow]) -> Result<(i32, Server), PostgresFault> {
    let row = answer.first().ok_or(PostgresFault::Unexpected)?;
    Ok((row.try_get(0)?, Server { fsync: row.try_get(1)?, synchronous_commit: row.try_get(2)? }))
}
