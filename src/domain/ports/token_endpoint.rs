//! A platform's token endpoint, and the ways an exchange with it can end.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::catalog::Platform;
use crate::domain::connection::Renewed;
use crate::domain::secret::{AccessToken, ClientSecret, RefreshToken};
use crate::domain::time::Timestamp;

/// One refresh request.
#[derive(Debug)]
pub struct RefreshCall<'a> {
    /// The platform to ask.
    pub platform: &'a Platform,
    /// The client id to present.
    pub client_id: &'a str,
    /// The client secret to present; `None` for a public client.
    pub client_secret: Option<&'a ClientSecret>,
    /// The refresh token to redeem.
    pub refresh_token: &'a RefreshToken,
    /// How long the whole exchange may take.
    pub time_limit: Duration,
}

/// How a request to a token endpoint ended.
///
/// The difference between "did not leave" and "left and was not answered" decides whether the grant is at risk.
pub enum Exchange {
    /// New tokens.
    Granted(Box<Granted>),
    /// An error, in whatever shape the platform gives it.
    Refused(Refused),
    /// The request surely did not leave.
    NotSent(TransportFault),
    /// The request may have been received and no usable answer came: the refresh token may be consumed.
    Lost(TransportFault),
}

/// New tokens.
#[derive(Debug)]
pub struct Granted {
    /// What was granted.
    pub renewed: Renewed,
    /// Whether the expiry was only assumed, because nothing stated one.
    pub expiry_assumed: bool,
    /// The platform's clock, as its `Date` header told it.
    pub server_date: Option<Timestamp>,
}

/// An error answer. The body may hold anything, so there is no `Debug` and it is never logged.
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The body as JSON; `Null` if it was not.
    pub body: Value,
    /// What `Retry-After` asked for.
    pub retry_after: Option<Duration>,
}

/// What went wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportFault {
    /// The name did not resolve.
    Dns,
    /// It resolved to an address this installation must not call, or the URL is not allowed.
    AddressRefused,
    /// No connection, or no TLS.
    Connect,
    /// The time limit passed.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer was larger than 64 KiB, or its head larger than 16 KiB.
    TooLarge,
    /// The answer was a redirect; it is never followed, because it would take the refresh token along.
    Redirect,
    /// The answer said success and held no access token, or could not be read.
    Malformed,
    /// The platform's profile or its variables are not complete.
    Misconfigured,
}

/// A platform's token endpoint.
///
/// - The request goes to the URL of the platform's profile and nowhere else: redirects are not followed.
/// - Private, loopback and link-local addresses are refused after name resolution, unless the host was allowed.
/// - The answer is read up to 64 KiB and the exchange ends within `time_limit`.
/// - Nothing of the answer is logged.
#[async_trait]
pub trait TokenEndpoint: Send + Sync {
    /// Redeems a refresh token (RFC 6749 section 6).
    async fn refresh(&self, call: RefreshCall<'_>) -> Exchange;

    /// Asks when an access token expires (RFC 7662), where the platform can tell; `None` if it cannot or did not.
    async fn introspect(
        &self,
        platform: &Platform,
        client_secret: Option<&ClientSecret>,
        token: &AccessToken,
        time_limit: Duration,
    ) -> Option<Timestamp>;
}

// === impl TransportFault ===

impl TransportFault {
    /// The word for it in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::AddressRefused => "address_refused",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
            Self::Redirect => "redirect",
            Self::Malformed => "malformed",
            Self::Misconfigured => "misconfigured",
        }
    }
}
