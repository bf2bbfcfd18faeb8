//! How many streams there are: of each engine, and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::error::VaultError;
use crate::domain::registry::Principal;

/// The streams there are.
pub(super) struct Slots {
    in_all: usize,
    per_engine: usize,
    taken: Mutex<HashMap<Principal, usize>>,
}

/// Room for one stream, given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    engine: Principal,
}

// === impl Slots ===

impl Slots {
    pub(super) fn new(in_all: usize, per_engine: usize) -> Arc<Self> {
        Arc::new(Self { in_all, per_engine, taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, engine: &Principal) -> Result<Slot, VaultError> {
        let mut taken = self.taken();
        let own = taken.get(engine).copied().unwrap_or_default();
        if own >= self.per_engine || taken.values().sum::<usize>() >= self.in_all {
            return Err(VaultError::TooManyStreams);
        }
        taken.insert(engine.clone(), own + 1);
        drop(taken);
        Ok(Slot { slots: Arc::clone(self), engine: engine.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Slot ===

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Some(own) = taken.get_mut(&self.engine) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.engine);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_engine_has_more_than_its_share_and_all_together_no_more_than_there_are() {
        let slots = Slots::new(3, 2);
        let of = |home: &str| Principal {
            home: Some(home.parse().unwrap()),
            engine: "sync".parse().unwrap(),
            incarnation: 1,
        };
        // One name in two tenants: two engines.
        let [sync, other] = [of("acme"), of("globex")];
        let first = slots.take(&sync).unwrap();
        let _second = slots.take(&sync).unwrap();
        assert!(matches!(slots.take(&sync), Err(VaultError::TooManyStreams)));
        let _third = slots.take(&other).unwrap();
        assert!(matches!(slots.take(&other), Err(VaultError::TooManyStreams)));
        drop(first);
        assert!(slots.take(&sync).is_ok());
        assert!(slots.take(&other).is_ok());
    }
}
