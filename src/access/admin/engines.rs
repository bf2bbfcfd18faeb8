//! Engines.

use super::{Administration, Command, PageQuery, covers};
use crate::access::caller::Caller;
use crate::access::refusal::Refusal;
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::method::Method;
use crate::domain::registry::{EngineChange, EngineRecord, NewEngine, RegistryError};
use crate::domain::time::Timestamp;

/// Makes an engine.
#[derive(Debug)]
pub struct CreateEngine {
    /// In whose registry.
    pub tenant: TenantId,
    /// Its id.
    pub id: EngineId,
    /// What it is to be.
    pub engine: NewEngine,
}

/// Tells about an engine.
#[derive(Debug)]
pub struct GetEngine {
    /// In whose registry.
    pub tenant: TenantId,
    /// Which.
    pub id: EngineId,
}

/// Lists the engines of a tenant.
#[derive(Debug)]
pub struct ListEngines {
    /// In whose registry.
    pub tenant: TenantId,
    /// The page.
    pub page: PageQuery,
}

/// Changes an engine.
#[derive(Debug)]
pub struct UpdateEngine {
    /// In whose registry.
    pub tenant: TenantId,
    /// Which.
    pub id: EngineId,
    /// What the caller has seen; `None`: it does not matter.
    pub etag: Option<String>,
    /// What is to be different.
    pub change: EngineChange,
}

/// Removes an engine.
#[derive(Debug)]
pub struct DeleteEngine {
    /// In whose registry.
    pub tenant: TenantId,
    /// Which.
    pub id: EngineId,
    /// What the caller has seen; `None`: it does not matter.
    pub etag: Option<String>,
}

/// An engine.
#[derive(Debug)]
pub struct EngineAnswer {
    /// In whose registry it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: EngineId,
    /// The rest.
    pub record: EngineRecord,
    /// As of when.
    pub at: Timestamp,
}

/// A page of engines.
#[derive(Debug)]
pub struct ListedEngines {
    /// The engines.
    pub engines: Vec<EngineAnswer>,
    /// Where the next page begins; empty: nowhere.
    pub next_page_token: String,
}

const LIST: &str = "engines";

impl Command for CreateEngine {
    const METHOD: Method = Method::CreateEngine;
    type Answer = EngineAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<EngineAnswer, Refusal> {
        let Self { tenant, id, engine } = self;
        covers(caller, &engine.policy).map_err(VaultError::from)?;
        if administration.registry.is_configured(&id) {
            // Two of a name in one trail: nobody could tell who did what.
            return Err(VaultError::from(RegistryError::AlreadyExists("engine")).into());
        }
        let system = TenantId::system();
        if tenant != system && !administration.installation().await?.tenants.contains_key(&tenant) {
            return Err(VaultError::from(RegistryError::NotFound("tenant")).into());
        }
        let create =
            administration.change(&tenant, |document, now| document.create_engine(&tenant, &id, engine.clone(), now));
        let record = create.await?;
        Ok(EngineAnswer { tenant, id, record, at: administration.clock.now() })
    }
}

impl Command for GetEngine {
    const METHOD: Method = Method::GetEngine;
    type Answer = EngineAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<EngineAnswer, Refusal> {
        let Self { tenant, id } = self;
        let document = administration.registrar()?.read(&tenant).await?;
        let record = document.engine(&id).map_err(VaultError::from)?.clone();
        Ok(EngineAnswer { tenant, id, record, at: administration.clock.now() })
    }
}

impl Command for ListEngines {
    const METHOD: Method = Method::ListEngines;
    type Answer = ListedEngines;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        None
    }

    fn items(answer: &ListedEngines) -> Option<u64> {
        u64::try_from(answer.engines.len()).ok()
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<ListedEngines, Refusal> {
        let document = administration.registrar()?.read(&self.tenant).await?;
        let names = document.engines.keys().map(EngineId::to_string).collect();
        let (page, next_page_token) = administration.page((&self.tenant, LIST), names, &self.page).await?;
        let at = administration.clock.now();
        let engine = |name: String| {
            let id: EngineId = name.parse().ok()?;
            let record = document.engines.get(&id)?.clone();
            Some(EngineAnswer { tenant: self.tenant.clone(), id, record, at })
        };
        Ok(ListedEngines { engines: page.into_iter().filter_map(engine).collect(), next_page_token })
    }
}

impl Command for UpdateEngine {
    const METHOD: Method = Method::UpdateEngine;
    type Answer = EngineAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<EngineAnswer, Refusal> {
        let Self { tenant, id, etag, change } = self;
        let update = administration.change(&tenant, |document, _| {
            covers(caller, &document.engine(&id)?.policy)?;
            change.policy.as_ref().map_or(Ok(()), |policy| covers(caller, policy))?;
            document.update_engine(&tenant, &id, etag.as_deref(), &change)
        });
        let record = update.await?;
        Ok(EngineAnswer { tenant, id, record, at: administration.clock.now() })
    }
}

impl Command for DeleteEngine {
    const METHOD: Method = Method::DeleteEngine;
    type Answer = ();

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<(), Refusal> {
        let Self { tenant, id, etag } = self;
        let delete = administration.change(&tenant, |document, _| {
            covers(caller, &document.engine(&id)?.policy)?;
            document.delete_engine(&id, etag.as_deref())
        });
        delete.await
    }
}
