//! Keys. Each is shown once, in the answer to whoever had it made.

use std::time::Duration;

use secrecy::SecretString;

use super::{Administration, Command, covers};
use crate::access::caller::Caller;
use crate::access::engine_key::EngineKey;
use crate::access::refusal::Refusal;
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::method::Method;
use crate::domain::registry::{KeyRecord, NewKey};
use crate::domain::time::Timestamp;

/// Makes a key.
#[derive(Debug)]
pub struct CreateKey {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
    /// How long the key is valid.
    pub life: Duration,
}

/// Lists the keys of an engine.
#[derive(Debug)]
pub struct ListKeys {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
}

/// Replaces a key.
#[derive(Debug)]
pub struct RotateKey {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
    /// The key.
    pub key: String,
    /// How long it stays valid.
    pub overlap: Duration,
    /// How long the new one is valid.
    pub life: Duration,
}

/// Ends a key.
#[derive(Debug)]
pub struct RevokeKey {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
    /// The key.
    pub key: String,
}

/// A key, without its secret.
#[derive(Debug)]
pub struct KeyAnswer {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
    /// The key.
    pub key: ListedKey,
}

/// What is told of a key.
#[derive(Debug)]
pub struct ListedKey {
    /// What is stored.
    pub record: KeyRecord,
    /// When it was used last; `None`: never, as far as anybody knows.
    pub last_used: Option<Timestamp>,
    /// As of when.
    pub at: Timestamp,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKeyAnswer {
    /// What may be shown of it.
    pub answer: KeyAnswer,
    /// The key itself.
    pub secret: SecretString,
}

/// A key that was just made in the place of another.
#[derive(Debug)]
pub struct RotatedKeyAnswer {
    /// The new one.
    pub new: NewKeyAnswer,
    /// The old one.
    pub replaced: ListedKey,
}

// === impl Administration ===

impl Administration {
    fn mint(&self, engine: &EngineId, life: Duration) -> (NewKey, SecretString) {
        let key = EngineKey::make(&*self.random);
        let verifier = key.verifier(self.registry.pepper(), engine.as_str());
        (NewKey { id: verifier.key_id, verifier: verifier.verifier, life }, key.expose().into())
    }

    fn unused(&self, record: KeyRecord) -> ListedKey {
        ListedKey { record, last_used: None, at: self.clock.now() }
    }
}

impl Command for CreateKey {
    const METHOD: Method = Method::CreateKey;
    type Answer = NewKeyAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.engine.to_string())
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<NewKeyAnswer, Refusal> {
        let Self { tenant, engine, life } = self;
        let (new, secret) = administration.mint(&engine, life);
        let create = administration.change(&tenant, |document, now| {
            covers(caller, &document.engine(&engine)?.policy)?;
            document.create_key(&engine, &new, now)
        });
        let key = administration.unused(create.await?);
        Ok(NewKeyAnswer { answer: KeyAnswer { tenant, engine, key }, secret })
    }
}

impl Command for ListKeys {
    const METHOD: Method = Method::ListKeys;
    type Answer = Vec<KeyAnswer>;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.engine.to_string())
    }

    fn items(answer: &Vec<KeyAnswer>) -> Option<u64> {
        u64::try_from(answer.len()).ok()
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<Vec<KeyAnswer>, Refusal> {
        let registrar = administration.registrar()?;
        let (document, usage) = (registrar.read(&self.tenant).await?, registrar.usage(&self.tenant).await?);
        let at = administration.clock.now();
        let engine = document.engine(&self.engine).map_err(VaultError::from)?;
        let key = |record: &KeyRecord| {
            let here = administration.registry.last_used(&record.id);
            let last_used = usage.0.get(&record.id).copied().max(here);
            let key = ListedKey { record: record.clone(), last_used, at };
            KeyAnswer { tenant: self.tenant.clone(), engine: self.engine.clone(), key }
        };
        Ok(engine.keys.iter().map(key).collect())
    }
}

impl Command for RotateKey {
    const METHOD: Method = Method::RotateKey;
    type Answer = RotatedKeyAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(format!("{}/{}", self.engine, self.key))
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<RotatedKeyAnswer, Refusal> {
        let Self { tenant, engine, key, overlap, life } = self;
        let (new, secret) = administration.mint(&engine, life);
        let rotate = administration.change(&tenant, |document, now| {
            covers(caller, &document.engine(&engine)?.policy)?;
            document.rotate_key(&engine, &key, &new, (now, overlap))
        });
        let (added, replaced) = rotate.await?;
        let (key, replaced) = (administration.unused(added), administration.unused(replaced));
        let new = NewKeyAnswer { answer: KeyAnswer { tenant, engine, key }, secret };
        Ok(RotatedKeyAnswer { new, replaced })
    }
}

impl Command for RevokeKey {
    const METHOD: Method = Method::RevokeKey;
    type Answer = KeyAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(format!("{}/{}", self.engine, self.key))
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<KeyAnswer, Refusal> {
        let Self { tenant, engine, key } = self;
        let revoke = administration.change(&tenant, |document, now| {
            covers(caller, &document.engine(&engine)?.policy)?;
            document.revoke_key(&engine, &key, now)
        });
        let key = administration.unused(revoke.await?);
        Ok(KeyAnswer { tenant, engine, key })
    }
}
