//! What belongs together when records are moved: the keys of a user before what is sealed under them.

use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, Item};

/// Everything of one user, or the keys of one tenant: keys first.
pub type Drawer = Vec<Item>;

/// Whose something is; what comes first in a drawer.
type Order<'a> = (&'a TenantId, Option<&'a UserId>, u64, &'a str);

/// Sorts what was found into drawers.
#[must_use]
pub fn drawers(mut items: Vec<Item>) -> Vec<Drawer> {
    items.sort_by(|one, other| order(&one.address).cmp(&order(&other.address)));
    let mut drawers: Vec<Drawer> = Vec::new();
    for item in items {
        match drawers.last_mut() {
            Some(drawer) if drawer.last().is_some_and(|last| owner(&last.address) == owner(&item.address)) => {
                drawer.push(item);
            }
            Some(_) | None => drawers.push(vec![item]),
        }
    }
    drawers
}

/// Whose something is. What belongs to where it is kept is nobody's, and never moved.
pub(super) fn owner(address: &Address) -> Option<(&TenantId, Option<&UserId>)> {
    order(address).map(|(tenant, user, _, _)| (tenant, user))
}

fn order(address: &Address) -> Option<Order<'_>> {
    match address {
        Address::Connection(key) => Some((&key.tenant, Some(&key.user), u64::MAX, key.platform.as_str())),
        Address::UserKey { tenant, user, generation } => Some((tenant, Some(user), u64::from(*generation), "")),
        Address::TenantKeyring { tenant } => Some((tenant, None, 0, "")),
        Address::Document { tenant, name } => Some((tenant, None, 1, name.as_str())),
        Address::Lease { .. } | Address::Epoch => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::ConnectionKey;
    use crate::domain::ports::{Hints, Stored, Version};
    use bytes::Bytes;

    fn item(address: Address) -> Item {
        let stored = Stored { version: Version::FIRST, value: Bytes::new() };
        Item { address, stored, hints: Hints::default() }
    }

    #[test]
    fn the_keys_of_a_user_come_before_what_is_sealed_under_them() {
        let tenant: TenantId = "acme".parse().unwrap();
        let connection = |user: &str, platform: &str| {
            let (user, platform) = (user.parse().unwrap(), platform.parse().unwrap());
            item(Address::Connection(ConnectionKey { tenant: tenant.clone(), user, platform }))
        };
        let key = |user: &str, generation| {
            item(Address::UserKey { tenant: tenant.clone(), user: user.parse().unwrap(), generation })
        };
        let keyring = item(Address::TenantKeyring { tenant: tenant.clone() });
        let found =
            vec![connection("b", "x"), connection("a", "0"), keyring.clone(), key("a", 2), key("b", 1), key("a", 1)];

        let sorted = drawers(found);

        let a = vec![key("a", 1), key("a", 2), connection("a", "0")];
        assert_eq!(sorted, [vec![keyring], a, vec![key("b", 1), connection("b", "x")]]);
    }
}
