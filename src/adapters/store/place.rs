//! The names under which things are kept: a drawer per user, a drawer per tenant, fields within.
//!
//! ```text
//! drawer = tenant "/" user  |  tenant
//! field  = platform  |  "#key:" generation  |  "#keyring"
//! ```
//!
//! `/`, `:`, `#`, `{` and `}` are in the alphabet of no identifier a name is built from, so every name parses one way
//! only, whatever the users of the calling product are called.

use std::str;

use bytes::Bytes;

use super::frame;
use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, StoreError, UserDrawer};

const KEY_PREFIX: &str = "#key:";
const KEYRING: &str = "#keyring";

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
            let generation: u32 = number.parse().map_err(|_| StoreError::Corrupt)?;
            if generation.to_string() != number {
                return Err(StoreError::Corrupt);
            }
            drawer.keys.push((generation, stored));
        }
        None => drawer.connections.push((field.parse().map_err(|_| StoreError::Corrupt)?, stored)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::ConnectionKey;
    use crate::domain::ports::Version;

    fn place(drawer: &str, field: &str) -> Place {
        Place { drawer: drawer.to_owned(), field: field.to_owned() }
    }

    #[test]
    fn each_kind_of_thing_has_its_name() {
        let (tenant, user): (TenantId, UserId) = ("acme".parse().unwrap(), "u1".parse().unwrap());
        let key = ConnectionKey { tenant: tenant.clone(), user: user.clone(), platform: "gmail".parse().unwrap() };
        assert_eq!(Place::from(&Address::Connection(key)), place("acme/u1", "gmail"));
        let user_key = Address::UserKey { tenant: tenant.clone(), user, generation: 7 };
        assert_eq!(Place::from(&user_key), place("acme/u1", "#key:7"));
        assert_eq!(Place::from(&Address::TenantKeyring { tenant }), place("acme", "#keyring"));
    }

    #[test]
    fn a_field_no_vault_writes_makes_the_drawer_corrupt() {
        for field in [&b"Gmail"[..], b"", b"#key:", b"#key:+1", b"#key:01", b"#key:4294967296", b"#keyring", b"\xff"] {
            let frame = Bytes::from(frame::encode(Version::FIRST, b"v").unwrap());
            let added = add(&mut UserDrawer::default(), field, frame);
            assert!(matches!(added, Err(StoreError::Corrupt)), "{field:?}");
        }
    }
}
