//! What is known about each platform that ships, as a table: a profile that loses a fact fails here.

use std::time::Duration;

use serde_json::{Value, json};

use super::Profiles;
use crate::domain::cause::Cause;
use crate::domain::profile::{
    BodyFormat, ClientAuth, Means, Path, Pkce, Profile, Replay, ResponsePaths, Rotates, UrlPolicy,
};

fn shipped() -> Profiles {
    Profiles::builtin().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn of<'p>(profiles: &'p Profiles, id: &str) -> &'p Profile {
    profiles.get(&id.parse().unwrap()).unwrap()
}

fn at(path: &str) -> Path {
    path.split('.').map(str::to_owned).collect()
}

/// How refreshing works at one platform: rotation, window in seconds, replay, idle days, maximal days, live tokens.
type Facts = (Rotates, u64, Replay, Option<u32>, Option<u32>, Option<u32>);

#[test]
fn every_shipped_profile_loads_and_names_its_source() {
    let profiles = shipped();
    let ids: Vec<&str> = profiles.iter().map(|profile| profile.id.as_str()).collect();
    let expected = [
        "atlassian",
        "dropbox",
        "github",
        "gmail",
        "google",
        "hubspot",
        "linear",
        "microsoft",
        "notion",
        "salesforce",
        "slack",
        "zoom",
    ];
    assert_eq!(ids, expected);
    for profile in profiles.iter() {
        assert!(profile.docs.starts_with("https://"), "{}", profile.id);
        assert!(profile.facts_as_of.starts_with("2026-"), "{}", profile.id);
        assert!(!profile.display_name.is_empty());
        assert!(profile.refresh.supported, "{}", profile.id);
        assert_eq!(profile.refresh.margin, Duration::from_mins(5));
    }
}

#[test]
fn each_platform_refreshes_as_its_vendor_says() {
    use Replay::{Reject, RevokeAll};
    use Rotates::{Maybe, No, Yes};
    let facts: [(&str, Facts); 12] = [
        ("google", (No, 0, Reject, Some(180), None, Some(100))),
        ("gmail", (No, 0, Reject, Some(180), None, Some(100))),
        ("microsoft", (Yes, 7_776_000, Reject, Some(90), None, None)),
        ("slack", (Yes, 0, Reject, None, None, None)),
        ("notion", (Yes, 0, RevokeAll, None, None, None)),
        ("github", (Yes, 0, Reject, Some(180), None, None)),
        ("atlassian", (Yes, 0, Reject, Some(90), Some(365), None)),
        ("salesforce", (Maybe, 0, RevokeAll, Some(30), None, Some(5))),
        ("hubspot", (No, 0, Reject, None, None, None)),
        ("dropbox", (No, 0, Reject, None, None, None)),
        ("linear", (Yes, 1_800, Reject, None, None, None)),
        ("zoom", (Yes, 0, Reject, Some(90), None, None)),
    ];
    let profiles = shipped();
    for (id, expected) in facts {
        let profile = of(&profiles, id);
        let rule = &profile.refresh;
        let window = rule.reuse_window.as_secs();
        let live = profile.limits.live_refresh_tokens;
        assert_eq!((rule.rotates, window, rule.replay, rule.idle_days, rule.max_days, live), expected, "{id}");
        assert_eq!(rule.confirm, id == "microsoft", "{id}");
    }
}

#[test]
fn each_platform_is_asked_where_and_how_it_expects() {
    let facts = [
        ("google", "https://oauth2.googleapis.com/token", ClientAuth::Body, BodyFormat::Form),
        ("gmail", "https://oauth2.googleapis.com/token", ClientAuth::Body, BodyFormat::Form),
        ("microsoft", "https://login.microsoftonline.com/common/oauth2/v2.0/token", ClientAuth::Body, BodyFormat::Form),
        ("slack", "https://slack.com/api/oauth.v2.access", ClientAuth::Body, BodyFormat::Form),
        ("notion", "https://api.notion.com/v1/oauth/token", ClientAuth::Basic, BodyFormat::Json),
        ("github", "https://github.com/login/oauth/access_token", ClientAuth::Body, BodyFormat::Form),
        ("atlassian", "https://auth.atlassian.com/oauth/token", ClientAuth::Body, BodyFormat::Json),
        ("salesforce", "https://login.salesforce.com/services/oauth2/token", ClientAuth::Body, BodyFormat::Form),
        ("hubspot", "https://api.hubapi.com/oauth/2026-03/token", ClientAuth::Body, BodyFormat::Form),
        ("dropbox", "https://api.dropboxapi.com/oauth2/token", ClientAuth::Body, BodyFormat::Form),
        ("linear", "https://api.linear.app/oauth/token", ClientAuth::Body, BodyFormat::Form),
        ("zoom", "https://zoom.us/oauth/token", ClientAuth::Basic, BodyFormat::Form),
    ];
    let profiles = shipped();
    for (id, url, client_auth, body) in facts {
        let profile = of(&profiles, id);
        let vars = profile.fill_vars(&std::collections::BTreeMap::new(), UrlPolicy::Strict).unwrap();
        let endpoint = profile.refresh_endpoint().fill(&vars, UrlPolicy::Strict).unwrap();
        assert_eq!((endpoint.as_str(), profile.client_auth, profile.body), (url, client_auth, body), "{id}");
    }
}

#[test]
fn each_platform_is_asked_for_a_refresh_token_its_own_way() {
    let profiles = shipped();
    let offline = |id| of(&profiles, id).scopes.offline.as_deref();
    let separator = |id| of(&profiles, id).scopes.separator;
    let authorize = |id, key| of(&profiles, id).params.authorize.get(key).and_then(|value| value.as_deref());
    for id in ["google", "gmail"] {
        assert_eq!(authorize(id, "access_type"), Some("offline"));
        assert_eq!(authorize(id, "prompt"), Some("consent"));
    }
    assert_eq!(offline("microsoft"), Some("offline_access"));
    assert_eq!(offline("atlassian"), Some("offline_access"));
    assert_eq!(authorize("atlassian", "audience"), Some("api.atlassian.com"));
    assert_eq!(authorize("atlassian", "prompt"), Some("consent"));
    assert_eq!(offline("salesforce"), Some("refresh_token"));
    assert_eq!(authorize("dropbox", "token_access_type"), Some("offline"));
    assert_eq!(authorize("notion", "owner"), Some("user"));
    assert_eq!((separator("slack"), separator("linear"), separator("google")), (',', ',', ' '));
    assert_eq!(of(&profiles, "salesforce").pkce, Pkce::Required);
}

#[test]
fn what_an_answer_lacks_or_calls_otherwise_is_known() {
    let profiles = shipped();
    let salesforce = of(&profiles, "salesforce");
    let introspect = salesforce.introspect_url.as_ref().unwrap().to_string();
    assert_eq!(introspect, "https://{login_host}/services/oauth2/introspect");
    let slack = &of(&profiles, "slack").response;
    assert_eq!(slack.access_token, [at("access_token"), at("authed_user.access_token")]);
    assert_eq!(slack.refresh_token, [at("refresh_token"), at("authed_user.refresh_token")]);
    assert_eq!(slack.expires_in, [at("expires_in"), at("authed_user.expires_in")]);
    assert!(slack.token_type.is_empty());
    let github = of(&profiles, "github");
    assert_eq!(github.response.refresh_expires_in, [at("refresh_token_expires_in")]);
    assert_eq!(github.headers.get("Accept").map(String::as_str), Some("application/json"));
    assert_eq!(of(&profiles, "google").response, ResponsePaths::default());
}

/// What the rules of a profile say about an answer.
fn said(profile: &Profile, status: u16, body: &Value) -> Option<(Means, Option<Cause>)> {
    profile.errors.iter().find(|rule| rule.matches(status, body)).map(|rule| (rule.means, rule.cause))
}

#[test]
fn each_platforms_own_errors_are_understood() {
    use Means::{App, Reconnect, Retry};
    let aadsts = |number: &str| json!({ "error": "invalid_grant", "error_description": format!("{number}: The ...") });
    let error = |word: &str| json!({ "ok": false, "error": word });
    let facts = [
        (
            "google",
            400,
            json!({"error": "invalid_grant", "error_subtype": "invalid_rapt"}),
            Reconnect,
            Some(Cause::SessionControl),
        ),
        (
            "gmail",
            400,
            json!({"error": "invalid_grant", "error_subtype": "invalid_rapt"}),
            Reconnect,
            Some(Cause::SessionControl),
        ),
        ("microsoft", 400, aadsts("AADSTS700082"), Reconnect, Some(Cause::IdleExpiry)),
        ("microsoft", 400, aadsts("AADSTS70008"), Reconnect, Some(Cause::IdleExpiry)),
        ("microsoft", 400, aadsts("AADSTS700084"), Reconnect, Some(Cause::AbsoluteExpiry)),
        ("microsoft", 400, aadsts("AADSTS50173"), Reconnect, Some(Cause::PasswordChanged)),
        ("microsoft", 400, aadsts("AADSTS50076"), Reconnect, Some(Cause::SessionControl)),
        ("microsoft", 401, aadsts("AADSTS70043"), Reconnect, Some(Cause::SessionControl)),
        ("slack", 200, error("invalid_refresh_token"), Reconnect, None),
        ("slack", 200, error("authorization_not_found"), Reconnect, None),
        ("slack", 200, error("account_inactive"), Reconnect, Some(Cause::UserRevoked)),
        ("slack", 200, error("token_revoked"), Reconnect, Some(Cause::UserRevoked)),
        ("slack", 200, error("internal_error"), Retry, Some(Cause::ProviderOutage)),
        ("slack", 200, error("fatal_error"), Retry, Some(Cause::ProviderOutage)),
        ("slack", 200, error("ratelimited"), Retry, Some(Cause::Throttled)),
        ("slack", 200, error("bad_client_secret"), App, Some(Cause::AppMisconfigured)),
        ("slack", 200, error("invalid_client_id"), App, Some(Cause::AppMisconfigured)),
        ("slack", 200, error("token_rotation_not_enabled"), App, Some(Cause::AppMisconfigured)),
        ("github", 200, error("bad_refresh_token"), Reconnect, None),
        ("github", 200, error("incorrect_client_credentials"), App, Some(Cause::AppMisconfigured)),
        ("atlassian", 403, error("invalid_grant"), Reconnect, None),
        ("hubspot", 400, json!({"status": "BAD_REFRESH_TOKEN", "error": "invalid_grant"}), Reconnect, None),
        ("zoom", 400, json!({"reason": "Invalid Token!", "error": "invalid_grant"}), Reconnect, None),
        (
            "zoom",
            401,
            json!({"reason": "4700: something", "error": "invalid_request"}),
            Retry,
            Some(Cause::ProviderOutage),
        ),
    ];
    let profiles = shipped();
    for (id, status, body, means, cause) in facts {
        assert_eq!(said(of(&profiles, id), status, &body), Some((means, cause)), "{id} {status} {body}");
    }
}

#[test]
fn no_rule_says_more_than_its_platform_did() {
    let profiles = shipped();
    let unknown = json!({"error": "invalid_grant", "error_description": "AADSTS70000: The provided grant is invalid."});
    for profile in profiles.iter() {
        assert_eq!(said(profile, 400, &unknown), None, "{}", profile.id);
        assert_eq!(said(profile, 200, &json!({"access_token": "a", "ok": true})), None, "{}", profile.id);
    }
}

#[test]
fn no_rule_ends_a_grant_over_an_answer_that_is_transient() {
    for profile in shipped().iter() {
        for rule in &profile.errors {
            let firm = rule.status.is_some_and(|status| status < 500 && !matches!(status, 408 | 425 | 429));
            assert!(firm || rule.means == Means::Retry, "{}: {rule:?}", profile.id);
        }
    }
}
