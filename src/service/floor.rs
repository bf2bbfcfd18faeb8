//! The highest version of each record this instance has seen, and the highest generation of its tokens: a store that goes
//! back in time is noticed, also when somebody who did not notice has written to it since.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::connection::Generation;
use crate::domain::error::CorruptRecord;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::Version;

const SHARDS: usize = 16;
/// About 900,000 records, 25 MiB, over all shards: as many as fit before a table of 65,536 places grows.
const PER_SHARD: usize = 57_344;

/// How far a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Its version.
    pub(super) version: Version,
    /// The generation of its tokens. Versions alone do not tell: a record that went back is written again, and comes to
    /// the version that was lost with the tokens of before.
    pub(super) generation: Generation,
}

/// Progress seen, by a keyed hash of the record's key: 64 bits, so that a million records collide once in ten million
/// such vaults, and then to a false alarm, never to a missed one.
pub(super) struct Floor {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Progress>>; SHARDS],
    resets: AtomicU64,
}

/// How far a record was known to have come before it was read. A read that began later must not return less.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    hash: u64,
    seen: Option<Progress>,
    resets: u64,
}

// === impl Floor ===

impl Floor {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            resets: AtomicU64::new(0),
        }
    }

    /// Taken before a read: comparing with what is known *after* it would raise a false alarm when somebody writes
    /// in between.
    pub(super) fn mark(&self, key: &ConnectionKey) -> Mark {
        let hash = self.hasher.hash_one(key);
        let resets = self.resets();
        Mark { hash, seen: self.shard(hash).get(&hash).copied(), resets }
    }

    /// Judges what a read returned.
    pub(super) fn check(&self, mark: Mark, found: Option<Progress>) -> Result<(), CorruptRecord> {
        match (mark.seen, found) {
            (Some(_), None) => Err(CorruptRecord::Vanished),
            (Some(seen), Some(found)) if found.is_behind(seen) => Err(CorruptRecord::Rollback),
            (_, Some(found)) => {
                self.raise(mark.hash, found, mark.resets);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// Remembers what this instance wrote, which it began when there had been so many resets.
    pub(super) fn wrote(&self, key: &ConnectionKey, progress: Progress, resets: u64) {
        self.raise(self.hasher.hash_one(key), progress, resets);
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// How often everything was forgotten.
    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::SeqCst)
    }

    fn raise(&self, hash: u64, progress: Progress, resets: u64) {
        let mut shard = self.shard(hash);
        // What was read or written before a reset belongs to the time before it.
        if self.resets() != resets {
            return;
        }
        if let Some(seen) = shard.get_mut(&hash) {
            *seen = seen.max(progress);
            return;
        }
        if shard.len() >= PER_SHARD {
            // Any one may go: the map's order is keyed at random, so nobody can choose which.
            let victim = shard.keys().next().copied();
            victim.and_then(|victim| shard.remove(&victim));
        }
        shard.insert(hash, progress);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Progress>> {
        let [first, rest @ ..] = &self.shards;
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let shard = index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Mark ===

impl Mark {
    /// Whether this version was seen, or a later one.
    pub(super) fn has_seen(&self, version: Version) -> bool {
        self.seen.is_some_and(|seen| seen.version >= version)
    }

    /// How often everything had been forgotten.
    pub(super) const fn resets(&self) -> u64 {
        self.resets
    }
}

// === impl Progress ===

impl Progress {
    const fn is_behind(self, seen: Self) -> bool {
        self.version.0 < seen.version.0 || self.generation.0 < seen.generation.0
    }

    fn max(self, other: Self) -> Self {
        Self { version: self.version.max(other.version), generation: self.generation.max(other.generation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "p".parse().unwrap() }
    }

    const fn at(version: u64, generation: u64) -> Progress {
        Progress { version: Version(version), generation: Generation(generation) }
    }

    #[test]
    fn an_older_version_than_one_seen_is_a_rollback() {
        let floor = Floor::new();
        floor.wrote(&key("u"), at(5, 1), 0);
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(4, 1))), Err(CorruptRecord::Rollback));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(5, 1))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(9, 1))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(8, 1))), Err(CorruptRecord::Rollback));
        assert_eq!(floor.check(floor.mark(&key("v")), Some(at(1, 1))), Ok(()));
    }

    #[test]
    fn a_record_that_went_back_and_was_written_again_is_a_rollback_until_it_has_newer_tokens() {
        let floor = Floor::new();
        floor.wrote(&key("u"), at(7, 3), 0);
        for version in 7..10 {
            assert_eq!(floor.check(floor.mark(&key("u")), Some(at(version, 2))), Err(CorruptRecord::Rollback));
        }
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(10, 3))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(11, 4))), Ok(()));
    }

    #[test]
    fn a_record_that_was_there_does_not_become_missing() {
        let floor = Floor::new();
        assert_eq!(floor.check(floor.mark(&key("u")), None), Ok(()));
        floor.wrote(&key("u"), at(1, 1), 0);
        assert_eq!(floor.check(floor.mark(&key("u")), None), Err(CorruptRecord::Vanished));
    }

    #[test]
    fn a_write_during_a_read_is_no_rollback() {
        let floor = Floor::new();
        floor.wrote(&key("u"), at(5, 1), 0);
        let mark = floor.mark(&key("u"));
        floor.wrote(&key("u"), at(6, 2), 0);
        assert_eq!(floor.check(mark, Some(at(5, 1))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(5, 1))), Err(CorruptRecord::Rollback));
    }

    #[test]
    fn memory_is_bounded() {
        let floor = Floor::new();
        for hash in 0..(PER_SHARD as u64 + 10) {
            floor.raise(hash * SHARDS as u64, at(1, 1), 0);
        }
        assert_eq!(floor.shard(0).len(), PER_SHARD);
    }

    #[test]
    fn nothing_from_before_a_reset_counts_after_it() {
        let floor = Floor::new();
        floor.wrote(&key("u"), at(5, 1), 0);
        let mark = floor.mark(&key("v"));
        floor.reset();
        assert_eq!(floor.check(floor.mark(&key("u")), Some(at(4, 1))), Ok(()));
        assert_eq!(floor.check(mark, Some(at(5, 1))), Ok(()));
        floor.wrote(&key("w"), at(5, 1), 0);
        for user in ["v", "w"] {
            assert_eq!(floor.check(floor.mark(&key(user)), Some(at(1, 1))), Ok(()), "{user}");
        }
    }
}
