//! What the guard needs to know about each use case: which method it is, whom it is about, what must be permitted, and
//! how to run it.

use super::refusal::{NotPermitted, Refusal};
use crate::domain::audit::Subject;
use crate::domain::id::{ConnectionKey, TenantId, UserId};
use crate::domain::method::Method;
use crate::domain::policy::Permits;
use crate::domain::secret::AccessToken;
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

    /// The tenant a query is about.
    fn tenant(query: &Self::Query) -> &TenantId;

    /// Whether everything a query names may be asked for. Decided before anything is looked up; what a query does not
    /// name is decided on item by item.
    fn is_permitted(query: &Self::Query, permits: &Permits) -> bool;

    /// The user whose token a query asks for.
    fn token_of(_: &Self::Query) -> Option<&UserId> {
        None
    }

    /// Runs it. Of what is found, what is not permitted is left out or refused.
    fn run(&self, query: Self::Query, permits: &Permits) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;

    /// The version of the record an answer is about.
    fn version(answer: &Self::Answer) -> Option<u64>;

    /// The access token a query brings, to be stored.
    fn brings(_: &Self::Query) -> Option<&AccessToken> {
        None
    }

    /// The access token an answer releases.
    fn releases(_: &Self::Answer) -> Option<&AccessToken> {
        None
    }

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

    fn tenant(query: &StoreTokenCommand) -> &TenantId {
        &query.key.tenant
    }

    fn is_permitted(query: &StoreTokenCommand, permits: &Permits) -> bool {
        permits.token(&query.key, &query.scopes)
    }

    async fn run(&self, query: StoreTokenCommand, _: &Permits) -> Result<StoreTokenAnswer, Refusal> {
        Ok(Self::run(self, query).await?)
    }

    fn version(answer: &StoreTokenAnswer) -> Option<u64> {
        Some(answer.version.0)
    }

    fn brings(query: &StoreTokenCommand) -> Option<&AccessToken> {
        Some(&query.access)
    }
}

impl Door for GetToken {
    const METHOD: Method = Method::GetToken;
    type Query = GetTokenQuery;
    type Answer = GetTokenAnswer;

    fn subject(query: &GetTokenQuery) -> Subject {
        (&query.key).into()
    }

    fn tenant(query: &GetTokenQuery) -> &TenantId {
        &query.key.tenant
    }

    fn is_permitted(query: &GetTokenQuery, permits: &Permits) -> bool {
        permits.connection(&query.key.user, &query.key.platform)
    }

    fn token_of(query: &GetTokenQuery) -> Option<&UserId> {
        Some(&query.key.user)
    }

    async fn run(&self, query: GetTokenQuery, permits: &Permits) -> Result<GetTokenAnswer, Refusal> {
        let answer = Self::run(self, &query).await?;
        // What the token may do is known only now, and may have changed with its renewal.
        if permits.token(&query.key, &answer.scopes) {
            Ok(answer)
        } else {
            Err(Refusal::NotPermitted(NotPermitted::Scopes))
        }
    }

    fn version(answer: &GetTokenAnswer) -> Option<u64> {
        Some(answer.version.0)
    }

    fn releases(answer: &GetTokenAnswer) -> Option<&AccessToken> {
        Some(&answer.access)
    }
}

impl Door for GetStatus {
    const METHOD: Method = Method::GetStatus;
    type Query = GetStatusQuery;
    type Answer = Vec<PlatformStatus>;

    fn subject(query: &GetStatusQuery) -> Subject {
        Subject { tenant: Some(query.tenant.clone()), user: Some(query.user.clone()), ..Subject::default() }
    }

    fn tenant(query: &GetStatusQuery) -> &TenantId {
        &query.tenant
    }

    fn is_permitted(query: &GetStatusQuery, permits: &Permits) -> bool {
        permits.something_of(&query.user)
            && query.platforms.iter().all(|platform| permits.connection(&query.user, platform))
    }

    async fn run(&self, query: GetStatusQuery, permits: &Permits) -> Result<Vec<PlatformStatus>, Refusal> {
        Ok(Self::run(self, &query, permits).await?)
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

    fn tenant(query: &BatchGetStatusQuery) -> &TenantId {
        &query.tenant
    }

    fn is_permitted(query: &BatchGetStatusQuery, permits: &Permits) -> bool {
        // Of each user it is said what would have been said of that user alone.
        query.platforms.iter().all(|platform| permits.something_at(platform))
    }

    async fn run(&self, query: BatchGetStatusQuery, permits: &Permits) -> Result<Vec<UserStatus>, Refusal> {
        Ok(Self::run(self, query, permits).await?)
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

    fn tenant(query: &ListTokensQuery) -> &TenantId {
        &query.tenant
    }

    fn is_permitted(query: &ListTokensQuery, permits: &Permits) -> bool {
        permits.anything() && query.platforms.iter().all(|platform| permits.something_at(platform))
    }

    async fn run(&self, query: ListTokensQuery, permits: &Permits) -> Result<ListTokensAnswer, Refusal> {
        Ok(Self::run(self, &query, permits).await?)
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

    fn tenant(query: &WatchQuery) -> &TenantId {
        &query.tenant
    }

    fn is_permitted(query: &WatchQuery, permits: &Permits) -> bool {
        permits.anything()
            && query.users.iter().all(|user| permits.something_of(user))
            && query.platforms.iter().all(|platform| permits.something_at(platform))
    }

    async fn run(&self, query: WatchQuery, _: &Permits) -> Result<Watching, Refusal> {
        // What is told is decided on message by message, by the policy there is then.
        Ok(self.open(query).await?)
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

    fn tenant(query: &ConnectionKey) -> &TenantId {
        &query.tenant
    }

    fn is_permitted(query: &ConnectionKey, permits: &Permits) -> bool {
        permits.connection(&query.user, &query.platform)
    }

    async fn run(&self, query: ConnectionKey, _: &Permits) -> Result<DeleteTokenAnswer, Refusal> {
        Ok(Self::run(self, &query).await?)
    }

    fn version(answer: &DeleteTokenAnswer) -> Option<u64> {
        answer.version.map(|version| version.0)
    }
}

fn whole(tenant: &TenantId) -> Subject {
    Subject { tenant: Some(tenant.clone()), ..Subject::default() }
}
