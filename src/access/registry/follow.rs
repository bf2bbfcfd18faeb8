//! Keeping up with the registries: what others have changed is put in force here, and when keys were used is written
//! down for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Registry;
use crate::domain::error::VaultError;
use crate::service::Registrar;

/// Keeps one registry in memory up to date.
pub struct RegistryFollower {
    /// What is kept up to date.
    pub registry: Arc<Registry>,
    /// From where.
    pub registrar: Arc<Registrar>,
    /// How often.
    pub refresh: Duration,
}

/// Between two times that it is written down which keys were used.
const USAGE: Duration = Duration::from_secs(60);

// === impl RegistryFollower ===

impl RegistryFollower {
    /// Looks once.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand. What was in force stays so.
    pub async fn look(&self) -> Result<(), VaultError> {
        let looked = self.registrar.look().await;
        // Also after a failure: some of it may have been found.
        if !matches!(looked, Ok(false)) {
            self.registry.adopt(|| self.registrar.documents());
        }
        looked.map(|_| ())
    }

    /// Looks from time to time until it is to stop, and writes down then what is not yet.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let following = async {
            let mut looks = interval(self.refresh);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut usage_at, mut failing) = (Instant::now() + USAGE, false);
            loop {
                looks.tick().await;
                match self.look().await {
                    Ok(()) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        let reason = error.reason();
                        tracing::warn!(reason, "who may call cannot be looked up; what was known stays in force");
                    }
                    Err(_) => {}
                }
                if Instant::now() >= usage_at {
                    usage_at = Instant::now() + USAGE;
                    self.write_usage().await;
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = stop => {}
        }
        self.write_usage().await;
    }

    async fn write_usage(&self) {
        for (tenant, used) in self.registry.newly_used() {
            if let Err(error) = self.registrar.note_usage(&tenant, &used).await {
                // It is written again when the keys are used again.
                tracing::warn!(%tenant, reason = error.reason(), "when keys were used last was not written down");
            }
        }
    }
}
