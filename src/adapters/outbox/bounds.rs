//! What waits, in memory: how much room there is, and whose entries lie on the disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::ConnectionKey;
use crate::domain::ports::{EntryName, OutboxError, Room};

/// How much an outbox may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub entries: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// What waits.
pub(super) struct Ledger {
    bounds: Bounds,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    entries: BTreeMap<EntryName, Line>,
    bytes: u64,
    rooms: usize,
    /// The last write failed.
    failing: bool,
    /// Somebody was refused for want of room, and nobody has been let in since.
    full: bool,
}

struct Line {
    key: ConnectionKey,
    bytes: u64,
}

/// A room that is kept free.
struct Kept(Arc<Ledger>);

/// The room an entry is given before its size is known: the largest answer that is read, and as much again for what a
/// record keeps of the tokens before.
const PER_ROOM: u64 = 128 * 1_024;

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, books: Mutex::default() })
    }

    /// Keeps room for one entry.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<Room, OutboxError> {
        let mut books = self.lock();
        if books.failing {
            return Err(OutboxError::unavailable("disk"));
        }
        if !books.has_room(self.bounds) {
            if !std::mem::replace(&mut books.full, true) {
                let entries = books.entries.len();
                tracing::error!(
                    alarm = "outbox_full",
                    entries,
                    bytes = books.bytes,
                    "the outbox is full: no token of a platform that rotates is refreshed until the store takes what waits"
                );
            }
            return Err(OutboxError::Full);
        }
        if std::mem::take(&mut books.full) {
            tracing::info!("the outbox has room again");
        }
        books.rooms = books.rooms.saturating_add(1);
        Ok(Room::new(Kept(Arc::clone(self))))
    }

    /// Whether an entry of this size fits that has a room already.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.lock().bytes.saturating_add(bytes) <= self.bounds.bytes
    }

    /// Whether another entry can be taken over.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room(self.bounds)
    }

    pub(super) fn add(&self, name: EntryName, key: ConnectionKey, bytes: u64) {
        let mut books = self.lock();
        books.bytes = books.bytes.saturating_add(bytes);
        if let Some(before) = books.entries.insert(name, Line { key, bytes }) {
            books.bytes = books.bytes.saturating_sub(before.bytes);
        }
    }

    /// Strikes an entry out. Whether it was there.
    pub(super) fn strike(&self, name: &EntryName) -> bool {
        let mut books = self.lock();
        let line = books.entries.remove(name);
        books.bytes = books.bytes.saturating_sub(line.as_ref().map_or(0, |line| line.bytes));
        line.is_some()
    }

    pub(super) fn holds(&self, name: &EntryName) -> bool {
        self.lock().entries.contains_key(name)
    }

    pub(super) fn all(&self) -> Vec<(EntryName, ConnectionKey)> {
        self.lock().entries.iter().map(|(name, line)| (name.clone(), line.key.clone())).collect()
    }

    pub(super) fn of(&self, key: &ConnectionKey) -> Vec<EntryName> {
        let books = self.lock();
        books.entries.iter().filter(|(_, line)| line.key == *key).map(|(name, _)| name.clone()).collect()
    }

    /// Whether entries could be written when it was last tried.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().failing
    }

    /// Learns whether entries can be written.
    pub(super) fn mark(&self, failing: bool) {
        let before = std::mem::replace(&mut self.lock().failing, failing);
        if before && !failing {
            tracing::info!("the outbox can be written again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Books ===

impl Books {
    fn has_room(&self, bounds: Bounds) -> bool {
        let kept = PER_ROOM.saturating_mul(self.rooms as u64 + 1);
        self.entries.len() + self.rooms < bounds.entries && self.bytes.saturating_add(kept) <= bounds.bytes
    }
}

// === impl Kept ===

impl Drop for Kept {
    fn drop(&mut self) {
        let mut books = self.0.lock();
        books.rooms = books.rooms.saturating_sub(1);
    }
}
