//! The first engine that may administer others.

use std::sync::Arc;
use std::time::Duration;

use super::{Foundation, StartError};
use crate::access::EngineKey;
use crate::adapters::system::SystemRandom;
use crate::config::Config;
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::limits::Limits;
use crate::domain::method::Action;
use crate::domain::policy::{Named, Policy};
use crate::domain::registry::{Document, EngineChange, KeyState, NewEngine, NewKey, RegistryError};
use crate::domain::time::Timestamp;
use crate::envelope::Tickets;
use crate::lifecycle::Lifecycle;

const DAY: Duration = Duration::from_secs(86_400);

/// Makes the engine and its key. `again`: over what there is, whose keys end with it.
///
/// # Errors
///
/// When there is such an engine already, or store or keys cannot be used.
pub async fn init(
    config: &Config,
    lifecycle: &Lifecycle,
    engine: &EngineId,
    (again, days): (bool, u16),
) -> Result<(EngineKey, Timestamp), StartError> {
    if !config.registry.enabled {
        return Err(StartError::Registry(RegistryError::Off.into()));
    }
    if config.engines.iter().any(|configured| configured.id == *engine) {
        return Err(StartError::Registry(RegistryError::AlreadyExists("engine").into()));
    }
    let foundation = Foundation::lay(config, lifecycle).await?;
    let random = Arc::new(SystemRandom);
    let tickets = Tickets::new(config.environment.clone(), Arc::clone(&foundation.tenant_keys), random);
    let registrar = foundation.registrar(&config.environment, &Arc::new(tickets)).await?;
    let key = EngineKey::make(&SystemRandom);
    let verifier = key.verifier(&foundation.pepper().await?, engine.as_str());
    let new = NewKey { id: verifier.key_id, verifier: verifier.verifier, life: DAY * u32::from(days) };
    let made = registrar
        .change(&TenantId::system(), |document, now| {
            if !again && document.engines.values().any(|engine| engine.policy.grants(Action::AdminKeys)) {
                return Err(RegistryError::AlreadyExists("engine"));
            }
            make(document, engine, &new, now)
        })
        .await;
    match made {
        Ok(expires_at) => Ok((key, expires_at)),
        Err(VaultError::Registry(RegistryError::AlreadyExists(_))) => Err(StartError::Initialised),
        Err(error) => Err(StartError::Registry(error)),
    }
}

fn make(document: &mut Document, engine: &EngineId, key: &NewKey, now: Timestamp) -> Result<Timestamp, RegistryError> {
    let (system, default) = (TenantId::system(), TenantId::default_tenant());
    if !document.tenants.contains_key(&default) {
        document.create_tenant(&default, String::new(), now)?;
    }
    let policy = Policy::allowing(Named::All, Named::Only(Action::ADMIN.into_iter().collect()));
    if let Ok(found) = document.engine(engine) {
        let active: Vec<String> =
            found.keys.iter().filter(|key| key.state(now) == KeyState::Active).map(|key| key.id.clone()).collect();
        for id in active {
            document.revoke_key(engine, &id, now)?;
        }
        let change = EngineChange { policy: Some(policy), disabled: Some(false), ..EngineChange::default() };
        document.update_engine(&system, engine, None, &change)?;
    } else {
        let display_name = "administration".to_owned();
        let new = NewEngine { display_name, policy, limits: Limits::default(), disabled: false };
        document.create_engine(&system, engine, new, now)?;
    }
    document.create_key(engine, key, now).map(|key| key.expires_at)
}
