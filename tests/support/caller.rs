//! An engine that calls a running vault.

#![expect(clippy::unwrap_used, reason = "a test harness fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;
use vault_engine::pb::vault_v1::token_vault_client::TokenVaultClient;
use vault_engine::pb::vault_v1::{
    DeleteTokenRequest, GetTokenRequest, GetTokenResponse, StoreTokenRequest, StoreTokenResponse, WatchStatusRequest,
    WatchStatusResponse,
};

use crate::installation::PLATFORM;

/// How long a call may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often tokens are stored again that could not be stored.
const AGAIN: usize = 5;

/// An engine with its key, connected. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    platform: Arc<str>,
    engine: MetadataValue<Ascii>,
    key: MetadataValue<Ascii>,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(server: &str, engine: &str, key: &str) -> Self {
        Self::over(&Endpoint::from_shared(server.to_owned()).unwrap().tcp_nodelay(true), engine, key)
    }

    /// Connected in its own way.
    pub(crate) fn over(endpoint: &Endpoint, engine: &str, key: &str) -> Self {
        let channel = endpoint.connect_lazy();
        Self { channel, platform: PLATFORM.into(), engine: engine.parse().unwrap(), key: key.parse().unwrap() }
    }

    /// The same engine, calling about connections to another platform.
    pub(crate) fn on(&self, platform: &str) -> Self {
        Self { platform: platform.into(), ..self.clone() }
    }

    /// Stores tokens of a user that have expired long ago.
    pub(crate) async fn store_expired(&self, user: &str, refresh_token: &str) {
        self.store(user, "expired-access", refresh_token, 1_700_000_000).await;
    }

    pub(crate) async fn store(&self, user: &str, access_token: &str, refresh_token: &str, expires_at: i64) {
        let mut stored = self.try_store(user, access_token, refresh_token, expires_at).await;
        for _ in 0..AGAIN {
            // A busy machine answers so, and storing twice is storing once.
            if stored.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
                stored = self.try_store(user, access_token, refresh_token, expires_at).await;
            }
        }
        assert!(stored.unwrap().refreshable);
    }

    pub(crate) async fn try_store(
        &self,
        user: &str,
        access_token: &str,
        refresh_token: &str,
        expires_at: i64,
    ) -> Result<StoreTokenResponse, Status> {
        let message = StoreTokenRequest {
            user_id: user.to_owned(),
            platform: self.platform.to_string(),
            access_token: access_token.to_owned(),
            refresh_token: refresh_token.to_owned(),
            expires_at,
            ..StoreTokenRequest::default()
        };
        self.client().store_token(self.request(message, PATIENCE)).await.map(tonic::Response::into_inner)
    }

    /// Deletes the token of a user; whether there was one.
    pub(crate) async fn delete(&self, user: &str) -> Result<bool, Status> {
        let message = DeleteTokenRequest {
            user_id: user.to_owned(),
            platform: self.platform.to_string(),
            ..DeleteTokenRequest::default()
        };
        let answer = self.client().delete_token(self.request(message, PATIENCE)).await?;
        Ok(answer.get_ref().deleted)
    }

    pub(crate) async fn get(&self, user: &str) -> Result<GetTokenResponse, Status> {
        self.get_within(PATIENCE, user).await
    }

    pub(crate) async fn get_within(&self, limit: Duration, user: &str) -> Result<GetTokenResponse, Status> {
        self.send(self.asking(user), limit).await
    }

    /// Gets another token than the one there is.
    pub(crate) async fn get_another(&self, user: &str) -> Result<GetTokenResponse, Status> {
        self.get_another_within(PATIENCE, user).await
    }

    pub(crate) async fn get_another_within(&self, limit: Duration, user: &str) -> Result<GetTokenResponse, Status> {
        self.send(GetTokenRequest { force_refresh: true, ..self.asking(user) }, limit).await
    }

    /// How the connections of a user stand, and every change from then on.
    pub(crate) async fn watch(&self, user: &str) -> Streaming<WatchStatusResponse> {
        let message = WatchStatusRequest { user_ids: vec![user.to_owned()], ..WatchStatusRequest::default() };
        self.client().watch_status(self.request(message, PATIENCE)).await.unwrap().into_inner()
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

    fn asking(&self, user: &str) -> GetTokenRequest {
        let (user_id, platform) = (user.to_owned(), self.platform.to_string());
        GetTokenRequest { user_id, platform, ..GetTokenRequest::default() }
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

/// The `reason` of a refusal, and empty where there is none.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
