//! When a refreshed token expires: counted from the sending, assumed where nothing is said, corrected where one can ask.

use std::time::Duration;

use serde_json::{Value, json};
use vault_engine::domain::connection::Connection;
use vault_engine::domain::ports::Clock as _;
use vault_engine::domain::profile::{UrlPolicy, UrlTemplate};
use vault_engine::domain::time::Timestamp;

use crate::house::{LIFE, Setup, World, connection_of, granted};
use crate::provider::Answer;

/// What is stored after a refresh with this answer, and when it was sent.
async fn refreshed_with(world: &World, answer: Value) -> (Connection, Timestamp) {
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    world.provider.will(Answer::json(200, &answer));
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "opaque");
    vault.settled().await;
    (world.connection(&key).await, world.clock.now())
}

/// A platform that can be asked.
fn asking(world: &mut Setup) {
    let template = world.profile.token_url.to_string().replace("/token", "/introspect");
    world.profile.introspect_url = Some(UrlTemplate::parse(&template, UrlPolicy::AllowLoopback).unwrap());
}

#[tokio::test]
async fn time_spent_on_the_network_is_not_life() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let sent_at = world.clock.now();
    let gate = world.hold(granted(1));

    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        world.clock.advance(Duration::from_secs(9));
        gate.open();
    });

    assert_eq!(answer.unwrap().expires_at, Some(sent_at + LIFE));
    assert_eq!(world.connection(&key).await.grant.issued_at, sent_at);
}

#[tokio::test]
async fn a_life_that_is_not_stated_is_assumed_and_not_endless() {
    let world = World::new().await;
    let (connection, sent_at) = refreshed_with(&world, json!({ "access_token": "opaque" })).await;

    assert_eq!(connection.grant.expires_at, Some(sent_at + Duration::from_secs(3_600)));
    assert_eq!(connection.grant.refresh.unwrap().expose(), "refresh-0", "what the answer leaves out stays");
}

#[tokio::test]
async fn a_life_that_is_not_stated_is_what_the_profile_says() {
    let world = World::with(|setup| setup.profile.expiry.default = Some(Duration::from_secs(600))).await;
    let (connection, sent_at) = refreshed_with(&world, json!({ "access_token": "opaque" })).await;

    assert_eq!(connection.grant.expires_at, Some(sent_at + Duration::from_secs(600)));
}

#[tokio::test]
async fn an_assumed_life_is_corrected_by_asking() {
    let world = World::with(asking).await;
    let exp = world.clock.now() + LIFE + Duration::from_secs(1_234);
    world.provider.otherwise(move |seen| {
        assert_eq!((&*seen.target, &*seen.form()["token"]), ("/introspect", "opaque"));
        Answer::json(200, &json!({ "active": true, "exp": exp.unix_seconds() }))
    });
    let (connection, _) = refreshed_with(&world, json!({ "access_token": "opaque" })).await;

    assert_eq!(connection.grant.expires_at, Some(exp));
}

#[tokio::test]
async fn a_life_that_is_stated_is_not_asked_for() {
    let world = World::with(asking).await;
    let (connection, sent_at) = refreshed_with(&world, json!({ "access_token": "opaque", "expires_in": 60 })).await;

    assert_eq!(connection.grant.expires_at, Some(sent_at + Duration::from_secs(60)));
    assert_eq!(world.provider.requests().len(), 1);
}

#[tokio::test]
async fn asking_in_vain_costs_nothing() {
    let world = World::with(asking).await;
    world.provider.otherwise(|_| Answer::text(500, ""));
    let (connection, sent_at) = refreshed_with(&world, json!({ "access_token": "opaque" })).await;

    assert_eq!(connection.grant.expires_at, Some(sent_at + Duration::from_secs(3_600)));
    assert_eq!(world.provider.requests().len(), 2);
}
