//! What can be asked, and waiting for what comes by itself.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, interval};
use vault_engine::adapters::system::SystemClock;
use vault_engine::domain::ports::Clock as _;
use vault_engine::pb::vault_v1 as pb;

/// The user of most tests.
pub(crate) const USER: &str = "u1";

/// How long anything may take to come about.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A request message: which method it is for, and what comes back.
pub(crate) trait Ask: Message {
    const PATH: &str;
    type Answer: Message + Default;
}

impl Ask for pb::StoreTokenRequest {
    const PATH: &str = "/vault.v1.TokenVault/StoreToken";
    type Answer = pb::StoreTokenResponse;
}

impl Ask for pb::GetTokenRequest {
    const PATH: &str = "/vault.v1.TokenVault/GetToken";
    type Answer = pb::GetTokenResponse;
}

impl Ask for pb::GetStatusRequest {
    const PATH: &str = "/vault.v1.TokenVault/GetStatus";
    type Answer = pb::GetStatusResponse;
}

impl Ask for pb::BatchGetStatusRequest {
    const PATH: &str = "/vault.v1.TokenVault/BatchGetStatus";
    type Answer = pb::BatchGetStatusResponse;
}

impl Ask for pb::ListTokensRequest {
    const PATH: &str = "/vault.v1.TokenVault/ListTokens";
    type Answer = pb::ListTokensResponse;
}

impl Ask for pb::WatchStatusRequest {
    const PATH: &str = "/vault.v1.TokenVault/WatchStatus";
    type Answer = pb::WatchStatusResponse;
}

impl Ask for pb::DeleteTokenRequest {
    const PATH: &str = "/vault.v1.TokenVault/DeleteToken";
    type Answer = pb::DeleteTokenResponse;
}

macro_rules! admin {
    ($($request:ident -> $answer:ident at $method:literal;)*) => {$(
        impl Ask for pb::$request {
            const PATH: &str = concat!("/vault.v1.Admin/", $method);
            type Answer = pb::$answer;
        }
    )*};
}

admin! {
    CreateTenantRequest -> Tenant at "CreateTenant";
    GetTenantRequest -> Tenant at "GetTenant";
    ListTenantsRequest -> ListTenantsResponse at "ListTenants";
    UpdateTenantRequest -> Tenant at "UpdateTenant";
    CreateEngineRequest -> Engine at "CreateEngine";
    GetEngineRequest -> Engine at "GetEngine";
    ListEnginesRequest -> ListEnginesResponse at "ListEngines";
    UpdateEngineRequest -> Engine at "UpdateEngine";
    DeleteEngineRequest -> DeleteEngineResponse at "DeleteEngine";
    CreateKeyRequest -> CreateKeyResponse at "CreateKey";
    ListKeysRequest -> ListKeysResponse at "ListKeys";
    RotateKeyRequest -> RotateKeyResponse at "RotateKey";
    RevokeKeyRequest -> Key at "RevokeKey";
    CheckAccessRequest -> CheckAccessResponse at "CheckAccess";
}

/// Asks for the user's token.
pub(crate) fn get(platform: &str) -> pb::GetTokenRequest {
    pb::GetTokenRequest { user_id: USER.to_owned(), platform: platform.to_owned(), ..Default::default() }
}

/// Asks for the user's status at these platforms.
pub(crate) fn status(platforms: &[&str]) -> pb::GetStatusRequest {
    let platforms = platforms.iter().map(|platform| (*platform).to_owned()).collect();
    pb::GetStatusRequest { user_id: USER.to_owned(), platforms, ..Default::default() }
}

/// Asks to delete the user's token.
pub(crate) fn delete(platform: &str) -> pb::DeleteTokenRequest {
    pb::DeleteTokenRequest { user_id: USER.to_owned(), platform: platform.to_owned(), ..Default::default() }
}

/// The time, in Unix seconds.
pub(crate) fn now() -> i64 {
    SystemClock.now().unix_seconds()
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pace = interval(Duration::from_millis(10));
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        pace.tick().await;
    }
}
