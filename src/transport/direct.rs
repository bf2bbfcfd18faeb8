//! The way of the vault's own calls past the router.
//!
//! The router finds a service among any number of them by a pattern of the path, keeps what the pattern matched and
//! boxes what it passes on: for one service that gets nearly all calls, that costs as much as opening a record.

use std::convert::Infallible;
use std::task::{Context, Poll, ready};

use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapOk};
use http::{Request, Response, Uri};
use tonic::body::Body;
use tonic::server::NamedService;
use tower_layer::Layer;
use tower_service::Service;

use super::status;

/// Puts a service in front of the router.
#[derive(Clone)]
pub(super) struct DirectLayer<V> {
    pub(super) service: V,
}

/// A service, and the router for all others.
#[derive(Clone)]
pub(super) struct Direct<V, S> {
    service: V,
    router: S,
}

type Answered<F, B> = MapOk<F, fn(Response<B>) -> Response<Body>>;

// === impl DirectLayer ===

impl<V: Clone, S> Layer<S> for DirectLayer<V> {
    type Service = Direct<V, S>;

    fn layer(&self, router: S) -> Direct<V, S> {
        Direct { service: self.service.clone(), router }
    }
}

// === impl Direct ===

impl<V, S, B> Service<Request<Body>> for Direct<V, S>
where
    V: Service<Request<Body>, Response = Response<B>, Error = Infallible> + NamedService,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes, Error = tonic::Status> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Answered<V::Future, B>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.service.poll_ready(cx))?;
        self.router.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if belongs_to::<V>(request.uri()) {
            Either::Left(self.service.call(request).map_ok(answered))
        } else {
            Either::Right(self.router.call(request))
        }
    }
}

fn answered<B>(mut answer: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes, Error = tonic::Status> + Send + 'static,
{
    status::reword_unreadable(answer.headers_mut());
    answer.map(Body::new)
}

/// Whether a path is `/<service>/<anything>`. With a query it is nobody's: whoever stands in front and decides by the whole
/// text must not see another call than the one that is made.
fn belongs_to<V: NamedService>(uri: &Uri) -> bool {
    let behind_name = uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(V::NAME));
    behind_name.is_some_and(|method| method.starts_with('/')) && uri.query().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vault;

    impl NamedService for Vault {
        const NAME: &'static str = "vault.v1.TokenVault";
    }

    #[test]
    fn a_call_belongs_to_the_service_its_path_names_and_to_no_other() {
        let ours = |path: &'static str| belongs_to::<Vault>(&Uri::from_static(path));
        assert!(ours("/vault.v1.TokenVault/GetToken"));
        assert!(ours("/vault.v1.TokenVault/"));
        for other in [
            "/vault.v1.TokenVault",
            "/vault.v1.TokenVaults/GetToken",
            "/vault.v1.TokenVault/GetToken?",
            "/vault.v1.TokenVault/GetToken?x",
            "/x/vault.v1.TokenVault/GetToken",
            "/",
        ] {
            assert!(!ours(other), "{other}");
        }
    }
}
