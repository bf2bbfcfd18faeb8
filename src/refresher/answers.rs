//! Answers of platforms from the moment they arrive until the store has them: kept in the outbox, and replayed from it
//! after whatever happened in between.
//!
//! Replaying is what a late owner does: the answer counts if nothing newer is stored. Every step can be taken again, so
//! that a crash in the middle of it changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failpoint;
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Fingerprint};
use crate::domain::connection::{Connection, Entry};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, RequestId};
use crate::domain::ports::{AuditSink, Clock, EntryName, Expected, Outbox, OutboxEntry, OutboxError, Room, Version};
use crate::service::{Loaded, Records};

/// Answers that are not in the store yet.
pub struct Answers {
    /// The connections.
    pub records: Arc<Records>,
    /// Where answers lie.
    pub outbox: Arc<dyn Outbox>,
    /// The audit trail.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What became of an answer.
#[derive(Debug)]
pub enum Fate {
    /// It is in the store, as this version.
    Stored(Version),
    /// A newer one is in the store: it was dropped.
    Superseded,
    /// Its connection was deleted: it was dropped.
    Deleted,
    /// Nobody can make sense of it: it was put aside.
    Quarantined,
    /// Somebody else has seen to it.
    Gone,
    /// The store, the keys or the disk are away, or the record changes too fast: it waits.
    Waits(VaultError),
}

/// How often a record that keeps changing is read again.
const ATTEMPTS: u32 = 8;
/// How many are replayed at once.
const TOGETHER: usize = 16;

// === impl Answers ===

impl Answers {
    /// Writes down what a connection is to become. Without a name nothing is on disk, and memory is all there is.
    pub(super) async fn keep(
        &self,
        room: Option<Room>,
        key: &ConnectionKey,
        expected: Expected,
        next: &Connection,
    ) -> Option<EntryName> {
        match self.write(room, key, expected, next).await {
            Ok(name) => {
                tracing::debug!(record = %key, "an answer is on disk");
                Some(name)
            }
            Err(error) => {
                tracing::error!(alarm = "outbox_unavailable", record = %key, reason = error.reason(), "an answer could not be written to the outbox: it is in memory only until the store takes it");
                None
            }
        }
    }

    async fn write(
        &self,
        room: Option<Room>,
        key: &ConnectionKey,
        expected: Expected,
        next: &Connection,
    ) -> Result<EntryName, VaultError> {
        let room = room.map_or_else(|| self.outbox.reserve(), Ok)?;
        let sealed = self.records.seal_aside(key, expected, next).await?;
        Ok(self.outbox.put(room, OutboxEntry { key: key.clone(), sealed }).await?)
    }

    /// Replays everything that waits, but for connections somebody is busy with. Ends early when the store is away:
    /// what waits for it can wait on.
    pub async fn replay_all(&self, is_busy: impl Fn(&ConnectionKey) -> bool) -> Vec<(EntryName, ConnectionKey, Fate)> {
        let mut fates = Vec::new();
        let waiting = self.outbox.waiting();
        for some in waiting.chunks(TOGETHER) {
            let replays = some.iter().filter(|(_, key)| !is_busy(key)).map(async |(name, key)| {
                let fate = self.replay(name).await;
                (name.clone(), key.clone(), fate)
            });
            let replayed = futures_util::future::join_all(replays).await;
            // One entry may be waiting for a key or a disk of its own; the others need not wait with it.
            let away = !replayed.is_empty()
                && replayed.iter().all(|(_, _, fate)| matches!(fate, Fate::Waits(VaultError::Store(_))));
            fates.extend(replayed);
            if away {
                break;
            }
        }
        fates
    }

    /// Brings one answer into the store, if nothing newer is there.
    pub async fn replay(&self, name: &EntryName) -> Fate {
        let began = Instant::now();
        let (key, kept, meant) = match self.open(name).await {
            Ok(opened) => opened,
            Err(fate) => return fate,
        };
        for _ in 0..ATTEMPTS {
            let (current, version) = match self.records.load(&key).await {
                Ok(Some(Loaded { entry: Entry::Live(current), version })) => (*current, version),
                Ok(Some(Loaded { entry: Entry::Deleted(_), version })) => {
                    self.drop_answer(&key, "answer_deleted", Some(version), name);
                    return Fate::Deleted;
                }
                Ok(None) => return self.put_aside(&key, name, "record_vanished"),
                Err(VaultError::Corrupt(CorruptRecord::Rollback)) => {
                    let made_good =
                        self.records.make_good(&key, meant, |current| current.catch_up(kept.clone()).ok()).await;
                    return match made_good {
                        Ok(Some(_)) => self.is_stored((&key, &kept), name, meant, began.elapsed()),
                        Ok(None) => Fate::Waits(CorruptRecord::Rollback.into()),
                        Err(error) => Fate::Waits(error),
                    };
                }
                Err(error) => return Fate::Waits(error),
            };
            if current.generation == kept.generation && is_same_answer(&current, &kept) {
                self.outbox.remove(name);
                return Fate::Stored(version);
            }
            let Ok(next) = current.catch_up(kept.clone()) else {
                self.drop_answer(&key, "answer_superseded", Some(version), name);
                return Fate::Superseded;
            };
            match self.records.save(&key, Expected::Version(version), &Entry::Live(Box::new(next))).await {
                Ok(version) => return self.is_stored((&key, &kept), name, version, began.elapsed()),
                Err(VaultError::WriteContended) => {}
                Err(error) => return Fate::Waits(error),
            }
        }
        Fate::Waits(VaultError::WriteContended)
    }

    fn is_stored(
        &self,
        (key, kept): (&ConnectionKey, &Connection),
        name: &EntryName,
        version: Version,
        latency: Duration,
    ) -> Fate {
        failpoint::reach("replayed");
        tracing::info!(record = %key, "an answer that waited in the outbox is stored");
        let ended = (AuditResult::Ok, "answer_replayed", self.audit.fingerprint(&kept.grant.access));
        self.write_down(key, name, ended, Some(version), latency);
        self.outbox.remove(name);
        Fate::Stored(version)
    }

    async fn open(&self, name: &EntryName) -> Result<(ConnectionKey, Connection, Version), Fate> {
        let entry = match self.outbox.get(name).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Err(Fate::Gone),
            Err(error @ OutboxError::Malformed) => {
                tracing::error!(entry = %name, reason = error.reason(), "an answer in the outbox was cut or altered");
                self.outbox.quarantine(name);
                return Err(Fate::Quarantined);
            }
            Err(error) => return Err(Fate::Waits(error.into())),
        };
        match self.records.open_aside(&entry.key, &entry.sealed).await {
            Ok((kept, meant)) => Ok((entry.key, kept, meant)),
            Err(VaultError::Missing) => {
                self.drop_answer(&entry.key, "answer_deleted", None, name);
                Err(Fate::Deleted)
            }
            Err(VaultError::Corrupt(corrupt)) => Err(self.put_aside(&entry.key, name, corrupt.reason())),
            Err(error) => Err(Fate::Waits(error)),
        }
    }

    /// An answer that has no place in the store any more is dropped, and it is written down that it was.
    pub(super) fn drop_answer(
        &self,
        key: &ConnectionKey,
        reason: &'static str,
        found: Option<Version>,
        name: &EntryName,
    ) {
        tracing::warn!(record = %key, reason, "an answer in the outbox is dropped");
        self.write_down(key, name, (AuditResult::Failed, reason, None), found, Duration::ZERO);
        self.outbox.remove(name);
    }

    fn put_aside(&self, key: &ConnectionKey, name: &EntryName, reason: &'static str) -> Fate {
        tracing::error!(record = %key, entry = %name, reason, "an answer in the outbox cannot be used");
        self.outbox.quarantine(name);
        Fate::Quarantined
    }

    fn write_down(
        &self,
        key: &ConnectionKey,
        name: &EntryName,
        (result, reason, token_fp): (AuditResult, &'static str, Option<Fingerprint>),
        version: Option<Version>,
        latency: Duration,
    ) {
        let Ok(request_id) = format!("outbox-{name}").parse::<RequestId>() else { return };
        self.audit.post(AuditEntry {
            at: self.clock.now(),
            request_id,
            engine: None,
            key_id: None,
            peer: None,
            spiffe_id: None,
            action: AuditAction::Refresh,
            subject: key.into(),
            result,
            reason,
            latency,
            record_version: version.map(|version| version.0),
            items: None,
            token_fp,
        });
    }
}

fn is_same_answer(current: &Connection, kept: &Connection) -> bool {
    current.grant.access.expose() == kept.grant.access.expose()
}
