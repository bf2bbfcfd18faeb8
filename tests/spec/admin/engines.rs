//! Engines: made, changed by whoever has seen what there is, and never given more than the giver has.

use std::collections::BTreeSet;

use tonic::Code;
use vault_engine::pb::vault_v1::{
    CheckAccessRequest, CreateKeyRequest, CreateTenantRequest, DeleteEngineRequest, Engine, GetEngineRequest,
    GetTenantRequest, ListEnginesRequest, Policy, Rule, Tenant, UpdateEngineRequest, UpdateTenantRequest,
};

use super::{allowing, engine, engine_of, key_of, masked, rule, switch_engine, tenant, words};
use crate::harness::{Setup, get, spec};

const DENIED: (Code, &str, &str) = (Code::PermissionDenied, "not_permitted", "contact_operator");

#[test]
fn an_engine_is_what_it_was_made_as_and_changed_by_who_has_seen_it() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let admin = vault.as_engine("admin");
        let seen = admin.call(GetEngineRequest { name: made.engine.clone() }).await.unwrap();
        assert_eq!((seen.active_keys, seen.disabled), (1, false));
        let [own] = &seen.policy.as_ref().unwrap().tenants[..] else { panic!("{seen:?}") };
        assert_eq!(own, "default");
        let again = admin.call(engine_of("default", "sync2", allowing(&["get"]))).await.unwrap_err();
        assert_eq!(again.told(), (Code::AlreadyExists, "already_exists", "fix_request"));
        let configured = admin.call(engine_of("default", "sync", allowing(&["get"]))).await.unwrap_err();
        assert_eq!(configured.code, Code::AlreadyExists);
        let change = |etag: &str| UpdateEngineRequest {
            engine: Some(Engine {
                name: made.engine.clone(),
                display_name: "Sync".to_owned(),
                etag: etag.to_owned(),
                ..Engine::default()
            }),
            update_mask: Some(masked(&["display_name"])),
        };
        let changed = admin.call(change(&seen.etag)).await.unwrap();
        assert_eq!((changed.display_name.as_str(), &changed.policy), ("Sync", &seen.policy));
        assert_ne!(changed.etag, seen.etag);
        let late = admin.call(change(&seen.etag)).await.unwrap_err();
        assert_eq!(late.told(), (Code::Aborted, "etag_mismatch", "fix_request"));
        admin.call(change("")).await.unwrap();
        let late = DeleteEngineRequest { name: made.engine.clone(), etag: seen.etag };
        assert_eq!(admin.call(late).await.unwrap_err().code, Code::Aborted);
        vault.restart().await;
        let kept = vault.as_engine("admin").call(GetEngineRequest { name: made.engine }).await.unwrap();
        assert_eq!(kept.display_name, "Sync");
    });
}

#[test]
fn whatever_is_wrong_with_a_policy_is_refused_by_the_name_of_its_field() {
    spec(async |vault| {
        tenant(vault, "acme").await;
        let good = rule("allow", &["get"]);
        let many = |count: usize| (0..count).map(|number| format!("u{number}")).collect::<Vec<_>>();
        let cases = [
            ("policy.rules.effect", Rule { effect: "permit".to_owned(), ..good.clone() }),
            ("policy.rules.actions", Rule { actions: Vec::new(), ..good.clone() }),
            ("policy.rules.actions", Rule { actions: words(&["get", "*"]), ..good.clone() }),
            ("policy.rules.actions", Rule { actions: words(&["Get"]), ..good.clone() }),
            ("policy.rules.platforms", Rule { platforms: words(&["g*"]), ..good.clone() }),
            ("policy.rules.users", Rule { users: Vec::new(), ..good.clone() }),
            ("policy.rules.users", Rule { users: words(&["../u1"]), ..good.clone() }),
            ("policy.rules.users", Rule { users: many(1_001), ..good.clone() }),
            ("policy.rules.scopes_at_most", Rule { scopes_at_most: words(&["a b"]), ..good.clone() }),
            ("policy.rules.scopes_at_most", Rule { scopes_at_most: words(&["a"]), ..rule("deny", &["get"]) }),
        ];
        let admin = vault.as_engine("admin");
        let field = async |policy: Policy| {
            let refused = admin.call(engine_of("acme", "e", policy)).await.unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{refused:?}");
            refused.fields.first().cloned().unwrap_or_default()
        };
        for (expected, rule) in cases {
            assert_eq!(field(Policy { tenants: Vec::new(), rules: vec![rule] }).await, expected);
        }
        assert_eq!(field(Policy { tenants: Vec::new(), rules: vec![good.clone(); 257] }).await, "policy.rules");
        let full = Rule { users: many(1_000), ..good.clone() };
        assert_eq!(field(Policy { tenants: Vec::new(), rules: vec![full; 5] }).await, "policy");
        assert_eq!(field(Policy { tenants: words(&["globex"]), rules: vec![good.clone()] }).await, "");
        let missing = admin.call(engine_of("system", "e", Policy { tenants: Vec::new(), rules: vec![good] })).await;
        assert_eq!(missing.unwrap_err().fields, ["policy.tenants"]);
        let nowhere = admin.call(engine_of("nowhere", "e", allowing(&["get"]))).await.unwrap_err();
        assert_eq!(nowhere.told(), (Code::NotFound, "not_found", "fix_request"));
    });
}

#[test]
fn nobody_gives_or_takes_over_administration_they_do_not_have() {
    spec(async |vault| {
        let maker = engine(vault, "acme", "maker", allowing(&["admin_engines", "admin_keys", "admin_read"])).await;
        let maker = maker.caller(vault);
        let above = engine(vault, "acme", "above", allowing(&["admin_tenants"])).await;
        let below = engine(vault, "acme", "below", allowing(&["get"])).await;
        for actions in [&["admin_tenants"][..], &["*"], &["get", "admin_tenants"]] {
            let refused = maker.call(engine_of("acme", "e", allowing(actions))).await.unwrap_err();
            assert_eq!(refused.told(), DENIED);
            assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "beyond_own_rights");
        }
        let with = |name: &str, policy: Policy| UpdateEngineRequest {
            engine: Some(Engine { name: name.to_owned(), policy: Some(policy), ..Engine::default() }),
            update_mask: Some(masked(&["policy"])),
        };
        assert_eq!(maker.call(with(&below.engine, allowing(&["*"]))).await.unwrap_err().told(), DENIED);
        assert_eq!(maker.call(with(&above.engine, allowing(&["get"]))).await.unwrap_err().told(), DENIED);
        let key = CreateKeyRequest { parent: above.engine.clone(), ttl_seconds: 0 };
        assert_eq!(maker.call(key).await.unwrap_err().told(), DENIED);
        let gone = DeleteEngineRequest { name: above.engine, etag: String::new() };
        assert_eq!(maker.call(gone).await.unwrap_err().told(), DENIED);
        // What it has, it gives; and what is no administration.
        maker.call(engine_of("acme", "peer", allowing(&["admin_keys", "get"]))).await.unwrap();
        key_of(vault, &maker, &below.engine).await.unwrap();
    });
}

#[test]
fn an_administrator_reads_no_token_unless_a_rule_says_so() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let refused = vault.as_engine("admin").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), DENIED);
    });
}

#[test]
fn why_is_explained_by_the_function_that_decides() {
    spec(async |vault| {
        let only = Rule { users: words(&["u1"]), scopes_at_most: words(&["read"]), ..rule("allow", &["get"]) };
        let deny = Rule { platforms: words(&["fixed"]), ..rule("deny", &["*"]) };
        let policy = Policy { tenants: Vec::new(), rules: vec![deny, only] };
        let made = engine(vault, "default", "sync2", policy).await;
        let admin = vault.as_engine("admin");
        let check = async |tenant: &str, user: &str, platform: &str, scopes: &[&str]| {
            let request = CheckAccessRequest {
                name: made.engine.clone(),
                action: "get".to_owned(),
                tenant: tenant.to_owned(),
                user_id: user.to_owned(),
                platform: platform.to_owned(),
                scopes: words(scopes),
            };
            let answer = admin.call(request).await.unwrap();
            (answer.allowed, answer.reason, answer.rule)
        };
        assert_eq!(check("", "u1", "plain", &[]).await, (true, "allowed_by_rule".to_owned(), 2));
        assert_eq!(check("", "", "", &[]).await, (true, "allowed_by_rule".to_owned(), 2));
        assert_eq!(check("", "u1", "fixed", &[]).await, (false, "denied_by_rule".to_owned(), 1));
        assert_eq!(check("", "u2", "plain", &[]).await, (false, "no_rule_allows".to_owned(), 0));
        assert_eq!(check("", "u1", "plain", &["write"]).await, (false, "scopes_exceeded".to_owned(), 2));
        assert_eq!(check("acme", "u1", "plain", &[]).await, (false, "tenant_not_served".to_owned(), 0));
        switch_engine(vault, &made.engine, true).await;
        assert_eq!(check("", "u1", "plain", &[]).await, (false, "engine_disabled".to_owned(), 0));
        let nonsense = CheckAccessRequest { name: made.engine.clone(), action: "fly".to_owned(), ..Default::default() };
        assert_eq!(admin.call(nonsense).await.unwrap_err().fields, ["action"]);
    });
}

#[test]
fn everything_is_listed_once_page_by_page() {
    spec(async |vault| {
        tenant(vault, "acme").await;
        let admin = vault.as_engine("admin");
        for number in 0..7 {
            admin.call(engine_of("acme", &format!("e{number}"), allowing(&["get"]))).await.unwrap();
        }
        let (mut found, mut pages, mut page_token) = (BTreeSet::new(), 0, String::new());
        loop {
            let request = ListEnginesRequest { parent: "tenants/acme".to_owned(), page_size: 3, page_token };
            let page = admin.call(request).await.unwrap();
            assert!(page.engines.len() <= 3);
            found.extend(page.engines.into_iter().map(|engine| engine.name));
            (pages, page_token) = (pages + 1, page.next_page_token);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((found.len(), pages), (7, 3));
        for page_size in [-1, 1_001] {
            let request = ListEnginesRequest { parent: "tenants/acme".to_owned(), page_size, ..Default::default() };
            assert_eq!(admin.call(request).await.unwrap_err().fields, ["page_size"]);
        }
    });
}

#[test]
fn what_was_administered_is_in_the_trail() {
    spec(async |vault| {
        let made = engine(vault, "acme", "sync2", allowing(&["get"])).await;
        let told: Vec<String> = vault
            .audit()
            .iter()
            .filter(|line| line["engine"] == "admin")
            .map(|line| {
                let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {} {} {} {}",
                    word("action"),
                    word("tenant"),
                    word("target"),
                    word("result"),
                    word("reason")
                )
            })
            .collect();
        let done = ["create_tenant acme  ok", "create_engine acme sync2 ok", "create_engine_key acme sync2 ok"];
        // What changes something has a line before it and one after it.
        let expected: Vec<String> =
            done.iter().flat_map(|line| [format!("{line} begun"), format!("{line} ")]).collect();
        assert_eq!(told, expected);
        drop(made);
    });
}

#[test]
fn a_tenant_has_a_name_a_switch_and_no_twin() {
    spec(async |vault| {
        tenant(vault, "acme").await;
        let admin = vault.as_engine("admin");
        let create = |id: &str| CreateTenantRequest { tenant_id: id.to_owned(), ..Default::default() };
        assert_eq!(admin.call(create("acme")).await.unwrap_err().code, Code::AlreadyExists);
        for id in ["system", "Acme", "", "a/b", "*"] {
            let refused = admin.call(create(id)).await.unwrap_err();
            assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["tenant_id".to_owned()]), "{id}");
        }
        let seen = admin.call(GetTenantRequest { name: "tenants/acme".to_owned() }).await.unwrap();
        let rename = |etag: &str| UpdateTenantRequest {
            tenant: Some(Tenant {
                name: "tenants/acme".to_owned(),
                display_name: "Acme AG".to_owned(),
                etag: etag.to_owned(),
                ..Tenant::default()
            }),
            update_mask: Some(masked(&["*"])),
        };
        assert_eq!(admin.call(rename(&seen.etag)).await.unwrap().display_name, "Acme AG");
        assert_eq!(admin.call(rename(&seen.etag)).await.unwrap_err().code, Code::Aborted);
    });
}

#[test]
fn without_a_registry_only_the_configuration_says_who_may_call() {
    Setup::default().with("REGISTRY__ENABLED", "false").run(async |vault| {
        let refused = vault.as_engine("admin").call(engine_of("default", "e", allowing(&["get"]))).await.unwrap_err();
        assert_eq!(refused.told(), (Code::FailedPrecondition, "registry_off", "contact_operator"));
        let served = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(served.code, Code::NotFound);
    });
}
