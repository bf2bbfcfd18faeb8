//! `vault-engine outbox`: what a person can see and do about answers that wait to be stored.

use crate::eventually::eventually;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::{Fault, Oidc};
use crate::process::{Ended, vault_engine};
use crate::redis_server::{RedisOptions, RedisServer};

async fn outbox(installation: &Installation, command: &str, more: &[&str]) -> Ended {
    let config = installation.write_config("a");
    vault_engine(["outbox", command, "--config", &config].iter().chain(more)).run().await
}

#[tokio::test]
async fn an_answer_that_waits_is_shown_and_stored_by_hand_once_its_owner_is_gone() {
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let provider = Oidc::start().await;
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let (mut vault, caller) = installation.serve("a").await;
    let users = store_grants(&caller, &provider, 1).await;
    assert!(outbox(&installation, "list", &[]).await.stderr.contains("nothing waits"));

    provider.fault(Fault { delay_before_ms: 60_000, ..Fault::default() }).await;
    let waiting = tokio::spawn({
        let (caller, user) = (caller.clone(), users[0].clone());
        async move { caller.get(&user).await }
    });
    provider.arrived(1).await;
    redis.pause();
    provider.release().await;
    let listed = eventually("the answer waits", async || {
        let listed = outbox(&installation, "list", &[]).await;
        listed.stdout.contains("waiting").then_some(listed.stdout)
    })
    .await;
    assert!(listed.contains("user-0:judge") && listed.contains("running"), "{listed}");
    let folder = std::fs::read_dir(installation.outboxes("a")).unwrap().next().unwrap().unwrap().path();
    let told = outbox(&installation, "replay", &["--dir", &folder.display().to_string()]).await.failed();
    assert!(told.contains("belongs to a vault that is running"), "{told}");

    vault.kill().await;
    drop(waiting.await);
    redis.resume();
    let listed = outbox(&installation, "list", &[]).await.stdout;
    assert!(listed.contains("gone"), "{listed}");
    let replayed = outbox(&installation, "replay", &[]).await;
    assert!(replayed.stdout.contains("user-0:judge  stored as version 3"), "{replayed:?}");
    assert_eq!((replayed.code, &*replayed.stderr), (Some(0), "1 stored, 0 dropped, 0 put aside, 0 still waiting"));
    let again = outbox(&installation, "replay", &[]).await;
    assert_eq!((again.code, &*again.stderr), (Some(0), "nothing waits in a folder whose owner is gone"));

    let (_vault, caller) = installation.serve("b").await;
    assert_alive(&caller, &users, &provider).await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let installation = Installation::over_a_file(None, "").await;
    let told = outbox(&installation, "list", &["--dir", "/nowhere"]).await.failed();
    assert!(told.contains("`/nowhere` cannot be read"), "{told}");
}
