//! A listener that remembers what it was told.

#![expect(clippy::unwrap_used, reason = "an assertion fails by panicking")]

use std::sync::Mutex;
use std::time::Instant;

use vault_engine::domain::id::{TenantId, UserId};
use vault_engine::domain::ports::Listener;

use super::eventually::eventually;

/// A listener.
#[derive(Default)]
pub(crate) struct Ear(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    users: Vec<String>,
    losses: usize,
    caught_up: Option<Instant>,
}

// === impl Ear ===

impl Ear {
    /// Waits until everything up to now has been told.
    pub(crate) async fn catch_up(&self) {
        let now = Instant::now();
        let caught_up = async || self.0.lock().unwrap().caught_up.filter(|as_of| *as_of >= now);
        eventually("it has caught up", caught_up).await;
    }

    /// How often it was told that something may have gone untold.
    pub(crate) fn losses(&self) -> usize {
        self.0.lock().unwrap().losses
    }

    /// Of whom it was told, in order.
    pub(crate) fn users(&self) -> Vec<String> {
        self.0.lock().unwrap().users.clone()
    }
}

impl Listener for Ear {
    fn changed(&self, tenant: &TenantId, user: &UserId) {
        self.0.lock().unwrap().users.push(format!("{tenant}/{user}"));
    }

    fn caught_up(&self, as_of: Instant) {
        self.0.lock().unwrap().caught_up = Some(as_of);
    }

    fn lost(&self) {
        let mut heard = self.0.lock().unwrap();
        heard.losses += 1;
        heard.caught_up = None;
    }
}
