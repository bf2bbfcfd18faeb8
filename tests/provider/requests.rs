//! What the provider sees, for each way a profile can shape a request.

use std::collections::BTreeMap;

use serde_json::json;
use vault_engine::domain::ports::TransportFault;
use vault_engine::domain::profile::{BodyFormat, ClientAuth, UrlPolicy, Variable};
use vault_engine::domain::secret::{ClientSecret, RefreshToken};

use crate::provider::{Answer, Seen};
use crate::world::{World, endpoint, granted, not_sent, template, tokens};

async fn seen(world: &World) -> Seen {
    granted(world.answered_json(tokens()).await);
    world.provider.only_request()
}

fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts(pairs)
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn awkward(world: &mut World) {
    "client 1".clone_into(&mut world.client_id);
    world.client_secret = ClientSecret::new("a+b/c:d%é".to_owned());
}

#[tokio::test]
async fn the_standard_request_is_a_form_with_the_client_in_it() {
    let seen = seen(&World::new().await).await;
    let standard = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "old-refresh"),
        ("client_id", "client-1"),
        ("client_secret", "hush"),
    ];
    assert_eq!(seen.form(), form(&standard));
    assert_eq!(seen.target, "/token");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen.header("accept"), Some("application/json"));
}

#[tokio::test]
async fn a_request_gives_nothing_away_that_was_not_asked_for() {
    let seen = seen(&World::new().await).await;
    for name in ["authorization", "cookie", "referer", "accept-encoding", "transfer-encoding", "x-forwarded-for"] {
        assert_eq!(seen.header(name), None, "`{name}`");
    }
    assert_eq!(seen.header("user-agent"), Some("vault-engine"));
}

#[tokio::test]
async fn a_token_arrives_as_it_was_issued_whatever_is_in_it() {
    for format in [BodyFormat::Form, BodyFormat::Json] {
        let mut world = World::with(|profile| profile.body = format).await;
        let odd = "1//0a+b/c=d&e%20 \"\\ é";
        world.refresh_token = RefreshToken::new(odd.to_owned()).unwrap();
        let seen = seen(&world).await;
        let arrived = match format {
            BodyFormat::Form => seen.form().remove("refresh_token").unwrap(),
            BodyFormat::Json => seen.json()["refresh_token"].as_str().unwrap().to_owned(),
        };
        assert_eq!(arrived, odd);
    }
}

#[tokio::test]
async fn basic_is_form_encoded_and_keeps_the_client_out_of_the_body() {
    let mut world = World::with(|profile| profile.client_auth = ClientAuth::Basic).await;
    awkward(&mut world);
    let seen = seen(&world).await;
    // client+1:a%2Bb%2Fc%3Ad%25%C3%A9
    assert_eq!(seen.header("authorization"), Some("Basic Y2xpZW50KzE6YSUyQmIlMkZjJTNBZCUyNSVDMyVBOQ=="));
    assert_eq!(seen.form(), form(&[("grant_type", "refresh_token"), ("refresh_token", "old-refresh")]));
}

#[tokio::test]
async fn raw_basic_is_not_encoded() {
    let mut world = World::with(|profile| profile.client_auth = ClientAuth::BasicRaw).await;
    awkward(&mut world);
    let seen = seen(&world).await;
    // client 1:a+b/c:d%é
    assert_eq!(seen.header("authorization"), Some("Basic Y2xpZW50IDE6YStiL2M6ZCXDqQ=="));
    assert_eq!(seen.form(), form(&[("grant_type", "refresh_token"), ("refresh_token", "old-refresh")]));
}

#[tokio::test]
async fn a_public_client_names_itself_and_sends_no_secret() {
    for auth in [ClientAuth::None, ClientAuth::Body, ClientAuth::Basic, ClientAuth::BasicRaw] {
        let mut world = World::with(|profile| profile.client_auth = auth).await;
        if auth != ClientAuth::None {
            world.client_secret = None;
        }
        let seen = seen(&world).await;
        let public = [("grant_type", "refresh_token"), ("refresh_token", "old-refresh"), ("client_id", "client-1")];
        assert_eq!((seen.form(), seen.header("authorization")), (form(&public), None), "{auth:?}");
    }
}

#[tokio::test]
async fn a_json_body_holds_the_same_parameters() {
    let seen = seen(&World::with(|profile| profile.body = BodyFormat::Json).await).await;
    let expected = json!({
        "grant_type": "refresh_token", "refresh_token": "old-refresh",
        "client_id": "client-1", "client_secret": "hush",
    });
    assert_eq!(seen.json(), expected);
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn parameters_are_added_replaced_and_taken_away() {
    let world = World::with(|profile| {
        let refresh = &mut profile.params.refresh;
        refresh.insert("audience".to_owned(), Some("api".to_owned()));
        refresh.insert("grant_type".to_owned(), Some("fb_exchange_token".to_owned()));
        refresh.insert("client_secret".to_owned(), None);
        profile.params.token.insert("not_of_a_refresh".to_owned(), Some("x".to_owned()));
    });
    let expected = [
        ("grant_type", "fb_exchange_token"),
        ("refresh_token", "old-refresh"),
        ("client_id", "client-1"),
        ("audience", "api"),
    ];
    assert_eq!(seen(&world.await).await.form(), form(&expected));
}

#[tokio::test]
async fn parameters_are_renamed_to_what_the_platform_calls_them() {
    let world = World::with(|profile| profile.rename = texts(&[("client_id", "client_key")])).await;
    let form = seen(&world).await.form();
    assert_eq!(form.get("client_key").map(String::as_str), Some("client-1"));
    assert!(!form.contains_key("client_id"));
}

#[tokio::test]
async fn headers_of_the_profile_are_sent_and_may_replace_ours() {
    let extra = texts(&[("Notion-Version", "2022-06-28"), ("User-Agent", "acme/1"), ("Accept", "*/*")]);
    let seen = seen(&World::with(|profile| profile.headers = extra).await).await;
    assert_eq!(seen.header("notion-version"), Some("2022-06-28"));
    assert_eq!(seen.header("user-agent"), Some("acme/1"));
    assert_eq!(seen.header("accept"), Some("*/*"));
}

#[tokio::test]
async fn a_header_that_frames_the_message_keeps_the_request_from_leaving() {
    let extra = texts(&[("Content-Length", "3")]);
    let world = World::with(|profile| profile.headers = extra).await;
    assert_eq!(not_sent(world.refresh().await), TransportFault::Misconfigured);
    assert_eq!(world.provider.connections(), 0);
}

#[tokio::test]
async fn a_refresh_goes_to_the_refresh_url_with_its_variables_filled_in() {
    let mut world = World::new().await;
    let url = world.provider.url("/{region}/{tenant}/refresh?api=2");
    world.platform.profile.refresh_url = Some(template(&url));
    let region = Variable { default: Some("eu".to_owned()), about: String::new() };
    world.platform.profile.vars.insert("region".to_owned(), region.clone());
    world.platform.profile.vars.insert("tenant".to_owned(), region);
    let given = texts(&[("tenant", "acme")]);
    world.platform.vars = world.platform.profile.fill_vars(&given, UrlPolicy::AllowLoopback).unwrap();
    assert_eq!(seen(&world).await.target, "/eu/acme/refresh?api=2");
}

#[tokio::test]
async fn a_variable_without_a_value_keeps_the_request_from_leaving() {
    let mut world = World::new().await;
    world.platform.profile.token_url = template(&world.provider.url("/{tenant}/token"));
    assert_eq!(not_sent(world.refresh().await), TransportFault::Misconfigured);
    assert_eq!(world.provider.connections(), 0);
}

#[tokio::test]
async fn outside_development_no_loopback_url_is_called() {
    let mut world = World::new().await;
    world.endpoint = endpoint(UrlPolicy::Strict);
    let port = world.provider.address().port();
    for scheme in ["http", "https"] {
        for host in ["127.0.0.1", "localhost", "[::1]"] {
            world.platform.profile.token_url = template(&format!("{scheme}://{host}:{port}/token"));
            assert_eq!(not_sent(world.refresh().await), TransportFault::AddressRefused, "{scheme}, {host}");
        }
    }
    assert_eq!(world.provider.connections(), 0);
}

#[tokio::test]
async fn a_provider_that_does_not_speak_tls_never_sees_the_request() {
    let mut world = World::new().await;
    let port = world.provider.address().port();
    world.platform.profile.token_url = template(&format!("https://127.0.0.1:{port}/token"));
    world.provider.will(Answer::text(200, "unreachable"));
    world.time_limit = std::time::Duration::from_millis(300);
    assert_eq!(not_sent(world.refresh().await), TransportFault::Timeout);
    assert!(world.provider.requests().is_empty());
}

#[tokio::test]
async fn a_provider_that_is_not_there_was_not_sent_anything() {
    let mut world = World::new().await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.platform.profile.token_url = template(&format!("http://{gone}/token"));
    assert_eq!(not_sent(world.refresh().await), TransportFault::Connect);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent_anything() {
    let mut world = World::new().await;
    world.platform.profile.token_url = template("https://no-such-host.invalid/token");
    assert_eq!(not_sent(world.refresh().await), TransportFault::Dns);
}
