//! Odd answers that real platforms give: each is understood for what it is.

use std::time::Duration;

use serde_json::{Value, json};
use vault_engine::domain::expiry::ASSUMED_LIFETIME;
use vault_engine::domain::ports::{Granted, TransportFault};
use vault_engine::domain::profile::{BodyTest, ErrorRule, ExpiryUnit, Means, Path, Profile};
use vault_engine::domain::secret::RefreshToken;
use vault_engine::domain::time::Timestamp;

use crate::provider::Answer;
use crate::world::{NOW, World, granted, lost, refused, tokens};

fn path(text: &str) -> Path {
    text.split('.').map(str::to_owned).collect()
}

/// Where Slack puts a user's tokens.
fn slack(profile: &mut Profile) {
    profile.response.access_token = vec![path("authed_user.access_token"), path("access_token")];
    profile.response.refresh_token = vec![path("authed_user.refresh_token"), path("refresh_token")];
    profile.response.expires_in = vec![path("authed_user.expires_in"), path("expires_in")];
    profile.response.scope = vec![path("authed_user.scope"), path("scope")];
    profile.response.token_type = vec![path("authed_user.token_type"), path("token_type")];
    profile.scopes.separator = ',';
}

/// A success that this field turns into an error.
fn error_at(place: &str, values: &[&str]) -> ErrorRule {
    let equals = values.iter().map(ToString::to_string).collect();
    let body = Some(BodyTest { path: path(place), equals, contains: None });
    ErrorRule { status: None, body, means: Means::Reconnect, cause: None }
}

fn with(field: &str, value: Value) -> Value {
    let mut body = tokens();
    body.as_object_mut().unwrap().insert(field.to_owned(), value);
    body
}

fn without(field: &str) -> Value {
    let mut body = tokens();
    body.as_object_mut().unwrap().remove(field);
    body
}

fn access(granted: &Granted) -> &str {
    granted.renewed.access.expose()
}

fn refresh(granted: &Granted) -> Option<&str> {
    granted.renewed.refresh.as_ref().map(RefreshToken::expose)
}

fn hour_later() -> Timestamp {
    NOW + Duration::from_hours(1)
}

#[tokio::test]
async fn a_standard_answer_is_granted_as_it_says() {
    let world = World::new().await;
    let date =
        Answer::json(200, &with("scope", json!("email profile"))).header("date", "Tue, 14 Nov 2023 22:13:25 GMT");
    let granted = granted(world.answered(date).await);
    assert_eq!((access(&granted), refresh(&granted)), ("new-access", Some("new-refresh")));
    assert_eq!(granted.renewed.expires_at, Some(hour_later()));
    assert_eq!((granted.renewed.sent_at, granted.expiry_assumed), (NOW, false));
    assert_eq!(granted.renewed.scopes, Some(vec!["email".to_owned(), "profile".to_owned()]));
    assert_eq!((granted.renewed.token_type, granted.renewed.refresh_expires_at), (None, None));
    assert_eq!(granted.server_date, Some(NOW + Duration::from_secs(5)));
}

#[tokio::test]
async fn what_an_answer_leaves_out_stays_unsaid() {
    let granted = granted(World::new().await.answered_json(json!({ "access_token": "a" })).await);
    assert_eq!((access(&granted), refresh(&granted)), ("a", None));
    assert_eq!((granted.renewed.scopes, granted.renewed.token_type), (None, None));
    assert_eq!(granted.renewed.expires_at, Some(NOW + ASSUMED_LIFETIME));
    assert!(granted.expiry_assumed);
    assert_eq!(granted.server_date, None);
}

#[tokio::test]
async fn expires_in_may_be_written_in_any_way_that_states_a_life() {
    let world = World::new().await;
    for value in [json!(3600), json!("3600"), json!(3600.0), json!("3600.0"), json!("2023-11-14T23:13:20Z")] {
        let granted = granted(world.answered_json(with("expires_in", value.clone())).await);
        assert_eq!((granted.renewed.expires_at, granted.expiry_assumed), (Some(hour_later()), false), "{value}");
    }
}

#[tokio::test]
async fn expires_in_that_states_nothing_costs_no_token() {
    let world = World::new().await;
    let absurd = [
        json!(null),
        json!("soon"),
        json!(-1),
        json!("-3600"),
        json!(0),
        json!(9_223_372_036_854_775_808_u64),
        json!(u64::MAX),
        json!("9223372036854775808"),
        json!(1e300),
        json!([3600]),
        json!({ "seconds": 3600 }),
        json!(true),
    ];
    for value in absurd {
        let granted = granted(world.answered_json(with("expires_in", value.clone())).await);
        assert_eq!((access(&granted), refresh(&granted)), ("new-access", Some("new-refresh")), "{value}");
        assert_eq!(granted.renewed.expires_at, Some(NOW + ASSUMED_LIFETIME), "{value}");
        assert!(granted.expiry_assumed, "{value}");
    }
}

#[tokio::test]
async fn the_profile_knows_the_unit_of_expires_in() {
    for (unit, value) in [
        (ExpiryUnit::Seconds, json!(3_600)),
        (ExpiryUnit::Milliseconds, json!(3_600_000)),
        (ExpiryUnit::UnixSeconds, json!(1_700_003_600)),
    ] {
        let world = World::with(|profile| profile.expiry.unit = unit).await;
        let granted = granted(world.answered_json(with("expires_in", value)).await);
        assert_eq!(granted.renewed.expires_at, Some(hour_later()), "{unit:?}");
    }
}

#[tokio::test]
async fn the_profile_knows_how_long_a_token_lives_that_does_not_say() {
    let world = World::with(|profile| profile.expiry.default = Some(Duration::from_hours(1))).await;
    let by_default = granted(world.answered_json(without("expires_in")).await);
    assert_eq!((by_default.renewed.expires_at, by_default.expiry_assumed), (Some(hour_later()), false));
    let world = World::with(|profile| profile.expiry.never = true).await;
    let never = granted(world.answered_json(tokens()).await);
    assert_eq!((never.renewed.expires_at, never.expiry_assumed), (None, false));
}

#[tokio::test]
async fn the_life_of_the_refresh_token_is_kept_where_it_is_told() {
    let world =
        World::with(|profile| profile.response.refresh_expires_in = vec![path("refresh_token_expires_in")]).await;
    let granted = granted(world.answered_json(with("refresh_token_expires_in", json!("3600"))).await);
    assert_eq!(granted.renewed.refresh_expires_at, Some(hour_later()));
}

#[tokio::test]
async fn a_token_type_other_than_bearer_is_kept() {
    let world = World::new().await;
    for (written, kept) in [("bearer", None), ("BEARER", None), ("bot", Some("bot")), ("", None)] {
        let granted = granted(world.answered_json(with("token_type", json!(written))).await);
        assert_eq!(granted.renewed.token_type.as_deref(), kept, "`{written}`");
    }
}

#[tokio::test]
async fn any_success_is_a_success() {
    let world = World::new().await;
    for status in [200, 201, 202, 299] {
        let granted = granted(world.answered(Answer::json(status, &tokens())).await);
        assert_eq!(access(&granted), "new-access", "{status}");
    }
}

#[tokio::test]
async fn scopes_may_be_written_in_any_way() {
    let world = World::new().await;
    let ways = [
        json!("email profile"),
        json!("email,profile"),
        json!("email, profile"),
        json!(" email\u{a0}profile "),
        json!(["email", "profile"]),
        json!(["email profile", 7, ""]),
    ];
    for value in ways {
        let granted = granted(world.answered_json(with("scope", value.clone())).await);
        assert_eq!(granted.renewed.scopes.unwrap(), ["email", "profile"], "{value}");
    }
    for nothing in [json!(""), json!([]), json!(null), json!({})] {
        let granted = granted(world.answered_json(with("scope", nothing.clone())).await);
        assert_eq!(granted.renewed.scopes, None, "{nothing}");
    }
}

#[tokio::test]
async fn tokens_are_found_where_the_profile_says() {
    let world = World::with(slack).await;
    let user = json!({
        "ok": true, "team": { "id": "T1" },
        "authed_user": {
            "id": "U1", "access_token": "xoxe.xoxp-1", "refresh_token": "xoxe-1", "expires_in": 3600,
            "scope": "chat:write,users:read", "token_type": "user",
        },
    });
    let granted_to_user = granted(world.answered_json(user).await);
    assert_eq!((access(&granted_to_user), refresh(&granted_to_user)), ("xoxe.xoxp-1", Some("xoxe-1")));
    assert_eq!(granted_to_user.renewed.scopes.unwrap(), ["chat:write", "users:read"]);
    assert_eq!(granted_to_user.renewed.token_type.as_deref(), Some("user"));
    let plain = granted(world.answered_json(tokens()).await);
    assert_eq!(access(&plain), "new-access");
}

#[tokio::test]
async fn a_form_is_read_like_json() {
    let world = World::new().await;
    let form =
        "access_token=new%2Baccess&expires_in=3600&refresh_token=new-refresh&scope=repo%2Cgist&token_type=bearer";
    for content_type in ["application/x-www-form-urlencoded; charset=utf-8", "text/plain"] {
        let granted = granted(world.answered(Answer::text(200, form).header("content-type", content_type)).await);
        assert_eq!((access(&granted), refresh(&granted)), ("new+access", Some("new-refresh")));
        assert_eq!(granted.renewed.expires_at, Some(hour_later()));
        assert_eq!(granted.renewed.scopes.unwrap(), ["repo", "gist"]);
    }
}

#[tokio::test]
async fn the_content_type_of_json_does_not_matter() {
    let world = World::new().await;
    for content_type in ["text/html; charset=utf-8", "text/plain", "application/octet-stream", "\u{ff}"] {
        let answer = Answer::text(200, &tokens().to_string()).header("content-type", content_type);
        assert_eq!(access(&granted(world.answered(answer).await)), "new-access", "`{content_type}`");
    }
}

#[tokio::test]
async fn unknown_fields_and_repeated_ones_cost_no_token() {
    let body = r#"{"error":null,"x":{"y":[1]},"access_token":"first","access_token":"new-access","access_token_2":1,
        "expires_in":1,"expires_in":3600,"token_type":"Bearer","token_type":"Bearer","refresh_token":"new-refresh"}"#;
    let granted = granted(World::new().await.answered(Answer::text(200, body)).await);
    assert_eq!((access(&granted), refresh(&granted)), ("new-access", Some("new-refresh")));
    assert_eq!(granted.renewed.expires_at, Some(hour_later()));
}

#[tokio::test]
async fn a_success_that_is_an_error_is_refused() {
    let slack_error = error_at("error", &["invalid_refresh_token"]);
    let zoho_error = error_at("status", &["error"]);
    let world = World::with(|profile| profile.errors = vec![slack_error, zoho_error]).await;
    for body in [
        json!({ "error": "bad_refresh_token", "error_description": "expired" }),
        json!({ "error": { "code": 190, "message": "expired" } }),
        json!({ "ok": false, "error": "internal_error" }),
        json!({ "ok": false }),
        json!({ "ok": true, "error": "invalid_refresh_token", "access_token": "not to be taken" }),
        json!({ "status": "error", "code": "x", "access_token": "not to be taken" }),
    ] {
        let refused = refused(world.answered_json(body.clone()).await);
        assert_eq!((refused.status, &refused.body), (200, &body));
    }
    let form = refused(world.answered(Answer::text(200, "error=bad_refresh_token")).await);
    assert_eq!(form.body, json!({ "error": "bad_refresh_token" }));
}

#[tokio::test]
async fn an_access_token_outweighs_a_bare_error_field() {
    let world = World::new().await;
    for remark in [json!(""), json!(null), json!(false), json!("partial_scope")] {
        let granted = granted(world.answered_json(with("error", remark.clone())).await);
        assert_eq!(refresh(&granted), Some("new-refresh"), "{remark}");
    }
}

#[tokio::test]
async fn a_rule_about_a_status_alone_never_turns_a_grant_into_an_error() {
    let rule = ErrorRule { status: Some(200), body: None, means: Means::Reconnect, cause: None };
    let world = World::with(|profile| profile.errors = vec![rule]).await;
    assert_eq!(access(&granted(world.answered_json(tokens()).await)), "new-access");
}

#[tokio::test]
async fn an_error_status_is_refused_whatever_the_body_says() {
    let world = World::new().await;
    let invalid_grant = json!({ "error": "invalid_grant" });
    for (status, body, read) in [
        (400, invalid_grant.to_string(), invalid_grant.clone()),
        (400, json!({ "error": { "code": 1 } }).to_string(), json!({ "error": { "code": 1 } })),
        (401, "error=invalid_client".to_owned(), json!({ "error": "invalid_client" })),
        (403, String::new(), Value::Null),
        (403, "[".repeat(100_000), Value::Null),
        (500, tokens().to_string(), tokens()),
        (503, "<html>Service Unavailable</html>".to_owned(), Value::Null),
        (599, "null".to_owned(), Value::Null),
    ] {
        let refused = refused(world.answered(Answer::text(status, &body)).await);
        assert_eq!((refused.status, refused.body, refused.retry_after), (status, read, None));
    }
}

#[tokio::test]
async fn an_error_whose_body_never_comes_or_never_ends_is_still_an_error() {
    let mut world = World::new().await;
    world.time_limit = Duration::from_millis(800);
    let head = "HTTP/1.1 503 Down\r\nretry-after: 7\r\n";
    for answer in [
        Answer::drip(format!("{head}content-length: 100\r\n\r\n"), "<html>".repeat(20)),
        Answer::endless(format!("{head}\r\n"), "<html>".repeat(1_000)),
        Answer::raw(format!("{head}content-length: 100\r\n\r\n<html>")),
        Answer::text(503, &"<html>".repeat(100_000)).header("retry-after", "7"),
    ] {
        let refused = refused(world.answered(answer).await);
        assert_eq!((refused.status, refused.body), (503, Value::Null));
        assert_eq!(refused.retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn retry_after_is_told_in_seconds_or_as_a_date() {
    let world = World::new().await;
    let soon = "Tue, 14 Nov 2023 22:14:20 GMT";
    for (status, written, told) in [(429, "120", Some(120)), (503, soon, Some(60)), (429, "later", None)] {
        let refused = refused(world.answered(Answer::text(status, "").header("retry-after", written)).await);
        assert_eq!((refused.status, refused.retry_after), (status, told.map(Duration::from_secs)), "`{written}`");
    }
}

#[tokio::test]
async fn a_success_without_a_usable_access_token_is_lost() {
    let world = World::new().await;
    for body in [
        json!({}),
        json!([]),
        json!("access_token"),
        without("access_token"),
        with("access_token", json!("")),
        with("access_token", json!(null)),
        with("access_token", json!(12_345)),
        with("access_token", json!({ "value": "a" })),
        with("access_token", json!("a\r\nx-admin: 1")),
        with("refresh_token", json!("r\u{0}")),
        with("access_token", json!("a\u{fffd}")),
    ] {
        let fault = lost(world.answered_json(body.clone()).await);
        assert_eq!(fault, TransportFault::Malformed, "{body}");
    }
}

#[tokio::test]
async fn a_token_too_large_to_keep_is_lost() {
    let world = World::new().await;
    for field in ["access_token", "refresh_token"] {
        let kept = with(field, json!("x".repeat(32 * 1024)));
        drop(granted(world.answered_json(kept).await));
        let fault = lost(world.answered_json(with(field, json!("x".repeat(32 * 1024 + 1)))).await);
        assert_eq!(fault, TransportFault::TooLarge, "{field}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_lost() {
    let world = World::new().await;
    let cut = tokens().to_string().replace('}', "");
    for body in ["", "null", "<html>", "access", cut.as_str()] {
        assert_eq!(lost(world.answered(Answer::text(200, body)).await), TransportFault::Malformed, "`{body}`");
    }
    assert_eq!(lost(world.answered(Answer::text(204, "")).await), TransportFault::Malformed);
}
