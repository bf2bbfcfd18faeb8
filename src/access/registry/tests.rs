//! Who is let in, and what the audit trail is told about everybody else.

use std::collections::BTreeSet;
use std::time::Duration;

use zeroize::Zeroizing;

use super::*;
use crate::adapters::system::SystemRandom;
use crate::domain::limits::Limits;
use crate::domain::method::Action;
use crate::domain::policy::Policy;
use crate::domain::registry::{EngineChange, NewEngine, NewKey, TenantChange};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn pepper() -> Pepper {
    Pepper::new(Zeroizing::new([1; 32]))
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn get_only(tenants: &[TenantId]) -> Policy {
    Policy::allowing(Named::Only(tenants.iter().cloned().collect()), Named::Only(BTreeSet::from([Action::Get])))
}

fn registry() -> (Registry, EngineKey, EngineKey) {
    let (old, new) = (EngineKey::make(&SystemRandom), EngineKey::make(&SystemRandom));
    let policy = get_only(&[TenantId::default_tenant()]);
    let engine = |id: &str, keys| Engine::configured(id.parse().unwrap(), policy.clone(), Limits::default(), keys);
    let keys = vec![old.verifier(&pepper(), "action"), new.verifier(&pepper(), "action")];
    let engines = [engine("action", keys), engine("keyless", vec![])];
    (Registry::new(pepper(), engines, EngineKey::make(&SystemRandom)), old, new)
}

/// The registries of the installation and of one tenant with an engine `sync` that has this key.
fn documents(key: &EngineKey) -> [(TenantId, Document); 2] {
    let (mut installation, mut tenant) = (Document::default(), Document::default());
    installation.create_tenant(&acme(), String::new(), now()).unwrap();
    let engine = NewEngine {
        display_name: String::new(),
        policy: get_only(&[acme()]),
        limits: Limits::default(),
        disabled: false,
    };
    let id = sync();
    tenant.create_engine(&acme(), &id, engine, now()).unwrap();
    let verifier = key.verifier(&pepper(), "sync");
    let new = NewKey { id: verifier.key_id, verifier: verifier.verifier, life: DAY };
    tenant.create_key(&id, &new, now()).unwrap();
    [(TenantId::system(), installation), (acme(), tenant)]
}

/// What happens to the registries; the text is the public part of the key.
type Change = fn(&mut [(TenantId, Document); 2], &str);

fn sync() -> EngineId {
    "sync".parse().unwrap()
}

fn adopt(registry: &Registry, documents: &[(TenantId, Document); 2]) {
    let documents = documents.iter().map(|(tenant, document)| (tenant.clone(), Arc::new(document.clone())));
    registry.adopt(|| documents.collect());
}

fn credentials(engine: &str, key: &EngineKey) -> Credentials {
    Credentials::new(engine.into(), key.expose())
}

#[test]
fn each_of_an_engine_s_keys_opens_the_door() {
    let (registry, old, new) = registry();
    for key in [old, new] {
        let caller = registry.verify(&credentials("action", &key), None, now()).unwrap();
        assert_eq!((caller.engine().as_str(), caller.key_id()), ("action", key.id()));
    }
}

#[test]
fn whatever_is_wrong_the_audit_knows_why() {
    let (registry, key, _) = registry();
    let refused =
        |engine: &str, key: String| registry.verify(&Credentials::new(engine.into(), key), None, now()).unwrap_err();
    assert_eq!(refused("sync", key.expose()), NotVerified::UnknownEngine);
    assert_eq!(refused("keyless", key.expose()), NotVerified::WrongKey);
    assert_eq!(refused("action", EngineKey::make(&SystemRandom).expose()), NotVerified::WrongKey);
    assert_eq!(refused("action", "x".into()), NotVerified::MalformedKey);
    assert_eq!(refused("Action", key.expose()), NotVerified::MalformedEngine);
}

#[test]
fn a_key_of_the_registry_opens_until_it_ends_is_revoked_or_something_is_switched_off() {
    let (registry, configured, _) = registry();
    let key = EngineKey::make(&SystemRandom);
    let sound = documents(&key);
    let verified =
        |at| registry.verify(&credentials("sync", &key), None, at).map(|caller| caller.principal().to_string());
    assert_eq!(verified(now()), Err(NotVerified::UnknownEngine));
    adopt(&registry, &sound);
    assert_eq!(verified(now()), Ok("acme/sync".to_owned()));
    assert_eq!(verified(now() + DAY), Err(NotVerified::ExpiredKey));
    let changes: [(NotVerified, Change); 3] = [
        (NotVerified::RevokedKey, |[_, (_, tenant)], key| {
            tenant.revoke_key(&sync(), key, now()).unwrap();
        }),
        (NotVerified::EngineDisabled, |[_, (home, tenant)], _| {
            let change = EngineChange { disabled: Some(true), ..EngineChange::default() };
            tenant.update_engine(home, &sync(), None, &change).unwrap();
        }),
        (NotVerified::TenantDisabled, |[(_, installation), _], _| {
            let change = TenantChange { disabled: Some(true), ..TenantChange::default() };
            installation.update_tenant(&acme(), None, &change, now()).unwrap();
        }),
    ];
    for (why, change) in changes {
        adopt(&registry, &sound);
        let caller = registry.verify(&credentials("sync", &key), None, now()).unwrap();
        assert!(registry.still(&caller, now()).is_some());
        let mut after = sound.clone();
        change(&mut after, key.id());
        adopt(&registry, &after);
        assert_eq!(verified(now()), Err(why));
        assert!(registry.still(&caller, now()).is_none(), "{why:?}");
        assert!(registry.verify(&credentials("action", &configured), None, now()).is_ok());
    }
}

#[test]
fn an_engine_that_is_made_again_is_not_the_one_that_was_let_in() {
    let (registry, ..) = registry();
    let key = EngineKey::make(&SystemRandom);
    let sound = documents(&key);
    adopt(&registry, &sound);
    let caller = registry.verify(&credentials("sync", &key), None, now()).unwrap();
    let [installation, (home, mut tenant)] = sound;
    let record = tenant.engine(&sync()).unwrap().clone();
    tenant.delete_engine(&sync(), None).unwrap();
    let again = NewEngine {
        display_name: String::new(),
        policy: get_only(&[acme()]),
        limits: Limits::default(),
        disabled: false,
    };
    tenant.create_engine(&home, &sync(), again, now()).unwrap();
    adopt(&registry, &[installation.clone(), (home.clone(), tenant.clone())]);
    assert_eq!(registry.verify(&credentials("sync", &key), None, now()).unwrap_err(), NotVerified::WrongKey);
    // Even if its old key came back, it would not be the engine whose stream is open.
    tenant.engines.get_mut(&sync()).unwrap().keys = record.keys;
    adopt(&registry, &[installation, (home, tenant)]);
    assert!(registry.still(&caller, now()).is_none());
}

#[test]
fn no_registry_takes_a_key_from_the_configuration() {
    let (registry, configured, _) = registry();
    let mut documents = documents(&EngineKey::make(&SystemRandom));
    let [_, (home, tenant)] = &mut documents;
    let engine = NewEngine {
        display_name: String::new(),
        policy: get_only(&[acme()]),
        limits: Limits::default(),
        disabled: false,
    };
    let action = "action".parse().unwrap();
    tenant.create_engine(home, &action, engine, now()).unwrap();
    let verifier = configured.verifier(&pepper(), "action");
    let new = NewKey { id: verifier.key_id, verifier: verifier.verifier, life: DAY };
    tenant.create_key(&action, &new, now()).unwrap();
    adopt(&registry, &documents);
    let caller = registry.verify(&credentials("action", &configured), None, now()).unwrap();
    assert_eq!(caller.principal().home, None);
}

#[test]
fn a_tenant_without_a_record_is_served_by_who_names_it_and_not_by_who_acts_for_all() {
    let (registry, ..) = registry();
    adopt(&registry, &documents(&EngineKey::make(&SystemRandom)));
    let engine = |policy| Engine::configured(sync(), policy, Limits::default(), Vec::new());
    let (all, one) = (engine(Policy::allowing(Named::All, Named::All)), engine(get_only(&["globex".parse().unwrap()])));
    let globex = "globex".parse().unwrap();
    assert_eq!(registry.serves(&all, &globex), Err(NotPermitted::UnknownTenant));
    assert_eq!(registry.serves(&one, &globex), Ok(()));
    assert_eq!(registry.serves(&all, &acme()), Ok(()));
    assert_eq!(registry.serves(&all, &TenantId::default_tenant()), Ok(()));
}

#[test]
fn when_a_key_was_used_last_outlives_changes_and_is_told_once() {
    let (registry, ..) = registry();
    let key = EngineKey::make(&SystemRandom);
    adopt(&registry, &documents(&key));
    assert_eq!(registry.last_used(key.id()), None);
    registry.verify(&credentials("sync", &key), None, now()).unwrap();
    adopt(&registry, &documents(&key));
    assert_eq!(registry.last_used(key.id()), Some(now()));
    let used = registry.newly_used();
    assert_eq!(used[&acme()][key.id()], now());
    assert!(registry.newly_used().is_empty());
}
