//! Instances that are gone for certain, and whose outboxes were taken over here: no answer of theirs will come from
//! anywhere else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::connection::InstanceId;

/// The instances that went last.
#[derive(Default)]
pub(super) struct Departed(Mutex<VecDeque<InstanceId>>);

/// More than can go within the time that anybody waits for one of them. Of the ones before, it is waited for longer
/// than need be.
const MOST: usize = 256;

// === impl Departed ===

impl Departed {
    pub(super) fn note(&self, gone: Vec<InstanceId>) {
        let mut departed = self.lock();
        departed.extend(gone);
        let over = departed.len().saturating_sub(MOST);
        departed.drain(..over);
    }

    pub(super) fn contains(&self, instance: InstanceId) -> bool {
        self.lock().contains(&instance)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<InstanceId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_go_are_remembered() {
        let departed = Departed::default();
        assert!(!departed.contains(InstanceId(1)));
        departed.note(vec![InstanceId(1), InstanceId(2)]);
        assert!(departed.contains(InstanceId(1)));
        departed.note((10..10 + MOST as u64).map(InstanceId).collect());
        assert!(!departed.contains(InstanceId(2)));
        assert!(departed.contains(InstanceId(10)));
    }
}
