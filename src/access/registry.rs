//! The engines that may call, and the verification of what they present.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::caller::{Caller, Credentials};
use super::engine::Engine;
use super::engine_key::{EngineKey, KeyVerifier, Pepper, engine_text};
use crate::domain::id::EngineId;
use crate::domain::method::Action;

/// All engines that may call.
pub struct Registry {
    pepper: Pepper,
    engines: HashMap<EngineId, Arc<Engine>>,
    /// What an unknown engine is compared with.
    nobody: KeyVerifier,
    /// What a malformed key is replaced with, so that refusing it takes as long.
    stand_in: EngineKey,
}

/// Why credentials were refused: for the audit trail, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotVerified {
    MalformedEngine,
    MalformedKey,
    UnknownEngine,
    WrongKey,
}

// === impl Registry ===

impl Registry {
    /// A registry of these engines. `stand_in` is any key that is nobody's.
    #[must_use]
    pub fn new(pepper: Pepper, engines: impl IntoIterator<Item = Engine>, stand_in: EngineKey) -> Self {
        let engines = engines.into_iter().map(|engine| (engine.id.clone(), Arc::new(engine))).collect();
        Self { pepper, engines, nobody: KeyVerifier::nobody(), stand_in }
    }

    /// Finds out who presents these credentials. Takes the same steps whatever is wrong with them, so that time does
    /// not tell which engines exist.
    pub(super) fn verify(&self, credentials: &Credentials) -> Result<Caller, NotVerified> {
        let engine_id = credentials.engine.parse::<EngineId>().ok();
        let parsed = credentials.key.expose_secret().parse::<EngineKey>().ok();
        let engine = engine_id.as_ref().and_then(|id| self.engines.get(id));
        let key = parsed.as_ref().unwrap_or(&self.stand_in);
        let text = engine_text(engine_id.as_ref());
        let keys = engine.map_or_else(Default::default, |engine| engine.keys.as_slice());
        let (first, rest) = keys.split_first().unwrap_or((&self.nobody, &[]));
        let mut matched = self.pepper.matches(key, text, first);
        for stored in rest {
            matched |= self.pepper.matches(key, text, stored);
        }
        match (engine, &parsed) {
            (Some(engine), Some(key)) if bool::from(matched) => {
                Ok(Caller::verified(Arc::clone(engine), key.id().to_owned()))
            }
            (Some(_), Some(_)) => Err(NotVerified::WrongKey),
            (_, None) => Err(NotVerified::MalformedKey),
            (None, Some(_)) if engine_id.is_none() => Err(NotVerified::MalformedEngine),
            (None, Some(_)) => Err(NotVerified::UnknownEngine),
        }
    }

    /// Whether somebody who was let in before would be let in for this now: with the same key, which may have been
    /// taken away.
    pub(super) fn still_lets(&self, caller: &Caller, action: Action) -> bool {
        self.engines.get(caller.engine()).is_some_and(|engine| {
            engine.actions.contains(&action) && engine.keys.iter().any(|key| key.key_id == caller.key_id())
        })
    }
}

// === impl NotVerified ===

impl NotVerified {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::MalformedEngine => "malformed_engine_id",
            Self::MalformedKey => "malformed_key",
            Self::UnknownEngine => "unknown_engine",
            Self::WrongKey => "wrong_key",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::adapters::system::SystemRandom;
    use crate::domain::id::TenantId;
    use zeroize::Zeroizing;

    fn registry() -> (Registry, EngineKey, EngineKey) {
        let pepper = Pepper::new(Zeroizing::new([1; 32]));
        let (old, new) = (EngineKey::make(&SystemRandom), EngineKey::make(&SystemRandom));
        let engine = |id: &str, keys: Vec<KeyVerifier>| Engine {
            id: id.parse().unwrap(),
            actions: BTreeSet::from([Action::Get]),
            tenants: vec![TenantId::default_tenant()],
            keys,
        };
        let keys = vec![old.verifier(&pepper, "action"), new.verifier(&pepper, "action")];
        let engines = [engine("action", keys), engine("keyless", vec![])];
        (Registry::new(pepper, engines, EngineKey::make(&SystemRandom)), old, new)
    }

    #[test]
    fn each_of_an_engine_s_keys_opens_the_door() {
        let (registry, old, new) = registry();
        for key in [old, new] {
            let caller = registry.verify(&Credentials::new("action".into(), key.expose())).unwrap();
            assert_eq!((caller.engine().as_str(), caller.key_id()), ("action", key.id()));
        }
    }

    #[test]
    fn whoever_was_let_in_is_let_in_still_until_the_key_is_taken_away() {
        let (mut registry, old, _) = registry();
        let caller = registry.verify(&Credentials::new("action".into(), old.expose())).unwrap();
        assert!(registry.still_lets(&caller, Action::Get));
        assert!(!registry.still_lets(&caller, Action::Watch));
        let engine = registry.engines.get_mut(caller.engine()).unwrap();
        let keys = engine.keys.iter().filter(|key| key.key_id != old.id()).cloned().collect();
        let (id, actions, tenants) = (engine.id.clone(), engine.actions.clone(), engine.tenants.clone());
        *engine = Arc::new(Engine { id, actions, tenants, keys });
        assert!(!registry.still_lets(&caller, Action::Get));
    }

    #[test]
    fn whatever_is_wrong_the_audit_knows_why() {
        let (registry, key, _) = registry();
        let refused = |engine: &str, key: String| registry.verify(&Credentials::new(engine.into(), key)).unwrap_err();
        assert_eq!(refused("sync", key.expose()), NotVerified::UnknownEngine);
        assert_eq!(refused("keyless", key.expose()), NotVerified::WrongKey);
        assert_eq!(refused("action", EngineKey::make(&SystemRandom).expose()), NotVerified::WrongKey);
        assert_eq!(refused("action", "x".into()), NotVerified::MalformedKey);
        assert_eq!(refused("Action", key.expose()), NotVerified::MalformedEngine);
    }
}
