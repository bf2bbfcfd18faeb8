//! `vault-engine serve`: what it says when it cannot start, and what it warns of when it can.

use std::fs;

use tempfile::TempDir;

use crate::caller::Caller;
use crate::eventually::eventually;
use crate::installation::Installation;
use crate::process::{CommandLine, vault_engine};
use crate::redis_server::{RedisOptions, RedisServer};

/// A folder with this configuration in it, as `vault.yaml`.
fn configured(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vault.yaml"), text).unwrap();
    folder
}

fn serve(folder: &TempDir) -> CommandLine {
    vault_engine(["serve", "--config", "vault.yaml"]).current_dir(folder.path())
}

const EMBEDDED: &str = "environment: dev\nlisten: 127.0.0.1:0\ndata_dir: data\n";

#[tokio::test]
async fn all_faults_are_told_at_once_each_with_its_place_and_its_mend() {
    let folder = configured(
        "environment: dev\nlisten: nowhere\nlisen: 127.0.0.1:1\nstore: { kind: redis }\nrefresh: { lease_seconds: 1 }\n\
         engines:\n  - id: A B\n    actions: [get]\n    keys: []\n",
    );
    let told = serve(&folder).run().await.failed();

    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 6, "{told}");
    for (line, begins) in lines.iter().zip([
        "error: vault.yaml:2: listen: must be an IP address with a port — write `127.0.0.1:50051`",
        "vault.yaml:3: lisen: is not a known key — did you mean `listen`?",
        "vault.yaml:4: store.redis.url: must be given",
        "vault.yaml:5: refresh.lease_seconds: must be a whole number from 5 to 120",
        "vault.yaml:7: engines[0].id: ",
        "vault.yaml:9: engines[0].keys: must hold at least one key",
    ]) {
        assert!(line.starts_with(begins), "`{line}` should begin with `{begins}`");
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(serve(&folder).run().await.failed().contains("vault.yaml: cannot be read"));
}

#[tokio::test]
async fn without_any_configuration_nothing_is_taken_for_granted() {
    let folder = tempfile::tempdir().unwrap();
    let told = vault_engine(["serve"]).current_dir(folder.path()).run().await.failed();

    assert!(told.contains("kms.provider") && told.contains("environment: dev"), "{told}");
}

#[tokio::test]
async fn the_environment_wins_over_the_file_and_is_named_when_it_is_wrong() {
    let folder = configured(&EMBEDDED.replace("127.0.0.1:0", "127.0.0.1:1"));
    let (_vault, server) = serve(&folder).env("VAULT_ENGINE_LISTEN", "127.0.0.1:0").serving().await;
    assert_ne!(server, "http://127.0.0.1:1");

    let wrong = serve(&folder).env("VAULT_ENGINE_LISTEN", "bogus").env("VAULT_ENGINE_STOER__KIND", "redis");
    let told = wrong.run().await.failed();
    assert!(told.contains("VAULT_ENGINE_LISTEN: listen: must be an IP address"), "{told}");
    assert!(told.contains("VAULT_ENGINE_STOER__KIND: stoer: is not a known key — did you mean `store`?"), "{told}");
}

#[tokio::test]
async fn the_configuration_may_be_named_by_the_environment() {
    let folder = configured(EMBEDDED);
    let named = vault_engine(["serve"]).current_dir(folder.path()).env("VAULT_ENGINE_CONFIG", "vault.yaml");
    let (vault, _) = named.serving().await;

    assert_eq!(vault.logged("serving").unwrap()["store"], "embedded");
}

#[tokio::test]
async fn a_store_that_is_in_use_is_named() {
    let folder = configured(EMBEDDED);
    let (_vault, _) = serve(&folder).serving().await;

    let told = serve(&folder).run().await.failed();

    assert!(told.contains("vault.redb` is in use by another vault-engine"), "{told}");
}

#[tokio::test]
async fn an_address_that_is_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = configured(EMBEDDED);

    let told = serve(&folder).env("VAULT_ENGINE_LISTEN", &address).run().await.failed();

    assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
}

#[tokio::test]
async fn a_redis_that_evicts_keys_is_refused() {
    let redis = RedisServer::start(RedisOptions { maxmemory_policy: "allkeys-lru", ..RedisOptions::default() });
    let store = format!("store: {{ kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }} }}\n", redis.port());
    let folder = configured(&format!("{EMBEDDED}{store}"));

    let told = serve(&folder).run().await.failed();

    assert!(told.contains("allkeys-lru") && told.contains("noeviction"), "{told}");
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let folder =
        configured(&format!("{EMBEDDED}store: {{ kind: redis, redis: {{ url: \"redis://127.0.0.1:1\" }} }}\n"));

    let told = serve(&folder).env("VAULT_ENGINE_START_SECONDS", "0").run().await.failed();

    assert!(told.contains("127.0.0.1:1"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_starts_later_is_waited_for() {
    let mut redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let installation = Installation::over_redis(redis.port(), None, "").await;
    redis.kill();
    let vault = installation.command("a").start().await;
    let waits = async || vault.logged("cannot start yet; trying again");
    let said = eventually("it says that it waits", waits).await;
    assert!(said["error"].as_str().unwrap().contains("the store cannot be used"), "{said}");

    redis.restart();

    eventually("it serves", async || vault.logged("serving")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_waits_for_its_store_can_be_stopped() {
    let mut redis = RedisServer::start(RedisOptions::default());
    let installation = Installation::over_redis(redis.port(), None, "").await;
    redis.kill();
    let mut vault = installation.command("a").start().await;
    eventually("it waits", async || vault.logged("cannot start yet; trying again")).await;

    vault.terminate().await;

    assert_eq!(vault.ended().await, Some(1));
    assert!(vault.stderr().contains("asked to stop before it could serve"), "{}", vault.stderr());
}

#[tokio::test]
async fn a_redis_that_forgets_at_a_restart_is_warned_of() {
    let redis = RedisServer::start(RedisOptions::default());
    let (vault, _) = Installation::over_redis(redis.port(), None, "").await.serve("a").await;

    let warned = vault.logged("about the store").unwrap();

    assert_eq!(warned["level"], "WARN");
    assert!(warned["note"].as_str().unwrap().contains("appendonly yes"), "{warned}");
}

#[tokio::test]
async fn a_secret_is_never_written_into_the_configuration() {
    let folder =
        configured(&format!("{EMBEDDED}platforms: {{ gmail: {{ client_id: a, client_secrets: [hunter2] }} }}\n"));

    let told = serve(&folder).run().await.failed();

    assert!(told.contains("platforms.gmail.client_secrets[0]: must not be written here"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_platform_without_a_profile_is_named() {
    let folder = configured(&format!("{EMBEDDED}platforms: {{ acme: {{ client_id: a }} }}\n"));

    let told = serve(&folder).run().await.failed();

    assert!(told.contains("platforms.acme") && told.contains("acme.yaml"), "{told}");
}

#[tokio::test]
async fn nobody_is_let_in_where_there_are_no_engines() {
    let folder = configured(EMBEDDED);
    let (_vault, server) = serve(&folder).serving().await;
    let key = "tvk1_Q4ERAH9E7AX3_ZMUxMBA2C6DriD38350b3Vrr9SevQ3JzCQfVEaXWtDq1xmCME";

    let refused = Caller::new(&server, "sync", key).get("ada").await.unwrap_err();

    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
