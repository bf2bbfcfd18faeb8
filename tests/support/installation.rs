//! What an operator writes before the first start: a folder, a configuration, profiles, a key for an engine.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::caller::Caller;
use crate::oidc::{Oidc, POST};
use crate::process::{CommandLine, Running, vault_engine};

/// The platform of these tests: a certified provider that rotates, and revokes a grant whose token comes back.
pub(crate) const PLATFORM: &str = "judge";

/// The engine of these tests; it may do everything.
pub(crate) const ENGINE: &str = "tester";

/// What the profile of that platform says of its refresh tokens.
pub(crate) const ROTATES: &str = "refresh: { rotates: yes, replay: revoke_all }\n";

/// A platform, as its profile and the configuration describe it.
#[derive(Debug, Clone)]
pub(crate) struct Platform {
    pub(crate) id: String,
    /// Where its endpoints are.
    pub(crate) origin: String,
    /// The path of its token endpoint.
    pub(crate) token_path: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// The rest of its profile.
    pub(crate) profile: String,
}

/// A folder with everything in it.
pub(crate) struct Installation {
    folder: TempDir,
    /// The part of the configuration that all instances have in common.
    shared: String,
    /// Where an instance keeps records, unless told otherwise.
    store: String,
    /// What stands in the environment of every process.
    environment: Vec<(&'static str, &'static str)>,
    key: String,
}

// === impl Platform ===

impl Platform {
    /// The provider that judges refreshes.
    pub(crate) fn judged_by(provider: &Oidc) -> Self {
        Self {
            id: PLATFORM.to_owned(),
            origin: provider.issuer().to_owned(),
            token_path: "/token".to_owned(),
            client_id: POST.id.to_owned(),
            client_secret: POST.secret.to_owned(),
            profile: if provider.rotates() { ROTATES.to_owned() } else { "refresh: { rotates: no }\n".to_owned() },
        }
    }

    /// Writes its profile into the folder.
    fn write(&self, profiles: &Path) {
        fs::create_dir_all(profiles).unwrap();
        let Self { id, origin, token_path, profile, .. } = self;
        let yaml = format!(
            "docs: https://judge.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: {origin}/auth\n\
             token_url: {origin}{token_path}\n{profile}"
        );
        fs::write(profiles.join(format!("{id}.yaml")), yaml).unwrap();
    }
}

// === impl Installation ===

impl Installation {
    /// An installation over a Redis server, for as many instances as one likes, that may refresh at `provider`.
    pub(crate) async fn over_redis(port: u16, provider: Option<&Oidc>, more: &str) -> Self {
        let platforms: Vec<Platform> = provider.map(Platform::judged_by).into_iter().collect();
        Self::over(&in_redis(port), &[], &platforms, more).await
    }

    /// An installation over a file, for one instance at a time, that may refresh at `provider`.
    pub(crate) async fn over_a_file(provider: Option<&Oidc>, more: &str) -> Self {
        let platforms: Vec<Platform> = provider.map(Platform::judged_by).into_iter().collect();
        Self::in_folder(tempfile::tempdir().unwrap(), None, &[], &platforms, more).await
    }

    /// An installation whose instances keep records as `store` says, and know these platforms. The store is given its
    /// schema, where it needs one.
    pub(crate) async fn over(
        store: &str,
        environment: &[(&'static str, &'static str)],
        platforms: &[Platform],
        more: &str,
    ) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), Some(store), environment, platforms, more).await
    }

    /// Without a store, records are in a file of the folder.
    async fn in_folder(
        folder: TempDir,
        store: Option<&str>,
        environment: &[(&'static str, &'static str)],
        platforms: &[Platform],
        more: &str,
    ) -> Self {
        let file = folder.path().join("vault.redb");
        let store = store.map_or_else(|| in_file(&file), str::to_owned);
        let key_file = folder.path().join("kms.key");
        let shared = format!(
            "environment: dev\nlisten: 127.0.0.1:0\nkms: {{ local: {{ key_file: {} }} }}\n{more}{}",
            key_file.display(),
            describe(&folder, platforms),
        );
        let mut installation = Self { folder, shared, store, environment: environment.to_vec(), key: String::new() };
        installation.migrate().await;
        installation.make_key().await;
        installation
    }

    /// Gives the store its schema, as an operator does.
    async fn migrate(&self) {
        let file = self.write_config("first");
        self.with_environment(vault_engine(["migrate", "--config", &file])).run().await.succeeded();
    }

    fn with_environment(&self, command: CommandLine) -> CommandLine {
        self.environment.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Makes a key for the engine, as an operator does.
    async fn make_key(&mut self) {
        let file = self.write_config("first");
        let command = vault_engine(["key", "generate", "--engine", ENGINE, "--config", &file]);
        let made = self.with_environment(command).run().await;
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        made.stdout.trim().clone_into(&mut self.key);
        let (_, verifier) = made.stderr.split_once("- id:").unwrap();
        let engine = format!(
            "  - id: {ENGINE}\n    actions: [get, status, store, delete, watch]\n    keys:\n      - id:{verifier}\n"
        );
        self.shared = format!("{}engines:\n{engine}", self.shared);
    }

    /// Writes the configuration of one instance.
    pub(crate) fn write_config(&self, instance: &str) -> String {
        self.write_config_over(instance, &self.store)
    }

    fn write_config_over(&self, instance: &str, store: &str) -> String {
        let data_dir = self.data_dir(instance);
        let file = self.folder.path().join(format!("{instance}.yaml"));
        fs::write(&file, format!("{}store: {{ {store} }}\ndata_dir: {}\n", self.shared, data_dir.display())).unwrap();
        file.display().to_string()
    }

    /// Where one instance keeps what it has on disk.
    pub(crate) fn data_dir(&self, instance: &str) -> PathBuf {
        self.folder.path().join(instance)
    }

    /// How one instance is started.
    pub(crate) fn command(&self, instance: &str) -> CommandLine {
        self.command_over(instance, &self.store)
    }

    /// How one instance is started that keeps records as `store` says.
    pub(crate) fn command_over(&self, instance: &str, store: &str) -> CommandLine {
        let file = self.write_config_over(instance, store);
        // What a test sees is what its calls do, unless it says otherwise.
        let command = self.with_environment(vault_engine(["serve", "--config", &file]));
        let command = command.env("VAULT_ENGINE_AUDIT__SEGMENT_MINUTES", "44640");
        command.env("VAULT_ENGINE_REFRESH__BACKGROUND__ENABLED", "false")
    }

    /// Where the outboxes of one instance are.
    pub(crate) fn outboxes(&self, instance: &str) -> PathBuf {
        self.data_dir(instance).join("outbox")
    }

    /// Starts one instance that ends where it reaches this place.
    pub(crate) async fn serve_until(&self, place: &str, instance: &str) -> (Running, Caller) {
        self.serve_as(self.command(instance).env("VAULT_FAILPOINT", place)).await
    }

    /// Starts one instance, and an engine that calls it.
    pub(crate) async fn serve(&self, instance: &str) -> (Running, Caller) {
        self.serve_as(self.command(instance)).await
    }

    /// The key of the engine.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// An engine that calls this server.
    pub(crate) fn caller(&self, server: &str) -> Caller {
        Caller::new(server, ENGINE, self.key())
    }

    /// Starts one instance of its own kind, and an engine that calls it.
    pub(crate) async fn serve_as(&self, command: CommandLine) -> (Running, Caller) {
        let (vault, server) = command.serving().await;
        (vault, self.caller(&server))
    }
}

/// What stands in `store` for a Redis server.
fn in_redis(port: u16) -> String {
    format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{port}\" }}")
}

/// What stands in `store` for a file.
fn in_file(path: &Path) -> String {
    format!("kind: embedded, embedded: {{ path: {} }}", path.display())
}

/// Writes the profiles of platforms and their client secrets, and says what the configuration says about them.
fn describe(folder: &TempDir, platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return String::new();
    }
    let profiles = folder.path().join("profiles");
    let mut said = format!("profiles_dir: {}\noutbound: {{ allow_loopback: true }}\nplatforms:\n", profiles.display());
    for platform in platforms {
        platform.write(&profiles);
        let secret = folder.path().join(format!("{}-secret", platform.id));
        fs::write(&secret, &platform.client_secret).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let (id, client_id, secret) = (&platform.id, &platform.client_id, secret.display());
        writeln!(said, "  {id}: {{ client_id: {client_id}, client_secrets: [{{ file: {secret} }}] }}").unwrap();
    }
    said
}

/// Writes a profile of the provider; the folder it is in.
pub(crate) fn write_profile(folder: &TempDir, provider: &Oidc, more: &str) -> PathBuf {
    let profiles = folder.path().join("profiles");
    let mut platform = Platform::judged_by(provider);
    platform.profile += more;
    platform.write(&profiles);
    profiles
}
