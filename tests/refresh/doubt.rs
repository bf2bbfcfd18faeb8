//! An answer that was lost on its way: the refresh token may be consumed, and is not used again lightly.

use std::time::Duration;

use vault_engine::domain::connection::Doubt;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::Clock as _;
use vault_engine::domain::profile::{RefreshRule, Rotates};

use crate::house::{Instance, LIFE, World, connection_of};
use crate::provider::Answer;

/// More than the token still has, so that whoever wishes for it wants a refresh.
const LONG: Duration = Duration::from_secs(3_000);

/// A record half an hour before its token expires, whose refresh is answered so.
async fn lost(answer: Answer, rule: impl FnOnce(&mut RefreshRule)) -> (World, Instance, ConnectionKey) {
    let world = World::with(|setup| {
        setup.settings.exchange = Duration::from_millis(500);
        rule(&mut setup.profile.refresh);
    })
    .await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE / 2);
    world.provider.will(answer);
    let served = vault.get_lasting(LONG, &key).await.unwrap();
    assert_eq!(served.access.expose(), "access-0");
    assert!(served.warning.is_some());
    (world, vault, key)
}

/// The refresh token is not used while the access token is valid, and once when it no longer is.
async fn leaves_a_doubt(answer: Answer) {
    let (world, vault, key) = lost(answer, |_| {}).await;
    let since = world.clock.now();
    assert_eq!(world.connection(&key).await.doubt, Some(Doubt { since, attempted: false }));

    // Beyond the pause that follows a failure, up to the last minute.
    for wait in [120, 600, 1_000].map(Duration::from_secs) {
        world.clock.advance(wait);
        let served = vault.get_lasting(LONG, &key).await.unwrap();
        assert_eq!((served.access.expose(), served.warning), ("access-0", Some("lost_answer")));
    }
    assert_eq!(world.refreshes(), 1);

    world.clock.advance(Duration::from_secs(80));
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
    assert_eq!(world.connection(&key).await.doubt, None);
}

#[tokio::test]
async fn silence_leaves_a_doubt() {
    leaves_a_doubt(Answer::silence()).await;
}

#[tokio::test]
async fn a_broken_connection_leaves_a_doubt() {
    leaves_a_doubt(Answer::raw("")).await;
}

#[tokio::test]
async fn half_an_answer_leaves_a_doubt() {
    leaves_a_doubt(Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{\"access_token\":")).await;
}

#[tokio::test]
async fn a_success_without_tokens_leaves_a_doubt() {
    leaves_a_doubt(Answer::text(200, "<html>welcome</html>")).await;
}

#[tokio::test]
async fn a_gateway_without_an_answer_leaves_a_doubt() {
    leaves_a_doubt(Answer::text(504, "")).await;
}

#[tokio::test]
async fn where_nothing_rotates_there_is_nothing_to_doubt() {
    let (world, vault, key) = lost(Answer::raw(""), |rule| rule.rotates = Rotates::No).await;
    assert_eq!(world.connection(&key).await.doubt, None);
    world.clock.advance(Duration::from_secs(30));

    assert_eq!(vault.get_lasting(LONG, &key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn a_platform_that_honours_a_used_token_for_a_while_is_asked_again_within_that_while() {
    let (world, vault, key) = lost(Answer::raw(""), |rule| rule.reuse_window = Duration::from_secs(20)).await;
    let next_at = world.connection(&key).await.backoff.unwrap().next_at;
    let pause = next_at.since(world.clock.now());
    assert!(pause < Duration::from_secs(20), "{pause:?}");
    world.clock.advance(pause);

    assert_eq!(vault.get_lasting(LONG, &key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn a_platform_that_honours_a_used_token_for_a_while_is_not_asked_after_that_while() {
    let (world, vault, key) = lost(Answer::raw(""), |rule| rule.reuse_window = Duration::from_secs(20)).await;
    world.clock.advance(Duration::from_secs(40));

    let served = vault.get_lasting(LONG, &key).await.unwrap();

    assert_eq!((served.access.expose(), served.warning), ("access-0", Some("lost_answer")));
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn whoever_was_refused_with_the_token_has_nothing_to_lose() {
    let (world, vault, key) = lost(Answer::raw(""), |_| {}).await;
    world.clock.advance(Duration::from_secs(30));

    assert_eq!(vault.get_another(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn an_expired_token_is_never_served_in_its_place() {
    let (world, vault, key) = lost(Answer::raw(""), |_| {}).await;
    world.clock.advance(LIFE / 2);
    world.provider.will(Answer::raw(""));

    let told = vault.get(&key).await;

    assert!(matches!(told, Err(VaultError::ProviderUnavailable { .. })), "{told:?}");
}
