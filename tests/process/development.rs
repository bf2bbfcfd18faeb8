//! `vault-engine dev`: what it makes on the spot, what it finds again, and that it is the real thing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::caller::Caller;
use crate::eventually::eventually;
use crate::grants::assert_alive;
use crate::installation::{PLATFORM, write_profile};
use crate::oidc::{BASIC, Oidc, OidcClient, POST};
use crate::process::{CommandLine, Running, vault_engine};

/// A development vault that keeps its things in this folder.
pub(crate) fn dev(folder: &Path) -> CommandLine {
    let data = folder.join("data").display().to_string();
    vault_engine(["dev", "--listen", "127.0.0.1:0", "--data-dir", &data])
}

pub(crate) fn keys(folder: &Path) -> BTreeMap<String, String> {
    let file = folder.join("data/engine-keys.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// A development vault that may refresh at `provider`.
pub(crate) fn dev_at(folder: &TempDir, provider: &Oidc, client: OidcClient) -> CommandLine {
    let auth = if client == BASIC { "client_auth: basic\n" } else { "" };
    let profiles = write_profile(folder, provider, auth).display().to_string();
    let config = folder.path().join("dev.yaml");
    let text = format!(
        "platforms:\n  {PLATFORM}:\n    client_id: {}\n    client_secrets: [{{ env: VAULT_ENGINE_SECRET_JUDGE }}]\n",
        client.id
    );
    fs::write(&config, text).unwrap();
    let data = folder.path().join("data").display().to_string();
    let config = config.display().to_string();
    let places = ["--data-dir", &data, "--profiles-dir", &profiles, "--config", &config];
    vault_engine(["dev", "--listen", "127.0.0.1:0"].into_iter().chain(places))
        .env("VAULT_ENGINE_SECRET_JUDGE", client.secret)
}

/// Starts it; the engine `sync` calls it.
pub(crate) async fn start(command: CommandLine, folder: &TempDir) -> (Running, Caller) {
    let (vault, server) = command.serving().await;
    (vault, Caller::new(&server, "sync", &keys(folder.path())["sync"]))
}

/// Both.
pub(crate) async fn dev_with(folder: &TempDir, provider: &Oidc, client: OidcClient) -> (Running, Caller) {
    start(dev_at(folder, provider, client), folder).await
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_made_on_the_spot_is_nobody_elses_business() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, _) = dev(folder.path()).serving().await;

    let made = keys(folder.path());
    assert_eq!(made.keys().collect::<Vec<_>>(), ["action", "local", "sync"]);
    assert!(made.values().all(|key| key.starts_with("tvk1_")));
    let data = folder.path().join("data");
    assert_eq!(mode(&data), 0o700);
    for file in fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert!(made.values().all(|key| !vault.stderr().contains(key)), "no key is logged");
}

#[tokio::test]
async fn the_keys_are_used_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut vault, _) = dev(folder.path()).serving().await;
    let before = keys(folder.path());
    vault.terminate().await;
    assert_eq!(vault.ended().await, Some(0));

    let (_vault, server) = dev(folder.path()).serving().await;

    assert_eq!(keys(folder.path()), before);
    let known = Caller::new(&server, "local", &before["local"]);
    assert_eq!(
        known.get("nobody").await.unwrap_err().code(),
        tonic::Code::InvalidArgument,
        "let in, and no such platform"
    );
    let stranger = Caller::new(&server, "local", &before["sync"]);
    assert_eq!(stranger.get("nobody").await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_keys_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut vault, _) = dev(folder.path()).serving().await;
    vault.kill().await;
    let file = folder.path().join("data/engine-keys.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();

    let told = dev(folder.path()).run().await.failed();

    assert!(told.contains("can be read by others") && told.contains("chmod 600"), "{told}");
}

#[tokio::test]
async fn a_keys_file_that_holds_something_else_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.json");
    for (text, says) in
        [("[]", "not a JSON object"), ("{\"sync\":\"tvk1_short\"}", "holds something else"), ("{}", "no key for")]
    {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let data = folder.path().join("data").display().to_string();
        let file_name = file.display().to_string();

        let told = vault_engine(["dev", "--data-dir", &data, "--keys-file", &file_name]).run().await.failed();

        assert!(told.contains(says), "{told}");
        assert!(!told.contains("tvk1_short"), "{told}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[tokio::test]
async fn tokens_survive_a_kill() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Oidc::start().await);
    let (mut vault, caller) = dev_with(&folder, &provider, POST).await;
    let grants = provider.grants(POST, 1).await;
    caller.store_expired("ada", &grants[0].refresh_token).await;
    let before = caller.get("ada").await.unwrap();
    vault.kill().await;

    let (_vault, caller) = dev_with(&folder, &provider, POST).await;
    let after = caller.get("ada").await.unwrap();

    assert_eq!((after.access_token, after.version), (before.access_token, before.version));
    assert_alive(&caller, &["ada".to_owned()], &provider).await;
}

#[tokio::test]
async fn a_folder_of_profiles_and_a_client_secret_are_all_it_takes() {
    let provider = Oidc::start().await;
    for client in [BASIC, POST] {
        let folder = tempfile::tempdir().unwrap();
        let (_vault, caller) = dev_with(&folder, &provider, client).await;
        let grants = provider.grants(client, 1).await;
        caller.store_expired("ada", &grants[0].refresh_token).await;

        let answer = caller.get("ada").await.unwrap_or_else(|status| panic!("{}: {status}", client.id));

        assert!(answer.refreshed);
        assert_alive(&caller, &["ada".to_owned()], &provider).await;
    }
}

#[tokio::test]
async fn what_development_means_no_configuration_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = dev(folder.path()).env("VAULT_ENGINE_LISTEN", "127.0.0.1:1").env("VAULT_ENGINE_ENVIRONMENT", "prod");
    let (_vault, server) = hostile.serving().await;

    assert_ne!(server, "http://127.0.0.1:1");
    assert!(folder.path().join("data/vault.redb").is_file());
}

#[tokio::test]
async fn a_vault_that_may_open_no_more_files_takes_connections_again_when_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, server) = dev(folder.path()).serving().await;
    vault.open_no_more_files().await;
    let keys = folder.path().join("data/engine-keys.json").display().to_string();
    let status = vault_engine(["status", "ada"]).env("VAULT_ENGINE_SERVER", server).env("VAULT_ENGINE_KEY_FILE", keys);

    let waiting = tokio::spawn(status.run());
    eventually("it says that it takes none", async || vault.logged("no connection can be taken for now")).await;
    vault.open_files_again().await;

    assert!(waiting.await.unwrap().succeeded().contains("PLATFORM"));
    let said = vault.stderr().matches("no connection can be taken for now").count();
    assert_eq!(said, 1, "and says so once");
}
