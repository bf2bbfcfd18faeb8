//! The way from an empty store to an engine that calls: `init`, then `admin`, as an operator types it.

use serde_json::Value;

use crate::eventually::eventually;
use crate::installation::Installation;
use crate::process::{CommandLine, Ended, vault_engine};
use crate::redis_server::{RedisOptions, RedisServer};

/// Somebody who administers a running vault.
struct Desk<'a> {
    server: &'a str,
    key: String,
}

// === impl Desk ===

impl Desk<'_> {
    fn command(&self, line: &str) -> CommandLine {
        vault_engine(line.split(' '))
            .env("VAULT_ENGINE_SERVER", self.server)
            .env("VAULT_ENGINE_ENGINE_ID", "admin")
            .env("VAULT_ENGINE_KEY", &self.key)
    }

    async fn run(&self, line: &str) -> Ended {
        self.command(line).run().await
    }

    /// As this engine, with this key.
    async fn run_as(&self, engine: &str, key: &str, line: &str) -> Ended {
        self.command(line).env("VAULT_ENGINE_ENGINE_ID", engine).env("VAULT_ENGINE_KEY", key).run().await
    }
}

async fn init(file: &str, more: &[&str]) -> Ended {
    vault_engine(["init", "--config", file].into_iter().chain(more.iter().copied())).run().await
}

fn is_key(text: &str) -> bool {
    text.starts_with("tvk1_") && text.len() == 67 && !text.contains('\n')
}

#[tokio::test]
async fn the_first_key_is_made_once_and_whoever_lost_it_makes_another() {
    let redis = RedisServer::start(RedisOptions::default());
    let installation = Installation::over_redis(redis.port(), None, "").await;
    let file = installation.write_config("operator");
    let key = init(&file, &[]).await.succeeded();
    assert!(is_key(&key), "{key}");
    let told = init(&file, &[]).await.failed();
    assert!(told.contains("there is an engine already that may make keys") && told.contains("--again"), "{told}");

    let (_vault, server) = installation.command("first").serving().await;
    let desk = Desk { server: &server, key };
    let table = desk.run("admin engine list system").await.succeeded();
    assert!(table.contains("system/admin") && table.contains("enabled"), "{table}");
    let told = desk.run("token get ada slack").await.failed();
    assert!(told.contains("not_permitted"), "{told}");

    let key = init(&file, &["--again", "--days", "7"]).await.succeeded();
    eventually("the lost key is refused", async || {
        let ended = desk.run("admin engine list system").await;
        (ended.code != Some(0)).then_some(())
    })
    .await;
    let desk = Desk { server: &server, key };
    let keys = desk.run("admin key list system/admin --json").await.succeeded();
    let states: Vec<String> = keys
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["revoked", "active"]);
    let trail = std::fs::read_to_string(installation.data_dir("operator").join("audit.jsonl")).unwrap();
    assert_eq!(trail.lines().filter(|line| line.contains(r#""action":"init""#)).count(), 6, "{trail}");
}

#[tokio::test]
async fn an_engine_is_made_given_a_key_asked_about_switched_off_and_deleted() {
    let redis = RedisServer::start(RedisOptions::default());
    let installation = Installation::over_redis(redis.port(), None, "").await;
    let file = installation.write_config("operator");
    let key = init(&file, &[]).await.succeeded();
    let (_vault, server) = installation.command("first").serving().await;
    let desk = Desk { server: &server, key };

    desk.run("admin tenant create acme --name Acme").await.succeeded();
    let made =
        "admin engine create acme/sync --allow get --allow status --platform gmail --rate 100 --max-users-per-hour 50";
    let table = desk.run(made).await.succeeded();
    assert!(table.contains("get status at gmail") && table.contains("100/s, 50 users/h"), "{table}");
    let key = desk.run("admin key create acme/sync").await.succeeded();
    assert!(is_key(&key), "{key}");
    let told = desk.run_as("sync", &key, "token get ada gmail").await.failed();
    assert!(told.contains("token_missing"), "{told}");
    let told = desk.run_as("sync", &key, "token get ada slack").await.failed();
    assert!(told.contains("not_permitted"), "{told}");

    assert_eq!(
        desk.run("admin check acme/sync get --platform gmail").await.succeeded(),
        "yes (allowed_by_rule, rule 1)"
    );
    let no = desk.run("admin check acme/sync get --platform slack").await;
    assert_eq!((no.code, no.stdout.trim()), (Some(3), "no (no_rule_allows)"));

    let public = key.split('_').nth(1).unwrap();
    let new = desk.run(&format!("admin key rotate acme/sync {public} --overlap-hours 0")).await.succeeded();
    assert!(desk.run_as("sync", &key, "token get ada gmail").await.failed().contains("invalid_credentials"));
    assert!(desk.run_as("sync", &new, "token get ada gmail").await.failed().contains("token_missing"));
    desk.run("admin engine update acme/sync --allow get --user bob").await.succeeded();
    assert!(desk.run_as("sync", &new, "token get ada gmail").await.failed().contains("not_permitted"));
    desk.run("admin engine disable acme/sync").await.succeeded();
    assert!(desk.run_as("sync", &new, "token get bob gmail").await.failed().contains("invalid_credentials"));
    desk.run("admin engine delete acme/sync").await.succeeded();
    let told = desk.run("admin engine show acme/sync").await.failed();
    assert!(told.contains("there is no such engine (not_found"), "{told}");
    let told = desk.run("admin engine show sync").await.failed();
    assert!(told.contains("write TENANT/ENGINE, such as `default/sync`"), "{told}");
}
