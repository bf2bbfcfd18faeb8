//! What is known about a call before anybody looks at it: its id, the method it is routed to, where it comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use tokio_util::task::TaskTracker;
use tower_layer::Layer;
use tower_service::Service;

use super::socket::Peer;
use crate::domain::id::RequestId;
use crate::domain::method::Method;
use crate::domain::spiffe::SpiffeId;

/// What is known about a call before anybody looks at it.
#[derive(Debug, Clone)]
pub(super) struct CallContext {
    pub(super) request: RequestId,
    pub(super) method: Option<Method>,
    pub(super) peer: Option<Arc<str>>,
    pub(super) workload: Option<SpiffeId>,
}

/// Puts a [`CallContext`] into every request, and its id into every answer.
#[derive(Clone)]
pub(super) struct ContextLayer {
    ids: Arc<RequestIds>,
    calls: TaskTracker,
}

/// The service inside the layer.
#[derive(Clone)]
pub(super) struct WithContext<S> {
    inner: S,
    ids: Arc<RequestIds>,
    calls: TaskTracker,
}

/// Makes ids: a number drawn at the start of the process, and a counter.
struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

// === impl ContextLayer ===

impl ContextLayer {
    /// `prefix` tells this process's ids from every other's; `calls` counts the calls to the vault in flight.
    pub(super) fn new(prefix: u64, calls: TaskTracker) -> Self {
        Self { ids: Arc::new(RequestIds { prefix, next: AtomicU64::new(0) }), calls }
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = WithContext<S>;

    fn layer(&self, inner: S) -> WithContext<S> {
        WithContext { inner, ids: Arc::clone(&self.ids), calls: self.calls.clone() }
    }
}

// === impl WithContext ===

impl<S, B, R> Service<Request<B>> for WithContext<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let context = self.ids.context(&request);
        // Health streams stay open for ever and are not waited for.
        let in_flight = context.method.map(|_| self.calls.token());
        let header = HeaderValue::from_str(context.request.as_str()).ok().map(|mut header| {
            // No answer has the id of another: the compression table is for what comes again.
            header.set_sensitive(true);
            header
        });
        request.extensions_mut().insert(context);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            drop(in_flight);
            if let Some(header) = header {
                answer.headers_mut().insert(REQUEST_ID, header);
            }
            Ok(answer)
        })
    }
}

// === impl RequestIds ===

impl RequestIds {
    fn context<B>(&self, request: &Request<B>) -> CallContext {
        let peer = request.extensions().get::<Peer>();
        let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
        CallContext {
            request: given.and_then(|text| text.parse().ok()).unwrap_or_else(|| self.make()),
            method: Method::from_path(request.uri().path()),
            peer: peer.and_then(Peer::address),
            workload: peer.and_then(Peer::workload),
        }
    }

    /// # Panics
    ///
    /// Never: hexadecimal digits are in the alphabet of request ids.
    #[expect(clippy::expect_used, reason = "hexadecimal digits are in the alphabet")]
    fn make(&self) -> RequestId {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:012x}", self.prefix).parse().expect("hexadecimal digits are in the alphabet")
    }
}
