//! Who is told of changes.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::time::Instant;

use crate::domain::id::{TenantId, UserId};
use crate::domain::ports::{Address, Listener};

/// The listeners of one store.
#[derive(Default)]
pub(super) struct Listeners(RwLock<Vec<Arc<dyn Listener>>>);

// === impl Listeners ===

impl Listeners {
    pub(super) fn add(&self, listener: Arc<dyn Listener>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Tells that something at this address was written. Of what belongs to no user nobody is told.
    pub(super) fn tell(&self, address: &Address) {
        let (tenant, user) = match address {
            Address::Connection(key) => (&key.tenant, &key.user),
            Address::UserKey { tenant, user, .. } => (tenant, user),
            Address::TenantKeyring { .. } | Address::Document { .. } | Address::Lease { .. } | Address::Epoch => return,
        };
        self.changed(tenant, user);
    }

    pub(super) fn changed(&self, tenant: &TenantId, user: &UserId) {
        self.each(|listener| listener.changed(tenant, user));
    }

    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(super) fn caught_up(&self, as_of: Instant) {
        self.each(|listener| listener.caught_up(as_of));
    }

    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(super) fn lost(&self) {
        self.each(|listener| listener.lost());
    }

    fn each(&self, tell: impl Fn(&dyn Listener)) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|listener| tell(&**listener));
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}
