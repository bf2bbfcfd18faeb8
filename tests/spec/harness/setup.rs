//! What kind of vault a test wants, and running the test against it.

use std::collections::BTreeMap;

use tokio::runtime::Builder;
use vault_engine::transport::ServerLimits;

use super::capture::Log;
use super::vault::Vault;

/// What kind of vault a test wants. The default: embedded store, local keys, development.
#[derive(Default)]
pub(crate) struct Setup {
    pub(super) redis: bool,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) limits: ServerLimits,
}

/// Runs a test against a vault of the default kind.
pub(crate) fn spec(test: impl AsyncFnOnce(&Vault)) {
    Setup::default().run(test);
}

// === impl Setup ===

impl Setup {
    /// Its records are in a Redis server of its own.
    pub(crate) fn on_redis(mut self) -> Self {
        self.redis = true;
        self
    }

    /// Configured so: `with("REFRESH__BACKOFF_BASE_SECONDS", "1")`.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(format!("VAULT_ENGINE_{key}"), value.to_owned());
        self
    }

    /// Its server has these limits.
    pub(crate) fn limited(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs a test, and looks for leaks after it.
    ///
    /// Everything of the vault runs on this one thread, so that what it logs can be told from what the vaults of other
    /// tests log.
    pub(crate) fn run(self, test: impl AsyncFnOnce(&Vault)) {
        let log = Log::of_this_thread();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut vault = runtime.block_on(async {
            let vault = Vault::start(self, log).await;
            test(&vault).await;
            vault.settle().await;
            vault
        });
        // Takes every task with it, and so closes the store and the audit trail.
        drop(runtime);
        vault.look_for_leaks();
    }
}
