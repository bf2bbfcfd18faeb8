//! `vault-engine import`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use vault_engine::domain::connection::{Entry, InstanceId, Renewed, Sight};
use vault_engine::domain::id::{ConnectionKey, TenantId};
use vault_engine::domain::secret::{AccessToken, RefreshToken};
use vault_engine::domain::time::Timestamp;

use crate::epoch::Instance;
use crate::eventually::eventually;
use crate::process::Ended;
use crate::site::{Site, line, versions};

/// The lines of a list of what was not imported.
fn listed(site: &Site, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(site.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn summary(ended: &Ended) -> String {
    assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    ended.stderr.lines().find(|line| line.contains(" lines: ")).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn lines_become_connections_that_are_handed_out() {
    let site = Site::new();
    site.write_lines("tokens.jsonl", 50);
    let ended = site.run("import --config a.yaml --file tokens.jsonl").await;
    assert_eq!(summary(&ended), "50 lines: 50 imported, 0 unchanged, 0 kept, 0 rejected");
    assert_eq!(ended.code, Some(0));
    assert_eq!(versions(&site.everything("a").await), [1; 50]);

    let data = site.path("a").display().to_string();
    let kms = site.path("kms.key").display().to_string();
    let vault = crate::process::vault_engine(["dev", "--listen", "127.0.0.1:0", "--data-dir", &data]);
    let (_vault, server) = vault.env("VAULT_ENGINE_KMS__LOCAL__KEY_FILE", kms).serving().await;
    let keys = site.path("a/engine-keys.json").display().to_string();
    let get = site.command("token get user-7 gmail").env("VAULT_ENGINE_SERVER", server);
    assert_eq!(get.env("VAULT_ENGINE_KEY_FILE", keys).run().await.succeeded(), "canary-access-7");
}

#[tokio::test]
async fn every_import_is_in_the_trail() {
    let site = Site::new();
    site.import(3).await;
    let audited = site.audited("a", "store");
    assert_eq!(audited.len(), 3);
    for entry in audited {
        assert_eq!((&entry["result"], &entry["reason"]), (&json!("ok"), &json!("imported")));
        assert!(entry["peer"].as_str().unwrap().starts_with("cli uid:"), "{entry}");
        assert!(entry["request_id"].as_str().unwrap().starts_with("import-"), "{entry}");
    }
}

#[tokio::test]
async fn an_import_that_is_killed_and_run_again_imports_every_line_once() {
    const USERS: usize = 3_000;
    let site = Site::new();
    site.write_lines("tokens.jsonl", USERS);
    let trail = site.path("a/audit.jsonl");
    let audited = || fs::read_to_string(&trail).map_or(0, |trail| trail.lines().count());
    for part in [USERS / 4, USERS / 2] {
        let before = audited();
        let mut running = site.command("import --config a.yaml --file tokens.jsonl").start().await;
        eventually("a part is imported", async || (audited() > before + part).then_some(())).await;
        running.kill().await;
    }
    let half = versions(&site.everything("a").await).len();
    println!("killed twice, {half} of {USERS} were there");
    assert!((USERS / 4..USERS).contains(&half), "{half}");

    let ended = site.run("import --config a.yaml --file tokens.jsonl").await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(versions(&site.everything("a").await), vec![1; USERS]);
    let expected = format!("{USERS} lines: {} imported, {half} unchanged, 0 kept, 0 rejected", USERS - half);
    assert_eq!(summary(&ended), expected);
}

#[tokio::test]
async fn what_is_no_token_is_listed_by_number_and_reason_and_never_quoted() {
    let site = Site::new();
    let long = format!("{{\"access_token\":\"canary{}\"}}", "x".repeat(300_000));
    let lines = [
        line(1).to_string(),
        "{\"access_token\":\"canary".to_owned(),
        String::new(),
        json!({ "user_id": "u", "platform": "no-such", "access_token": "canary" }).to_string(),
        long,
        json!({ "user_id": "u", "platform": "gmail", "access_token": "canary", "scopes": "canary" }).to_string(),
        line(2).to_string(),
    ];
    let input = lines.join("\n");

    let command = site.command("import --config a.yaml --rejects rejects.jsonl").input(input.clone());
    let ended = command.run().await;

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(summary(&ended), "6 lines: 2 imported, 0 unchanged, 0 kept, 4 rejected");
    let mut rejects = listed(&site, "rejects.jsonl");
    rejects.sort_by_key(|reject| reject["line"].as_u64());
    let reasons = [
        (2, "is not JSON: it ends in the middle"),
        (4, "`platform` names no platform that is enabled here"),
        (5, "is longer than 262144 bytes"),
        (6, "`scopes` must be a list of strings"),
    ];
    let expected = reasons.map(|(line, reason)| json!({ "line": line, "result": "rejected", "reason": reason }));
    assert_eq!(rejects, expected);
    assert_eq!(fs::metadata(site.path("rejects.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);

    let ended = site.command("import --config a.yaml").input(input).run().await;
    assert!(ended.stderr.contains("line 5 rejected: is longer than"), "{}", ended.stderr);
    assert_eq!(summary(&ended), "6 lines: 0 imported, 2 unchanged, 0 kept, 4 rejected");
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_leaves_nothing() {
    let site = Site::new();
    site.write_lines("tokens.jsonl", 5);
    let text = fs::read_to_string(site.path("tokens.jsonl")).unwrap();
    fs::write(site.path("tokens.jsonl"), format!("{text}\nnonsense\n")).unwrap();

    let ended = site.run("import --config a.yaml --file tokens.jsonl --dry-run").await;

    assert_eq!(ended.code, Some(3));
    assert_eq!(summary(&ended), "6 lines: 5 would be tried, 0 unchanged, 0 kept, 1 rejected");
    assert!(!site.path("a").exists());
}

#[tokio::test]
async fn other_tokens_stay_unless_they_are_to_be_replaced() {
    let site = Site::new();
    site.import(2).await;
    let mut other = line(1);
    other["access_token"] = json!("canary-other");
    other["refresh_token"] = json!("canary-other-refresh");
    fs::write(site.path("other.jsonl"), format!("{other}\n{}\n", line(0))).unwrap();

    let kept = site.run("import --config a.yaml --file other.jsonl --rejects kept.jsonl").await;
    assert_eq!((kept.code, summary(&kept).as_str()), (Some(0), "2 lines: 0 imported, 1 unchanged, 1 kept, 0 rejected"));
    let why = json!({ "line": 1, "result": "kept", "reason": "the connection has other tokens already" });
    assert_eq!(listed(&site, "kept.jsonl"), [why]);
    assert_eq!(versions(&site.everything("a").await), [1, 1]);

    let replace = "import --config a.yaml --file other.jsonl --on-conflict replace";
    for expected in [(1, 1), (0, 2)] {
        let replaced = site.run(replace).await;
        let (imported, unchanged) = expected;
        let said = format!("2 lines: {imported} imported, {unchanged} unchanged, 0 kept, 0 rejected");
        assert_eq!(summary(&replaced), said);
    }
    assert_eq!(versions(&site.everything("a").await), [1, 2]);
}

/// What the vault makes of a connection when the platform answers with these tokens; an empty one is none.
async fn renew(site: &Site, user: &str, access: &str, refresh: &str) {
    let records = Instance::over(site.store("a") as _, &site.path("kms.key"), "dev").records;
    let key = ConnectionKey {
        tenant: TenantId::default_tenant(),
        user: user.parse().unwrap(),
        platform: "gmail".parse().unwrap(),
    };
    let before = records.load(&key).await.unwrap().unwrap();
    let expected = before.expected();
    let Entry::Live(connection) = before.entry else { panic!("it was deleted") };
    let (now, lease) = (Timestamp::from_unix_seconds(1_800_000_000), Duration::from_secs(60));
    let sight = Sight { now, watched: Duration::ZERO };
    let (claimed, claim) = connection.claim(InstanceId(1), 1, sight, lease).unwrap();
    let renewed = Renewed {
        access: AccessToken::new(access.to_owned()).unwrap(),
        refresh: RefreshToken::new(refresh.to_owned()),
        expires_at: Some(Timestamp::from_unix_seconds(1_900_000_000)),
        sent_at: now,
        scopes: None,
        token_type: None,
        refresh_expires_at: None,
    };
    let renewed = claimed.renew(&claim, renewed).unwrap();
    records.save(&key, expected, &Entry::Live(Box::new(renewed))).await.unwrap();
}

#[tokio::test]
async fn what_was_renewed_since_is_not_replaced_however_often_and_whatever_is_asked_for() {
    let site = Site::new();
    site.import(2).await;
    renew(&site, "user-0", "canary-second", "").await;
    renew(&site, "user-1", "canary-second", "canary-second-refresh").await;
    let again = "import --config a.yaml --file tokens.jsonl --on-conflict replace --rejects rejects.jsonl";

    let once = site.run(again).await;
    assert_eq!(summary(&once), "2 lines: 0 imported, 2 unchanged, 0 kept, 0 rejected", "{}", once.stderr);
    renew(&site, "user-1", "canary-third", "canary-third-refresh").await;
    let twice = site.run(again).await;

    assert_eq!(
        (twice.code, summary(&twice).as_str()),
        (Some(3), "2 lines: 0 imported, 1 unchanged, 0 kept, 1 rejected")
    );
    let rejects = listed(&site, "rejects.jsonl");
    assert_eq!((&rejects[0]["line"], &rejects[0]["result"]), (&json!(2), &json!("rejected")));
    let reason = rejects[0]["reason"].as_str().unwrap();
    assert!(reason.contains("store them with `token store`, or delete the connection first"), "{reason}");
    assert_eq!(versions(&site.everything("a").await), [2, 3]);
    let skipped = site.run("import --config a.yaml --file tokens.jsonl").await;
    assert_eq!(summary(&skipped), "2 lines: 0 imported, 1 unchanged, 1 kept, 0 rejected");
}

#[tokio::test]
async fn lines_of_one_connection_are_imported_in_their_order() {
    let site = Site::new();
    let tokens = (0..100).map(|number| {
        let access = format!("canary-{number}");
        json!({ "user_id": "u", "platform": "gmail", "access_token": access, "refresh_token": access }).to_string()
    });
    let input = tokens.collect::<Vec<_>>().join("\n");

    site.command("import --config a.yaml --on-conflict replace").input(input.clone()).run().await.succeeded();
    assert_eq!(versions(&site.everything("a").await), [100]);

    let last = input.lines().last().unwrap().to_owned();
    let again = site.command("import --config a.yaml").input(last).run().await;
    assert_eq!(summary(&again), "1 lines: 0 imported, 1 unchanged, 0 kept, 0 rejected", "the last one is there");
}

#[tokio::test]
async fn a_line_goes_to_the_tenant_it_names_or_to_the_one_of_the_command() {
    let site = Site::new();
    let mut named = line(1);
    named["tenant"] = json!("globex");
    let input = format!("{}\n{named}", line(0));

    site.command("import --config a.yaml --tenant acme").input(input).run().await.succeeded();

    let partitions: Vec<String> = site.everything("a").await.iter().map(|item| format!("{:?}", item.address)).collect();
    assert!(partitions.iter().any(|address| address.starts_with("Connection") && address.contains("acme")));
    assert!(partitions.iter().any(|address| address.starts_with("Connection") && address.contains("globex")));
}

#[tokio::test]
async fn off_a_terminal_progress_is_plain_lines() {
    let site = Site::new();
    site.write_lines("tokens.jsonl", 500);
    let ended = site.run("import --config a.yaml --file tokens.jsonl").await;
    assert!(!ended.stderr.contains(['\r', '\x1b']), "{:?}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn a_store_in_use_is_left_alone() {
    let site = Site::new();
    site.write_lines("tokens.jsonl", 1);
    site.import(1).await;
    let _in_use = site.store("a");
    for command in [
        "import --config a.yaml --file tokens.jsonl",
        "export --config a.yaml --sealed --out x",
        "check --config a.yaml",
    ] {
        let told = site.run(command).await.failed();
        assert!(told.contains("in use by another vault-engine"), "{told}");
    }
    assert!(!site.path("x").exists());
}
