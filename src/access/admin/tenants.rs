//! Tenants.

use super::{Administration, Command, PageQuery};
use crate::access::caller::Caller;
use crate::access::refusal::Refusal;
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::method::{Action, Method};
use crate::domain::policy::Permits;
use crate::domain::registry::{RegistryError, TenantChange, TenantRecord};

/// Makes a tenant.
#[derive(Debug)]
pub struct CreateTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub display_name: String,
}

/// Tells about a tenant.
#[derive(Debug)]
pub struct GetTenant {
    /// Which.
    pub id: TenantId,
}

/// Lists tenants.
#[derive(Debug)]
pub struct ListTenants {
    /// The page.
    pub page: PageQuery,
    /// Whose list it is: the installation's.
    pub of: TenantId,
}

/// Changes a tenant.
#[derive(Debug)]
pub struct UpdateTenant {
    /// Which.
    pub id: TenantId,
    /// What the caller has seen; `None`: it does not matter.
    pub etag: Option<String>,
    /// What is to be different.
    pub change: TenantChange,
}

/// A tenant.
#[derive(Debug)]
pub struct TenantAnswer {
    /// Its id.
    pub id: TenantId,
    /// The rest.
    pub record: TenantRecord,
}

/// A page of tenants.
#[derive(Debug)]
pub struct ListedTenants {
    /// The tenants.
    pub tenants: Vec<TenantAnswer>,
    /// Where the next page begins; empty: nowhere.
    pub next_page_token: String,
}

const LIST: &str = "tenants";

impl Command for CreateTenant {
    const METHOD: Method = Method::CreateTenant;
    type Answer = TenantAnswer;

    fn tenant(&self) -> &TenantId {
        &self.id
    }

    fn target(&self) -> Option<String> {
        None
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<TenantAnswer, Refusal> {
        let Self { id, display_name } = self;
        let system = TenantId::system();
        let create =
            administration.change(&system, |document, now| document.create_tenant(&id, display_name.clone(), now));
        let record = create.await?;
        Ok(TenantAnswer { id, record })
    }
}

impl Command for GetTenant {
    const METHOD: Method = Method::GetTenant;
    type Answer = TenantAnswer;

    fn tenant(&self) -> &TenantId {
        &self.id
    }

    fn target(&self) -> Option<String> {
        None
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<TenantAnswer, Refusal> {
        let installation = administration.installation().await?;
        let record = installation.tenants.get(&self.id).cloned();
        let record = record.ok_or(RegistryError::NotFound("tenant")).map_err(VaultError::from)?;
        Ok(TenantAnswer { id: self.id, record })
    }
}

impl Command for ListTenants {
    const METHOD: Method = Method::ListTenants;
    type Answer = ListedTenants;

    fn tenant(&self) -> &TenantId {
        &self.of
    }

    fn target(&self) -> Option<String> {
        None
    }

    /// Whoever may read one tenant may ask for those they may read.
    fn is_permitted(&self, _: &Permits) -> bool {
        true
    }

    fn items(answer: &ListedTenants) -> Option<u64> {
        u64::try_from(answer.tenants.len()).ok()
    }

    async fn run(self, administration: &Administration, caller: &Caller) -> Result<ListedTenants, Refusal> {
        let installation = administration.installation().await?;
        let readable = |tenant: &&TenantId| caller.permits(Action::AdminRead, tenant).anything();
        let names = installation.tenants.keys().filter(readable).map(TenantId::to_string).collect();
        let (page, next_page_token) = administration.page((&self.of, LIST), names, &self.page).await?;
        let tenant = |name: String| {
            let id: TenantId = name.parse().ok()?;
            let record = installation.tenants.get(&id)?.clone();
            Some(TenantAnswer { id, record })
        };
        Ok(ListedTenants { tenants: page.into_iter().filter_map(tenant).collect(), next_page_token })
    }
}

impl Command for UpdateTenant {
    const METHOD: Method = Method::UpdateTenant;
    type Answer = TenantAnswer;

    fn tenant(&self) -> &TenantId {
        &self.id
    }

    fn target(&self) -> Option<String> {
        None
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<TenantAnswer, Refusal> {
        let Self { id, etag, change } = self;
        let system = TenantId::system();
        let update =
            administration.change(&system, |document, now| document.update_tenant(&id, etag.as_deref(), &change, now));
        let record = update.await?;
        Ok(TenantAnswer { id, record })
    }
}
