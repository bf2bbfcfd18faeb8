//! Where an answer of a platform lies until the store has it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::connection::InstanceId;
use crate::domain::id::ConnectionKey;

/// An answer, as it lies in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Whose connection it belongs to: in the clear, as in the store.
    pub key: ConnectionKey,
    /// The record it is to become, sealed.
    pub sealed: Bytes,
}

/// The name of an entry. Names sort by when their entries were put, and say nothing about whose they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Arc<str>);

/// Room for one entry, given back when it is dropped. Taken before a platform is asked, so that there is a place for
/// what it answers.
pub struct Room {
    _kept_free: Box<dyn Any + Send + Sync>,
}

/// Answers on the disk of this instance.
///
/// - `reserve` says whether there is room for one more entry, and keeps it free for as long as the [`Room`] lives.
///   Entries and rooms together never exceed the bounds.
/// - `put` returns once the entry is on disk, under a name of its own: it survives the process and the machine. After
///   an error it may be there or not; what may be there is `waiting`.
/// - After a `put` that failed, `reserve` refuses until `tend` has found that entries can be written again.
/// - An entry is read as it was put, byte for byte, or not at all: one that was cut or altered is `Malformed`.
/// - `waiting` lists what was put and neither removed nor quarantined, the oldest first; `waiting_for` of one connection.
/// - A removed entry is no longer waiting at once, and leaves the disk soon; if the process ends before, it waits again.
/// - A quarantined entry is no longer waiting, is never deleted, and takes up no room.
/// - An outbox has one owner, which signs its claims as `owner`. What an owner left that is gone, `tend` takes over, as
///   far as there is room; what belongs to one that lives, nobody touches.
/// - `tend` names the owners that are gone and all of whose entries wait here now: no other answer of theirs will come.
/// - Every call ends within the outbox's own time limit, whatever the disk does.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Who its owner is; `None` for one that was taken over where it lay.
    fn owner(&self) -> Option<InstanceId>;

    /// Keeps room for one entry.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Full`], or [`OutboxError::Unavailable`] if nothing can be written.
    fn reserve(&self) -> Result<Room, OutboxError>;

    /// Writes an entry down.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Unavailable`], or [`OutboxError::Full`] for an entry larger than what is left.
    async fn put(&self, room: Room, entry: OutboxEntry) -> Result<EntryName, OutboxError>;

    /// Reads an entry; `None` if it no longer waits.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Malformed`] or [`OutboxError::Unavailable`].
    async fn get(&self, name: &EntryName) -> Result<Option<OutboxEntry>, OutboxError>;

    /// Lets an entry go whose answer is in the store, or has no place there.
    fn remove(&self, name: &EntryName);

    /// Puts an entry aside that nobody can make sense of, for a person to look at.
    fn quarantine(&self, name: &EntryName);

    /// The entries and whose they are, the oldest first.
    fn waiting(&self) -> Vec<(EntryName, ConnectionKey)>;

    /// The entries of one connection, the oldest first.
    fn waiting_for(&self, key: &ConnectionKey) -> Vec<EntryName>;

    /// Takes over what dead owners left, and finds out whether entries can be written again. To be called at the start
    /// and every few seconds. Says of which owners everything was taken over.
    async fn tend(&self) -> Vec<InstanceId>;
}

/// Why the outbox did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutboxError {
    /// There is no room.
    #[error("the outbox is full")]
    Full,
    /// The disk refuses, or is too slow.
    #[error("the outbox cannot be used ({reason})")]
    Unavailable {
        /// One word from a closed vocabulary: `disk`, `timeout`, `closed`.
        reason: &'static str,
        /// The error underneath.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// What is there was cut or altered, or no vault wrote it.
    #[error("the entry is not one a vault wrote")]
    Malformed,
}

/// It is not a name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an entry: a-z 0-9 and `-`, at most {MAX_NAME} of them")]
pub struct NotAName;

const MAX_NAME: usize = 40;

// === impl EntryName ===

impl EntryName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let named = (1..=MAX_NAME).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if named { Ok(Self(text.into())) } else { Err(NotAName) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Room ===

impl Room {
    /// Room that is given back when `kept_free` is dropped.
    #[must_use]
    pub fn new(kept_free: impl Any + Send + Sync) -> Self {
        Self { _kept_free: Box::new(kept_free) }
    }
}

// === impl OutboxError ===

impl OutboxError {
    /// Unavailable, with nothing underneath.
    #[must_use]
    pub const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable { reason, source: None }
    }

    /// Unavailable, with the error that caused it.
    #[must_use]
    pub fn caused_by(reason: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { reason, source: Some(Arc::new(source)) }
    }

    /// The word for it in audit lines and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Full => "outbox_full",
            Self::Unavailable { .. } => "outbox_unavailable",
            Self::Malformed => "outbox_malformed",
        }
    }
}
