//! Who a caller is: whatever is wrong with its credentials, the answer is the same.

use tonic::Code;
use vault_engine::access::EngineKey;
use vault_engine::adapters::system::SystemRandom;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::harness::{Ask as _, Caller, Vault, get, spec};

const ID: &str = "x-engine-id";
const KEY: &str = "x-engine-key";

/// All the ways to be nobody: what is wrong, the word for it in the audit trail, the caller.
fn nobodies(vault: &Vault) -> Vec<(&'static str, &'static str, Caller)> {
    let key = vault.key_of("action");
    let with = |id: &[u8], key: &[u8]| vault.as_nobody().and(ID, id).and(KEY, key);
    let good = || vault.as_engine("action");
    let stranger = EngineKey::make(&SystemRandom).expose();
    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let typo = format!("{}{other}", key.strip_suffix(|_: char| true).unwrap());
    let malformed = [
        ("nothing", vault.as_nobody()),
        ("no key", vault.as_nobody().and(ID, "action")),
        ("no id", vault.as_nobody().and(KEY, key)),
        ("two ids", good().and(ID, "sync")),
        ("the same id twice", good().and(ID, "action")),
        ("two keys", good().and(KEY, vault.key_of("sync"))),
        ("the same key twice", good().and(KEY, key)),
        ("ids joined by a comma", with(b"action,sync", key.as_bytes())),
        ("keys joined by a comma", with(b"action", format!("{key},{key}").as_bytes())),
        ("keys joined by a comma and a blank", with(b"action", format!("{key}, {key}").as_bytes())),
        ("a binary id beside", good().and("x-engine-id-bin", "YWN0aW9u")),
        ("a binary key beside", good().and("x-engine-key-bin", "YWN0aW9u")),
        ("binary credentials only", vault.as_nobody().and("x-engine-id-bin", "YWN0aW9u").and("x-engine-key-bin", "YQ")),
        ("an oversized id", with(&[b'a'; 129], key.as_bytes())),
        ("an oversized key", with(b"action", &[b'k'; 129])),
        ("a huge key", with(b"action", &[b'k'; 8_192])),
        ("an empty id", with(b"", key.as_bytes())),
        ("an empty key", with(b"action", b"")),
        ("a blank before the id", with(b" action", key.as_bytes())),
        ("a blank behind the id", with(b"action ", key.as_bytes())),
        ("a tab in the id", with(b"act\tion", key.as_bytes())),
        ("a blank before the key", with(b"action", format!(" {key}").as_bytes())),
        ("a blank behind the key", with(b"action", format!("{key} ").as_bytes())),
        ("letters of another alphabet in the id", with("аction".as_bytes(), key.as_bytes())),
        ("bytes that are no text in the key", with(b"action", &[0xff, 0xfe])),
    ];
    let refused = [
        ("an id in capitals", "malformed_engine_id", with(b"ACTION", key.as_bytes())),
        ("an id with a path", "malformed_engine_id", with(b"../action", key.as_bytes())),
        ("a key of another kind", "malformed_key", with(b"action", b"sk_live_0000")),
        ("a key with a typo", "malformed_key", with(b"action", typo.as_bytes())),
        ("a key in small letters", "malformed_key", with(b"action", key.to_ascii_lowercase().as_bytes())),
        ("half a key", "malformed_key", with(b"action", &key.as_bytes()[..key.len() / 2])),
        ("somebody's key", "wrong_key", with(b"action", stranger.as_bytes())),
        ("the key of another engine", "wrong_key", with(b"action", vault.key_of("sync").as_bytes())),
        ("an unknown engine", "unknown_engine", with(b"stranger", stranger.as_bytes())),
        ("an unknown engine with a known key", "unknown_engine", with(b"stranger", key.as_bytes())),
    ];
    let malformed = malformed.into_iter().map(|(what, caller)| (what, "malformed_credentials", caller));
    malformed.chain(refused).collect()
}

#[test]
fn an_engine_with_its_key_is_let_in() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        for engine in ["action", "sync", "local"] {
            vault.as_engine(engine).call(get("plain")).await.unwrap();
        }
    });
}

#[test]
fn whatever_is_wrong_with_credentials_the_answer_is_the_same_to_the_byte() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let first = vault.as_nobody().call(get("plain")).await.unwrap_err();
        assert_eq!(first.told(), (Code::Unauthenticated, "invalid_credentials", "fix_credentials"));
        assert_eq!((first.reason.as_str(), first.domain.as_str()), ("INVALID_CREDENTIALS", "vault-engine"));
        assert_eq!((first.retry_after, first.fields.len()), (None, 0));
        for (what, _, caller) in nobodies(vault) {
            let refused = caller.call(get("plain")).await.unwrap_err();
            assert_eq!(refused.face(), first.face(), "{what}");
        }
    });
}

#[test]
fn what_is_wrong_with_credentials_is_in_the_audit_trail_only() {
    spec(async |vault| {
        for (what, reason, caller) in nobodies(vault) {
            let refused = caller.call(get("plain")).await.unwrap_err();
            let line = vault.audit_of(&refused.request_id).await;
            let told = (line["action"].as_str(), line["result"].as_str(), line["reason"].as_str());
            assert_eq!(told, (Some("get"), Some("denied"), Some(reason)), "{what}");
            assert!(line["engine"].is_null() && line["user"].is_null(), "{what}: nobody is somebody in {line}");
        }
    });
}

#[test]
fn credentials_go_before_the_request_itself() {
    spec(async |vault| {
        let nobody = vault.as_nobody();
        let first = nobody.call(get("plain")).await.unwrap_err();
        let nonsense = GetTokenRequest { user_id: "../".to_owned(), min_ttl_seconds: -1, ..get("nowhere") };
        let refused = nobody.call(nonsense).await.unwrap_err();
        assert_eq!(refused.face(), first.face());
        let stranger = vault.as_nobody().and(ID, "action").and(KEY, EngineKey::make(&SystemRandom).expose());
        for (what, message) in [("no protobuf", vec![0xff; 64]), ("too large", vec![0; 300 * 1_024])] {
            for caller in [&nobody, &stranger] {
                let refused = caller.send(GetTokenRequest::PATH, message.clone()).await.err().unwrap();
                assert_eq!(refused.face(), first.face(), "{what}");
            }
        }
    });
}

#[test]
fn an_engine_in_the_configuration_is_let_in_by_each_of_its_keys() {
    spec(async |vault| {
        let keys = [EngineKey::make(&SystemRandom), EngineKey::make(&SystemRandom)];
        let verifiers = vault.verifiers("configured", &keys).await;
        let keys_listed =
            verifiers.map(|(id, verifier)| format!("{{ id: \"{id}\", verifier: \"{verifier}\" }}")).join(", ");
        vault.configure("ENGINES", &format!("[{{ id: configured, actions: [get], keys: [{keys_listed}] }}]"));
        vault.restart().await;
        let configured = |key: &EngineKey| vault.as_nobody().and(ID, "configured").and(KEY, key.expose());
        for key in &keys {
            let refused = configured(key).call(get("plain")).await.unwrap_err();
            assert_eq!(refused.told(), (Code::NotFound, "token_missing", "connect"));
        }
        let refused = configured(&EngineKey::make(&SystemRandom)).call(get("plain")).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated);
    });
}

#[test]
fn credentials_in_the_wrong_place_are_none() {
    spec(async |vault| {
        let bearer = format!("Bearer {}", vault.key_of("action"));
        let refused = vault.as_nobody().and("authorization", bearer).call(get("plain")).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated);
    });
}
