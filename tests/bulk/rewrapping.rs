//! `vault-engine kms` and `vault-engine erase`, as an operator uses them, while others write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::eventually::eventually;
use crate::redis_server::{RedisOptions, RedisServer};
use crate::site::{Site, line};

/// A number that is larger in the long form.
fn number(variable: &str, short: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// A vault over Redis, with so many users.
async fn over_redis(users: usize) -> (Site, RedisServer) {
    let site = Site::new();
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    site.add_over("r", &format!("kind: redis, redis: {{ url: \"redis://127.0.0.1:{}\" }}", redis.port()));
    site.write_lines("tokens.jsonl", users);
    site.run("import --config r.yaml --file tokens.jsonl").await.succeeded();
    (site, redis)
}

/// How many user keys are under which generation.
async fn counts(site: &Site) -> Vec<(u32, usize)> {
    let table = site.run("kms rewrap --config r.yaml --dry-run").await.succeeded();
    let rows = table.lines().skip(1).map(|row| {
        let mut cells = row.split_whitespace();
        (cells.next().unwrap().parse().unwrap(), cells.next().unwrap().parse().unwrap())
    });
    rows.collect()
}

/// How many user keys have been sealed anew so far, over all runs.
async fn sealed_anew(site: &Site) -> Option<usize> {
    let ended = site.run("kms status --config r.yaml --tenant default").await;
    let told = ended.stderr.lines().find(|line| line.contains("keys sealed anew"))?.to_owned();
    told.split_once(" keys sealed anew")?.0.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_move_while_others_write_and_whoever_moves_them_is_killed() {
    let (users, kills) = (number("VAULT_TEST_USERS", 3_000), number("VAULT_TEST_KILLS", 2));
    let (site, _redis) = over_redis(users).await;
    site.run("kms rotate --config r.yaml --now").await.succeeded();
    assert_eq!(counts(&site).await, [(1, users)]);

    let (over, newcomers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let writer = async {
        // New users, who get keys of their own meanwhile.
        while !over.load(Ordering::SeqCst) {
            let from = users + newcomers.load(Ordering::SeqCst);
            let some: Vec<String> = (from..from + 200).map(|number| line(number).to_string()).collect();
            site.command("import --config r.yaml").input(some.join("\n")).run().await.succeeded();
            newcomers.fetch_add(200, Ordering::SeqCst);
        }
    };
    let mover = async {
        let (mut furthest, pace) = (0, users / (kills + 1) / 4);
        for kill in 1..=kills {
            let mut running = site.command(&format!("kms rewrap --config r.yaml --per-second {pace}")).start().await;
            let enough = users / (kills + 1) / 2 * kill;
            eventually("some keys have moved", async || {
                sealed_anew(&site).await.filter(|sealed| *sealed > furthest.min(enough)).map(drop)
            })
            .await;
            running.kill().await;
            let sealed = sealed_anew(&site).await.unwrap();
            assert!(sealed >= furthest, "{sealed} after {furthest}");
            furthest = sealed;
        }
        let ended = site.run("kms rewrap --config r.yaml").await;
        // An instance may hold the earlier key for hours: nothing is retired yet.
        assert_eq!(ended.code, Some(3), "{} {}", ended.stdout, ended.stderr);
        assert!(ended.stdout.starts_with("nothing is left"), "{}", ended.stdout);
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(writer, mover);

    let written = newcomers.load(Ordering::SeqCst);
    println!("{users} users moved, {kills} kills, {written} new ones meanwhile");
    assert!(written > 0);
    assert_eq!(counts(&site).await, [(2, users + written)]);
    // Everything opens: what is brought in again is found to be there.
    site.write_lines("again.jsonl", users + written);
    let again = site.run("import --config r.yaml --file again.jsonl").await;
    assert!(again.stderr.contains(&format!("0 imported, {} unchanged", users + written)), "{}", again.stderr);
}

#[tokio::test]
async fn what_an_operator_asks_of_keys_at_the_wrong_time_is_refused_with_the_way_to_go() {
    let site = Site::new();
    site.import(3).await;
    let refused = [
        ("kms rotate --config a.yaml --tenant nobody", "tenant `nobody` has no keys"),
        ("kms rewrap --config a.yaml", "there is nothing to seal anew: generation 1 is the only one"),
        ("kms pause --config a.yaml", "there is nothing to seal anew"),
        ("kms destroy --config a.yaml --generation 1", "3 user keys are under generation 1: `kms rewrap` first"),
        ("kms destroy --config a.yaml --generation 7", "generation 7 is not on the keyring"),
    ];
    for (command, told) in refused {
        let stderr = site.run(command).await.failed();
        assert!(stderr.contains(told), "{command}: {stderr}");
    }
    site.run("kms rotate --config a.yaml").await.succeeded();
    for command in ["kms rotate --config a.yaml", "kms rewrap --config a.yaml"] {
        let stderr = site.run(command).await.failed();
        assert!(stderr.contains("generation 2 was made before and does not seal yet: it will from 20"), "{stderr}");
    }
    let status = site.run("kms status --config a.yaml").await.succeeded();
    for row in [("default", "1", "active"), ("default", "2", "seals from"), ("system", "1", "active")] {
        let has =
            |line: &str| line.starts_with(row.0) && line.contains(&format!(" {} ", row.1)) && line.contains(row.2);
        assert!(status.lines().any(has), "{row:?}: {status}");
    }
    let rotated: Vec<_> = site.audited("a", "rotate_key").iter().map(|line| line["result"].clone()).collect();
    assert_eq!(rotated, ["ok", "failed", "ok", "ok", "ok", "failed"]);
}

#[tokio::test]
async fn a_user_is_erased_and_the_trail_has_the_receipt() {
    let site = Site::new();
    site.import(2).await;
    let told = site.run("erase user-1 --config a.yaml").await.failed();
    assert!(told.contains("say `--yes`"), "{told}");

    let receipt = site.run("erase user-1 --config a.yaml --yes").await.succeeded();

    assert!(receipt.starts_with("default/user-1: 1 connections erased; receipt erase-"), "{receipt}");
    let id = receipt.trim().rsplit(' ').next().unwrap().to_owned();
    let lines = site.audited("a", "erase");
    assert!(lines.len() == 2 && lines.iter().all(|line| line["request_id"] == id.as_str() && line["user"] == "user-1"));
    assert_eq!((&lines[1]["result"], &lines[1]["items"]), (&"ok".into(), &1.into()));
    let again = site.command("import --config a.yaml").input(line(0).to_string()).run().await;
    assert!(again.stderr.contains("0 imported, 1 unchanged"), "{}", again.stderr);
}
