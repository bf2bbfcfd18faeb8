//! The token endpoint of any platform. The `oauth2` crate writes the standard request and reads the canonical answer;
//! where platforms differ is settled between the two, in the HTTP client it is given.
//!
//! No error of the crate leaves this file: some hold the body of an answer and print it in their `Debug`.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use oauth2::basic::{BasicClient, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, HttpRequest, HttpResponse, IntrospectionUrl, RequestTokenError,
    TokenIntrospectionResponse as _, TokenResponse as _, TokenUrl,
};
use tokio::time::Instant;
use url::Url;

use super::answer::{Aside, introspected, judge};
use super::lifetime::server_date;
use super::outbound::{MAX_TIME, Outbound, OutboundError, OutboundSettings, Unanswered};
use super::request::{self, Client};
use crate::domain::catalog::Platform;
use crate::domain::connection::Renewed;
use crate::domain::expiry;
use crate::domain::ports::{Clock, Exchange, Granted, RefreshCall, TokenEndpoint, TransportFault};
use crate::domain::profile::{ClientAuth, ExpiryRule, Profile, UrlPolicy, UrlTemplate, UrlTemplateError};
use crate::domain::secret::{AccessToken, ClientSecret, RefreshToken};
use crate::domain::time::Timestamp;

/// Token endpoints over HTTPS.
pub struct HttpTokenEndpoint {
    outbound: Outbound,
    url_policy: UrlPolicy,
    clock: Arc<dyn Clock>,
}

/// The HTTP client of one exchange, as the `oauth2` crate wants it: a standard request in, a canonical answer out.
struct Courier<'a> {
    endpoint: &'a HttpTokenEndpoint,
    errand: Errand,
    url: Url,
    profile: &'a Profile,
    asking: Client<'a>,
    deadline: Instant,
    /// Left here by a refresh that was granted.
    aside: OnceLock<Aside>,
}

/// What a courier is sent for.
#[derive(Clone, Copy)]
enum Errand {
    Refresh,
    Introspection,
}

/// Ends the `oauth2` crate's part of an exchange early: there are no tokens to read.
#[derive(thiserror::Error)]
#[error("no tokens")]
struct NoTokens(Exchange);

// === impl HttpTokenEndpoint ===

impl HttpTokenEndpoint {
    /// Token endpoints that may be called under these settings. TLS takes the crypto provider of the process.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(settings: &OutboundSettings, clock: Arc<dyn Clock>) -> Result<Self, OutboundError> {
        Ok(Self { outbound: Outbound::new(settings)?, url_policy: settings.url_policy, clock })
    }

    fn courier<'a>(
        &'a self,
        errand: Errand,
        url: Url,
        profile: &'a Profile,
        asking: Client<'a>,
        time_limit: Duration,
    ) -> Courier<'a> {
        let deadline = Instant::now() + time_limit.min(MAX_TIME);
        Courier { endpoint: self, errand, url, profile, asking, deadline, aside: OnceLock::new() }
    }

    fn url(&self, template: &UrlTemplate, platform: &Platform) -> Result<Url, TransportFault> {
        template.fill(&platform.vars, self.url_policy).map_err(|error| match error {
            UrlTemplateError::Unset(_)
            | UrlTemplateError::Unknown(_)
            | UrlTemplateError::BadValue(_)
            | UrlTemplateError::Variable => TransportFault::Misconfigured,
            UrlTemplateError::NotAUrl
            | UrlTemplateError::NotHttps
            | UrlTemplateError::Credentials
            | UrlTemplateError::Fragment
            | UrlTemplateError::Address
            | UrlTemplateError::Lookalike => TransportFault::AddressRefused,
        })
    }
}

#[async_trait]
impl TokenEndpoint for HttpTokenEndpoint {
    async fn refresh(&self, call: RefreshCall<'_>) -> Exchange {
        let profile = &call.platform.profile;
        let url = match self.url(profile.refresh_endpoint(), call.platform) {
            Ok(url) => url,
            Err(fault) => return Exchange::NotSent(fault),
        };
        let asking = Client { id: call.client_id, secret: call.client_secret };
        let client = standard_client(profile.client_auth, asking).set_token_uri(TokenUrl::from_url(url.clone()));
        let refresh_token = oauth2::RefreshToken::new(call.refresh_token.expose().to_owned());
        let courier = self.courier(Errand::Refresh, url, profile, asking, call.time_limit);
        match client.exchange_refresh_token(&refresh_token).request_async(&courier).await {
            Ok(tokens) => courier
                .aside
                .get()
                .and_then(|aside| granted(&tokens, *aside, &profile.expiry))
                .map_or(Exchange::Lost(TransportFault::Malformed), |granted| Exchange::Granted(Box::new(granted))),
            Err(RequestTokenError::Request(NoTokens(exchange))) => exchange,
            // It reads what `answer` wrote for it, so this cannot be; if it is, the request was answered all the same.
            Err(RequestTokenError::ServerResponse(_) | RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
                Exchange::Lost(TransportFault::Malformed)
            }
        }
    }

    async fn introspect(
        &self,
        platform: &Platform,
        client_secret: Option<&ClientSecret>,
        token: &AccessToken,
        time_limit: Duration,
    ) -> Option<Timestamp> {
        let url = self.url(platform.profile.introspect_url.as_ref()?, platform).ok()?;
        let asking = Client { id: &platform.app.as_ref()?.client_id, secret: client_secret };
        let client = standard_client(platform.profile.client_auth, asking)
            .set_introspection_url(IntrospectionUrl::from_url(url.clone()));
        let token = oauth2::AccessToken::new(token.expose().to_owned());
        let courier = self.courier(Errand::Introspection, url, &platform.profile, asking, time_limit);
        let request = client.introspect(&token).set_token_type_hint("access_token");
        let answer = request.request_async(&courier).await.ok()?;
        answer.exp().filter(|_| answer.active()).map(|at| Timestamp::from_unix_seconds(at.timestamp()))
    }
}

impl fmt::Debug for HttpTokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTokenEndpoint").field("url_policy", &self.url_policy).finish_non_exhaustive()
    }
}

/// The crate's client, built anew for every request: which endpoints it has is part of its type. It is given the secret
/// only where it is to write it.
fn standard_client(auth: ClientAuth, asking: Client<'_>) -> BasicClient {
    let client = BasicClient::new(ClientId::new(asking.id.to_owned()));
    let (kind, secret) = match auth {
        ClientAuth::Body => (AuthType::RequestBody, asking.secret),
        ClientAuth::Basic => (AuthType::BasicAuth, asking.secret),
        ClientAuth::BasicRaw | ClientAuth::None => (AuthType::RequestBody, None),
    };
    let client = client.set_auth_type(kind);
    match secret {
        Some(secret) => client.set_client_secret(oauth2::ClientSecret::new(secret.expose().to_owned())),
        None => client,
    }
}

fn granted(tokens: &BasicTokenResponse, aside: Aside, rule: &ExpiryRule) -> Option<Granted> {
    let text = tokens.access_token().secret();
    let token_type = tokens.token_type().as_ref();
    let renewed = Renewed {
        access: AccessToken::new(text.clone())?,
        refresh: tokens.refresh_token().and_then(|token| RefreshToken::new(token.secret().clone())),
        // It was just refreshed, so it can be again.
        expires_at: expiry::expiry(aside.stated, rule, text, true, aside.sent_at),
        sent_at: aside.sent_at,
        scopes: tokens.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        token_type: (!token_type.eq_ignore_ascii_case("bearer")).then(|| token_type.to_owned()),
        refresh_expires_at: aside.refresh_expires_at,
    };
    let expiry_assumed = expiry::is_assumed(aside.stated, rule, text, true);
    Some(Granted { renewed, expiry_assumed, server_date: aside.server_date })
}

// === impl Courier ===

impl<'c> AsyncHttpClient<'c> for Courier<'_> {
    type Error = NoTokens;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoTokens>> + Send + 'c>>;

    fn call(&'c self, standard: HttpRequest) -> Self::Future {
        match self.errand {
            Errand::Refresh => Box::pin(self.refresh(standard)),
            Errand::Introspection => Box::pin(self.introspect(standard)),
        }
    }
}

impl Courier<'_> {
    async fn refresh(&self, standard: HttpRequest) -> Result<HttpResponse, NoTokens> {
        let outgoing = request::refresh(standard, self.url.clone(), self.profile, self.asking)?;
        let clock = &self.endpoint.clock;
        let (by_wall, began) = (clock.now(), clock.monotonic());
        let answer = self.endpoint.outbound.post(outgoing, self.deadline).await?;
        if let Some(date) = server_date(&answer.headers) {
            clock.hear(&self.profile.id, date);
        }
        // Should the clock have stepped meanwhile, or have been put right: a life that is counted from too early costs
        // a refresh, one that is counted from too late would outlast its token.
        let sent_at = by_wall.min(clock.now() - clock.monotonic().saturating_sub(began));
        let tokens = judge(answer, self.profile, sent_at, clock.now()).map_err(NoTokens)?;
        // One request, one answer: nothing was left here before.
        let _ = self.aside.set(tokens.aside);
        Ok(tokens.canonical)
    }

    async fn introspect(&self, standard: HttpRequest) -> Result<HttpResponse, NoTokens> {
        let outgoing = request::introspection(standard, self.url.clone(), self.profile, self.asking)?;
        let answer = self.endpoint.outbound.post(outgoing, self.deadline).await?;
        introspected(answer, self.endpoint.clock.now()).ok_or(NoTokens(Exchange::Lost(TransportFault::Malformed)))
    }
}

// === impl NoTokens ===

impl From<Unanswered> for NoTokens {
    fn from(unanswered: Unanswered) -> Self {
        Self(match unanswered {
            Unanswered::NotSent(fault) => Exchange::NotSent(fault),
            Unanswered::Lost(fault) => Exchange::Lost(fault),
        })
    }
}

impl fmt::Debug for NoTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoTokens")
    }
}
