//! Explaining a decision: by the function that makes it.

use super::{Administration, Command};
use crate::access::caller::Caller;
use crate::access::refusal::Refusal;
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, PlatformId, TenantId, UserId};
use crate::domain::method::{Action, Method};
use crate::domain::policy::{Decision, Denial, Resource, decide};

/// Asks whether an engine may do something.
#[derive(Debug)]
pub struct CheckAccess {
    /// In whose registry the engine is.
    pub tenant: TenantId,
    /// The engine.
    pub engine: EngineId,
    /// What it would do.
    pub action: Action,
    /// In which tenant.
    pub of: TenantId,
    /// With whose connection; `None`: anybody's.
    pub user: Option<UserId>,
    /// To which platform; `None`: any.
    pub platform: Option<PlatformId>,
    /// The scopes of its token; empty: that is not asked about.
    pub scopes: Vec<String>,
}

/// Whether it may, and why.
#[derive(Debug, Clone, Copy)]
pub struct AccessAnswer {
    /// Whether.
    pub is_allowed: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// The rule that decided, counted from 0.
    pub rule: Option<usize>,
}

impl Command for CheckAccess {
    const METHOD: Method = Method::CheckAccess;
    type Answer = AccessAnswer;

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn target(&self) -> Option<String> {
        Some(self.engine.to_string())
    }

    async fn run(self, administration: &Administration, _: &Caller) -> Result<AccessAnswer, Refusal> {
        let document = administration.registrar()?.read(&self.tenant).await?;
        let engine = document.engine(&self.engine).map_err(VaultError::from)?;
        let scopes = (!self.scopes.is_empty()).then_some(self.scopes.as_slice());
        let resource =
            Resource { tenant: &self.of, user: self.user.as_ref(), platform: self.platform.as_ref(), scopes };
        let decision = decide(&engine.policy, self.action, &resource);
        let installation = administration.installation().await?;
        let is_off = |tenant| installation.tenants.get(tenant).is_some_and(|record| record.disabled_at.is_some());
        let (reason, rule) = match decision {
            _ if engine.disabled => ("engine_disabled", None),
            _ if is_off(&self.tenant) => ("tenant_disabled", None),
            _ if is_off(&self.of) && !Action::ADMIN.contains(&self.action) => ("tenant_disabled", None),
            Decision::Allowed(rule) => {
                return Ok(AccessAnswer { is_allowed: true, reason: "allowed_by_rule", rule: Some(rule) });
            }
            Decision::Denied(Denial::Rule(rule)) => ("denied_by_rule", Some(rule)),
            Decision::Denied(Denial::Scopes(rule)) => ("scopes_exceeded", Some(rule)),
            Decision::Denied(Denial::NoRule) => ("no_rule_allows", None),
            Decision::Denied(Denial::Tenant) => ("tenant_not_served", None),
        };
        Ok(AccessAnswer { is_allowed: false, reason, rule })
    }
}
