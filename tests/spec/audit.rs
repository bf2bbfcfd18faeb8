//! The audit trail: one line per operation, whoever asked and however it ended; and without a trail no service.

use futures_util::future::{Either, select};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::Code;
use vault_engine::domain::trail::{TrailFilter, TrailOrder};
use vault_engine::pb::vault_v1::{DeleteTokenRequest, GetTokenRequest};

use vault_engine::service::ListAuditEventsQuery;

use crate::harness::{Ask as _, Caller, Setup, USER, Vault, delete, get, spec, status, until};
use crate::provider::{Answer, Gate};
use prost::Message as _;

/// Calls with an id of its own, and returns the line about it.
async fn line_about(vault: &Vault, caller: &Caller, id: &'static str, path: &str, message: Vec<u8>) -> Value {
    // How it ends is the line's to say.
    drop(caller.clone().and("x-request-id", id).send(path, message).await);
    vault.audit_of(id).await
}

/// The fields that say who did what to whom, and how it ended.
fn said(line: &Value) -> Value {
    let keys = ["engine", "tenant", "user", "platform", "action", "result", "reason", "record_version"];
    keys.iter().map(|key| line[key].clone()).collect()
}

#[test]
fn a_line_has_every_field_and_nothing_else() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let action = vault.as_engine("action");
        let line = line_about(vault, &action, "r-1", GetTokenRequest::PATH, get("plain").encode_to_vec()).await;
        let fields = line.as_object().unwrap();
        let expected = [
            "action",
            "boot",
            "engine",
            "env",
            "instance",
            "key_id",
            "latency_us",
            "peer",
            "platform",
            "prev",
            "reason",
            "record_version",
            "request_id",
            "result",
            "seq",
            "tenant",
            "timestamp",
            "token_fp",
            "user",
            "v",
        ];
        let mut keys: Vec<_> = fields.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(said(&line), json!(["action", "default", USER, "plain", "get", "ok", "", 1]));
        assert_eq!(line["request_id"], "r-1");
        let key_id = vault.key_of("action").split('_').nth(1).unwrap();
        assert_eq!(line["key_id"], key_id);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!((1..10_000_000).contains(&line["latency_us"].as_u64().unwrap()));
        let at = OffsetDateTime::parse(line["timestamp"].as_str().unwrap(), &Rfc3339).unwrap();
        assert!((crate::harness::now() - at.unix_timestamp()).abs() < 60);
    });
}

#[test]
fn every_operation_has_one_line_that_says_what_was_done_to_whom() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let store = vault.tokens().request("plain", 3_600).encode_to_vec();
        let (get, status, delete) = (get("plain"), status(&[]), delete("plain"));
        let (get, status, delete) = (get.encode_to_vec(), status.encode_to_vec(), delete.encode_to_vec());
        let [store_path, get_path, status_path, delete_path] = [
            "/vault.v1.TokenVault/StoreToken",
            GetTokenRequest::PATH,
            "/vault.v1.TokenVault/GetStatus",
            DeleteTokenRequest::PATH,
        ];
        let of = async |id, path, message| said(&line_about(vault, &local, id, path, message).await);
        assert_eq!(
            of("r-1", store_path, store).await,
            json!(["local", "default", USER, "plain", "store", "ok", "", 1])
        );
        assert_eq!(
            of("r-2", get_path, get.clone()).await,
            json!(["local", "default", USER, "plain", "get", "ok", "", 1])
        );
        assert_eq!(
            of("r-3", status_path, status).await,
            json!(["local", "default", USER, null, "status", "ok", "", null])
        );
        assert_eq!(
            of("r-4", delete_path, delete.clone()).await,
            json!(["local", "default", USER, "plain", "delete", "ok", "", 2])
        );
        assert_eq!(
            of("r-5", delete_path, delete).await,
            json!(["local", "default", USER, "plain", "delete", "ok", "", null])
        );
        assert_eq!(
            of("r-6", get_path, get).await,
            json!(["local", "default", USER, "plain", "get", "failed", "token_missing", null])
        );
        // And what the trail says of itself, and what was said before something changed.
        let others = |line: &&Value| line["action"] != "audit" && line["reason"] != "begun";
        assert_eq!(vault.audit().iter().filter(others).count(), 6);
    });
}

#[test]
fn what_is_refused_has_its_line_too() {
    spec(async |vault| {
        let (action, nobody) = (vault.as_engine("action"), vault.as_nobody());
        let of =
            async |caller: &Caller, id, path: &str, message| said(&line_about(vault, caller, id, path, message).await);
        let deletes = DeleteTokenRequest::PATH;
        let sound = delete("plain").encode_to_vec();
        assert_eq!(
            of(&nobody, "r-1", deletes, sound.clone()).await,
            json!([null, null, null, null, "delete", "denied", "malformed_credentials", null])
        );
        assert_eq!(
            of(&action, "r-2", deletes, sound.clone()).await,
            json!(["action", null, null, null, "delete", "denied", "not_permitted", null])
        );
        let foreign = GetTokenRequest { tenant: "acme".to_owned(), ..get("plain") }.encode_to_vec();
        assert_eq!(
            of(&action, "r-3", GetTokenRequest::PATH, foreign).await,
            json!(["action", null, null, null, "get", "denied", "not_permitted", null])
        );
        let unsound = GetTokenRequest { user_id: "../".to_owned(), ..get("plain") }.encode_to_vec();
        assert_eq!(
            of(&action, "r-4", GetTokenRequest::PATH, unsound).await,
            json!(["action", null, null, null, "get", "failed", "invalid_request", null])
        );
        let acme = vault.as_engine("acme");
        assert_eq!(
            of(&acme, "r-5", deletes, sound).await,
            json!(["acme", "acme", USER, "plain", "delete", "ok", "", null])
        );
    });
}

#[test]
fn a_refresh_has_a_line_of_its_own_with_the_id_of_the_call_that_began_it() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::text(503, ""));
        let action = vault.as_engine("action");
        let line = line_about(vault, &action, "r-1", GetTokenRequest::PATH, get("plain").encode_to_vec()).await;
        assert_eq!(said(&line), json!(["action", "default", USER, "plain", "get", "failed", "provider_outage", null]));
        let refresh = until("the line about the refresh", async || {
            vault.audit().into_iter().find(|line| line["action"] == "refresh")
        })
        .await;
        assert_eq!(
            said(&refresh),
            json!([null, "default", USER, "plain", "refresh", "failed", "provider_outage", null])
        );
        assert_eq!(refresh["request_id"], "r-1");
        vault.connect("rotating", -60).await;
        vault.provider().will(vault.tokens().answer());
        line_about(vault, &action, "r-2", GetTokenRequest::PATH, get("rotating").encode_to_vec()).await;
        let refresh = until("the line about the other refresh", async || {
            vault.audit().into_iter().find(|line| line["action"] == "refresh" && line["request_id"] == "r-2")
        })
        .await;
        assert_eq!(said(&refresh), json!([null, "default", USER, "rotating", "refresh", "ok", "", 3]));
    });
}

#[test]
fn a_caller_that_goes_away_leaves_a_line() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let gate = Gate::closed();
        vault.provider().will(vault.tokens().answer().behind(&gate));
        let action = vault.as_engine("action").and("x-request-id", "r-1");
        let (call, sent) = (Box::pin(action.call(get("rotating"))), Box::pin(vault.provider().has_seen(1)));
        let Either::Right(((), call)) = select(call, sent).await else { panic!("answered before the platform did") };
        drop(call);
        let line = vault.audit_of("r-1").await;
        gate.open();
        assert_eq!(
            said(&line),
            json!(["action", "default", USER, "rotating", "get", "cancelled", "caller_gone", null])
        );
    });
}

#[test]
fn the_line_about_a_token_is_written_before_the_token_leaves() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        for id in ["r-1", "r-2", "r-3"] {
            vault.as_engine("action").and("x-request-id", id).call(get("plain")).await.unwrap();
            assert!(vault.audit().iter().any(|line| line["request_id"] == id), "{id} is answered and not written down");
        }
    });
}

#[test]
fn without_a_trail_nothing_is_released_stored_deleted_or_told() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", -60).await;
        // A device that is always full.
        vault.configure("AUDIT__PATH", "/dev/full");
        vault.restart().await;
        let local = vault.as_engine("local");
        let refused = |answer: Result<(), crate::harness::Refused>| {
            let refused = answer.unwrap_err();
            assert_eq!(refused.told(), (Code::Unavailable, "audit_unavailable", "retry"));
            assert!(refused.retry_after.is_some());
        };
        for _ in 0..20 {
            refused(local.call(get("plain")).await.map(drop));
        }
        refused(local.call(status(&[])).await.map(drop));
        refused(local.call(get("rotating")).await.map(drop));
        refused(local.call(GetTokenRequest { force_refresh: true, ..get("plain") }).await.map(drop));
        refused(local.call(vault.tokens().request("plain", 3_600)).await.map(drop));
        refused(local.call(delete("plain")).await.map(drop));
        assert_eq!(vault.provider().connections(), 0);
        // With a trail again, everything is as it was.
        vault.configure("AUDIT__PATH", &vault.trail_file().display().to_string());
        vault.restart().await;
        assert_eq!(vault.as_engine("local").call(get("plain")).await.unwrap().version, 1);
    });
}

#[test]
fn the_very_first_call_without_a_trail_changes_nothing() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.configure("AUDIT__PATH", "/dev/full");
        vault.restart().await;
        assert!(vault.as_engine("local").call(delete("plain")).await.is_err());
        vault.configure("AUDIT__PATH", &vault.trail_file().display().to_string());
        vault.restart().await;
        assert_eq!(vault.as_engine("local").call(get("plain")).await.unwrap().version, 1);
    });
}

#[test]
fn without_a_trail_nobodies_are_still_told_nothing() {
    spec(async |vault| {
        vault.configure("AUDIT__PATH", "/dev/full");
        vault.restart().await;
        for _ in 0..3 {
            let refused = vault.as_nobody().call(get("plain")).await.unwrap_err();
            assert_eq!(refused.told(), (Code::Unauthenticated, "invalid_credentials", "fix_credentials"));
        }
    });
}

#[test]
fn a_token_is_recognised_wherever_it_passes() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect_user("u2", "plain", 3_600).await;
        let action = vault.as_engine("action");
        for id in ["r-1", "r-2"] {
            action.clone().and("x-request-id", id).call(get("plain")).await.unwrap();
        }
        let of = |action: &str| {
            let lines = vault.audit().into_iter().filter(|line| line["action"] == action && line["reason"] == "");
            lines.map(|line| line["token_fp"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (stored, given) = (of("store"), of("get"));
        assert_eq!((stored.len(), given.len()), (2, 2));
        assert_eq!((&given[0], &given[1]), (&stored[0], &stored[0]));
        assert_ne!(stored[0], stored[1], "another token has another fingerprint");
        assert_eq!(stored[0].len(), 32);
    });
}

#[test]
fn what_changes_something_is_written_before_and_after() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let store = vault.tokens().request("plain", 3_600);
        local.clone().and("x-request-id", "r-1").call(store).await.unwrap();
        local.clone().and("x-request-id", "r-2").call(get("plain")).await.unwrap();
        local.clone().and("x-request-id", "r-3").call(delete("plain")).await.unwrap();
        let of = |id: &str| {
            let lines = vault.audit().into_iter().filter(|line| line["request_id"] == id);
            lines.map(|line| said(&line)).collect::<Vec<_>>()
        };
        let line = |action, reason, version| json!(["local", "default", USER, "plain", action, "ok", reason, version]);
        assert_eq!(of("r-1"), [line("store", "begun", Value::Null), line("store", "", json!(1))]);
        assert_eq!(of("r-2"), [line("get", "", json!(1))]);
        assert_eq!(of("r-3"), [line("delete", "begun", Value::Null), line("delete", "", json!(2))]);
    });
}

#[test]
fn refused_calls_beyond_number_are_counted() {
    Setup::default().with("AUDIT__REFUSED_PER_MINUTE", "3").run(async |vault| {
        for _ in 0..50 {
            vault.as_nobody().call(get("plain")).await.unwrap_err();
        }
        // Others are written as ever.
        vault.as_engine("action").and("x-request-id", "r-1").call(get("plain")).await.unwrap_err();
        vault.audit_of("r-1").await;
        let refused = |vault: &Vault| {
            let lines = vault.audit().into_iter();
            lines.filter(|line| line["reason"] == "malformed_credentials").count()
        };
        assert_eq!(refused(vault), 3);
        vault.restart().await;
        let counted: Vec<_> = vault.audit().into_iter().filter(|line| line["reason"] == "calls_refused").collect();
        assert_eq!(counted.len(), 1);
        let told = ["peer", "refused_as", "count"].map(|key| counted[0][key].clone());
        assert_eq!(told, [json!("127.0.0.1"), json!("malformed_credentials"), json!(47)]);
    });
}

#[test]
fn the_events_of_a_tenant_are_listed_page_by_page_and_no_others() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        for _ in 0..5 {
            vault.as_engine("action").call(get("plain")).await.unwrap();
        }
        vault.as_engine("acme").and("x-request-id", "r-1").call(delete("plain")).await.unwrap();
        let events = vault.audit_events();
        let filter = TrailFilter { tenant: Some("default".parse().unwrap()), ..TrailFilter::default() };
        let (order, page_token) = (TrailOrder::NewestFirst, String::new());
        let mut query = ListAuditEventsQuery { filter, order, page_size: 2, page_token };
        let (mut actions, mut tokens) = (Vec::new(), Vec::new());
        loop {
            let page = events.run(&query).await.unwrap();
            assert!(
                page.events.len() <= 2 && page.events.iter().all(|event| event.tenant.as_deref() == Some("default"))
            );
            actions.extend(page.events.into_iter().map(|event| event.action));
            if page.next_page_token.is_empty() {
                break;
            }
            tokens.push(page.next_page_token.clone());
            query.page_token = page.next_page_token;
        }
        assert_eq!(actions, ["get", "get", "get", "get", "get", "store", "store"]);
        // A page token is good for its tenant and its request only.
        query.page_token.clone_from(&tokens[0]);
        assert!(events.run(&query).await.is_ok());
        query.filter.user = Some(USER.parse().unwrap());
        assert_eq!(events.run(&query).await.unwrap_err().reason(), "invalid_request");
        query.filter = TrailFilter { tenant: Some("acme".parse().unwrap()), ..TrailFilter::default() };
        assert_eq!(events.run(&query).await.unwrap_err().reason(), "invalid_request");
        query.page_token = String::new();
        assert_eq!(events.run(&query).await.unwrap().events.len(), 2);
    });
}
