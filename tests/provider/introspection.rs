//! Asking when an access token expires (RFC 7662).

use serde_json::{Value, json};
use vault_engine::domain::ports::TokenEndpoint as _;
use vault_engine::domain::profile::{BodyFormat, ClientAuth};
use vault_engine::domain::secret::AccessToken;
use vault_engine::domain::time::Timestamp;

use crate::provider::{Answer, Provider};
use crate::world::{NOW, World, template};

const LATER: i64 = 1_700_003_600;

async fn world() -> World {
    let mut world = World::new().await;
    world.platform.profile.introspect_url = Some(template(&world.provider.url("/introspect")));
    world
}

async fn asked(world: &World) -> Option<i64> {
    let token = AccessToken::new("some+access".to_owned()).unwrap();
    let (platform, secret) = (&world.platform, world.client_secret.as_ref());
    world.endpoint.introspect(platform, secret, &token, world.time_limit).await.map(Timestamp::unix_seconds)
}

async fn told(world: &World, body: Value) -> Option<i64> {
    world.provider.will(Answer::json(200, &body));
    asked(world).await
}

#[tokio::test]
async fn an_active_token_expires_when_the_platform_says() {
    let world = world().await;
    for exp in [json!(LATER), json!(LATER.to_string()), json!(1_700_003_600.5)] {
        let body = json!({ "active": true, "exp": exp, "token_type": null, "aud": [1], "scope": [] });
        assert_eq!(told(&world, body.clone()).await, Some(LATER), "{body}");
    }
}

#[tokio::test]
async fn what_does_not_say_when_says_nothing() {
    let world = world().await;
    for body in [
        json!({ "active": false, "exp": LATER }),
        json!({ "active": true }),
        json!({ "active": true, "exp": "soon" }),
        json!({ "active": true, "exp": NOW.unix_seconds() }),
        json!({ "active": true, "exp": u64::MAX }),
        json!({ "active": "true", "exp": LATER }),
        json!({ "exp": LATER }),
        json!([]),
    ] {
        assert_eq!(told(&world, body.clone()).await, None, "{body}");
    }
}

#[tokio::test]
async fn an_error_or_a_redirect_says_nothing() {
    let (world, canary) = (world().await, Provider::start().await);
    let body = json!({ "active": true, "exp": LATER });
    for status in [201, 307, 401, 500] {
        world.provider.will(Answer::json(status, &body).header("location", &canary.url("/")));
        assert_eq!(asked(&world).await, None, "{status}");
    }
    world.provider.will(Answer::raw(""));
    assert_eq!(asked(&world).await, None);
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_platform_that_cannot_tell_is_not_asked() {
    let mut silent = world().await;
    silent.platform.profile.introspect_url = None;
    assert_eq!(asked(&silent).await, None);
    let mut unregistered = world().await;
    unregistered.platform.app = None;
    assert_eq!(asked(&unregistered).await, None);
    assert_eq!(silent.provider.connections() + unregistered.provider.connections(), 0);
}

#[tokio::test]
async fn the_question_is_a_form_with_the_token_and_the_client() {
    let mut world = world().await;
    world.platform.profile.client_auth = ClientAuth::Basic;
    world.platform.profile.body = BodyFormat::Json;
    world.platform.profile.params.refresh.insert("grant_type".to_owned(), Some("x".to_owned()));
    told(&world, json!({})).await;
    let seen = world.provider.only_request();
    assert_eq!(seen.target, "/introspect");
    assert_eq!(seen.header("authorization"), Some("Basic Y2xpZW50LTE6aHVzaA=="));
    let form: Vec<(String, String)> = seen.form().into_iter().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(form, [pair("token", "some+access"), pair("token_type_hint", "access_token")]);
}
