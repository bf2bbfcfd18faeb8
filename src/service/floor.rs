//! The highest version of each record this instance has seen: a store that goes back in time is noticed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::error::CorruptRecord;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::Version;

const SHARDS: usize = 16;
/// About a million records, 24 MiB, over all shards.
const PER_SHARD: usize = 65_536;

/// Versions seen, by a keyed hash of the record's key: 64 bits, so that a million records collide once in ten million
/// such vaults, and then to a false alarm, never to a missed one.
pub(super) struct Floor {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Version>>; SHARDS],
    resets: AtomicU64,
}

/// What a record's version was known to be before it was read. A read that began later must not return less.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    hash: u64,
    seen: Option<Version>,
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
    pub(super) fn check(&self, mark: Mark, found: Option<Version>) -> Result<(), CorruptRecord> {
        match (mark.seen, found) {
            (Some(_), None) => Err(CorruptRecord::Vanished),
            (Some(seen), Some(found)) if found < seen => Err(CorruptRecord::Rollback),
            (_, Some(found)) => {
                self.raise(mark.hash, found, mark.resets);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// Remembers a version this instance wrote, which it began when there had been so many resets.
    pub(super) fn wrote(&self, key: &ConnectionKey, version: Version, resets: u64) {
        self.raise(self.hasher.hash_one(key), version, resets);
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

    fn raise(&self, hash: u64, version: Version, resets: u64) {
        let mut shard = self.shard(hash);
        // What was read or written before a reset belongs to the time before it.
        if self.resets() != resets {
            return;
        }
        if let Some(seen) = shard.get_mut(&hash) {
            *seen = version.max(*seen);
            return;
        }
        if shard.len() >= PER_SHARD {
            // Any one may go: the map's order is keyed at random, so nobody can choose which.
            let victim = shard.keys().next().copied();
            victim.and_then(|victim| shard.remove(&victim));
        }
        shard.insert(hash, version);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Version>> {
        let [first, rest @ ..] = &self.shards;
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let shard = index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "p".parse().unwrap() }
    }

    #[test]
    fn an_older_version_than_one_seen_is_a_rollback() {
        let floor = Floor::new();
        floor.wrote(&key("u"), Version(5), 0);
        assert_eq!(floor.check(floor.mark(&key("u")), Some(Version(4))), Err(CorruptRecord::Rollback));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(Version(5))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(Version(9))), Ok(()));
        assert_eq!(floor.check(floor.mark(&key("u")), Some(Version(8))), Err(CorruptRecord::Rollback));
        assert_eq!(floor.check(floor.mark(&key("v")), Some(Version(1))), Ok(()));
    }

    #[test]
    fn a_record_that_was_there_does_not_become_missing() {
        let floor = Floor::new();
        assert_eq!(floor.check(floor.mark(&key("u")), None), Ok(()));
        floor.wrote(&key("u"), Version(1), 0);
        assert_eq!(floor.check(floor.mark(&key("u")), None), Err(CorruptRecord::Vanished));
    }

    #[test]
    fn a_write_during_a_read_is_no_rollback() {
        let floor = Floor::new();
        floor.wrote(&key("u"), Version(5), 0);
        let mark = floor.mark(&key("u"));
        floor.wrote(&key("u"), Version(6), 0);
        assert_eq!(floor.check(mark, Some(Version(5))), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let floor = Floor::new();
        for hash in 0..(PER_SHARD as u64 + 10) {
            floor.raise(hash * SHARDS as u64, Version(1), 0);
        }
        assert_eq!(floor.shard(0).len(), PER_SHARD);
    }

    #[test]
    fn nothing_from_before_a_reset_counts_after_it() {
        let floor = Floor::new();
        floor.wrote(&key("u"), Version(5), 0);
        let mark = floor.mark(&key("v"));
        floor.reset();
        assert_eq!(floor.check(floor.mark(&key("u")), Some(Version(4))), Ok(()));
        assert_eq!(floor.check(mark, Some(Version(5))), Ok(()));
        floor.wrote(&key("w"), Version(5), 0);
        for user in ["v", "w"] {
            assert_eq!(floor.check(floor.mark(&key(user)), Some(Version(1))), Ok(()), "{user}");
        }
    }
}
