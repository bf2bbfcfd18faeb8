//! The engine that calls a vault, where how fast it calls is not what is measured.

use std::error::Error;
use std::net::SocketAddr;

use futures_util::future::try_join_all;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use vault_engine::pb::vault_v1::token_vault_client::TokenVaultClient;
use vault_engine::pb::vault_v1::{GetStatusRequest, GetStatusResponse, GetTokenResponse, StoreTokenRequest};

use crate::traffic::{self, Connection};

/// What it is called.
pub(crate) const NAME: &str = "local";

/// Tokens that are stored at once.
const AT_ONCE: usize = 100;

/// An engine with its key, connected. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Engine {
    vault: TokenVaultClient<Channel>,
    key: MetadataValue<Ascii>,
}

// === impl Engine ===

impl Engine {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Result<Self, Box<dyn Error>> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect_lazy();
        Ok(Self { vault: TokenVaultClient::new(channel), key: key.parse()? })
    }

    /// Stores tokens of these connections, some at a time.
    pub(crate) async fn store_all(
        &self,
        connections: impl IntoIterator<Item = Connection>,
        expires_at: i64,
    ) -> Result<(), Status> {
        let mut connections = connections.into_iter().peekable();
        while connections.peek().is_some() {
            let some = connections.by_ref().take(AT_ONCE);
            try_join_all(some.map(|connection| self.store(connection, expires_at))).await?;
        }
        Ok(())
    }

    async fn store(&self, connection: Connection, expires_at: i64) -> Result<(), Status> {
        let (access_token, refresh_token) = connection.tokens();
        let (user_id, platform) = (connection.user, connection.platform);
        let scopes = vec![traffic::SCOPE.to_owned()];
        let request = StoreTokenRequest {
            user_id,
            platform,
            access_token,
            refresh_token,
            expires_at,
            scopes,
            ..StoreTokenRequest::default()
        };
        self.vault.clone().store_token(self.call(request)).await.map(drop)
    }

    pub(crate) async fn get_token(&self, connection: &Connection) -> Result<GetTokenResponse, Status> {
        Ok(self.vault.clone().get_token(self.call(connection.request())).await?.into_inner())
    }

    pub(crate) async fn get_status(&self, request: GetStatusRequest) -> Result<GetStatusResponse, Status> {
        Ok(self.vault.clone().get_status(self.call(request)).await?.into_inner())
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-engine-id", MetadataValue::from_static(NAME));
        request.metadata_mut().insert("x-engine-key", self.key.clone());
        request
    }
}

/// Stores tokens of these connections that are good until long after everything was measured.
pub(crate) fn store_fresh(
    address: SocketAddr,
    key: &str,
    connections: impl IntoIterator<Item = Connection>,
) -> Result<(), Box<dyn Error>> {
    runtime()?.block_on(async {
        let engine = Engine::new(address, key)?;
        Ok(engine.store_all(connections, traffic::far_away()).await?)
    })
}

/// What engines run on.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
