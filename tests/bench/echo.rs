//! What the vault is compared with: a bare tonic server that answers the vault's own messages and does nothing else, or
//! nothing but one Redis GET. It is what `tonic-build` generates for one method, with every setting left alone.

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;
use vault_engine::pb::vault_v1::token_vault_server::SERVICE_NAME;
use vault_engine::pb::vault_v1::{GetTokenRequest, GetTokenResponse};

use crate::traffic::Connection;

/// The key the echo over Redis reads.
pub(crate) const REDIS_KEY: &str = "bench";

#[derive(Clone)]
struct Echo {
    answer: Arc<GetTokenResponse>,
    redis: Option<MultiplexedConnection>,
}

/// Serves until the process is killed; says on standard output where.
pub(crate) fn serve(runtime: &Runtime, redis_port: Option<u16>) -> Result<(), Box<dyn Error>> {
    runtime.block_on(async {
        let redis = match redis_port {
            Some(port) => {
                let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), port))?;
                Some(client.get_multiplexed_async_connection().await?)
            }
            None => None,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        crate::say(format!("listening on http://{}", listener.local_addr()?));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let echo = Echo { answer: Arc::new(Connection::of_user(0).answer()), redis };
        let serving = tonic::transport::Server::builder().add_service(echo);
        Ok(serving.serve_with_incoming(incoming).await?)
    })
}

// === impl Echo ===

impl NamedService for Echo {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(echo, request).await) })
    }
}

impl UnaryService<GetTokenRequest> for Echo {
    type Response = GetTokenResponse;
    type Future = BoxFuture<'static, Result<Response<GetTokenResponse>, Status>>;

    fn call(&mut self, _: Request<GetTokenRequest>) -> Self::Future {
        let mut echo = self.clone();
        Box::pin(async move {
            if let Some(redis) = &mut echo.redis {
                let found: Result<Vec<u8>, _> = redis::cmd("GET").arg(REDIS_KEY).query_async(redis).await;
                if !found.is_ok_and(|value| !value.is_empty()) {
                    return Err(Status::unavailable("there is nothing in Redis to read"));
                }
            }
            Ok(Response::new(GetTokenResponse::clone(&echo.answer)))
        })
    }
}
