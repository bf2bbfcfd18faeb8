//! The file of the embedded store: how it is opened, named, guarded, and opened again after a fault of the disk.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, TryLockError};

use redb::{Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _, TableDefinition, TableError};

use super::super::place::Place;
use super::super::reason;
use super::index;
use crate::domain::ports::StoreError;

/// The one table: `drawer ":" field` to frame.
pub(super) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// The table as a read sees it.
pub(super) type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Pages kept in memory. The kernel keeps more of them for us, and gives them back under pressure.
const CACHE_BYTES: usize = 16 * 1_024 * 1_024;

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody has it open.
    #[error("`{}` is in use by another vault-engine: one file serves one process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file or a directory above it cannot be made, opened or guarded.
    #[error("`{}` cannot be opened", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not a store, or is damaged.
    #[error("`{}` is not a store of this vault, or is damaged", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: redb::Error,
    },
    /// The thread that writes cannot be started.
    #[error("the writer of the store cannot be started")]
    Thread(#[source] io::Error),
}

/// Why something with the open file failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The database below said no.
    #[error("the file of the store failed")]
    Database(#[source] redb::Error),
    /// The file is closed after a fault, or is being opened again.
    #[error("the file of the store is closed after a fault")]
    Closed,
}

type Open = Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>;

/// The open file.
pub(super) struct RecordFile {
    open: Open,
    /// `None` from a fault until the file could be opened again.
    opened: RwLock<Option<Opened>>,
    commits: AtomicU64,
}

struct Opened {
    /// What the last commit left, for all reads until the next: to find the table anew costs more than to read in it.
    /// `None` until somebody reads. Dropped before the database it belongs to.
    records: RwLock<Option<Arc<Records>>>,
    database: Database,
}

// === impl Fault ===

impl Fault {
    /// After an I/O error, or a panic while it held a lock, the database refuses everything until it is opened again.
    pub(super) fn needs_reopening(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Database(error) => {
                matches!(
                    error,
                    redb::Error::Io(_)
                        | redb::Error::PreviousIo
                        | redb::Error::DatabaseClosed
                        | redb::Error::LockPoisoned(_)
                )
            }
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::caused_by(reason::DISK, fault)
    }
}

// === impl RecordFile ===

impl RecordFile {
    /// Opens the file at this path.
    pub(super) fn at(path: &Path) -> Result<Self, OpenError> {
        let path = path.to_owned();
        Self::with_opener(Box::new(move || open(&path)))
    }

    /// Opens whatever this opens, now and after each fault.
    pub(super) fn with_opener(open: Open) -> Result<Self, OpenError> {
        let opened = Opened::new(open()?);
        Ok(Self { open, opened: RwLock::new(Some(opened)), commits: AtomicU64::new(0) })
    }

    /// Writes to the open database. What the work commits is seen by every read that begins after this returns.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Fault> {
        self.with(|opened| {
            let done = work(&opened.database);
            opened.forget_records();
            done
        })
    }

    /// Reads what was committed last.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Records) -> Result<T, redb::Error>) -> Result<T, Fault> {
        self.with(|opened| look(&*opened.records()?))
    }

    /// Looks something up in the indices.
    pub(super) fn look_up<T>(&self, look: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Fault> {
        self.with(|opened| look(&opened.database))
    }

    /// Does not wait while the file is being opened again, which can take as long as it takes to read all of it.
    fn with<T>(&self, work: impl FnOnce(&Opened) -> Result<T, redb::Error>) -> Result<T, Fault> {
        let guard = match self.opened.try_read() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Fault::Closed),
        };
        work(guard.as_ref().ok_or(Fault::Closed)?).map_err(Fault::Database)
    }

    /// Closes the file and opens it again, from what is on the disk. Called by the writer only.
    pub(super) fn reopen(&self) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: the file is locked for as long as it is open.
        *opened = None;
        match (self.open)() {
            Ok(database) => {
                *opened = Some(Opened::new(database));
                tracing::warn!("the file of the store was opened again after a fault");
            }
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(cause, "the file of the store cannot be opened again; the next call tries once more");
            }
        }
    }

    /// Counts one durable transaction.
    pub(super) fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many durable transactions there were.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

// === impl Opened ===

impl Opened {
    fn new(database: Database) -> Self {
        Self { records: RwLock::default(), database }
    }

    fn records(&self) -> Result<Arc<Records>, redb::Error> {
        if let Some(records) = &*self.records.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(records));
        }
        // Locked from before it looks until it is done: what a commit makes old meanwhile is forgotten right after.
        let mut slot = self.records.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(records) = &*slot {
            return Ok(Arc::clone(records));
        }
        let records = Arc::new(self.database.begin_read()?.open_table(RECORDS)?);
        *slot = Some(Arc::clone(&records));
        Ok(records)
    }

    fn forget_records(&self) {
        *self.records.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for RecordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordFile").finish_non_exhaustive()
    }
}

/// `drawer ":" field`. No drawer has a `:` in it, so no two places share a key.
pub(super) fn key(place: &Place) -> Vec<u8> {
    format!("{}:{}", place.drawer, place.field).into_bytes()
}

/// The place a key is made of.
pub(super) fn place(key: &[u8]) -> Option<Place> {
    let (drawer, field) = str::from_utf8(key).ok()?.split_once(':')?;
    Some(Place { drawer: drawer.to_owned(), field: field.to_owned() })
}

/// All keys of a drawer: from `drawer ":"` to before `drawer ";"`, the next byte.
pub(super) fn span(drawer: &str) -> (Vec<u8>, Vec<u8>) {
    (format!("{drawer}:").into_bytes(), format!("{drawer};").into_bytes())
}

fn open(path: &Path) -> Result<Database, OpenError> {
    let refused = |source| OpenError::Database { path: path.to_owned(), source };
    let file = open_guarded(path)?;
    let database = Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
        error => refused(error.into()),
    })?;
    make_tables(&database).map_err(refused)?;
    Ok(database)
}

/// So that a read never finds a table missing.
fn make_tables(database: &Database) -> Result<(), redb::Error> {
    match database.begin_read()?.open_table(RECORDS) {
        Ok(_) if index::has_tables(database)? => Ok(()),
        Ok(_) | Err(TableError::TableDoesNotExist(_)) => {
            let transaction = database.begin_write()?;
            transaction.open_table(RECORDS)?;
            index::make_tables(&transaction)?;
            Ok(transaction.commit()?)
        }
        Err(error) => Err(error.into()),
    }
}

fn open_guarded(path: &Path) -> Result<File, OpenError> {
    let fault = |at: &Path| {
        let path = at.to_owned();
        move |source| OpenError::File { path, source }
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fault(directory))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(fault(path))?;
    // A file that was there may have come from a backup with other rights.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(fault(path))?;
    // The name of a new file is durable only when its directory is.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fault(directory))?;
    Ok(file)
}
