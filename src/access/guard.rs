//! The guard: every call goes check, audit, call, audit, in this order and in one place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admin::{AdminDoor, Administration, Command};
use super::caller::{Caller, Credentials};
use super::deadline::Deadline;
use super::doors::Door;
use super::meter::Exceeded;
use super::record::Record;
use super::refusal::{NotPermitted, Refusal};
use super::registry::{NotVerified, Registry};
use super::watch::WatchedCall;
use crate::domain::audit::AuditResult;
use crate::domain::error::VaultError;
use crate::domain::id::{ConnectionKey, RequestId, TenantId, UserId};
use crate::domain::method::Method;
use crate::domain::ports::{AuditSink, AuditUnavailable, Clock, StoreError};
use crate::domain::spiffe::SpiffeId;
use crate::service::{
    BatchGetStatus, BatchGetStatusQuery, DeleteToken, DeleteTokenAnswer, GetStatus, GetStatusQuery, GetToken,
    GetTokenAnswer, GetTokenQuery, ListTokens, ListTokensAnswer, ListTokensQuery, PlatformStatus, StoreToken,
    StoreTokenAnswer, StoreTokenCommand, UserStatus, WatchQuery, WatchStatus,
};

/// Lets callers through to the use cases, or not.
pub struct Guard {
    /// Who may call.
    pub registry: Arc<Registry>,
    /// Where every call is written down.
    pub audit: Arc<dyn AuditSink>,
    /// When.
    pub clock: Arc<dyn Clock>,
    /// What may be called.
    pub store_token: StoreToken,
    /// What may be called.
    pub get_token: GetToken,
    /// What may be called.
    pub get_status: GetStatus,
    /// What may be called.
    pub batch_get_status: BatchGetStatus,
    /// What may be called.
    pub list_tokens: ListTokens,
    /// What may be called.
    pub watch_status: WatchStatus,
    /// What may be called.
    pub delete_token: DeleteToken,
    /// What may be called.
    pub administration: Administration,
}

/// A call at the door.
#[derive(Debug)]
pub struct Arrival {
    /// Its id across all logs.
    pub request: RequestId,
    /// The method it is routed to, if the API has it.
    pub method: Option<Method>,
    /// Where it came from.
    pub peer: Option<Arc<str>>,
    /// What the certificate of its connection names it, if it showed one: believed.
    pub workload: Option<SpiffeId>,
    /// What it presents; `None`: nothing well formed.
    pub credentials: Option<Credentials>,
    /// How long its caller waits, if it says so.
    pub time_limit: Option<Duration>,
}

/// A call of somebody who has proven who they are. If it is dropped, because its request could not be read, that is
/// written down.
pub struct Call {
    caller: Caller,
    record: Record,
    deadline: Deadline,
}

// === impl Guard ===

impl Guard {
    /// Stores tokens. `read` turns the request into checked values, once it is known who asks.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn store_token(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<StoreTokenCommand, Refusal> + Send,
    ) -> Result<StoreTokenAnswer, Refusal> {
        self.pass(call, &self.store_token, read).await
    }

    /// Hands out an access token.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn get_token(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<GetTokenQuery, Refusal> + Send,
    ) -> Result<GetTokenAnswer, Refusal> {
        self.pass(call, &self.get_token, read).await
    }

    /// Tells the status of connections.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn get_status(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<GetStatusQuery, Refusal> + Send,
    ) -> Result<Vec<PlatformStatus>, Refusal> {
        self.pass(call, &self.get_status, read).await
    }

    /// Tells the status of the connections of many users.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn batch_get_status(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<BatchGetStatusQuery, Refusal> + Send,
    ) -> Result<Vec<UserStatus>, Refusal> {
        self.pass(call, &self.batch_get_status, read).await
    }

    /// Lists connections.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn list_tokens(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<ListTokensQuery, Refusal> + Send,
    ) -> Result<ListTokensAnswer, Refusal> {
        self.pass(call, &self.list_tokens, read).await
    }

    /// Opens a stream of changes. To be let in is bounded by a deadline as every call is; the stream itself lasts until
    /// its caller's own, if that is stated, or until somebody ends it. Its beginning and its end are written down, the
    /// end with how many statuses were told.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn watch_status(
        self: &Arc<Self>,
        mut call: Call,
        read: impl FnOnce(&Caller) -> Result<WatchQuery, Refusal> + Send,
    ) -> Result<WatchedCall, Refusal> {
        let (mut end, caller) = (call.record.of_the_end(), call.caller.clone());
        call.deadline = call.deadline.of_an_opening();
        let mut tenant = TenantId::default_tenant();
        let opened = self
            .pass(call, &self.watch_status, |caller| {
                let query = read(caller)?;
                end.subject = WatchStatus::subject(&query);
                tenant = query.tenant.clone();
                Ok(query)
            })
            .await;
        opened.map(|watching| WatchedCall::new(Arc::clone(self), (caller, tenant), watching, end))
    }

    /// Deletes tokens.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn delete_token(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<ConnectionKey, Refusal> + Send,
    ) -> Result<DeleteTokenAnswer, Refusal> {
        self.pass(call, &self.delete_token, read).await
    }

    /// Changes who may call, or tells who may.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn administer<C: Command>(
        &self,
        call: Call,
        read: impl FnOnce(&Caller) -> Result<C, Refusal> + Send,
    ) -> Result<C::Answer, Refusal> {
        let door = AdminDoor::of(&self.administration, call.caller.clone());
        self.pass(call, &door, read).await
    }

    /// Finds out who calls, before anything of the request is read. Whoever is nobody gets one answer, whatever is
    /// wrong.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`]; [`Refusal::RateLimited`] for somebody who calls too often.
    pub fn admit(&self, arrival: Arrival) -> Result<Call, Refusal> {
        let Arrival { request, method, peer, workload, credentials, time_limit } = arrival;
        let mut record = Record::begin(&self.audit, self.clock.now(), request, method, peer);
        record.shown(workload.as_ref());
        let verified = match &credentials {
            Some(credentials) => {
                self.registry.verify(credentials, workload.as_ref(), self.clock.now()).map_err(NotVerified::reason)
            }
            None => Err("malformed_credentials"),
        };
        match verified {
            Ok(caller) => {
                record.known_as(&caller);
                if let Err(refusal) = self.count_call(&caller) {
                    // Not waited for either: whoever calls too often must not fill the queue of the disk.
                    record.post(refusal.audit_result(), refusal.reason());
                    return Err(refusal);
                }
                Ok(Call { caller, record, deadline: Deadline::of_a_call(time_limit) })
            }
            Err(reason) => {
                // Not waited for: whoever has no credentials must not be able to make the vault wait for its disk.
                record.post(AuditResult::Denied, reason);
                Err(Refusal::Unauthenticated)
            }
        }
    }

    fn count_call(&self, caller: &Caller) -> Result<(), Refusal> {
        let counted = caller.count_call(self.clock.monotonic());
        counted.map_err(|Exceeded { retry_after, is_news }| {
            if is_news {
                tracing::warn!(engine = %caller.principal(), "an engine calls more often than it may");
            }
            Refusal::RateLimited { retry_after }
        })
    }

    fn count_user(&self, caller: &Caller, tenant: &TenantId, user: &UserId) -> Result<(), Refusal> {
        let counted = caller.count_user(tenant, user, self.clock.monotonic());
        counted.map_err(|Exceeded { retry_after, is_news }| {
            if is_news {
                let advice = "find out why, and disable the engine if it was not meant to: its key may be stolen";
                tracing::error!(
                    alarm = "user_quota_exceeded",
                    engine = %caller.principal(),
                    key = caller.key_id(),
                    advice,
                    "an engine has asked for the tokens of as many users as it may within an hour"
                );
            }
            Refusal::UserQuota { retry_after }
        })
    }

    pub(super) async fn pass<D: Door>(
        &self,
        call: Call,
        door: &D,
        read: impl FnOnce(&Caller) -> Result<D::Query, Refusal> + Send,
    ) -> Result<D::Answer, Refusal> {
        let Call { caller, mut record, deadline } = call;
        record.passes(D::METHOD);
        let outcome = deadline.bound(self.beyond_the_door(&caller, door, read, &mut record)).await;
        // What takes so long is the store: for keys and platforms nobody is made to wait until the end.
        let answer = outcome.unwrap_or_else(|| Err(VaultError::Store(StoreError::unavailable("timeout")).into()));
        let (result, reason, version) = match &answer {
            Ok(answer) => {
                record.tells_of(D::items(answer));
                record.recognises(D::releases(answer));
                (AuditResult::Ok, "", D::version(answer))
            }
            Err(refusal) => (refusal.audit_result(), refusal.reason(), None),
        };
        // Written before anything leaves. No line, no answer.
        record.write(result, reason, version).await.map_err(VaultError::from)?;
        answer
    }

    async fn beyond_the_door<D: Door>(
        &self,
        caller: &Caller,
        door: &D,
        read: impl FnOnce(&Caller) -> Result<D::Query, Refusal> + Send,
        record: &mut Record,
    ) -> Result<D::Answer, Refusal> {
        if !caller.may(D::METHOD.action()) {
            return Err(Refusal::NotPermitted(NotPermitted::Policy));
        }
        let query = read(caller)?;
        record.about(D::subject(&query));
        let tenant = D::tenant(&query);
        let permits = caller.permits(D::METHOD.action(), tenant);
        if !D::is_permitted(&query, &permits) {
            return Err(Refusal::NotPermitted(NotPermitted::Policy));
        }
        if !D::METHOD.is_admin() {
            self.registry.serves(caller.known(), tenant).map_err(Refusal::NotPermitted)?;
        }
        if let Some(user) = D::token_of(&query) {
            self.count_user(caller, tenant, user)?;
        }
        record.recognises(D::brings(&query));
        if !self.audit.is_writable() {
            // The line about this refusal is the attempt that finds out when the trail can be written again.
            return Err(VaultError::from(AuditUnavailable).into());
        }
        if D::METHOD.action().changes() {
            // Whatever becomes of the process meanwhile, the trail tells of what may have changed.
            record.begins().await.map_err(VaultError::from)?;
        }
        door.run(query, &permits).await
    }
}

// === impl Call ===

impl Call {
    /// How long its use case may wait for something better to say than that time is up.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.deadline.patience()
    }

    /// When a stream has to end because its caller said so.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.deadline.stated()
    }
}
