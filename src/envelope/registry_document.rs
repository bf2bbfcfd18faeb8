//! What is inside a registry, in bytes and back. What no vault writes is no registry.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use crate::domain::id::TenantId;
use crate::domain::limits::{Limits, Rate};
use crate::domain::policy::{Effect, Named, Policy, Rule};
use crate::domain::registry::{Document, EngineRecord, KeyRecord, KeyUsage, TenantRecord};
use crate::domain::time::Timestamp;
use crate::pb::store_v1 as pb;

pub(super) fn encode(document: &Document) -> pb::Registry {
    let engines = document.engines.iter().map(|(id, engine)| pb::RegistryEngine {
        id: id.to_string(),
        incarnation: engine.incarnation,
        display_name: engine.display_name.clone(),
        created_at: engine.created_at.unix_millis(),
        disabled: engine.disabled,
        tenants: Some(set(engine.policy.tenants(), TenantId::to_string)),
        rules: engine.policy.rules().iter().map(rule).collect(),
        rate_per_second: engine.limits.rate.map_or(0, Rate::per_second),
        rate_burst: engine.limits.rate.map_or(0, Rate::burst),
        max_distinct_users_per_hour: engine.limits.max_distinct_users_per_hour.unwrap_or(0),
        spiffe_ids: engine.spiffe_ids.iter().map(ToString::to_string).collect(),
        keys: engine.keys.iter().map(key).collect(),
        revision: engine.revision,
    });
    let tenants = document.tenants.iter().map(|(id, tenant)| pb::RegistryTenant {
        id: id.to_string(),
        display_name: tenant.display_name.clone(),
        created_at: tenant.created_at.unix_millis(),
        disabled_at: tenant.disabled_at.map_or(0, Timestamp::unix_millis),
        revision: tenant.revision,
        document: tenant.document,
    });
    pb::Registry { incarnations: document.incarnations, engines: engines.collect(), tenants: tenants.collect() }
}

pub(super) fn decode(document: pb::Registry) -> Option<Document> {
    let tenants = document.tenants.into_iter().map(|tenant| {
        let record = TenantRecord {
            display_name: tenant.display_name,
            created_at: Timestamp::from_unix_millis(tenant.created_at),
            disabled_at: time(tenant.disabled_at),
            revision: tenant.revision,
            document: tenant.document,
        };
        Some((tenant.id.parse().ok()?, record))
    });
    let engines = document.engines.into_iter().map(|engine| Some((engine.id.parse().ok()?, engine_of(engine)?)));
    Some(Document {
        incarnations: document.incarnations,
        engines: engines.collect::<Option<_>>()?,
        tenants: tenants.collect::<Option<_>>()?,
    })
}

pub(super) fn usage(usage: pb::KeyUsage) -> KeyUsage {
    let at = |(key, seconds)| (key, Timestamp::from_unix_seconds(seconds));
    KeyUsage(usage.last_used.into_iter().map(at).collect())
}

fn engine_of(engine: pb::RegistryEngine) -> Option<EngineRecord> {
    let rules = engine.rules.into_iter().map(rule_of).collect::<Option<Vec<_>>>()?;
    // A system tenant is nobody's to act for, so its name is in no set.
    let policy = Policy::new(set_of(engine.tenants.as_ref()?)?, rules).ok()?;
    let users = engine.max_distinct_users_per_hour;
    Some(EngineRecord {
        incarnation: engine.incarnation,
        display_name: engine.display_name,
        created_at: Timestamp::from_unix_millis(engine.created_at),
        disabled: engine.disabled,
        policy: Arc::new(policy),
        limits: Limits {
            rate: Rate::new(engine.rate_per_second, engine.rate_burst),
            max_distinct_users_per_hour: (users > 0).then_some(users),
        },
        spiffe_ids: engine.spiffe_ids.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?,
        keys: engine.keys.into_iter().map(key_of).collect::<Option<_>>()?,
        revision: engine.revision,
    })
}

fn rule(rule: &Rule) -> pb::RegistryRule {
    pb::RegistryRule {
        deny: rule.effect == Effect::Deny,
        actions: Some(set(&rule.actions, |action| action.as_str().to_owned())),
        platforms: Some(set(&rule.platforms, ToString::to_string)),
        users: Some(set(&rule.users, ToString::to_string)),
        bounded: rule.scopes_at_most.is_some(),
        scopes_at_most: rule.scopes_at_most.iter().flatten().cloned().collect(),
    }
}

fn rule_of(rule: pb::RegistryRule) -> Option<Rule> {
    Some(Rule {
        effect: if rule.deny { Effect::Deny } else { Effect::Allow },
        actions: set_of(rule.actions.as_ref()?)?,
        platforms: set_of(rule.platforms.as_ref()?)?,
        users: set_of(rule.users.as_ref()?)?,
        scopes_at_most: rule.bounded.then(|| rule.scopes_at_most.into_iter().collect()),
    })
}

fn set<T>(named: &Named<T>, name: impl Fn(&T) -> String) -> pb::NameSet {
    match named {
        Named::All => pb::NameSet { all: true, names: Vec::new() },
        Named::Only(these) => pb::NameSet { all: false, names: these.iter().map(name).collect() },
    }
}

fn set_of<T: Ord + FromStr>(set: &pb::NameSet) -> Option<Named<T>> {
    if set.all {
        return Some(Named::All);
    }
    set.names.iter().map(|name| name.parse().ok()).collect::<Option<BTreeSet<T>>>().map(Named::Only)
}

fn key(key: &KeyRecord) -> pb::RegistryKey {
    pb::RegistryKey {
        id: key.id.clone(),
        verifier: key.verifier.to_vec(),
        created_at: key.created_at.unix_millis(),
        expires_at: key.expires_at.unix_millis(),
        revoked_at: key.revoked_at.map_or(0, Timestamp::unix_millis),
        replaced_by: key.replaced_by.clone().unwrap_or_default(),
    }
}

fn key_of(key: pb::RegistryKey) -> Option<KeyRecord> {
    Some(KeyRecord {
        id: key.id,
        verifier: key.verifier.try_into().ok()?,
        created_at: Timestamp::from_unix_millis(key.created_at),
        expires_at: Timestamp::from_unix_millis(key.expires_at),
        revoked_at: time(key.revoked_at),
        replaced_by: Some(key.replaced_by).filter(|id| !id.is_empty()),
    })
}

fn time(millis: i64) -> Option<Timestamp> {
    (millis > 0).then(|| Timestamp::from_unix_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::method::Action;
    use prost::Message as _;

    fn document() -> Document {
        let rule = Rule {
            effect: Effect::Allow,
            actions: Named::Only(BTreeSet::from([Action::Get, Action::AdminKeys])),
            platforms: Named::Only(BTreeSet::from(["gmail".parse().unwrap()])),
            users: Named::Only(BTreeSet::new()),
            scopes_at_most: Some(BTreeSet::new()),
        };
        let deny = Rule { effect: Effect::Deny, ..Rule::allowing(Named::All) };
        let key = KeyRecord {
            id: "4J7QX2M9ZK3T".to_owned(),
            verifier: [9; 32],
            created_at: Timestamp::from_unix_millis(1),
            expires_at: Timestamp::from_unix_millis(2),
            revoked_at: Some(Timestamp::from_unix_millis(3)),
            replaced_by: Some("4J7QX2M9ZK3V".to_owned()),
        };
        let engine = EngineRecord {
            incarnation: 7,
            display_name: "Sync".to_owned(),
            created_at: Timestamp::from_unix_millis(4),
            disabled: true,
            policy: Arc::new(Policy::new(Named::All, vec![rule, deny]).unwrap()),
            limits: Limits { rate: Rate::new(5, 6), max_distinct_users_per_hour: Some(8) },
            spiffe_ids: BTreeSet::from(["spiffe://prod.example/sync".parse().unwrap()]),
            keys: vec![KeyRecord { revoked_at: None, replaced_by: None, ..key.clone() }, key],
            revision: 9,
        };
        let tenant = TenantRecord {
            display_name: "Acme".to_owned(),
            created_at: Timestamp::from_unix_millis(5),
            disabled_at: Some(Timestamp::from_unix_millis(6)),
            revision: 7,
            document: 8,
        };
        Document {
            incarnations: 7,
            engines: [("sync".parse().unwrap(), engine)].into(),
            tenants: [("acme".parse().unwrap(), tenant)].into(),
        }
    }

    #[test]
    fn a_registry_is_what_its_bytes_say() {
        let bytes = encode(&document()).encode_to_vec();
        assert_eq!(decode(pb::Registry::decode(bytes.as_slice()).unwrap()), Some(document()));
    }

    /// Written by the first version that had registries. It must open for ever.
    const FIRST: &str = concat!(
        "080712e8010a0473796e6310071a0453796e6320042801320208013a2012111203676574120a61646d696e5f6b6579731a07",
        "1205676d61696c220028013a0e0801120208011a020801220208014005480650085a1a7370696666653a2f2f70726f642e65",
        "78616d706c652f73796e6362340a0c344a375158324d395a4b33541220090909090909090909090909090909090909090909",
        "09090909090909090909091801200262440a0c344a375158324d395a4b335412200909090909090909090909090909090909",
        "090909090909090909090909090909180120022803320c344a375158324d395a4b335668091a140a0461636d65120441636d",
        "651805200628073008",
    );

    #[test]
    fn a_registry_of_the_first_version_is_read_as_it_was_written() {
        let pairs = FIRST.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let written = encode(&document()).encode_to_vec();
        assert_eq!(decode(pb::Registry::decode(bytes.as_slice()).unwrap()), Some(document()), "{written:02x?}");
    }

    #[test]
    fn what_no_vault_writes_is_no_registry() {
        let spoilt: [fn(&mut pb::RegistryEngine); 5] = [
            |engine| "A B".clone_into(&mut engine.id),
            |engine| engine.tenants = None,
            |engine| engine.rules[0].actions = None,
            |engine| engine.rules[0].platforms.as_mut().unwrap().names.push("*".to_owned()),
            |engine| engine.keys[0].verifier.truncate(31),
        ];
        for spoil in spoilt {
            let mut whole = encode(&document());
            spoil(&mut whole.engines[0]);
            assert_eq!(decode(whole), None);
        }
    }
}
