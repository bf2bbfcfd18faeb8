//! One platform, its provider, and a user whose token is refreshed there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vault_engine::adapters::oauth::{HttpTokenEndpoint, OutboundError, OutboundSettings};
use vault_engine::domain::catalog::{App, Platform};
use vault_engine::domain::ports::{Clock, Exchange, Granted, RefreshCall, Refused, TokenEndpoint as _, TransportFault};
use vault_engine::domain::profile::{
    BodyFormat, ClientAuth, ExpiryRule, Limits, Params, Pkce, Profile, RefreshRule, ResponsePaths, ScopeRule,
    UrlPolicy, UrlTemplate,
};
use vault_engine::domain::secret::{ClientSecret, RefreshToken};
use vault_engine::domain::time::Timestamp;

use crate::provider::{Answer, Provider};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) platform: Platform,
    pub(crate) endpoint: HttpTokenEndpoint,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<ClientSecret>,
    pub(crate) refresh_token: RefreshToken,
    pub(crate) time_limit: Duration,
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

// === impl World ===

impl World {
    /// A platform that follows the standard.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A platform with oddities.
    pub(crate) async fn with(oddities: impl FnOnce(&mut Profile)) -> Self {
        // As the process does first thing; every test of this binary wants to, one does.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = Provider::start().await;
        let mut profile = standard(&provider.url("/token"));
        oddities(&mut profile);
        Self {
            provider,
            platform: Platform {
                profile,
                app: Some(App { client_id: "client-1".to_owned(), secrets: Vec::new() }),
                vars: BTreeMap::new(),
            },
            endpoint: endpoint(UrlPolicy::AllowLoopback),
            client_id: "client-1".to_owned(),
            client_secret: ClientSecret::new("hush".to_owned()),
            refresh_token: RefreshToken::new("old-refresh".to_owned()).unwrap(),
            time_limit: Duration::from_secs(5),
        }
    }

    pub(crate) async fn refresh(&self) -> Exchange {
        let call = RefreshCall {
            platform: &self.platform,
            client_id: &self.client_id,
            client_secret: self.client_secret.as_ref(),
            refresh_token: &self.refresh_token,
            time_limit: self.time_limit,
        };
        self.endpoint.refresh(call).await
    }

    /// Refreshes, and the provider answers so.
    pub(crate) async fn answered(&self, answer: Answer) -> Exchange {
        self.provider.will(answer);
        self.refresh().await
    }

    /// Refreshes, and the provider answers with this JSON and status 200.
    pub(crate) async fn answered_json(&self, body: Value) -> Exchange {
        self.answered(Answer::json(200, &body)).await
    }
}

pub(crate) fn endpoint(url_policy: UrlPolicy) -> HttpTokenEndpoint {
    let settings = OutboundSettings { url_policy, allowed_hosts: BTreeSet::new(), extra_ca_file: None };
    endpoint_with(&settings).unwrap()
}

pub(crate) fn endpoint_with(settings: &OutboundSettings) -> Result<HttpTokenEndpoint, OutboundError> {
    HttpTokenEndpoint::new(settings, Arc::new(Stopped))
}

pub(crate) fn template(url: &str) -> UrlTemplate {
    UrlTemplate::parse(url, UrlPolicy::AllowLoopback).unwrap()
}

fn standard(token_url: &str) -> Profile {
    Profile {
        id: "standard".parse().unwrap(),
        display_name: "Standard".to_owned(),
        docs: "https://platform.example/docs".to_owned(),
        facts_as_of: "2026-01-01".to_owned(),
        authorize_url: template(token_url),
        token_url: template(token_url),
        refresh_url: None,
        revoke_url: None,
        introspect_url: None,
        vars: BTreeMap::new(),
        client_auth: ClientAuth::Body,
        body: BodyFormat::Form,
        scopes: ScopeRule::default(),
        pkce: Pkce::S256,
        params: Params::default(),
        rename: BTreeMap::new(),
        headers: BTreeMap::new(),
        response: ResponsePaths::default(),
        expiry: ExpiryRule::default(),
        refresh: RefreshRule::default(),
        errors: Vec::new(),
        limits: Limits::default(),
    }
}

/// An ordinary successful answer.
pub(crate) fn tokens() -> Value {
    json!({ "access_token": "new-access", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "new-refresh" })
}

#[track_caller]
pub(crate) fn granted(exchange: Exchange) -> Granted {
    match exchange {
        Exchange::Granted(granted) => *granted,
        other => panic!("not granted but {}", name(&other)),
    }
}

#[track_caller]
pub(crate) fn refused(exchange: Exchange) -> Refused {
    match exchange {
        Exchange::Refused(refused) => refused,
        other => panic!("not refused but {}", name(&other)),
    }
}

#[track_caller]
pub(crate) fn lost(exchange: Exchange) -> TransportFault {
    match exchange {
        Exchange::Lost(fault) => fault,
        other => panic!("not lost but {}", name(&other)),
    }
}

#[track_caller]
pub(crate) fn not_sent(exchange: Exchange) -> TransportFault {
    match exchange {
        Exchange::NotSent(fault) => fault,
        other => panic!("sent: {}", name(&other)),
    }
}

fn name(exchange: &Exchange) -> String {
    match exchange {
        Exchange::Granted(_) => "granted".to_owned(),
        Exchange::Refused(refused) => format!("refused with {}: {}", refused.status, refused.body),
        Exchange::NotSent(fault) => format!("not sent: {fault:?}"),
        Exchange::Lost(fault) => format!("lost: {fault:?}"),
    }
}
