//! `vault-engine store copy`.

use std::fs;

use serde_json::json;

use crate::eventually::eventually;
use crate::site::{Site, has_epoch, line};

const COPY: &str = "store copy --from a.yaml --to b.yaml";

async fn site(users: usize) -> Site {
    let site = Site::new();
    site.import(users).await;
    site.add("b", "dev");
    site
}

#[tokio::test]
async fn a_vault_moves_to_another_store_and_serves_there() {
    let site = site(200).await;
    // Copying needs no keys.
    fs::rename(site.path("kms.key"), site.path("elsewhere")).unwrap();

    let ended = site.run(COPY).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(site.everything("b").await, site.everything("a").await);
    let sums: Vec<&str> =
        ended.stderr.lines().filter_map(|line| line.split_once("402 records, SHA-256 ")).map(|(_, sum)| sum).collect();
    assert_eq!(sums.len(), 2, "{}", ended.stderr);
    assert_eq!((sums[0], sums[0].len()), (sums[1], 64));
    for vault in ["a", "b"] {
        let audited = site.audited(vault, "copy");
        let reasons: Vec<_> = audited.iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["begun", ""]);
    }
    assert!(!ended.stderr.contains(['\r', '\x1b']) && ended.stdout.is_empty(), "{:?}", ended.stderr);

    fs::rename(site.path("elsewhere"), site.path("kms.key")).unwrap();
    let there = site.run("import --config b.yaml --file tokens.jsonl").await;
    assert!(there.stderr.contains("0 imported, 200 unchanged"), "{}", there.stderr);
}

#[tokio::test]
async fn a_copy_that_is_killed_and_run_again_is_whole() {
    const USERS: usize = 3_000;
    let site = site(USERS).await;
    let file = site.path("b/vault.redb");
    let mut running = site.command(COPY).start().await;
    let written = || fs::metadata(&file).map_or(0, |facts| facts.len());
    eventually("some of it is written", async || (written() > 1_500_000).then_some(())).await;
    running.kill().await;
    let half = site.everything("b").await.len();
    println!("killed with {half} of {} there", 2 * USERS + 2);
    assert!((1..2 * USERS + 2).contains(&half), "{half}");

    let ended = site.run(COPY).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rest = format!("{} records written", 2 * USERS + 2 - half);
    assert!(ended.stderr.contains(&rest), "{rest}: {}", ended.stderr);
    assert_eq!(site.everything("b").await, site.everything("a").await);
    let again = site.run(COPY).await;
    assert!(again.stderr.contains("0 records written"), "{}", again.stderr);
}

#[tokio::test]
async fn a_vault_is_not_copied_over_another_one() {
    let site = site(1).await;
    site.command("import --config b.yaml").input(line(7).to_string()).run().await.succeeded();
    let before = site.everything("b").await;
    let told = site.run(COPY).await.failed();
    assert!(told.contains("belongs to another vault"), "{told}");
    assert_eq!(site.everything("b").await, before);
}

#[tokio::test]
async fn a_copy_that_has_been_used_since_is_told_from_the_original() {
    let site = site(3).await;
    site.run(COPY).await.succeeded();
    let mut newer = line(1);
    newer["access_token"] = json!("canary-newer");
    let import = site.command("import --config b.yaml --on-conflict replace").input(newer.to_string());
    import.run().await.succeeded();

    let told = site.run(COPY).await.failed();

    assert!(
        told.contains("1 records of the first are not in the second, and 1 of the second not in the first"),
        "{told}"
    );
}

#[tokio::test]
async fn what_cannot_be_a_move_is_refused() {
    let site = site(1).await;
    let same = site.run("store copy --from a.yaml --to a.yaml").await.failed();
    assert!(same.contains("the same store"), "{same}");
    let nothing = site.run("store copy --from b.yaml --to a.yaml").await.failed();
    assert!(nothing.contains("--from: there is no store at"), "{nothing}");
    site.add("c", "test");
    let other = site.run("store copy --from a.yaml --to c.yaml").await.failed();
    assert!(other.contains("environment `dev`") && other.contains("of `test`"), "{other}");
    let _in_use = site.store("a");
    let in_use = site.run(COPY).await.failed();
    assert!(in_use.contains("--from: ") && in_use.contains("in use by another vault-engine"), "{in_use}");
}

#[tokio::test]
async fn the_epoch_of_a_store_moves_with_it() {
    let site = site(1).await;
    site.export("backup").await;
    site.run("restore --config a.yaml --in backup").await.succeeded();
    site.run(COPY).await.succeeded();
    assert!(has_epoch(&site.store("b")).await);
}
