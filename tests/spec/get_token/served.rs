//! Tokens that are handed out without asking anybody.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value};
use tonic::Code;
use vault_engine::pb::DESCRIPTORS;
use vault_engine::pb::vault_v1::{GetTokenRequest, StoreTokenRequest};

use crate::harness::{Ask as _, get, now, spec};

#[test]
fn a_fresh_token_is_handed_out_as_it_is() {
    spec(async |vault| {
        let tokens = vault.connect("plain", 3_600).await;
        let got = vault.as_engine("action").call(get("plain")).await.unwrap();
        assert_eq!(got.access_token, tokens.access);
        assert_eq!((got.refreshed, got.refresh_in_progress, got.warning.as_str(), got.version), (false, false, "", 1));
        assert_eq!(vault.provider().connections(), 0);
    });
}

#[test]
fn nothing_stored_is_not_found_and_says_connect() {
    spec(async |vault| {
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::NotFound, "token_missing", "connect"));
        assert_eq!((refused.reason.as_str(), refused.domain.as_str()), ("TOKEN_MISSING", "vault-engine"));
        assert_eq!(refused.retry_after, None);
    });
}

#[test]
fn no_answer_has_a_place_for_a_refresh_token() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let answers =
        pool.services().flat_map(|service| service.methods().map(|method| method.output()).collect::<Vec<_>>());
    let mut messages: Vec<_> = answers.collect();
    let mut fields = 0;
    while let Some(message) = messages.pop() {
        for field in message.fields() {
            fields += 1;
            let about_refreshing = ["refreshable", "refreshed", "refresh_in_progress", "last_refresh"];
            let named = !field.name().contains("refresh") || about_refreshing.contains(&field.name());
            assert!(named, "{}", field.full_name());
            messages.extend(field.kind().as_message().cloned());
        }
    }
    assert!(fields > 20, "only {fields} fields were looked at");
}

#[test]
fn no_field_of_an_answer_holds_the_refresh_token() {
    spec(async |vault| {
        let tokens = vault.connect("plain", 3_600).await;
        let answer = vault.as_engine("action").send(GetTokenRequest::PATH, get("plain").encode_to_vec()).await.unwrap();
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let response = pool.get_message_by_name("vault.v1.GetTokenResponse").unwrap();
        let answer = DynamicMessage::decode(response, answer.body).unwrap();
        assert_eq!(answer.unknown_fields().count(), 0);
        let descriptor = answer.descriptor();
        let holding = |text: &str| {
            let fields = descriptor.fields().filter(|field| says(answer.get_field(field).as_ref(), text));
            fields.map(|field| field.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(holding(&tokens.refresh), Vec::<String>::new());
        assert_eq!(holding(&tokens.access), ["access_token"]);
    });
}

fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(said) => said.contains(text),
        Value::List(values) => values.iter().any(|value| says(value, text)),
        _ => false,
    }
}

#[test]
fn the_type_of_a_token_is_bearer_unless_the_platform_named_another() {
    spec(async |vault| {
        let (sync, action) = (vault.as_engine("sync"), vault.as_engine("action"));
        for (stored, told) in
            [("", "Bearer"), ("bearer", "Bearer"), ("BEARER", "Bearer"), ("mac", "mac"), ("DPoP", "DPoP")]
        {
            let request = vault.tokens().request("plain", 3_600);
            sync.call(StoreTokenRequest { token_type: stored.to_owned(), ..request }).await.unwrap();
            assert_eq!(action.call(get("plain")).await.unwrap().token_type, told, "stored as `{stored}`");
        }
    });
}

#[test]
fn a_token_that_never_expires_says_zero() {
    spec(async |vault| {
        vault.connect("lasting", 3_600).await;
        assert_eq!(vault.as_engine("action").call(get("lasting")).await.unwrap().expires_at, 0);
    });
}

#[test]
fn a_token_whose_expiry_nobody_stated_is_taken_to_live_an_hour_if_it_can_be_renewed() {
    spec(async |vault| {
        let (sync, action) = (vault.as_engine("sync"), vault.as_engine("action"));
        let unstated = StoreTokenRequest { expires_at: 0, ..vault.tokens().request("plain", 0) };
        sync.call(unstated.clone()).await.unwrap();
        let assumed = action.call(get("plain")).await.unwrap().expires_at - now();
        assert!((3_590..=3_600).contains(&assumed), "{assumed}");
        sync.call(StoreTokenRequest { refresh_token: String::new(), ..unstated }).await.unwrap();
        assert_eq!(action.call(get("plain")).await.unwrap().expires_at, 0);
    });
}

#[test]
fn a_token_may_be_asked_to_live_for_up_to_a_day() {
    spec(async |vault| {
        vault.connect("plain", 200_000).await;
        let action = vault.as_engine("action");
        for min_ttl_seconds in [0, 1, 86_400] {
            action.call(GetTokenRequest { min_ttl_seconds, ..get("plain") }).await.unwrap();
        }
        for min_ttl_seconds in [-1, 86_401, i64::MAX, i64::MIN] {
            let refused = action.call(GetTokenRequest { min_ttl_seconds, ..get("plain") }).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"), "{min_ttl_seconds}");
            assert_eq!(refused.fields, ["min_ttl_seconds"]);
        }
    });
}

#[test]
fn a_valid_token_that_cannot_be_renewed_is_handed_out_with_a_warning_when_a_renewal_was_asked_for() {
    spec(async |vault| {
        let tokens = vault.connect("fixed", 3_600).await;
        let got =
            vault.as_engine("action").call(GetTokenRequest { force_refresh: true, ..get("fixed") }).await.unwrap();
        assert_eq!((got.access_token, got.warning.as_str(), got.refreshed), (tokens.access, "not_refreshable", false));
    });
}

#[test]
fn an_expired_token_that_cannot_be_renewed_asks_for_a_new_consent() {
    spec(async |vault| {
        vault.connect("fixed", -60).await;
        let refused = vault.as_engine("action").call(get("fixed")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::FailedPrecondition, "expired_token", "reauth"));
        assert_eq!(refused.cause, "not_refreshable");
    });
}

#[test]
fn tokens_survive_a_restart() {
    spec(async |vault| {
        let tokens = vault.connect("plain", 3_600).await;
        vault.restart().await;
        let got = vault.as_engine("action").call(get("plain")).await.unwrap();
        assert_eq!((got.access_token, got.version), (tokens.access, 1));
    });
}
