//! What the vault knows about a platform. Read from YAML elsewhere; here it is checked, typed and immutable.

mod error_rule;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

pub use error_rule::{BodyTest, ErrorRule, Means};
pub use template::{UrlPolicy, UrlTemplate, UrlTemplateError};

use super::id::PlatformId;

/// One platform.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its id, also the name of its file.
    pub id: PlatformId,
    /// Its name for people.
    pub display_name: String,
    /// The page of the platform's documentation the facts come from.
    pub docs: String,
    /// When the facts were last checked, as `YYYY-MM-DD`.
    pub facts_as_of: String,
    /// Where users consent.
    pub authorize_url: UrlTemplate,
    /// Where codes are exchanged, and tokens refreshed unless `refresh_url` says otherwise.
    pub token_url: UrlTemplate,
    /// Where tokens are refreshed, if elsewhere.
    pub refresh_url: Option<UrlTemplate>,
    /// Where tokens are revoked.
    pub revoke_url: Option<UrlTemplate>,
    /// Where the expiry of an access token can be asked for (RFC 7662).
    pub introspect_url: Option<UrlTemplate>,
    /// The variables of the URLs.
    pub vars: BTreeMap<String, Variable>,
    /// How the client proves itself at the token endpoint.
    pub client_auth: ClientAuth,
    /// How the request body is written.
    pub body: BodyFormat,
    /// How scopes are written and which one makes the platform issue a refresh token.
    pub scopes: ScopeRule,
    /// Whether the authorization request carries a code challenge (RFC 7636).
    pub pkce: Pkce,
    /// Parameters beyond the standard ones.
    pub params: Params,
    /// Standard parameter name -> the platform's name for it.
    pub rename: BTreeMap<String, String>,
    /// Extra headers of requests to the token endpoint.
    pub headers: BTreeMap<String, String>,
    /// Where the parts of an answer are found.
    pub response: ResponsePaths,
    /// When an access token expires if the answer does not say.
    pub expiry: ExpiryRule,
    /// How refreshing works here.
    pub refresh: RefreshRule,
    /// What the platform's own errors mean, tried in order before the standard rules.
    pub errors: Vec<ErrorRule>,
    /// Limits the platform imposes.
    pub limits: Limits,
}

/// A variable of the URLs of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its value where the configuration gives none.
    pub default: Option<String>,
    /// What it is, for people.
    pub about: String,
}

/// How a client proves itself at the token endpoint (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the body.
    #[default]
    Body,
    /// HTTP Basic, id and secret form-encoded as the RFC asks.
    Basic,
    /// HTTP Basic, id and secret as they are: what some platforms expect instead.
    BasicRaw,
    /// `client_id` in the body and no secret: a public client.
    None,
}

/// How the body of a token request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, the standard.
    #[default]
    Form,
    /// A JSON object.
    Json,
}

/// Whether a code challenge is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pkce {
    /// S256, where the platform ignores or supports it.
    #[default]
    S256,
    /// S256, and the platform refuses without.
    Required,
    /// The platform fails when it is sent.
    Off,
}

/// How scopes are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRule {
    /// What stands between two of them.
    pub separator: char,
    /// The scope that makes the platform issue a refresh token.
    pub offline: Option<String>,
}

impl Default for ScopeRule {
    fn default() -> Self {
        Self { separator: ' ', offline: None }
    }
}

/// Extra parameters; `None` takes a standard one away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// Of the authorization request.
    pub authorize: BTreeMap<String, Option<String>>,
    /// Of the code exchange.
    pub token: BTreeMap<String, Option<String>>,
    /// Of the refresh.
    pub refresh: BTreeMap<String, Option<String>>,
}

/// A path into a JSON answer: keys from the top.
pub type Path = Vec<String>;

/// Where the parts of an answer are found. For each the first path that leads to a value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsePaths {
    /// The access token.
    pub access_token: Vec<Path>,
    /// The refresh token.
    pub refresh_token: Vec<Path>,
    /// The life of the access token.
    pub expires_in: Vec<Path>,
    /// The life of the refresh token.
    pub refresh_expires_in: Vec<Path>,
    /// The granted scopes.
    pub scope: Vec<Path>,
    /// The token type.
    pub token_type: Vec<Path>,
}

impl Default for ResponsePaths {
    fn default() -> Self {
        let at = |key: &str| vec![vec![key.to_owned()]];
        Self {
            access_token: at("access_token"),
            refresh_token: at("refresh_token"),
            expires_in: at("expires_in"),
            refresh_expires_in: at("refresh_expires_in"),
            scope: at("scope"),
            token_type: at("token_type"),
        }
    }
}

/// When an access token expires if the answer does not say, and in what unit it says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpiryRule {
    /// The life of an access token whose answer states none.
    pub default: Option<Duration>,
    /// The unit of `expires_in`.
    pub unit: ExpiryUnit,
    /// Whether the access token is a JWT whose `exp` may be read.
    pub from_jwt: bool,
    /// Whether access tokens never expire.
    pub never: bool,
}

/// The unit of `expires_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiryUnit {
    /// Seconds from now, the standard (RFC 6749 section 5.1).
    #[default]
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// A point in time, in Unix seconds.
    UnixSeconds,
}

/// How refreshing works at a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRule {
    /// Whether the platform issues refresh tokens at all.
    pub supported: bool,
    /// Whether a refresh returns a new refresh token.
    pub rotates: Rotates,
    /// For how long after its use a refresh token may be used again, because the answer was lost.
    pub reuse_window: Duration,
    /// What using a consumed refresh token does.
    pub replay: Replay,
    /// Whether one `invalid_grant` is sometimes a mistake, so that a second opinion is asked for.
    pub confirm: bool,
    /// Days without use after which a refresh token dies.
    pub idle_days: Option<u32>,
    /// Days after which a grant dies however often it is refreshed.
    pub max_days: Option<u32>,
    /// How long before its expiry an access token is renewed.
    pub margin: Duration,
}

impl Default for RefreshRule {
    fn default() -> Self {
        Self {
            supported: true,
            rotates: Rotates::Maybe,
            reuse_window: Duration::ZERO,
            replay: Replay::Reject,
            confirm: false,
            idle_days: None,
            max_days: None,
            margin: Duration::from_secs(300),
        }
    }
}

/// Whether a refresh returns a new refresh token and consumes the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotates {
    /// It does.
    Yes,
    /// It does not: the same one may be used again and again.
    No,
    /// It may; store whatever comes back. Treated as `Yes` wherever the difference is dangerous.
    #[default]
    Maybe,
}

/// What using a consumed refresh token does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replay {
    /// It is refused.
    #[default]
    Reject,
    /// It is refused and every token of the grant is revoked (RFC 9700 section 4.14.2).
    RevokeAll,
}

/// Limits a platform imposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Refresh tokens that may live at once per user and client; the oldest is dropped silently.
    pub live_refresh_tokens: Option<u32>,
}

// === impl Profile ===

impl Profile {
    /// Where tokens are refreshed.
    #[must_use]
    pub fn refresh_endpoint(&self) -> &UrlTemplate {
        self.refresh_url.as_ref().unwrap_or(&self.token_url)
    }

    /// The values of all variables: those that are given, else their defaults.
    ///
    /// # Errors
    ///
    /// When one is given that no URL has, one is missing, or one does not fit.
    pub fn fill_vars(
        &self,
        given: &BTreeMap<String, String>,
        policy: UrlPolicy,
    ) -> Result<BTreeMap<String, String>, UrlTemplateError> {
        if let Some(unknown) = given.keys().find(|name| !self.vars.contains_key(*name)) {
            return Err(UrlTemplateError::Unknown(unknown.clone()));
        }
        let defaults = self.vars.iter().filter_map(|(name, variable)| Some((name.clone(), variable.default.clone()?)));
        let mut values: BTreeMap<String, String> = defaults.collect();
        values.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        let optional = [&self.refresh_url, &self.revoke_url, &self.introspect_url];
        for url in [&self.authorize_url, &self.token_url].into_iter().chain(optional.into_iter().flatten()) {
            url.fill(&values, policy)?;
        }
        Ok(values)
    }
}

// === impl RefreshRule ===

impl RefreshRule {
    /// Whether the same refresh token may be sent again after an answer that never arrived to a request made
    /// `elapsed` ago, without risking the grant.
    #[must_use]
    pub fn tolerates_retry(&self, elapsed: Duration) -> bool {
        self.rotates == Rotates::No || elapsed < self.reuse_window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_platform_that_keeps_the_token_or_a_window_tolerates_a_retry() {
        let rule = |rotates, window| RefreshRule {
            rotates,
            reuse_window: Duration::from_secs(window),
            ..RefreshRule::default()
        };
        let minute = Duration::from_secs(60);
        assert!(rule(Rotates::No, 0).tolerates_retry(minute));
        assert!(rule(Rotates::Yes, 61).tolerates_retry(minute));
        assert!(!rule(Rotates::Yes, 60).tolerates_retry(minute));
        assert!(!rule(Rotates::Maybe, 0).tolerates_retry(Duration::ZERO));
    }
}
