//! The commands around a vault: check, key, profile, token, status.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::development::dev;
use crate::installation::Installation;
use crate::process::{CommandLine, Ended, Running, vault_engine};
use crate::redis_server::{RedisOptions, RedisServer};

/// A development vault, and a person who works with it.
struct Desk {
    folder: TempDir,
    server: String,
    _vault: Running,
}

// === impl Desk ===

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (vault, server) = dev(folder.path()).serving().await;
        Self { folder, server, _vault: vault }
    }

    fn command(&self, line: &str) -> CommandLine {
        let keys = self.folder.path().join("data/engine-keys.json").display().to_string();
        vault_engine(line.split(' ')).env("VAULT_ENGINE_SERVER", &self.server).env("VAULT_ENGINE_KEY_FILE", keys)
    }

    async fn run(&self, line: &str) -> Ended {
        self.command(line).run().await
    }

    async fn store(&self, token: Value) -> Ended {
        self.command("token store").input(token.to_string()).run().await
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn token(platform: &str) -> Value {
    json!({ "user_id": "ada", "platform": platform, "access_token": "the-access", "scopes": ["email"] })
}

#[tokio::test]
async fn a_token_is_stored_shown_and_forgotten() {
    let desk = Desk::new().await;

    let stored = desk.store(token("slack")).await.succeeded();
    assert_eq!(parsed(&stored), json!({ "version": 1, "replaced": false, "refreshable": false }));
    assert_eq!(desk.run("token get ada slack").await.succeeded(), "the-access", "the token alone, for a script");
    let whole = parsed(&desk.run("token get ada slack --json").await.succeeded());
    assert_eq!((&whole["access_token"], &whole["scopes"]), (&json!("the-access"), &json!(["email"])));
    assert_eq!(parsed(&desk.run("token delete ada slack").await.succeeded()), json!({ "deleted": true }));
    assert_eq!(parsed(&desk.run("token delete ada slack").await.succeeded()), json!({ "deleted": false }));

    let told = desk.run("token get ada slack").await.failed();
    assert_eq!(told, "error: no token is stored for this user and platform (token_missing; suggested: connect)");
}

#[tokio::test]
async fn the_example_of_the_manual_works_as_it_stands() {
    let desk = Desk::new().await;
    let help = vault_engine(["token", "store", "--help"]).run().await.succeeded();
    let (_, example) = help.split_once("echo '").unwrap();
    let (example, _) = example.split_once('\'').unwrap();

    let stored = desk.command("token store").input(example).run().await.succeeded();

    // The desk has no client at Gmail.
    assert_eq!(parsed(&stored), json!({ "version": 1, "replaced": false, "refreshable": false }));
}

#[tokio::test]
async fn a_status_is_a_table_for_people_and_json_for_programs() {
    let desk = Desk::new().await;
    desk.store(token("slack")).await.succeeded();

    let table = desk.run("status ada slack gmail").await.succeeded();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["PLATFORM", "STATUS"]);
    assert_eq!(rows[1..], [vec!["Gmail", "missing", "connect"], vec!["Slack", "active", "never", "none"]]);

    let json = parsed(&desk.run("status ada slack --json").await.succeeded());
    assert_eq!(json["connected_platforms"][0]["status"], "active");
}

#[tokio::test]
async fn what_is_stored_can_be_listed() {
    let desk = Desk::new().await;
    for platform in ["slack", "gmail", "notion"] {
        desk.store(token(platform)).await.succeeded();
    }
    desk.run("token delete ada notion").await.succeeded();

    let table = desk.run("token list").await.succeeded();
    let mut rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.remove(0)[..3], ["USER", "PLATFORM", "STATUS"]);
    rows.sort_unstable();
    assert_eq!(
        rows.iter().map(|row| &row[..3]).collect::<Vec<_>>(),
        [["ada", "gmail", "active"], ["ada", "slack", "active"]]
    );

    let lines = desk.run("token list --platform slack --status active --json").await.succeeded();
    let listed = parsed(&lines);
    assert_eq!(
        (&listed["user_id"], &listed["platform"], &listed["version"]),
        (&json!("ada"), &json!("slack"), &json!(1))
    );
    assert_eq!(desk.run("token list --status expired --json").await.succeeded(), "");
    let told = desk.run("token list --status gone").await.failed();
    assert!(told.contains("`statuses` must be one of `active`, `expired`, `disabled`, `unreadable`"), "{told}");
}

#[tokio::test]
async fn a_status_can_be_watched_for_a_while() {
    let desk = Desk::new().await;
    desk.store(token("slack")).await.succeeded();

    let lines = desk.run("status --watch --for 2 --json").await.succeeded();
    let told: Vec<Value> = lines.lines().map(parsed).collect();
    let [start, connection, end] = &told[..] else { panic!("{lines}") };
    assert_eq!(start["event"], json!({ "snapshot_start": { "reset": false } }));
    let connection = &connection["event"]["connection"];
    assert_eq!((&connection["user_id"], &connection["status"]["status"]), (&json!("ada"), &json!("active")));
    assert_eq!(end["event"], json!({ "snapshot_end": {} }));

    let lines = desk.run("status ada slack --watch --for 2").await.succeeded();
    let words: Vec<&str> = lines.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["ada", "v1", "Slack", "active", "never", "none"]);
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_words_and_in_the_exit_code() {
    let desk = Desk::new().await;
    for (line, says) in [
        (
            "token get ada nope",
            "`platform` names no platform that is enabled here (invalid_request; suggested: fix_request)",
        ),
        ("token get ada gmail --min-ttl=-1", "`min_ttl_seconds` must be between 0 and 86400"),
        (
            "token delete ada slack --engine-id action",
            "this engine may not do this (not_permitted; suggested: contact_operator)",
        ),
        ("token get ada slack --engine-id nobody", "the key file has no key for `nobody`"),
        ("token get ada slack --key-file /nowhere", "`/nowhere` cannot be read"),
        ("status ada --server http://127.0.0.1:1", "no vault answers at http://127.0.0.1:1"),
    ] {
        let told = desk.run(line).await.failed();
        assert!(told.starts_with("error: ") && told.contains(says), "`{line}`: {told}");
    }
    let stranger = vault_engine(["status", "ada", "--server", &desk.server]).env("VAULT_ENGINE_KEY", "not-a-key");
    let told = stranger.run().await.failed();
    assert!(told.contains("invalid credentials"), "{told}");
    assert!(!told.contains("not-a-key"), "{told}");
}

#[tokio::test]
async fn what_is_no_token_is_refused_before_it_is_sent_and_never_quoted() {
    let desk = Desk::new().await;
    for (input, says) in [
        ("", "is not JSON: it ends in the middle"),
        ("{\"user_id\":\"ada\",\n\"access_token\":\"canary\"", "is not JSON: it ends in the middle"),
        ("{\"user_id\":\"ada\",\n\"access_token\":\"canary\"\"", "is not JSON, from line 2, column 24 on"),
        ("{\"plattform\":\"slack\"}", "has a field that is not known; known are user_id"),
        ("{\"canary\":\"canary\"}", "has a field that is not known; known are user_id"),
        ("\"canary\"", "must be a JSON object"),
        ("{\"user_id\":\"ada\",\"expires_at\":\"canary\"}", "`expires_at` must be a whole number of Unix seconds"),
        ("{\"user_id\":\"ada\",\"access_token\":[\"canary\"]}", "`access_token` must be a string"),
    ] {
        let told = desk.command("token store").input(input).run().await.failed();
        assert!(told.contains(&format!("standard input {says}")), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}

#[tokio::test]
async fn a_check_tries_everything_a_start_needs_and_serves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vault.yaml");
    fs::write(&config, "environment: dev\ndata_dir: data\n").unwrap();
    let check = || vault_engine(["check", "--config", "vault.yaml"]).current_dir(folder.path());

    let ended = check().run().await;
    assert!(ended.stderr.contains("only engines of the registry may call"), "{}", ended.stderr);
    let report = ended.succeeded();
    for part in ["configuration", "store", "keys", "audit trail", "outbox", "platforms"] {
        assert!(report.lines().any(|line| line.starts_with(&format!("ok {part}"))), "{report}");
    }

    let told = check().env("VAULT_ENGINE_STORE__KIND", "redis").run().await.failed();
    assert!(told.contains("store.redis.url: must be given"), "{told}");
    let told = check().env("VAULT_ENGINE_AUDIT__PATH", "/nowhere/audit.jsonl").run().await.failed();
    assert!(told.contains("/nowhere/audit.jsonl"), "{told}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_its_verifier_lets_its_engine_in() {
    let redis = RedisServer::start(RedisOptions::default());
    let installation = Installation::over_redis(redis.port(), None, "").await;
    // The installation was given its engine with `key generate`.
    let (_vault, caller) = installation.serve("a").await;
    assert_eq!(caller.get("ada").await.unwrap_err().code(), tonic::Code::InvalidArgument, "let in; no such platform");

    let config = installation.write_config("b");
    let make = || vault_engine(["key", "generate", "--engine", "sync", "--config", &config]).run();
    let (first, second) = (make().await, make().await);

    assert_eq!(first.stdout.lines().count(), 1, "{}", first.stdout);
    assert_ne!(first.stdout, second.stdout);
    assert!(!first.stderr.contains(first.stdout.trim()), "the key is not among the words");
    assert!(first.stderr.contains("verifier: "), "{}", first.stderr);
}

#[tokio::test]
async fn a_profile_is_checked_line_by_line_and_mended_by_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.yaml");
    let check = async |text: &str| {
        fs::write(&file, text).unwrap();
        vault_engine(["profile", "check", "acme.yaml"]).current_dir(folder.path()).run().await
    };
    let good = "docs: https://acme.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: https://acme.example/authorize\n\
                token_url: https://acme.example/token\n";
    assert_eq!(check(good).await.stderr, "1 file, no fault");

    let ended = check(&good.replace("token_url: https", "token_url: http")).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.starts_with("acme.yaml:4: token_url: must begin with `https://` — "), "{}", ended.stdout);

    let ended = check(&format!("{good}refesh: {{}}\n")).await;
    assert_eq!(ended.stdout, "acme.yaml:5: refesh: is not a known key — did you mean `refresh`?");
}

#[tokio::test]
async fn a_fault_in_one_field_of_a_profile_does_not_hide_those_in_others() {
    let folder = tempfile::tempdir().unwrap();
    let text = "docs: http://acme.example\nfacts_as_of: 2026-11-21\nauthorize_url: https://acme.example/authorize\n\
                token_url: https://acme.example/token\nrefresh: { rotates: sometimes }\nclient_auth: basik\n";
    fs::write(folder.path().join("acme.yaml"), text).unwrap();

    let ended = vault_engine(["profile", "check", "acme.yaml"]).current_dir(folder.path()).run().await;

    let places: Vec<_> =
        ended.stdout.lines().filter_map(|line| line.rsplit_once(": ")?.0.strip_prefix("acme.yaml:")).collect();
    assert_eq!(places, ["1: docs", "5: refresh.rotates", "6: client_auth"]);
    assert!(ended.stdout.contains("did you mean `basic`?"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_shipped_profiles_are_listed_and_have_no_fault() {
    let list = vault_engine(["profile", "list"]).run().await.succeeded();
    let checked = vault_engine(["profile", "check"]).run().await.succeeded();

    let shipped = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("platform_profiles")).unwrap();
    let shipped = shipped.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "yaml"));
    let count = shipped.count();
    assert_eq!(list.lines().count(), count + 1, "and a head");
    assert_eq!(checked, format!("{count} shipped profiles, no fault"));
}
