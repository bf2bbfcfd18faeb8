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
}

// === impl Action ===

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Get, Self::Status, Self::Store, Self::Delete, Self::List, Self::Watch];

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
#[error("must be one of `get`, `status`, `store`, `delete`, `list`, `watch`")]
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
    pub const ALL: [Self; 7] = [
        Self::StoreToken,
        Self::GetToken,
        Self::GetStatus,
        Self::BatchGetStatus,
        Self::ListTokens,
        Self::WatchStatus,
        Self::DeleteToken,
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
        }
    }
}
