//! `vault-engine restore`.

use std::fs;

use serde_json::json;

use crate::eventually::eventually;
use crate::site::{Site, has_epoch, line, versions};

const RESTORE: &str = "restore --config b.yaml --in backup";

/// With a vault `a` of so many users, an export of it, and an empty vault `b`.
async fn site(users: usize) -> Site {
    let site = Site::new();
    site.import(users).await;
    site.export("backup").await;
    site.add("b", "dev");
    site
}

#[tokio::test]
async fn an_empty_store_becomes_what_was_exported() {
    let site = site(200).await;

    let ended = site.run(RESTORE).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(site.everything("b").await, site.everything("a").await);
    assert!(has_epoch(&site.store("b")).await && !has_epoch(&site.store("a")).await);
    assert!(!ended.stderr.contains(['\r', '\x1b']) && ended.stdout.is_empty(), "{:?}", ended.stderr);
    let audited = site.audited("b", "restore");
    let told: Vec<_> = audited.iter().map(|entry| (&entry["result"], &entry["reason"])).collect();
    assert_eq!(told, [(&json!("ok"), &json!("begun")), (&json!("ok"), &json!(""))]);
    assert_eq!(audited[1]["record_version"], 1);

    // And it opens: what is imported again is found to be there.
    let again = site.run("import --config b.yaml --file tokens.jsonl").await;
    assert!(again.stderr.contains("0 imported, 200 unchanged"), "{}", again.stderr);
}

#[tokio::test]
async fn a_restore_that_is_killed_and_run_again_is_whole() {
    const USERS: usize = 3_000;
    let site = site(USERS).await;
    let file = site.path("b/vault.redb");
    let mut running = site.command(RESTORE).start().await;
    let written = || fs::metadata(&file).map_or(0, |facts| facts.len());
    eventually("some of it is written", async || (written() > 1_500_000).then_some(())).await;
    running.kill().await;
    let half = site.everything("b").await.len();
    println!("killed with {half} of {} there", 2 * USERS + 2);
    assert!((1..2 * USERS + 2).contains(&half), "{half}");
    assert!(!has_epoch(&site.store("b")).await, "not before everything is there");

    let ended = site.run(RESTORE).await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(site.everything("b").await, site.everything("a").await);
    assert!(has_epoch(&site.store("b")).await);
}

#[tokio::test]
async fn what_is_newer_in_the_store_stays_and_is_named() {
    let site = site(3).await;
    let mut newer = line(1);
    newer["access_token"] = json!("canary-newer");
    let import = site.command("import --config a.yaml --on-conflict replace").input(newer.to_string());
    import.run().await.succeeded();

    let ended = site.run("restore --config a.yaml --in backup").await;

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("user-1:gmail is newer in the store, and stays"), "{}", ended.stderr);
    assert!(ended.stderr.contains("0 restored, 0 over an older one, 7 there already, 1 newer"), "{}", ended.stderr);
    assert_eq!(versions(&site.everything("a").await), [1, 2, 1]);
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_made_changes_nothing() {
    let site = site(20).await;
    let whole = fs::read(site.path("backup")).unwrap();
    // Head: magic, format, time, environment. Then a length, a name, what is sealed. Then the trailer.
    let last = whole.len() - 1;
    let flips = [0, 8, 9, 18, 23, 26, 28, 80, whole.len() / 2, last - 44, last - 40, last - 33, last];
    let flipped = flips.map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        (format!("byte {at}"), bytes)
    });
    let cuts = [0, 4, 8, 12, 20, 25, 60, whole.len() / 2, last - 43, last - 31, last];
    let cut = cuts.map(|length| (format!("the first {length} bytes"), whole[..length].to_vec()));
    let longer = (String::from("one byte more"), [whole.as_slice(), &[0]].concat());
    for (what, bytes) in flipped.into_iter().chain(cut).chain([longer]) {
        fs::write(site.path("backup"), bytes).unwrap();
        let told = site.run(RESTORE).await.failed();
        assert!(told.contains("`backup` is not restored: "), "{what}: {told}");
        assert!(!site.path("b").exists(), "{what}");
    }
}

#[tokio::test]
async fn the_export_of_another_environment_is_refused() {
    let site = site(1).await;
    site.add("b", "test");
    let told = site.run(RESTORE).await.failed();
    assert!(told.contains("environment `dev` and this is `test`"), "{told}");
    assert!(!site.path("b").exists());
}

#[tokio::test]
async fn a_store_with_keys_of_its_own_is_left_as_it_is() {
    let site = site(1).await;
    site.command("import --config b.yaml").input(line(7).to_string()).run().await.succeeded();
    let before = site.everything("b").await;

    let told = site.run(RESTORE).await.failed();

    assert!(told.contains("the store has other keys for tenant"), "{told}");
    assert_eq!(site.everything("b").await, before);
}

/// A store `b` that has lost its users and kept its keys; then these have connected anew.
async fn lose_and_connect_anew(site: &Site, users: std::ops::Range<usize>) -> String {
    let source = site.store("a");
    let target = site.store("b");
    for item in crate::site::everything(&source).await {
        if matches!(item.address, vault_engine::domain::ports::Address::TenantKeyring { .. }) {
            let record = vault_engine::domain::ports::Record { value: item.stored.value, hints: item.hints };
            let restored =
                vault_engine::domain::ports::Store::restore(&*target, &item.address, item.stored.version, record);
            restored.await.unwrap();
        }
    }
    drop((source, target));
    let anew = users.map(|number| {
        let mut anew = line(number);
        anew["access_token"] = json!("canary-anew");
        anew.to_string()
    });
    let anew = anew.collect::<Vec<_>>().join("\n");
    site.command("import --config b.yaml").input(anew.clone()).run().await.succeeded();
    anew
}

#[tokio::test]
async fn a_user_who_has_connected_anew_keeps_what_they_have() {
    let site = site(2).await;
    let anew = lose_and_connect_anew(&site, 1..2).await;

    let ended = site.run(RESTORE).await;

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("user-1:gmail is not restored"), "{}", ended.stderr);
    let again = site.command("import --config b.yaml").input(format!("{}\n{anew}", line(0))).run().await;
    assert!(again.stderr.contains("2 lines: 0 imported, 2 unchanged"), "{}", again.stderr);
}

#[tokio::test]
async fn everybody_who_has_connected_anew_is_named_however_many() {
    let site = site(60).await;
    lose_and_connect_anew(&site, 10..50).await;

    let ended = site.run(RESTORE).await;

    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for number in 0..60 {
        let line = format!("user-{number}:gmail is not restored");
        let named = ended.stderr.lines().any(|said| said.starts_with(&line));
        assert_eq!(named, (10..50).contains(&number), "{number}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn without_the_keys_it_was_made_with_nothing_but_their_wrapping_is_restored() {
    let site = site(1).await;
    fs::rename(site.path("kms.key"), site.path("elsewhere")).unwrap();
    let told = site.run(RESTORE).await.failed();
    assert!(told.contains("there is no key file at"), "{told}");
    assert!(!site.path("kms.key").exists(), "none is made");

    // The key of somebody else.
    site.run("check --config b.yaml").await.succeeded();
    fs::remove_file(site.path("b/vault.redb")).unwrap();
    let told = site.run(RESTORE).await.failed();
    assert!(told.contains("the key service does not open the keys of this export"), "{told}");
    assert_eq!(site.everything("b").await.len(), 1);

    fs::rename(site.path("elsewhere"), site.path("kms.key")).unwrap();
    site.run(RESTORE).await.succeeded();
    assert_eq!(site.everything("b").await, site.everything("a").await);
}
