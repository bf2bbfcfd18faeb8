//! Which versions a stream has told: none is told twice, and none after a later one.

use std::collections::{HashMap, VecDeque};

use crate::domain::id::{PlatformId, UserId};
use crate::domain::ports::Version;

/// A connection of the tenant a stream is about.
pub(super) type Connection = (UserId, PlatformId);

/// The versions that were told last.
///
/// In a snapshot and in the changes that follow it the same version can turn up, and a store may return a change a
/// second time soon after the first. So the last versions are remembered, and while a snapshot is taken, all that were
/// told as changes: the snapshot may come to their connections any time later.
#[derive(Debug, Default)]
pub(super) struct Told {
    recent: HashMap<Connection, Version>,
    order: VecDeque<Connection>,
    during_snapshot: HashMap<Connection, Version>,
}

/// More changes during one snapshot than can be remembered.
#[derive(Debug)]
pub(super) struct TooMany;

const REMEMBERED: usize = 65_536;

// === impl Told ===

impl Told {
    /// Whether this version, or a later one, was told.
    pub(super) fn covers(&self, connection: &Connection, version: Version) -> bool {
        [&self.recent, &self.during_snapshot]
            .iter()
            .any(|told| told.get(connection).is_some_and(|told| *told >= version))
    }

    /// This version is about to be told.
    pub(super) fn tell(&mut self, connection: Connection, version: Version) {
        if self.recent.insert(connection.clone(), version).is_none() {
            self.order.push_back(connection);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    /// This version is about to be told, as a change, before the snapshot is complete.
    pub(super) fn tell_during_snapshot(&mut self, connection: Connection, version: Version) -> Result<(), TooMany> {
        self.during_snapshot.insert(connection, version);
        if self.during_snapshot.len() > REMEMBERED { Err(TooMany) } else { Ok(()) }
    }

    /// The snapshot is complete.
    pub(super) fn snapshot_ended(&mut self) {
        for (connection, version) in std::mem::take(&mut self.during_snapshot) {
            self.tell(connection, version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(number: usize) -> Connection {
        (format!("u{number}").parse().unwrap(), "gmail".parse().unwrap())
    }

    #[test]
    fn what_was_told_covers_itself_and_what_was_before() {
        let mut told = Told::default();
        told.tell(connection(1), Version(5));
        assert!(told.covers(&connection(1), Version(4)) && told.covers(&connection(1), Version(5)));
        assert!(!told.covers(&connection(1), Version(6)) && !told.covers(&connection(2), Version(1)));
    }

    #[test]
    fn what_changed_during_a_snapshot_is_remembered_whatever_comes_until_it_ends() {
        let mut told = Told::default();
        told.tell_during_snapshot(connection(0), Version(2)).unwrap();
        for number in 1..=REMEMBERED + 1 {
            told.tell(connection(number), Version(1));
        }
        assert!(told.covers(&connection(0), Version(2)));
        assert!(!told.covers(&connection(1), Version(1)));
        assert_eq!((told.recent.len(), told.order.len()), (REMEMBERED, REMEMBERED));
        told.snapshot_ended();
        assert!(told.covers(&connection(0), Version(2)));
        assert!(told.during_snapshot.is_empty());
    }
}
