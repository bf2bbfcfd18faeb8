//! An engine that calls a running vault.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use vault_engine::pb::vault_v1::token_vault_client::TokenVaultClient;
use vault_engine::pb::vault_v1::{GetTokenRequest, GetTokenResponse, StoreTokenRequest};

use crate::installation::PLATFORM;

/// How long a call may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine with its key, connected. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    engine: MetadataValue<Ascii>,
    key: MetadataValue<Ascii>,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(server: &str, engine: &str, key: &str) -> Self {
        let channel = Endpoint::from_shared(server.to_owned()).unwrap().tcp_nodelay(true).connect_lazy();
        Self { channel, engine: engine.parse().unwrap(), key: key.parse().unwrap() }
    }

    /// Stores tokens of a user that have expired long ago.
    pub(crate) async fn store_expired(&self, user: &str, refresh_token: &str) {
        self.store(user, "expired-access", refresh_token, 1_700_000_000).await;
    }

    pub(crate) async fn store(&self, user: &str, access_token: &str, refresh_token: &str, expires_at: i64) {
        let message = StoreTokenRequest {
            user_id: user.to_owned(),
            platform: PLATFORM.to_owned(),
            access_token: access_token.to_owned(),
            refresh_token: refresh_token.to_owned(),
            expires_at,
            ..StoreTokenRequest::default()
        };
        let stored = self.client().store_token(self.request(message, PATIENCE)).await.unwrap();
        assert!(stored.get_ref().refreshable);
    }

    pub(crate) async fn get(&self, user: &str) -> Result<GetTokenResponse, Status> {
        self.get_within(PATIENCE, user).await
    }

    pub(crate) async fn get_within(&self, limit: Duration, user: &str) -> Result<GetTokenResponse, Status> {
        self.send(get(user), limit).await
    }

    /// Gets another token than the one there is.
    pub(crate) async fn get_another(&self, user: &str) -> Result<GetTokenResponse, Status> {
        self.send(GetTokenRequest { force_refresh: true, ..get(user) }, PATIENCE).await
    }

    /// Whether the vault wants calls.
    pub(crate) async fn health(&self) -> Result<ServingStatus, Status> {
        let mut client = HealthClient::new(self.channel.clone());
        let answer = client.check(HealthCheckRequest { service: String::new() }).await?;
        Ok(answer.get_ref().status())
    }

    async fn send(&self, message: GetTokenRequest, limit: Duration) -> Result<GetTokenResponse, Status> {
        self.client().get_token(self.request(message, limit)).await.map(tonic::Response::into_inner)
    }

    fn client(&self) -> TokenVaultClient<Channel> {
        TokenVaultClient::new(self.channel.clone())
    }

    fn request<T>(&self, message: T, limit: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-engine-id", self.engine.clone());
        request.metadata_mut().insert("x-engine-key", self.key.clone());
        request.set_timeout(limit);
        request
    }
}

fn get(user: &str) -> GetTokenRequest {
    GetTokenRequest { user_id: user.to_owned(), platform: PLATFORM.to_owned(), ..GetTokenRequest::default() }
}

/// The `reason` of a refusal, and empty where there is none.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
