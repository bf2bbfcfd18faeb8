//! What is stored and asked for: the same connections, in the same sizes, for every server.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vault_engine::pb::vault_v1::token_vault_client::TokenVaultClient;
use vault_engine::pb::vault_v1::{GetTokenRequest, GetTokenResponse, StoreTokenRequest};

/// How many users take turns.
pub(crate) const USERS: usize = 1_000;

/// The engine that asks.
pub(crate) const ENGINE: &str = "local";

/// Bytes of an access and of a refresh token: what a large provider issues.
const ACCESS_BYTES: usize = 220;
const REFRESH_BYTES: usize = 103;

const PLATFORM: &str = "google";
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";

/// One user's connection.
pub(crate) struct Connection {
    user: String,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn of_user(number: usize) -> Self {
        Self { user: format!("user-{number:06}@example.com") }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Bytes of what the vault is given to keep: both tokens and the scope.
    pub(crate) const fn payload_bytes() -> usize {
        ACCESS_BYTES + REFRESH_BYTES + SCOPE.len()
    }

    pub(crate) const fn platform() -> &'static str {
        PLATFORM
    }

    /// Access and refresh token.
    pub(crate) fn tokens(&self) -> (String, String) {
        (token("ya29.", ACCESS_BYTES, &self.user), token("1//", REFRESH_BYTES, &self.user))
    }

    fn request(&self) -> GetTokenRequest {
        GetTokenRequest { user_id: self.user.clone(), platform: PLATFORM.to_owned(), ..Default::default() }
    }

    /// What every server answers: the vault from its store, the others from memory.
    pub(crate) fn answer(&self) -> GetTokenResponse {
        GetTokenResponse {
            access_token: self.tokens().0,
            expires_at: far_away(),
            scopes: vec![SCOPE.to_owned()],
            token_type: "Bearer".to_owned(),
            version: 1,
            ..Default::default()
        }
    }
}

/// The request of every user, encoded.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    (0..USERS).map(|number| prost::Message::encode_to_vec(&Connection::of_user(number).request())).collect()
}

/// Bytes of every answer, encoded.
pub(crate) fn answer_bytes() -> usize {
    prost::Message::encoded_len(&Connection::of_user(0).answer())
}

/// Stores the tokens of every user in a vault.
pub(crate) fn store_all(address: &str, key: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let vault = TokenVaultClient::connect(address.to_owned()).await?;
        for users in (0..USERS).collect::<Vec<_>>().chunks(100) {
            let calls = users.iter().map(|number| store(vault.clone(), key, Connection::of_user(*number)));
            futures_util::future::try_join_all(calls).await?;
        }
        Ok(())
    })
}

async fn store(
    mut vault: TokenVaultClient<tonic::transport::Channel>,
    key: &str,
    connection: Connection,
) -> Result<(), Box<dyn Error>> {
    let (access_token, refresh_token) = connection.tokens();
    let mut request = tonic::Request::new(StoreTokenRequest {
        user_id: connection.user,
        platform: PLATFORM.to_owned(),
        access_token,
        refresh_token,
        expires_at: far_away(),
        scopes: vec![SCOPE.to_owned()],
        ..Default::default()
    });
    request.metadata_mut().insert("x-engine-id", ENGINE.parse()?);
    request.metadata_mut().insert("x-engine-key", key.parse()?);
    vault.store_token(request).await?;
    Ok(())
}

/// A token of this many bytes, different for every user.
fn token(prefix: &str, bytes: usize, user: &str) -> String {
    prefix.chars().chain(user.chars().filter(char::is_ascii_alphanumeric).cycle()).take(bytes).collect()
}

/// Tomorrow: no token is renewed while it is measured.
#[expect(clippy::disallowed_methods, reason = "the vault under measurement goes by the machine's clock too")]
fn far_away() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from((now + Duration::from_hours(24)).as_secs()).unwrap_or(i64::MAX)
}
