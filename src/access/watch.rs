//! A stream that was let in, on its way out: checked and counted message by message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Interval, interval};

use super::caller::Caller;
use super::guard::Guard;
use super::record::StreamEnd;
use super::refusal::{NotPermitted, Refusal};
use crate::domain::audit::AuditResult;
use crate::domain::id::TenantId;
use crate::domain::method::Method;
use crate::domain::policy::Permits;
use crate::service::{WatchEvent, WatchMessage, Watching};

/// A stream of somebody who was let in. However it ends, that is written down.
pub struct WatchedCall {
    guard: Arc<Guard>,
    caller: Caller,
    tenant: TenantId,
    /// `None` once it has ended.
    watching: Option<Watching>,
    end: StreamEnd,
    told: u64,
    /// Looks whether its caller would still be let in.
    looks: Interval,
}

/// Between two of them while there is nothing to tell.
const LOOK: Duration = Duration::from_secs(1);

// === impl WatchedCall ===

impl WatchedCall {
    pub(super) fn new(
        guard: Arc<Guard>,
        (caller, tenant): (Caller, TenantId),
        watching: Watching,
        end: StreamEnd,
    ) -> Self {
        Self { guard, caller, tenant, watching: Some(watching), end, told: 0, looks: interval(LOOK) }
    }

    /// A stream outlives the moment in which its caller was let in, and so each message is decided on as a call would be
    /// that is made now; and while there is none, it is looked from time to time whether one would be let in.
    fn decide(&self, message: WatchMessage) -> Result<Option<WatchMessage>, Refusal> {
        let permits = self.admission()?;
        let is_told = match &message.event {
            WatchEvent::Connection { user, status, .. } => permits.connection(user, &status.platform),
            WatchEvent::SnapshotStart { .. } | WatchEvent::SnapshotEnd | WatchEvent::Heartbeat => true,
        };
        Ok(is_told.then_some(message))
    }

    fn admission(&self) -> Result<Permits, Refusal> {
        let caller = self.guard.registry.still(&self.caller, self.guard.clock.now());
        let caller = caller.ok_or(Refusal::Unauthenticated)?;
        let permits = caller.permits(Method::WatchStatus.action(), &self.tenant);
        if !permits.anything() {
            return Err(Refusal::NotPermitted(NotPermitted::Policy));
        }
        self.guard.registry.serves(caller.known(), &self.tenant).map_err(Refusal::NotPermitted)?;
        Ok(permits)
    }

    fn end(&mut self, result: AuditResult, reason: &'static str) {
        self.watching = None;
        // Not waited for: what was told is not secret, and its beginning is written down.
        if let Some(entry) = self.end.entry(self.guard.clock.now(), self.told, (result, reason)) {
            self.guard.audit.post(entry);
        }
    }
}

impl Stream for WatchedCall {
    type Item = Result<WatchMessage, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let message = loop {
            let Some(watching) = &mut this.watching else { return Poll::Ready(None) };
            let message = match watching.poll_message(cx) {
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => {
                    this.end(AuditResult::Ok, "");
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(this.looks.poll_tick(cx));
                    match this.admission() {
                        Ok(_) => continue,
                        Err(refusal) => break Err(refusal),
                    }
                }
            };
            match message.map_err(Refusal::from).and_then(|message| this.decide(message)) {
                Ok(None) => {}
                Ok(Some(message)) => break Ok(message),
                Err(refusal) => break Err(refusal),
            }
        };
        match &message {
            Ok(WatchMessage { event: WatchEvent::Connection { .. }, .. }) => this.told += 1,
            Ok(_) => {}
            Err(refusal) => this.end(refusal.audit_result(), refusal.reason()),
        }
        Poll::Ready(Some(message))
    }
}

impl Drop for WatchedCall {
    fn drop(&mut self) {
        if self.watching.is_some() {
            self.end(AuditResult::Cancelled, "caller_gone");
        }
    }
}
