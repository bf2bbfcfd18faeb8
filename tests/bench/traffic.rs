//! What is stored and asked for: the same connections, in the same sizes, for every server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vault_engine::pb::vault_v1::{GetTokenRequest, GetTokenResponse};

/// How many users take turns.
pub(crate) const USERS: usize = 1_000;

/// What every token may do.
pub(crate) const SCOPE: &str = "https://www.googleapis.com/auth/calendar";

/// A moment long ago, in Unix seconds: a token that expired then is renewed when it is asked for.
pub(crate) const LONG_AGO: i64 = 1_700_000_000;

/// Bytes of an access and of a refresh token: what a large provider issues.
const ACCESS_BYTES: usize = 220;
const REFRESH_BYTES: usize = 103;

/// The platform of all connections, where nothing else is said.
const PLATFORM: &str = "google";

/// One user's connection to one platform.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) user: String,
    pub(crate) platform: String,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn of_user(number: usize) -> Self {
        Self { user: format!("user-{number:06}@example.com"), platform: PLATFORM.to_owned() }
    }

    /// The same user's, to another platform.
    pub(crate) fn to(self, platform: impl Into<String>) -> Self {
        Self { platform: platform.into(), ..self }
    }

    /// Bytes of what the vault is given to keep: both tokens and the scope.
    pub(crate) const fn payload_bytes() -> usize {
        ACCESS_BYTES + REFRESH_BYTES + SCOPE.len()
    }

    /// Access and refresh token.
    pub(crate) fn tokens(&self) -> (String, String) {
        (token("ya29.", ACCESS_BYTES, &self.user), token("1//", REFRESH_BYTES, &self.user))
    }

    pub(crate) fn request(&self) -> GetTokenRequest {
        let (user_id, platform) = (self.user.clone(), self.platform.clone());
        GetTokenRequest { user_id, platform, ..GetTokenRequest::default() }
    }

    /// What every server answers: the vault from its store, the others from memory.
    pub(crate) fn answer(&self) -> GetTokenResponse {
        GetTokenResponse {
            access_token: self.tokens().0,
            expires_at: far_away(),
            scopes: vec![SCOPE.to_owned()],
            token_type: "Bearer".to_owned(),
            version: 1,
            ..GetTokenResponse::default()
        }
    }
}

/// One connection of every user.
pub(crate) fn one_each() -> impl Iterator<Item = Connection> {
    (0..USERS).map(Connection::of_user)
}

/// The requests for the tokens of these, encoded.
pub(crate) fn requests(connections: impl Iterator<Item = Connection>) -> Vec<Vec<u8>> {
    connections.map(|connection| prost::Message::encode_to_vec(&connection.request())).collect()
}

/// Bytes of every answer, encoded.
pub(crate) fn answer_bytes() -> usize {
    prost::Message::encoded_len(&Connection::of_user(0).answer())
}

/// A token of this many bytes, different for every user.
fn token(prefix: &str, bytes: usize, user: &str) -> String {
    prefix.chars().chain(user.chars().filter(char::is_ascii_alphanumeric).cycle()).take(bytes).collect()
}

/// Tomorrow: no token is renewed while it is measured.
#[expect(clippy::disallowed_methods, reason = "the vault under measurement goes by the machine's clock too")]
pub(crate) fn far_away() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from((now + Duration::from_hours(24)).as_secs()).unwrap_or(i64::MAX)
}
