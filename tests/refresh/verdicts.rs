//! What each kind of refusal does to the record, to the callers, and to the requests that follow.

use std::time::Duration;

use vault_engine::domain::cause::Cause;
use vault_engine::domain::connection::{Health, LastRefresh, RefreshOutcome, Renewal};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::Clock as _;
use vault_engine::domain::profile::{UrlPolicy, UrlTemplate};

use crate::house::{Instance, LIFE, World, connection_of, refused};

/// An expired record, and two instances.
async fn expired(world: &World) -> ([Instance; 2], ConnectionKey) {
    let (instances, key) = (std::array::from_fn(|_| world.instance()), connection_of("ada"));
    let [vault, _] = &instances;
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    (instances, key)
}

#[tokio::test]
async fn an_outage_is_met_with_one_request_per_pause_and_pauses_that_grow() {
    let world = World::new().await;
    let (instances, key) = expired(&world).await;
    let mut requests = 0;
    // Doubling from 30 s, at most 15 min.
    for pause in [30, 60, 120, 240, 480, 900, 900].map(Duration::from_secs) {
        world.provider.will(refused(503, "busy"));
        requests += 1;
        // Whoever asks first makes the request; all the others are told when to come back.
        for instance in [&instances[requests % 2], &instances[0], &instances[1]] {
            let told = instance.get(&key).await;
            let Err(VaultError::ProviderUnavailable { cause: Cause::ProviderOutage, retry_after }) = told else {
                panic!("{told:?}")
            };
            assert!((pause / 5 * 4..=pause).contains(&retry_after), "{retry_after:?} and not {pause:?}");
        }
        assert_eq!(world.refreshes(), requests);
        let rest = world.connection(&key).await.backoff.unwrap().next_at.since(world.clock.now());
        assert!((pause / 5 * 4..=pause).contains(&rest), "{rest:?} and not {pause:?}");
        world.clock.advance(pause);
    }

    assert_eq!(instances[1].get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.connection(&key).await.backoff, None);
}

#[tokio::test]
async fn a_pause_the_platform_asks_for_is_kept() {
    let world = World::new().await;
    let ([vault, other], key) = expired(&world).await;
    world.provider.will(refused(429, "rate_limited").header("retry-after", "120"));

    for instance in [&vault, &other] {
        let told = instance.get(&key).await;
        let Err(VaultError::ProviderUnavailable { cause: Cause::Throttled, retry_after }) = told else {
            panic!("{told:?}")
        };
        assert_eq!(retry_after.as_secs(), 120);
    }
    world.clock.advance(Duration::from_secs(120));

    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 2);
}

#[tokio::test]
async fn no_platform_can_ask_for_a_pause_of_a_day() {
    let world = World::new().await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(503, "busy").header("retry-after", "86400"));

    let told = vault.get(&key).await;

    let Err(VaultError::ProviderUnavailable { retry_after, .. }) = told else { panic!("{told:?}") };
    assert_eq!(retry_after, Duration::from_mins(15));
}

#[tokio::test]
async fn a_token_that_is_still_valid_is_served_with_a_warning_while_the_platform_is_down() {
    let world = World::new().await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE - Duration::from_secs(120));
    world.provider.will(refused(503, "busy"));
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-0");
    vault.settled().await;

    let answer = vault.get(&key).await.unwrap();

    assert_eq!((answer.access.expose(), answer.warning), ("access-0", Some("provider_outage")));
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_refused_grant_is_dead_until_the_user_connects_again() {
    let world = World::new().await;
    let ([vault, other], key) = expired(&world).await;
    world.provider.will(refused(400, "invalid_grant"));

    for instance in [&vault, &vault, &other] {
        let dead = instance.get(&key).await;
        assert!(matches!(dead, Err(VaultError::ReauthRequired { cause: Cause::GrantRefused })), "{dead:?}");
    }
    assert_eq!(world.refreshes(), 1);
    let connection = world.connection(&key).await;
    let outcome = RefreshOutcome::Dead(Cause::GrantRefused);
    assert_eq!(connection.last_refresh, Some(LastRefresh { at: world.clock.now(), outcome }));
    assert_eq!(connection.renewal, Renewal::Idle);

    other.consent(&key, "access-new", "refresh-new").await;
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-new");
}

#[tokio::test]
async fn where_a_refusal_may_be_a_mistake_a_second_opinion_is_heard() {
    let world = World::with(|setup| setup.profile.refresh.confirm = true).await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(400, "invalid_grant"));

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn a_second_opinion_is_the_last_one() {
    let world = World::with(|setup| setup.profile.refresh.confirm = true).await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(400, "invalid_grant"));
    world.provider.will(refused(400, "invalid_grant"));

    assert!(matches!(vault.get(&key).await, Err(VaultError::ReauthRequired { .. })));
    assert_eq!(world.refreshes(), 2);
    assert!(matches!(world.connection(&key).await.health, Health::Dead { .. }));
}

#[tokio::test]
async fn a_second_opinion_that_is_none_kills_nothing() {
    let world = World::with(|setup| setup.profile.refresh.confirm = true).await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(400, "invalid_grant"));
    world.provider.will(refused(503, "busy"));

    assert!(matches!(vault.get(&key).await, Err(VaultError::ProviderUnavailable { .. })));
    assert_eq!(world.connection(&key).await.health, Health::Alive);
}

#[tokio::test]
async fn client_secrets_are_tried_in_order_until_one_is_accepted() {
    let world = World::with(|setup| setup.client_secrets = Some(vec!["old", "new", "newest"])).await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(401, "invalid_client"));

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");

    let secrets = world.provider.requests().into_iter().map(|seen| seen.form().remove("client_secret").unwrap());
    assert_eq!(secrets.collect::<Vec<_>>(), ["old", "new"]);
}

#[tokio::test]
async fn a_client_that_is_refused_with_every_secret_costs_no_user_the_connection() {
    let world = World::with(|setup| setup.client_secrets = Some(vec!["old", "new"])).await;
    let ([vault, other], key) = expired(&world).await;
    world.provider.will(refused(401, "invalid_client"));
    world.provider.will(refused(401, "invalid_client"));

    for _ in 0..3 {
        assert!(matches!(vault.get(&key).await, Err(VaultError::AppMisconfigured)));
    }

    assert_eq!(world.refreshes(), 2, "the circuit is open");
    let connection = world.connection(&key).await;
    assert_eq!((connection.health, connection.renewal, connection.doubt), (Health::Alive, Renewal::Idle, None));
    // Another instance was given the right secret by its operator, say.
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_an_outage_without_a_doubt() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", nobody.local_addr().unwrap());
    drop(nobody);
    let url = UrlTemplate::parse(&url, UrlPolicy::AllowLoopback).unwrap();
    let world = World::with(|setup| setup.profile.token_url = url).await;
    let ([vault, _], key) = expired(&world).await;

    let told = vault.get(&key).await;

    assert!(matches!(told, Err(VaultError::ProviderUnavailable { cause: Cause::ProviderOutage, .. })), "{told:?}");
    assert_eq!(world.connection(&key).await.doubt, None);
}

#[tokio::test]
async fn every_refresh_that_was_sent_is_written_down_once() {
    let world = World::new().await;
    let ([vault, _], key) = expired(&world).await;
    world.provider.will(refused(503, "busy"));
    assert!(vault.get(&key).await.is_err());
    assert!(vault.get(&key).await.is_err());
    world.clock.advance(Duration::from_secs(30));
    vault.get(&key).await.unwrap();
    vault.settled().await;

    let lines: Vec<_> = vault.audit.entries().iter().map(|entry| (entry.reason, entry.record_version)).collect();
    assert_eq!(lines, [("provider_outage", None), ("", Some(5))], "claimed and released, claimed and renewed");
}
