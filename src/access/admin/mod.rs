//! Administration: who may call and what they may do, changed by callers who may do that.
//!
//! Each command is a call like any other: it goes through the guard, and its line is written before its answer leaves.
//! What is changed is a transition of the domain, and where it is kept is the use case's business; here stands who may
//! give what to whom.

mod access;
mod engines;
mod keys;
mod tenants;

use std::marker::PhantomData;
use std::sync::Arc;

pub use self::access::{AccessAnswer, CheckAccess};
pub use self::engines::{
    CreateEngine, DeleteEngine, EngineAnswer, GetEngine, ListEngines, ListedEngines, UpdateEngine,
};
pub use self::keys::{CreateKey, KeyAnswer, ListKeys, ListedKey, NewKeyAnswer, RevokeKey, RotateKey, RotatedKeyAnswer};
pub use self::tenants::{CreateTenant, GetTenant, ListTenants, ListedTenants, TenantAnswer, UpdateTenant};
use super::caller::Caller;
use super::doors::Door;
use super::refusal::{NotPermitted, Refusal};
use super::registry::Registry;
use crate::domain::audit::Subject;
use crate::domain::error::{Fault, InvalidArgument, VaultError};
use crate::domain::id::TenantId;
use crate::domain::method::{Action, Method};
use crate::domain::policy::{Named, Permits, Policy};
use crate::domain::ports::{Clock, Random};
use crate::domain::registry::{Document, RegistryError};
use crate::domain::time::Timestamp;
use crate::service::Registrar;

/// What administers the registries.
pub struct Administration {
    /// Where they are kept; `None`: nowhere, and only engines of the configuration may call.
    pub registrar: Option<Arc<Registrar>>,
    /// Where they are in force.
    pub registry: Arc<Registry>,
    /// When keys are made and end.
    pub clock: Arc<dyn Clock>,
    /// What keys are made of.
    pub random: Arc<dyn Random>,
}

/// A page of a list: how long, and where it begins.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// The most entries.
    pub size: usize,
    /// Where the page before ended; empty: there was none.
    pub token: String,
}

/// Something that can be asked of the administration.
pub trait Command: Send + Sync {
    /// What it is called as.
    const METHOD: Method;
    /// What it answers.
    type Answer: Send + Sync;

    /// The tenant whose registry it is about.
    fn tenant(&self) -> &TenantId;

    /// The engine or key it is about.
    fn target(&self) -> Option<String>;

    /// Whether the caller may ask this at all.
    fn is_permitted(&self, permits: &Permits) -> bool {
        permits.anything()
    }

    /// How many things an answer tells of.
    #[must_use]
    fn items(_: &Self::Answer) -> Option<u64> {
        None
    }

    /// Does it.
    fn run(
        self,
        administration: &Administration,
        caller: &Caller,
    ) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// The way to a command for one caller.
pub(super) struct AdminDoor<'a, C> {
    administration: &'a Administration,
    caller: Caller,
    command: PhantomData<fn(C)>,
}

// === impl Administration ===

impl Administration {
    fn registrar(&self) -> Result<&Registrar, Refusal> {
        Ok(self.registrar.as_deref().ok_or(RegistryError::Off).map_err(VaultError::from)?)
    }

    /// Changes a registry, and puts it in force here before anybody is told that it is changed.
    async fn change<T>(
        &self,
        tenant: &TenantId,
        change: impl FnMut(&mut Document, Timestamp) -> Result<T, RegistryError> + Send,
    ) -> Result<T, Refusal> {
        let registrar = self.registrar()?;
        let changed = registrar.change(tenant, change).await;
        self.registry.adopt(|| registrar.documents());
        Ok(changed?)
    }

    async fn page(
        &self,
        list: (&TenantId, &'static str),
        names: Vec<String>,
        page: &PageQuery,
    ) -> Result<(Vec<String>, String), Refusal> {
        let cut = self.registrar()?.page(list, names, (page.size, &page.token)).await?;
        Ok(cut.ok_or(InvalidArgument { field: "page_token", fault: Fault::NotOurs })?)
    }

    /// The registry of the installation, with its tenants.
    async fn installation(&self) -> Result<Arc<Document>, Refusal> {
        Ok(self.registrar()?.read(&TenantId::system()).await?)
    }
}

/// Whether somebody has all the administration that a policy gives: whoever has not, gives it to nobody, and takes it
/// over from nobody by making a key.
fn covers(caller: &Caller, policy: &Policy) -> Result<(), RegistryError> {
    let has = |action: Action| match policy.tenants() {
        Named::All => *caller.policy().tenants() == Named::All && caller.may(action),
        Named::Only(tenants) => tenants.iter().all(|tenant| caller.permits(action, tenant).anything()),
    };
    let given = Action::ADMIN.into_iter().filter(|action| policy.grants(*action));
    if given.into_iter().all(has) { Ok(()) } else { Err(RegistryError::BeyondOwn) }
}

// === impl AdminDoor ===

impl<'a, C> AdminDoor<'a, C> {
    pub(super) fn of(administration: &'a Administration, caller: Caller) -> Self {
        Self { administration, caller, command: PhantomData }
    }
}

impl<C: Command> Door for AdminDoor<'_, C> {
    const METHOD: Method = C::METHOD;
    type Query = C;
    type Answer = C::Answer;

    fn subject(query: &C) -> Subject {
        Subject { tenant: Some(query.tenant().clone()), target: query.target().map(Into::into), ..Subject::default() }
    }

    fn tenant(query: &C) -> &TenantId {
        query.tenant()
    }

    fn is_permitted(query: &C, permits: &Permits) -> bool {
        query.is_permitted(permits)
    }

    async fn run(&self, query: C, _: &Permits) -> Result<C::Answer, Refusal> {
        match query.run(self.administration, &self.caller).await {
            Err(Refusal::Failed(VaultError::Registry(RegistryError::BeyondOwn))) => {
                Err(Refusal::NotPermitted(NotPermitted::BeyondOwn))
            }
            answer => answer,
        }
    }

    fn version(_: &C::Answer) -> Option<u64> {
        None
    }

    fn items(answer: &C::Answer) -> Option<u64> {
        C::items(answer)
    }
}
