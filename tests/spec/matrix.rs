//! Every method of the API against every kind of caller. A method without a row here fails the suite.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tonic::Code;
use vault_engine::access::EngineKey;
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::method::Method;
use vault_engine::pb::DESCRIPTORS;

use crate::harness::{Caller, Vault, spec};

/// What is asked of a method, and who may.
struct Row {
    method: &'static str,
    /// A sound request.
    request: &'static str,
    may: &'static [&'static str],
}

const ROWS: [Row; 21] = [
    Row {
        method: "vault.v1.TokenVault.StoreToken",
        request: r#"{"user_id":"u1","platform":"plain","access_token":"abcd"}"#,
        may: &["sync", "local"],
    },
    Row {
        method: "vault.v1.TokenVault.GetToken",
        request: r#"{"user_id":"u1","platform":"plain"}"#,
        may: &["action", "sync", "local"],
    },
    Row { method: "vault.v1.TokenVault.GetStatus", request: r#"{"user_id":"u1"}"#, may: &["sync", "local"] },
    Row { method: "vault.v1.TokenVault.BatchGetStatus", request: r#"{"user_ids":["u1"]}"#, may: &["sync", "local"] },
    Row { method: "vault.v1.TokenVault.ListTokens", request: "{}", may: &["sync", "local"] },
    Row { method: "vault.v1.TokenVault.WatchStatus", request: "{}", may: &["sync", "local"] },
    Row {
        method: "vault.v1.TokenVault.DeleteToken",
        request: r#"{"user_id":"u1","platform":"plain"}"#,
        may: &["local"],
    },
    Row { method: "vault.v1.Admin.CreateTenant", request: r#"{"tenant_id":"initech"}"#, may: &["admin"] },
    Row { method: "vault.v1.Admin.GetTenant", request: r#"{"name":"tenants/default"}"#, may: &["local", "admin"] },
    Row { method: "vault.v1.Admin.ListTenants", request: "{}", may: &["local", "admin"] },
    Row {
        method: "vault.v1.Admin.UpdateTenant",
        request: r#"{"tenant":{"name":"tenants/default"},"updateMask":"displayName"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.CreateEngine",
        request: r#"{"parent":"tenants/default","engine_id":"e","engine":{"policy":{"rules":[]}}}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.GetEngine",
        request: r#"{"name":"tenants/default/engines/e"}"#,
        may: &["local", "admin"],
    },
    Row { method: "vault.v1.Admin.ListEngines", request: r#"{"parent":"tenants/default"}"#, may: &["local", "admin"] },
    Row {
        method: "vault.v1.Admin.UpdateEngine",
        request: r#"{"engine":{"name":"tenants/default/engines/e"},"updateMask":"disabled"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.DeleteEngine",
        request: r#"{"name":"tenants/default/engines/e"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.CreateKey",
        request: r#"{"parent":"tenants/default/engines/e"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.ListKeys",
        request: r#"{"parent":"tenants/default/engines/e"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.RotateKey",
        request: r#"{"name":"tenants/default/engines/e/keys/4J7QX2M9ZK3T"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.RevokeKey",
        request: r#"{"name":"tenants/default/engines/e/keys/4J7QX2M9ZK3T"}"#,
        may: &["local", "admin"],
    },
    Row {
        method: "vault.v1.Admin.CheckAccess",
        request: r#"{"name":"tenants/default/engines/e","action":"get"}"#,
        may: &["local", "admin"],
    },
];

// === impl Row ===

impl Row {
    fn of(method: &MethodDescriptor) -> &'static Self {
        let row = ROWS.iter().find(|row| row.method == method.full_name());
        row.unwrap_or_else(|| panic!("{} has no row: who may call it?", method.full_name()))
    }

    fn encoded(&self, method: &MethodDescriptor) -> Vec<u8> {
        let mut json = serde_json::Deserializer::from_str(self.request);
        DynamicMessage::deserialize(method.input(), &mut json).unwrap().encode_to_vec()
    }
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// The path of every method there is, and a sound request to it.
pub(crate) fn sound_requests() -> Vec<(String, Vec<u8>)> {
    methods().iter().map(|method| (path(method), Row::of(method).encoded(method))).collect()
}

/// Those whom nobody knows.
fn nobodies(vault: &Vault) -> Vec<(&'static str, Caller)> {
    let somebody = || vault.as_nobody().and("x-engine-id", "local");
    let stranger = EngineKey::make(&SystemRandom).expose();
    vec![
        ("no credentials", vault.as_nobody()),
        ("a malformed key", somebody().and("x-engine-key", "tvk1_x")),
        ("a wrong key", somebody().and("x-engine-key", &stranger)),
        ("an unknown engine", vault.as_nobody().and("x-engine-id", "stranger").and("x-engine-key", stranger)),
        ("the key of another engine", somebody().and("x-engine-key", vault.key_of("action"))),
    ]
}

#[test]
fn every_method_answers_every_kind_of_caller_as_its_row_says() {
    spec(async |vault| {
        let (methods, mut asked) = (methods(), 0);
        for method in &methods {
            let row = Row::of(method);
            let (path, request) = (path(method), row.encoded(method));
            for (who, caller) in nobodies(vault) {
                let refused = caller.send(&path, request.clone()).await.err().unwrap();
                let told = (Code::Unauthenticated, "invalid_credentials", "fix_credentials");
                assert_eq!(refused.told(), told, "{path} with {who}");
                asked += 1;
            }
            for engine in ["action", "sync", "local", "admin"] {
                let answer = vault.as_engine(engine).send(&path, request.clone()).await;
                let may = row.may.contains(&engine);
                match answer {
                    Ok(_) => assert!(may, "{engine} may call {path}"),
                    Err(refused) if may => assert_eq!(refused.code, Code::NotFound, "{engine} at {path}: {refused:?}"),
                    Err(refused) => {
                        let told = (Code::PermissionDenied, "not_permitted", "contact_operator");
                        assert_eq!(refused.told(), told, "{engine} at {path}");
                    }
                }
                asked += 1;
            }
        }
        assert_eq!(asked, methods.len() * 9);
    });
}

#[test]
fn the_rows_are_the_methods_there_are() {
    let described: BTreeSet<String> = methods().iter().map(|method| method.full_name().to_owned()).collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.method.to_owned()).collect();
    let known = Method::ALL.map(|method| method.path().trim_start_matches('/').replace('/', "."));
    assert_eq!(rows, described);
    assert_eq!(BTreeSet::from(known), described);
}

#[test]
fn whoever_may_not_learns_nothing_about_what_is_there() {
    spec(async |vault| {
        let action = vault.as_engine("action");
        let absent = action.call(crate::harness::status(&[])).await.unwrap_err();
        vault.connect("plain", 3_600).await;
        let present = action.call(crate::harness::status(&[])).await.unwrap_err();
        let nonsense = action.call(crate::harness::status(&["../"])).await.unwrap_err();
        assert_eq!(absent.face(), present.face());
        assert_eq!(absent.face(), nonsense.face());
    });
}
