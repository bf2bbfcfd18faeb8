//! What may happen to a registry.

use std::time::Duration;

use super::*;
use crate::domain::method::Action;

const DAY: Duration = Duration::from_secs(86_400);

fn at(day: u32) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000) + DAY * day
}

fn home() -> TenantId {
    "acme".parse().unwrap()
}

fn engine() -> EngineId {
    "sync".parse().unwrap()
}

fn new_engine() -> NewEngine {
    let tenants = Named::Only(BTreeSet::from([home()]));
    NewEngine {
        display_name: "Sync".to_owned(),
        policy: Policy::allowing(tenants, Named::Only(BTreeSet::from([Action::Get]))),
        limits: Limits::default(),
        disabled: false,
    }
}

fn with_an_engine() -> Document {
    let mut document = Document::default();
    document.create_engine(&home(), &engine(), new_engine(), at(0)).unwrap();
    document
}

fn key(id: &str) -> NewKey {
    NewKey { id: id.to_owned(), verifier: [7; 32], life: DAY * 90 }
}

fn states(document: &Document, now: Timestamp) -> Vec<(&str, KeyState)> {
    let keys = &document.engine(&engine()).unwrap().keys;
    keys.iter().map(|key| (key.id.as_str(), key.state(now))).collect()
}

#[test]
fn an_engine_that_is_made_again_is_another_and_has_no_keys() {
    let mut document = with_an_engine();
    document.create_key(&engine(), &key("A"), at(0)).unwrap();
    assert_eq!(
        document.create_engine(&home(), &engine(), new_engine(), at(0)),
        Err(RegistryError::AlreadyExists("engine"))
    );
    document.delete_engine(&engine(), None).unwrap();
    assert_eq!(document.delete_engine(&engine(), None), Err(RegistryError::NotFound("engine")));
    let again = document.create_engine(&home(), &engine(), new_engine(), at(1)).unwrap();
    assert_eq!((again.incarnation, again.keys.len()), (2, 0));
}

#[test]
fn at_most_two_keys_are_valid_and_the_old_one_ends_when_the_overlap_does() {
    let mut document = with_an_engine();
    document.create_key(&engine(), &key("A"), at(0)).unwrap();
    let (new, old) = document.rotate_key(&engine(), "A", &key("B"), (at(10), DAY)).unwrap();
    assert_eq!((new.expires_at, old.expires_at, old.replaced_by.as_deref()), (at(100), at(11), Some("B")));
    let refused = document.rotate_key(&engine(), "B", &key("C"), (at(10), DAY)).unwrap_err();
    assert_eq!(refused, RegistryError::TooManyKeys);
    assert_eq!(document.create_key(&engine(), &key("C"), at(10)).unwrap_err(), RegistryError::TooManyKeys);
    assert_eq!(states(&document, at(11)), [("A", KeyState::Expired), ("B", KeyState::Active)]);
    document.rotate_key(&engine(), "B", &key("C"), (at(11), DAY * 7)).unwrap();
    let ended = document.rotate_key(&engine(), "A", &key("D"), (at(11), DAY)).unwrap_err();
    assert_eq!(ended, RegistryError::KeyEnded);
}

#[test]
fn no_overlap_makes_a_key_last_longer_than_it_would_have() {
    let mut document = with_an_engine();
    document.create_key(&engine(), &key("A"), at(0)).unwrap();
    let (_, old) = document.rotate_key(&engine(), "A", &key("B"), (at(89), DAY * 7)).unwrap();
    assert_eq!(old.expires_at, at(90));
}

#[test]
fn a_revoked_key_stays_revoked_and_is_remembered() {
    let mut document = with_an_engine();
    document.create_key(&engine(), &key("A"), at(0)).unwrap();
    let revoked = document.revoke_key(&engine(), "A", at(1)).unwrap();
    assert_eq!(document.revoke_key(&engine(), "A", at(2)).unwrap().revoked_at, revoked.revoked_at);
    for number in 0..40 {
        let id = format!("K{number}");
        document.create_key(&engine(), &key(&id), at(3)).unwrap();
        document.revoke_key(&engine(), &id, at(3)).unwrap();
    }
    assert_eq!(document.engine(&engine()).unwrap().keys.len(), MAX_KEYS);
}

#[test]
fn what_was_changed_since_is_not_changed_over() {
    let mut document = with_an_engine();
    let seen = document.engine(&engine()).unwrap().etag();
    let disable = EngineChange { disabled: Some(true), ..EngineChange::default() };
    let changed = document.update_engine(&home(), &engine(), Some(&seen), &disable).unwrap();
    assert!(changed.disabled && changed.display_name == "Sync" && changed.etag() != seen);
    let late = document.update_engine(&home(), &engine(), Some(&seen), &disable).unwrap_err();
    assert_eq!(late, RegistryError::Changed);
    assert_eq!(document.delete_engine(&engine(), Some(&seen)), Err(RegistryError::Changed));
    let tenant = document.create_tenant(&home(), "Acme".to_owned(), at(0)).unwrap();
    let disable = TenantChange { disabled: Some(true), ..TenantChange::default() };
    document.update_tenant(&home(), Some(&tenant.etag()), &disable, at(1)).unwrap();
    let late = document.update_tenant(&home(), Some(&tenant.etag()), &disable, at(2)).unwrap_err();
    assert_eq!(late, RegistryError::Changed);
}

#[test]
fn an_engine_of_a_tenant_acts_for_nobody_else() {
    let mut document = with_an_engine();
    let wide = || Policy::allowing(Named::All, Named::All);
    let foreign = NewEngine { policy: wide(), ..new_engine() };
    let other: EngineId = "other".parse().unwrap();
    assert_eq!(document.create_engine(&home(), &other, foreign.clone(), at(0)), Err(RegistryError::ForeignTenants));
    let change = EngineChange { policy: Some(wide()), ..EngineChange::default() };
    assert_eq!(document.update_engine(&home(), &engine(), None, &change), Err(RegistryError::ForeignTenants));
    document.create_engine(&TenantId::system(), &other, foreign, at(0)).unwrap();
}
