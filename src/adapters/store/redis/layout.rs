//! The names of the keys, and what is in them.
//!
//! ```text
//! key = prefix ":{" partition "}:" drawer      a hash: field -> frame
//!     | prefix ":{" partition "}:#due"         a sorted set: drawer ":" field, by the second it is due
//!     | prefix ":{" partition "}:#changes"     a stream: `r` = drawer ":" field, `h` = the first 10 bytes of the frame
//!     | prefix ":{" partition "}:#drawers"     a sorted set: drawer, all of one score and so in the order of their bytes
//! ```
//!
//! The braces keep everything of one partition in one slot of a cluster, where one script reaches all of it. No drawer is
//! called like an index, because no name a vault gives to one begins with `#` but that of the leases.

use std::str;

use super::super::place::Place;
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, Partition, StoreError};

/// What begins the name of what belongs to no tenant.
const NOBODYS: char = '#';

/// The names of the keys of one installation.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    prefix: String,
}

// === impl Layout ===

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What every key begins with, and no key of anybody else.
    pub(super) fn beginning(&self) -> String {
        format!("{}:{{", self.prefix)
    }

    pub(super) fn drawer(&self, partition: Partition, drawer: &str) -> String {
        format!("{}:{{{}}}:{drawer}", self.prefix, partition.number())
    }

    pub(super) fn due(&self, partition: Partition) -> String {
        self.drawer(partition, "#due")
    }

    pub(super) fn changes(&self, partition: Partition) -> String {
        self.drawer(partition, "#changes")
    }

    pub(super) fn drawers(&self, partition: Partition) -> String {
        self.drawer(partition, "#drawers")
    }

    /// Whose drawer has this key; `None` if it is nobody's.
    pub(super) fn user<'k>(&self, key: &'k [u8]) -> Option<(TenantId, UserId)> {
        let key: &'k str = str::from_utf8(key).ok()?;
        let (_, drawer) = key.strip_prefix(self.prefix.as_str())?.strip_prefix(":{")?.split_once("}:")?;
        let (tenant, user) = drawer.split_once('/')?;
        Some((tenant.parse().ok()?, user.parse().ok()?))
    }
}

/// Under what the drawer of this place is found in a scan; nothing for leases, which no scan finds.
pub(super) fn scanned(place: &Place) -> &str {
    if place.drawer.starts_with(NOBODYS) { "" } else { &place.drawer }
}

/// Under what a connection is found in the other indices; nothing for what is no connection.
pub(super) fn indexed(address: &Address, place: &Place) -> String {
    match address {
        Address::Connection(_) => format!("{}:{}", place.drawer, place.field),
        Address::UserKey { .. }
        | Address::TenantKeyring { .. }
        | Address::Document { .. }
        | Address::Lease { .. }
        | Address::Epoch => String::new(),
    }
}

/// The place a connection was indexed under.
pub(super) fn place(indexed: &[u8]) -> Result<Place, StoreError> {
    let names = str::from_utf8(indexed).ok().and_then(|names| names.split_once(':'));
    let (drawer, field) = names.ok_or(StoreError::Corrupt)?;
    Ok(Place { drawer: drawer.to_owned(), field: field.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u8) -> Partition {
        Partition::numbered(number).unwrap()
    }

    #[test]
    fn a_key_tells_whose_drawer_it_is() {
        let layout = Layout::new("a:b");
        let key = layout.drawer(partition(7), "acme/u:1@{x}");
        assert_eq!(key, "a:b:{7}:acme/u:1@{x}");
        assert!(key.starts_with(&layout.beginning()));
        let user = layout.user(layout.drawer(partition(15), "acme/u1").as_bytes());
        assert_eq!(user, Some(("acme".parse().unwrap(), "u1".parse().unwrap())));
    }

    #[test]
    fn keys_without_a_user_are_nobodys_news() {
        let layout = Layout::new("vault");
        let seven = partition(7);
        let keys = [layout.due(seven), layout.changes(seven), layout.drawers(seven), layout.drawer(seven, "acme")];
        assert!(keys.iter().all(|key| layout.user(key.as_bytes()).is_none()));
        for key in ["vault:{7}:#leases", "vault:{7}:acme/", "vault:{7}acme/u1", "other:{7}:acme/u1", "acme/u1"] {
            assert_eq!(layout.user(key.as_bytes()), None, "{key}");
        }
    }
}
