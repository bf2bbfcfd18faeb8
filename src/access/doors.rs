//! What the guard needs to know about each use case: which method it is, whom it is about, and how to run it.

use crate::domain::audit::Subject;
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, TenantId};
use crate::domain::method::Method;
use crate::service::{
    BatchGetStatus, BatchGetStatusQuery, DeleteToken, DeleteTokenAnswer, GetStatus, GetStatusQuery, GetToken,
    GetTokenAnswer, GetTokenQuery, ListTokens, ListTokensAnswer, ListTokensQuery, PlatformStatus, StoreToken,
    StoreTokenAnswer, StoreTokenCommand, UserStatus, WatchQuery, WatchStatus, Watching,
};

/// A use case behind the guard.
pub(super) trait Door: Sync {
    /// What it is called as; decides which action a caller needs.
    const METHOD: Method;
    /// What it is asked.
    type Query: Send;
    /// What it answers.
    type Answer: Send + Sync;

    /// Whom a query is about.
    fn subject(query: &Self::Query) -> Subject;

    /// Runs it.
    fn run(&self, query: Self::Query) -> impl Future<Output = Result<Self::Answer, VaultError>> + Send;

    /// The version of the record an answer is about.
    fn version(answer: &Self::Answer) -> Option<u64>;

    /// How many users or connections an answer tells of, where it may tell of many.
    fn items(_: &Self::Answer) -> Option<u64> {
        None
    }
}

impl Door for StoreToken {
    const METHOD: Method = Method::StoreToken;
    type Query = StoreTokenCommand;
    type Answer = StoreTokenAnswer;

    fn subject(query: &StoreTokenCommand) -> Subject {
        (&query.key).into()
    }

    async fn run(&self, query: StoreTokenCommand) -> Result<StoreTokenAnswer, VaultError> {
        Self::run(self, query).await
    }

    fn version(answer: &StoreTokenAnswer) -> Option<u64> {
        Some(answer.version.0)
    }
}

impl Door for GetToken {
    const METHOD: Method = Method::GetToken;
    type Query = GetTokenQuery;
    type Answer = GetTokenAnswer;

    fn subject(query: &GetTokenQuery) -> Subject {
        (&query.key).into()
    }

    async fn run(&self, query: GetTokenQuery) -> Result<GetTokenAnswer, VaultError> {
        Self::run(self, &query).await
    }

    fn version(answer: &GetTokenAnswer) -> Option<u64> {
        Some(answer.version.0)
    }
}

impl Door for GetStatus {
    const METHOD: Method = Method::GetStatus;
    type Query = GetStatusQuery;
    type Answer = Vec<PlatformStatus>;

    fn subject(query: &GetStatusQuery) -> Subject {
        Subject { tenant: Some(query.tenant.clone()), user: Some(query.user.clone()), platform: None }
    }

    async fn run(&self, query: GetStatusQuery) -> Result<Vec<PlatformStatus>, VaultError> {
        Self::run(self, &query).await
    }

    fn version(_: &Vec<PlatformStatus>) -> Option<u64> {
        None
    }
}

impl Door for BatchGetStatus {
    const METHOD: Method = Method::BatchGetStatus;
    type Query = BatchGetStatusQuery;
    type Answer = Vec<UserStatus>;

    fn subject(query: &BatchGetStatusQuery) -> Subject {
        whole(&query.tenant)
    }

    async fn run(&self, query: BatchGetStatusQuery) -> Result<Vec<UserStatus>, VaultError> {
        Self::run(self, query).await
    }

    fn version(_: &Vec<UserStatus>) -> Option<u64> {
        None
    }

    fn items(answer: &Vec<UserStatus>) -> Option<u64> {
        u64::try_from(answer.len()).ok()
    }
}

impl Door for ListTokens {
    const METHOD: Method = Method::ListTokens;
    type Query = ListTokensQuery;
    type Answer = ListTokensAnswer;

    fn subject(query: &ListTokensQuery) -> Subject {
        whole(&query.tenant)
    }

    async fn run(&self, query: ListTokensQuery) -> Result<ListTokensAnswer, VaultError> {
        Self::run(self, &query).await
    }

    fn version(_: &ListTokensAnswer) -> Option<u64> {
        None
    }

    fn items(answer: &ListTokensAnswer) -> Option<u64> {
        u64::try_from(answer.tokens.len()).ok()
    }
}

impl Door for WatchStatus {
    const METHOD: Method = Method::WatchStatus;
    type Query = WatchQuery;
    type Answer = Watching;

    fn subject(query: &WatchQuery) -> Subject {
        whole(&query.tenant)
    }

    async fn run(&self, query: WatchQuery) -> Result<Watching, VaultError> {
        self.open(query).await
    }

    fn version(_: &Watching) -> Option<u64> {
        None
    }
}

impl Door for DeleteToken {
    const METHOD: Method = Method::DeleteToken;
    type Query = ConnectionKey;
    type Answer = DeleteTokenAnswer;

    fn subject(query: &ConnectionKey) -> Subject {
        query.into()
    }

    async fn run(&self, query: ConnectionKey) -> Result<DeleteTokenAnswer, VaultError> {
        Self::run(self, &query).await
    }

    fn version(answer: &DeleteTokenAnswer) -> Option<u64> {
        answer.version.map(|version| version.0)
    }
}

fn whole(tenant: &TenantId) -> Subject {
    Subject { tenant: Some(tenant.clone()), user: None, platform: None }
}
