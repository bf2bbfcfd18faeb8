//! The methods of the API and the action each one is.

use std::fmt;
use std::str::FromStr;

/// What an engine may be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Receive access tokens.
    Get,
    /// Read the status of connections.
    Status,
    /// Store tokens.
    Store,
    /// Delete tokens.
    Delete,
    /// List the connections of a tenant.
    List,
    /// Be told of every change of status.
    Watch,
    /// Read who may do what: tenants, engines, keys without their secrets, and why a decision falls as it does.
    AdminRead,
    /// Make, name, disable and enable tenants.
    AdminTenants,
    /// Make, change, disable and delete engines, their policies and limits.
    AdminEngines,
    /// Make, rotate and revoke keys.
    AdminKeys,
}

/// A method of `vault.v1`. Adding one without saying which action it is does not compile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// `TokenVault.StoreToken`
    StoreToken,
    /// `TokenVault.GetToken`
    GetToken,
    /// `TokenVault.GetStatus`
    GetStatus,
    /// `TokenVault.BatchGetStatus`
    BatchGetStatus,
    /// `TokenVault.ListTokens`
    ListTokens,
    /// `TokenVault.WatchStatus`
    WatchStatus,
    /// `TokenVault.DeleteToken`
    DeleteToken,
    /// `Admin.CreateTenant`
    CreateTenant,
    /// `Admin.GetTenant`
    GetTenant,
    /// `Admin.ListTenants`
    ListTenants,
    /// `Admin.UpdateTenant`
    UpdateTenant,
    /// `Admin.CreateEngine`
    CreateEngine,
    /// `Admin.GetEngine`
    GetEngine,
    /// `Admin.ListEngines`
    ListEngines,
    /// `Admin.UpdateEngine`
    UpdateEngine,
    /// `Admin.DeleteEngine`
    DeleteEngine,
    /// `Admin.CreateKey`
    CreateKey,
    /// `Admin.ListKeys`
    ListKeys,
    /// `Admin.RotateKey`
    RotateKey,
    /// `Admin.RevokeKey`
    RevokeKey,
    /// `Admin.CheckAccess`
    CheckAccess,
}

// === impl Action ===

impl Action {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::Status,
        Self::Store,
        Self::Delete,
        Self::List,
        Self::Watch,
        Self::AdminRead,
        Self::AdminTenants,
        Self::AdminEngines,
        Self::AdminKeys,
    ];

    /// Those about who may do what. None of them releases a token.
    pub const ADMIN: [Self; 4] = [Self::AdminRead, Self::AdminTenants, Self::AdminEngines, Self::AdminKeys];

    /// Whether it changes what is stored.
    #[must_use]
    pub const fn changes(self) -> bool {
        match self {
            Self::Store | Self::Delete | Self::AdminTenants | Self::AdminEngines | Self::AdminKeys => true,
            Self::Get | Self::Status | Self::List | Self::Watch | Self::AdminRead => false,
        }
    }

    /// The word for it in configuration and audit lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Status => "status",
            Self::Store => "store",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Watch => "watch",
            Self::AdminRead => "admin_read",
            Self::AdminTenants => "admin_tenants",
            Self::AdminEngines => "admin_engines",
            Self::AdminKeys => "admin_keys",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of `get`, `status`, `store`, `delete`, `list`, `watch`, `admin_read`, `admin_tenants`, `admin_engines`, \
     `admin_keys`"
)]
pub struct UnknownAction;

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

// === impl Method ===

impl Method {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::StoreToken,
        Self::GetToken,
        Self::GetStatus,
        Self::BatchGetStatus,
        Self::ListTokens,
        Self::WatchStatus,
        Self::DeleteToken,
        Self::CreateTenant,
        Self::GetTenant,
        Self::ListTenants,
        Self::UpdateTenant,
        Self::CreateEngine,
        Self::GetEngine,
        Self::ListEngines,
        Self::UpdateEngine,
        Self::DeleteEngine,
        Self::CreateKey,
        Self::ListKeys,
        Self::RotateKey,
        Self::RevokeKey,
        Self::CheckAccess,
    ];

    /// The path a call to it is routed by.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::StoreToken => "/vault.v1.TokenVault/StoreToken",
            Self::GetToken => "/vault.v1.TokenVault/GetToken",
            Self::GetStatus => "/vault.v1.TokenVault/GetStatus",
            Self::BatchGetStatus => "/vault.v1.TokenVault/BatchGetStatus",
            Self::ListTokens => "/vault.v1.TokenVault/ListTokens",
            Self::WatchStatus => "/vault.v1.TokenVault/WatchStatus",
            Self::DeleteToken => "/vault.v1.TokenVault/DeleteToken",
            Self::CreateTenant => "/vault.v1.Admin/CreateTenant",
            Self::GetTenant => "/vault.v1.Admin/GetTenant",
            Self::ListTenants => "/vault.v1.Admin/ListTenants",
            Self::UpdateTenant => "/vault.v1.Admin/UpdateTenant",
            Self::CreateEngine => "/vault.v1.Admin/CreateEngine",
            Self::GetEngine => "/vault.v1.Admin/GetEngine",
            Self::ListEngines => "/vault.v1.Admin/ListEngines",
            Self::UpdateEngine => "/vault.v1.Admin/UpdateEngine",
            Self::DeleteEngine => "/vault.v1.Admin/DeleteEngine",
            Self::CreateKey => "/vault.v1.Admin/CreateKey",
            Self::ListKeys => "/vault.v1.Admin/ListKeys",
            Self::RotateKey => "/vault.v1.Admin/RotateKey",
            Self::RevokeKey => "/vault.v1.Admin/RevokeKey",
            Self::CheckAccess => "/vault.v1.Admin/CheckAccess",
        }
    }

    /// The method a path is routed to.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// What calling it amounts to.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::StoreToken => Action::Store,
            Self::GetToken => Action::Get,
            Self::GetStatus | Self::BatchGetStatus => Action::Status,
            Self::ListTokens => Action::List,
            Self::WatchStatus => Action::Watch,
            Self::DeleteToken => Action::Delete,
            Self::CreateTenant | Self::UpdateTenant => Action::AdminTenants,
            Self::GetTenant
            | Self::ListTenants
            | Self::GetEngine
            | Self::ListEngines
            | Self::ListKeys
            | Self::CheckAccess => Action::AdminRead,
            Self::CreateEngine | Self::UpdateEngine | Self::DeleteEngine => Action::AdminEngines,
            Self::CreateKey | Self::RotateKey | Self::RevokeKey => Action::AdminKeys,
        }
    }

    /// Whether it is about who may do what, and not about tokens.
    #[must_use]
    pub fn is_admin(self) -> bool {
        Action::ADMIN.contains(&self.action())
    }

    /// The word for it in audit lines: the action, where that says what was done.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CreateTenant => "create_tenant",
            Self::GetTenant => "get_tenant",
            Self::ListTenants => "list_tenants",
            Self::UpdateTenant => "update_tenant",
            Self::CreateEngine => "create_engine",
            Self::GetEngine => "get_engine",
            Self::ListEngines => "list_engines",
            Self::UpdateEngine => "update_engine",
            Self::DeleteEngine => "delete_engine",
            Self::CreateKey => "create_engine_key",
            Self::ListKeys => "list_engine_keys",
            Self::RotateKey => "rotate_engine_key",
            Self::RevokeKey => "revoke_engine_key",
            Self::CheckAccess => "check_access",
            Self::StoreToken
            | Self::GetToken
            | Self::GetStatus
            | Self::BatchGetStatus
            | Self::ListTokens
            | Self::WatchStatus
            | Self::DeleteToken => self.action().as_str(),
        }
    }
}
