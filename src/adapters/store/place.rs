//! The names under which things are kept: a drawer per user, a drawer per tenant, fields within.
//!
//! ```text
//! drawer = tenant "/" user  |  tenant  |  "#leases"
//! field  = platform  |  "#key:" generation  |  "#keyring"  |  "#registry"  |  "#key-usage"  |  "#lease:" partition  |  "#epoch"
//! ```
//!
//! `/`, `:`, `#`, `{` and `}` are in the alphabet of no identifier a name is built from, so every name parses one way
//! only, whatever the users of the calling product are called.

use std::str;

use bytes::Bytes;

use super::frame;
use crate::domain::id::{ConnectionKey, TenantId, UserId};
use crate::domain::ports::{Address, DocumentName, StoreError, UserDrawer};

const KEY_PREFIX: &str = "#key:";
const KEYRING: &str = "#keyring";
const LEASE_PREFIX: &str = "#lease:";
/// The one drawer no scan opens.
const LEASES: &str = "#leases";
const EPOCH: &str = "#epoch";

/// Where a value is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Everything in one drawer is fetched in one round trip.
    pub(super) drawer: String,
    /// The name within the drawer.
    pub(super) field: String,
}

// === impl Place ===

impl From<&Address> for Place {
    fn from(address: &Address) -> Self {
        match address {
            Address::Connection(key) => {
                Self { drawer: drawer_of(&key.tenant, &key.user), field: key.platform.as_str().to_owned() }
            }
            Address::UserKey { tenant, user, generation } => {
                Self { drawer: drawer_of(tenant, user), field: format!("{KEY_PREFIX}{generation}") }
            }
            Address::TenantKeyring { tenant } => Self { drawer: tenant.as_str().to_owned(), field: KEYRING.to_owned() },
            Address::Document { tenant, name } => {
                Self { drawer: tenant.as_str().to_owned(), field: format!("#{}", name.as_str()) }
            }
            Address::Lease { partition } => {
                Self { drawer: LEASES.to_owned(), field: format!("{LEASE_PREFIX}{}", partition.number()) }
            }
            Address::Epoch => Self { drawer: LEASES.to_owned(), field: EPOCH.to_owned() },
        }
    }
}

impl Place {
    /// The user whose drawer this is.
    #[cfg(feature = "postgres")]
    pub(super) fn user_of(drawer: &str) -> Option<(TenantId, UserId)> {
        let (tenant, user) = drawer.split_once('/')?;
        Some((tenant.parse().ok()?, user.parse().ok()?))
    }

    /// What is kept here; `None` for a name no vault gives. Leases and the epoch have no address outside.
    pub(super) fn address(&self) -> Option<Address> {
        let Some((tenant, user)) = self.drawer.split_once('/') else {
            let system = TenantId::system();
            // No caller can name it, and it is the one that is always there.
            let tenant = if self.drawer == system.as_str() { system } else { self.drawer.parse().ok()? };
            if self.field == KEYRING {
                return Some(Address::TenantKeyring { tenant });
            }
            let name = self.field.strip_prefix('#')?;
            let name = DocumentName::ALL.into_iter().find(|known| known.as_str() == name)?;
            return Some(Address::Document { tenant, name });
        };
        let (tenant, user) = (tenant.parse().ok()?, user.parse().ok()?);
        match self.field.strip_prefix(KEY_PREFIX) {
            Some(number) => Some(Address::UserKey { tenant, user, generation: generation_of(number)? }),
            None => Some(Address::Connection(ConnectionKey { tenant, user, platform: self.field.parse().ok()? })),
        }
    }

    /// The connection that is kept here.
    pub(super) fn connection(&self) -> Result<ConnectionKey, StoreError> {
        match self.address() {
            Some(Address::Connection(key)) => Ok(key),
            Some(_) | None => Err(StoreError::Corrupt),
        }
    }
}

/// The drawer of a user.
pub(super) fn drawer_of(tenant: &TenantId, user: &UserId) -> String {
    format!("{tenant}/{user}")
}

/// Adds what was found under a field of a user's drawer. A field that no vault writes makes the drawer corrupt: better
/// to say so than to answer as if a connection were not there.
pub(super) fn add(drawer: &mut UserDrawer, field: &[u8], frame: Bytes) -> Result<(), StoreError> {
    let stored = frame::decode(frame)?;
    let field = str::from_utf8(field).map_err(|_| StoreError::Corrupt)?;
    match field.strip_prefix(KEY_PREFIX) {
        Some(number) => {
            drawer.keys.push((generation_of(number).ok_or(StoreError::Corrupt)?, stored));
        }
        None => drawer.connections.push((field.parse().map_err(|_| StoreError::Corrupt)?, stored)),
    }
    Ok(())
}

/// A number as a vault writes it, without sign or leading zeros.
fn generation_of(number: &str) -> Option<u32> {
    let generation: u32 = number.parse().ok()?;
    (generation.to_string() == number).then_some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ports::{Partition, Record, Version};

    fn place(drawer: &str, field: &str) -> Place {
        Place { drawer: drawer.to_owned(), field: field.to_owned() }
    }

    #[test]
    fn each_kind_of_thing_has_its_name() {
        let (tenant, user): (TenantId, UserId) = ("acme".parse().unwrap(), "u1".parse().unwrap());
        let key = ConnectionKey { tenant: tenant.clone(), user: user.clone(), platform: "gmail".parse().unwrap() };
        let names = [
            (Address::Connection(key), place("acme/u1", "gmail")),
            (Address::UserKey { tenant: tenant.clone(), user, generation: 7 }, place("acme/u1", "#key:7")),
            (Address::Document { tenant: tenant.clone(), name: DocumentName::Registry }, place("acme", "#registry")),
            (
                Address::Document { tenant: TenantId::system(), name: DocumentName::KeyUsage },
                place("system", "#key-usage"),
            ),
            (Address::TenantKeyring { tenant }, place("acme", "#keyring")),
            (Address::TenantKeyring { tenant: TenantId::system() }, place("system", "#keyring")),
        ];
        for (address, place) in names {
            assert_eq!(Place::from(&address), place);
            assert_eq!(place.address(), Some(address));
        }
        let lease = Address::Lease { partition: Partition::numbered(7).unwrap() };
        assert_eq!(Place::from(&lease), place("#leases", "#lease:7"));
        assert_eq!(Place::from(&lease).address(), None);
        assert_eq!(Place::from(&Address::Epoch), place("#leases", "#epoch"));
        assert_eq!(Place::from(&Address::Epoch).address(), None);
    }

    #[test]
    fn a_field_no_vault_writes_makes_the_drawer_corrupt() {
        for field in [&b"Gmail"[..], b"", b"#key:", b"#key:+1", b"#key:01", b"#key:4294967296", b"#keyring", b"\xff"] {
            let frame = Bytes::from(frame::encode(Version::FIRST, &Record::from(Bytes::from_static(b"v"))).unwrap());
            let added = add(&mut UserDrawer::default(), field, frame);
            assert!(matches!(added, Err(StoreError::Corrupt)), "{field:?}");
        }
    }
}
