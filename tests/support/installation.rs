//! What an operator writes before the first start: a folder, a configuration, a profile, a key for an engine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::caller::Caller;
use crate::oidc::{Oidc, POST};
use crate::process::{CommandLine, Running, vault_engine};

/// The platform of these tests: a certified provider that rotates, and revokes a grant whose token comes back.
pub(crate) const PLATFORM: &str = "judge";

/// The engine of these tests; it may do everything.
pub(crate) const ENGINE: &str = "tester";

/// A folder with everything in it.
pub(crate) struct Installation {
    folder: TempDir,
    /// The part of the configuration that all instances have in common.
    shared: String,
    key: String,
}

// === impl Installation ===

impl Installation {
    /// An installation over a Redis server, for as many instances as one likes, that may refresh at `provider`.
    pub(crate) async fn over_redis(port: u16, provider: Option<&Oidc>, more: &str) -> Self {
        let store = format!("{{ kind: redis, redis: {{ url: \"redis://127.0.0.1:{port}\" }} }}");
        Self::over(tempfile::tempdir().unwrap(), &store, provider, more).await
    }

    /// An installation over a file, for one instance at a time, that may refresh at `provider`.
    pub(crate) async fn over_a_file(provider: Option<&Oidc>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            format!("{{ kind: embedded, embedded: {{ path: {} }} }}", folder.path().join("vault.redb").display());
        Self::over(folder, &store, provider, more).await
    }

    async fn over(folder: TempDir, store: &str, provider: Option<&Oidc>, more: &str) -> Self {
        let mut shared = format!(
            "environment: dev\nlisten: 127.0.0.1:0\nstore: {store}\nkms: {{ local: {{ key_file: {} }} }}\n{more}",
            folder.path().join("kms.key").display(),
        );
        if let Some(provider) = provider {
            shared += &platform(&folder, provider);
        }
        let mut installation = Self { folder, shared, key: String::new() };
        installation.make_key().await;
        installation
    }

    /// Makes a key for the engine, as an operator does.
    async fn make_key(&mut self) {
        let file = self.write_config("first");
        let made = vault_engine(["key", "generate", "--engine", ENGINE, "--config", &file]).run().await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        made.stdout.trim().clone_into(&mut self.key);
        let (_, verifier) = made.stderr.split_once("- id:").unwrap();
        let engine =
            format!("  - id: {ENGINE}\n    actions: [get, status, store, delete]\n    keys:\n      - id:{verifier}\n");
        self.shared = format!("{}engines:\n{engine}", self.shared);
    }

    /// Writes the configuration of one instance.
    pub(crate) fn write_config(&self, instance: &str) -> String {
        let data_dir = self.folder.path().join(instance);
        let file = self.folder.path().join(format!("{instance}.yaml"));
        fs::write(&file, format!("{}data_dir: {}\n", self.shared, data_dir.display())).unwrap();
        file.display().to_string()
    }

    /// How one instance is started.
    pub(crate) fn command(&self, instance: &str) -> CommandLine {
        let file = self.write_config(instance);
        // What a test sees is what its calls do, unless it says otherwise.
        vault_engine(["serve", "--config", &file]).env("VAULT_ENGINE_REFRESH__BACKGROUND__ENABLED", "false")
    }

    /// Where the outboxes of one instance are.
    pub(crate) fn outboxes(&self, instance: &str) -> PathBuf {
        self.folder.path().join(instance).join("outbox")
    }

    /// Starts one instance that ends where it reaches this place.
    pub(crate) async fn serve_until(&self, place: &str, instance: &str) -> (Running, Caller) {
        let (vault, server) = self.command(instance).env("VAULT_FAILPOINT", place).serving().await;
        (vault, Caller::new(&server, ENGINE, &self.key))
    }

    /// Starts one instance, and an engine that calls it.
    pub(crate) async fn serve(&self, instance: &str) -> (Running, Caller) {
        self.serve_as(self.command(instance)).await
    }

    /// Starts one instance of its own kind, and an engine that calls it.
    pub(crate) async fn serve_as(&self, command: CommandLine) -> (Running, Caller) {
        let (vault, server) = command.serving().await;
        (vault, Caller::new(&server, ENGINE, &self.key))
    }
}

/// Writes a profile of the provider and a client secret, and says what the configuration says about them.
pub(crate) fn platform(folder: &TempDir, provider: &Oidc) -> String {
    let profiles = write_profile(folder, provider, "");
    let secret = folder.path().join("client-secret");
    fs::write(&secret, POST.secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "profiles_dir: {}\noutbound: {{ allow_loopback: true }}\n\
         platforms: {{ {PLATFORM}: {{ client_id: {}, client_secrets: [{{ file: {} }}] }} }}\n",
        profiles.display(),
        POST.id,
        secret.display(),
    )
}

/// Writes a profile of the provider; the folder it is in.
pub(crate) fn write_profile(folder: &TempDir, provider: &Oidc, more: &str) -> PathBuf {
    let profiles = folder.path().join("profiles");
    fs::create_dir_all(&profiles).unwrap();
    let yaml = format!(
        "docs: https://judge.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: {}/auth\ntoken_url: {}\n\
         refresh: {}\n{more}",
        provider.issuer(),
        provider.token_url(),
        if provider.rotates() { "{ rotates: yes, replay: revoke_all }" } else { "{ rotates: no }" },
    );
    fs::write(profiles.join(format!("{PLATFORM}.yaml")), yaml).unwrap();
    profiles
}
