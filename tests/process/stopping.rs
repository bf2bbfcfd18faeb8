//! How a process ends when it is asked to: nothing that has begun is lost, and it does end.

use std::time::{Duration, Instant};

use tonic_health::pb::health_check_response::ServingStatus;

use crate::development::{dev, dev_at, dev_with, start};
use crate::eventually::eventually;
use crate::grants::assert_alive;
use crate::oidc::{Fault, Oidc, POST};

const DRAIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_call_in_flight_is_finished_and_new_ones_are_sent_elsewhere() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Oidc::start().await);
    let (mut vault, caller) = dev_with(&folder, &provider, POST).await;
    let grants = provider.grants(POST, 1).await;
    caller.store_expired("ada", &grants[0].refresh_token).await;
    provider.fault(Fault { delay_after_ms: 60_000, ..Fault::default() }).await;
    let call = tokio::spawn({
        let caller = caller.clone();
        async move { caller.get("ada").await }
    });
    // From here on the old refresh token is consumed, and nobody but this process will hear of the new one.
    provider.judged(1).await;
    assert_eq!(caller.health().await.unwrap(), ServingStatus::Serving);

    let asked_at = Instant::now();
    vault.terminate().await;
    eventually("it says that it wants no calls", async || {
        matches!(caller.health().await, Ok(ServingStatus::NotServing)).then_some(())
    })
    .await;
    provider.release().await;

    assert!(call.await.unwrap().unwrap().refreshed);
    assert_eq!(vault.ended().await, Some(0));
    assert!(asked_at.elapsed() < DRAIN);
    let (_vault, caller) = dev_with(&folder, &provider, POST).await;
    assert_alive(&caller, &["ada".to_owned()], &provider).await;
}

#[tokio::test]
async fn a_refresh_nobody_waits_for_is_stored_before_the_process_ends() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Oidc::start().await);
    let (mut vault, caller) = dev_with(&folder, &provider, POST).await;
    let grants = provider.grants(POST, 1).await;
    caller.store_expired("ada", &grants[0].refresh_token).await;
    provider.fault(Fault { delay_after_ms: 60_000, ..Fault::default() }).await;
    assert!(caller.get_within(Duration::from_secs(1), "ada").await.is_err(), "this caller is gone");
    provider.judged(1).await;

    vault.terminate().await;
    eventually("it has begun to end", async || vault.logged("asked to stop: finishing what has begun")).await;
    provider.release().await;

    assert_eq!(vault.ended().await, Some(0));
    let (_vault, caller) = dev_with(&folder, &provider, POST).await;
    let stored = caller.get("ada").await.unwrap();
    assert_eq!((stored.refreshed, provider.stats().await.refreshes_ok), (false, 1));
    assert_alive(&caller, &["ada".to_owned()], &provider).await;
}

#[tokio::test]
async fn the_process_ends_at_its_deadline_whatever_is_still_running() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Oidc::start().await);
    let hurried = dev_at(&folder, &provider, POST).env("VAULT_ENGINE_DRAIN_SECONDS", "4");
    let (mut vault, caller) = start(hurried, &folder).await;
    let grants = provider.grants(POST, 1).await;
    caller.store_expired("ada", &grants[0].refresh_token).await;
    provider.fault(Fault { delay_before_ms: 60_000, ..Fault::default() }).await;
    let call = tokio::spawn(async move { caller.get("ada").await });
    provider.arrived(1).await;

    let asked_at = Instant::now();
    vault.terminate().await;

    assert_eq!(vault.ended().await, Some(0));
    let took = asked_at.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(7), "{took:?}");
    assert!(vault.logged("some work did not end before the deadline").is_some());
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn with_nothing_to_do_it_ends_soon() {
    let folder = tempfile::tempdir().unwrap();
    let (mut vault, _) = dev(folder.path()).serving().await;

    let asked_at = Instant::now();
    vault.terminate().await;

    assert_eq!(vault.ended().await, Some(0));
    assert!(asked_at.elapsed() < Duration::from_secs(4));
    assert!(vault.logged("stopped").is_some());
}

#[tokio::test]
async fn it_ends_although_nobody_reads_its_log_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut vault, _) = dev(folder.path()).serving().await;

    vault.stop_listening().await;
    vault.terminate().await;

    assert_eq!(vault.ended().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Oidc::start().await);
    let (mut vault, caller) = dev_with(&folder, &provider, POST).await;
    let grants = provider.grants(POST, 1).await;
    caller.store_expired("ada", &grants[0].refresh_token).await;
    provider.fault(Fault { delay_before_ms: 60_000, ..Fault::default() }).await;
    let call = tokio::spawn(async move { caller.get("ada").await });
    provider.arrived(1).await;

    vault.terminate().await;
    eventually("it has begun to end", async || vault.logged("asked to stop: finishing what has begun")).await;
    let asked_again_at = Instant::now();
    vault.terminate().await;

    assert_eq!(vault.ended().await, Some(130));
    assert!(asked_again_at.elapsed() < Duration::from_secs(3));
    assert!(call.await.unwrap().is_err());
}
