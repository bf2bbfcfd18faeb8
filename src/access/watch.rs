//! A stream that was let in, on its way out: checked and counted message by message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use super::caller::Caller;
use super::guard::Guard;
use super::record::StreamEnd;
use super::refusal::Refusal;
use crate::domain::audit::AuditResult;
use crate::domain::method::Method;
use crate::service::{WatchEvent, WatchMessage, Watching};

/// A stream of somebody who was let in. However it ends, that is written down.
pub struct WatchedCall {
    guard: Arc<Guard>,
    caller: Caller,
    /// `None` once it has ended.
    watching: Option<Watching>,
    end: StreamEnd,
    told: u64,
}

// === impl WatchedCall ===

impl WatchedCall {
    pub(super) fn new(guard: Arc<Guard>, caller: Caller, watching: Watching, end: StreamEnd) -> Self {
        Self { guard, caller, watching: Some(watching), end, told: 0 }
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
        let Some(watching) = &mut this.watching else { return Poll::Ready(None) };
        let Some(message) = ready!(watching.poll_message(cx)) else {
            this.end(AuditResult::Ok, "");
            return Poll::Ready(None);
        };
        // A stream outlives the moment in which its caller was let in. A heartbeat is a message too: whoever is not
        // known any more is not told anything, and is not connected for long.
        let message = message.map_err(Refusal::from).and_then(|message| {
            this.guard
                .registry
                .still_lets(&this.caller, Method::WatchStatus.action())
                .then_some(message)
                .ok_or(Refusal::Unauthenticated)
        });
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
