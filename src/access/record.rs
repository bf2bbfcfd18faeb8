//! The audit entry of a call while the call is on its way: it is written whatever becomes of the call.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::caller::Caller;
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
use crate::domain::id::RequestId;
use crate::domain::method::Method;
use crate::domain::ports::{AuditSink, AuditUnavailable};
use crate::domain::secret::AccessToken;
use crate::domain::spiffe::SpiffeId;
use crate::domain::time::Timestamp;

/// The audit entry of one call. If it is dropped before it is written, it says so itself.
pub(super) struct Record {
    audit: Arc<dyn AuditSink>,
    began: Instant,
    entry: Option<AuditEntry>,
}

/// The audit entry of the end of a stream, as far as it is known when the stream begins.
pub(super) struct StreamEnd {
    entry: Option<AuditEntry>,
    began: Instant,
    pub(super) subject: Subject,
}

// === impl StreamEnd ===

impl StreamEnd {
    /// The entry, of an end at this time after so many statuses were told.
    pub(super) fn entry(
        &mut self,
        at: Timestamp,
        told: u64,
        (result, reason): (AuditResult, &'static str),
    ) -> Option<AuditEntry> {
        let (latency, subject) = (self.began.elapsed(), std::mem::take(&mut self.subject));
        let action = AuditAction::StreamEnd;
        let entry = self.entry.take();
        entry.map(|entry| AuditEntry { at, action, subject, result, reason, latency, items: Some(told), ..entry })
    }
}

// === impl Record ===

impl Record {
    pub(super) fn begin(
        audit: &Arc<dyn AuditSink>,
        at: Timestamp,
        request_id: RequestId,
        method: Option<Method>,
        peer: Option<Arc<str>>,
    ) -> Self {
        let (action, reason) = match method {
            Some(method) => (AuditAction::Call(method), "unreadable_request"),
            None => (AuditAction::UnknownMethod, "unknown_method"),
        };
        let entry = AuditEntry {
            at,
            request_id,
            engine: None,
            key_id: None,
            peer,
            spiffe_id: None,
            action,
            subject: Subject::default(),
            result: AuditResult::Failed,
            reason,
            latency: Duration::ZERO,
            record_version: None,
            items: None,
            token_fp: None,
        };
        Self { audit: Arc::clone(audit), began: Instant::now(), entry: Some(entry) }
    }

    /// The request was read. If nothing more is heard of it, the caller went away.
    pub(super) fn passes(&mut self, method: Method) {
        if let Some(entry) = &mut self.entry {
            entry.action = AuditAction::Call(method);
            entry.result = AuditResult::Cancelled;
            entry.reason = "caller_gone";
        }
    }

    /// Whose certificate the connection has, whoever the call turns out to be from.
    pub(super) fn shown(&mut self, workload: Option<&SpiffeId>) {
        if let Some(entry) = &mut self.entry {
            entry.spiffe_id = workload.cloned();
        }
    }

    pub(super) fn known_as(&mut self, caller: &Caller) {
        if let Some(entry) = &mut self.entry {
            entry.engine = Some(caller.engine().clone());
            entry.key_id = Some(caller.key_id().to_owned());
        }
    }

    pub(super) fn about(&mut self, subject: Subject) {
        if let Some(entry) = &mut self.entry {
            entry.subject = subject;
        }
    }

    /// A token that is stored, or is about to leave.
    pub(super) fn recognises(&mut self, token: Option<&AccessToken>) {
        if let (Some(entry), Some(token)) = (&mut self.entry, token) {
            entry.token_fp = self.audit.fingerprint(token);
        }
    }

    pub(super) fn tells_of(&mut self, items: Option<u64>) {
        if let Some(entry) = &mut self.entry {
            entry.items = items;
        }
    }

    /// Writes that it is about to change something. If nothing more is heard of it, nobody knows whether it did.
    pub(super) async fn begins(&self) -> Result<(), AuditUnavailable> {
        let Some(entry) = self.entry.clone() else { return Err(AuditUnavailable) };
        let latency = self.began.elapsed();
        self.audit.append(AuditEntry { result: AuditResult::Ok, reason: "begun", latency, ..entry }).await
    }

    pub(super) async fn write(
        &mut self,
        result: AuditResult,
        reason: &'static str,
        version: Option<u64>,
    ) -> Result<(), AuditUnavailable> {
        match self.close(result, reason, version) {
            Some(entry) => self.audit.append(entry).await,
            None => Err(AuditUnavailable),
        }
    }

    pub(super) fn post(&mut self, result: AuditResult, reason: &'static str) {
        if let Some(entry) = self.close(result, reason, None) {
            self.audit.post(entry);
        }
    }

    /// What is to be written down at the end of the stream this call opens.
    pub(super) fn of_the_end(&self) -> StreamEnd {
        StreamEnd { entry: self.entry.clone(), began: self.began, subject: Subject::default() }
    }

    fn close(&mut self, result: AuditResult, reason: &'static str, version: Option<u64>) -> Option<AuditEntry> {
        let latency = self.began.elapsed();
        self.entry.take().map(|entry| AuditEntry { result, reason, latency, record_version: version, ..entry })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(AuditEntry { result, reason, .. }) = self.entry {
            self.post(result, reason);
        }
    }
}
