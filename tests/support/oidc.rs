//! Starts the OpenID provider that judges refreshes, and speaks to its control paths; what they mean is said in
//! `tests/peers/oidc.mjs`. The protocol itself is spoken by whoever is under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// No answer of the control paths may take longer, and no condition may stay unmet for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client the provider knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OidcClient {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
}

/// Authenticates with HTTP Basic; its secret must be form-encoded first (RFC 6749 section 2.3.1).
pub(crate) const BASIC: OidcClient = OidcClient { id: "vault-basic", secret: "pass: 100%+odd/chars=&~!" };

/// Authenticates in the form.
pub(crate) const POST: OidcClient = OidcClient { id: "vault-post", secret: "a-secret-that-is-sent-in-the-body" };

/// One running provider. It ends when this is dropped, or when the test process dies.
pub(crate) struct Oidc {
    issuer: String,
    rotates: bool,
    http: reqwest::Client,
    _process: Child,
}

/// A living grant, as an authorization code flow would have left it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IssuedGrant {
    pub(crate) grant: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) expires_in: u64,
}

/// One request to the token endpoint. Tokens appear as fingerprints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SeenRequest {
    pub(crate) seq: u64,
    pub(crate) client: Option<String>,
    pub(crate) grant_type: Option<String>,
    pub(crate) grant: Option<String>,
    pub(crate) presented: Option<String>,
    pub(crate) issued: Option<String>,
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) delivered: bool,
    /// When its answer had left, in Unix milliseconds.
    pub(crate) delivered_at: Option<u64>,
}

/// What became of a request to the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The provider has not judged it yet.
    Pending,
    /// The provider granted it.
    Ok,
    /// The provider refused it.
    Refused,
    /// A fault answered in the provider's place.
    Scripted,
    /// A fault dropped it unprocessed.
    Dropped,
    /// The client hung up before it was processed.
    Abandoned,
}

/// What the provider has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Stats {
    pub(crate) refreshes_ok: u64,
    pub(crate) refreshes_refused: u64,
    pub(crate) grants_revoked: u64,
}

/// How the next requests to the token endpoint fail. Begin with [`Fault::default`], which does nothing, once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fault {
    /// For how many requests.
    pub(crate) times: u32,
    /// Waits before processing; whoever hangs up meanwhile was never heard.
    pub(crate) delay_before_ms: u64,
    /// Drops the connection; nothing is processed.
    pub(crate) lose_before: bool,
    /// Answers this; nothing is processed.
    pub(crate) status: Option<u16>,
    /// Processes, and rotates; then drops the connection.
    pub(crate) lose_after: bool,
    /// Processes, and rotates; then answers this instead.
    pub(crate) status_after: Option<u16>,
    /// Waits between processing and answering.
    pub(crate) delay_after_ms: u64,
    /// The headers that go with a status.
    pub(crate) headers: serde_json::Map<String, Value>,
    /// The body that goes with a status: a text as it is, anything else as JSON.
    pub(crate) body: Value,
}

// === impl Oidc ===

impl Oidc {
    /// Starts a provider whose access tokens live for an hour.
    pub(crate) async fn start() -> Self {
        Self::start_with_access_token_ttl(Duration::from_hours(1)).await
    }

    /// Starts a provider whose refresh tokens may be used again and again.
    pub(crate) async fn start_without_rotation() -> Self {
        Self::launch(Duration::from_hours(1), false).await
    }

    /// Starts a provider whose access tokens live for `ttl` (whole seconds).
    pub(crate) async fn start_with_access_token_ttl(ttl: Duration) -> Self {
        Self::launch(ttl, true).await
    }

    async fn launch(ttl: Duration, rotates: bool) -> Self {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = std::env::var_os("VAULT_TEST_NODE_MODULES")
            .map_or_else(|| checkout.join("tests/peers/node_modules"), PathBuf::from);
        assert!(modules.join("oidc-provider").is_dir(), "no oidc-provider in `{}`: run ./test", modules.display());
        let mut process = Command::new("node")
            .arg(checkout.join("tests/peers/oidc.mjs"))
            .arg("0")
            .env("VAULT_TEST_NODE_MODULES", modules)
            .env("AT_TTL", ttl.as_secs().to_string())
            .env("ROTATE", if rotates { "yes" } else { "no" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the provider is ready in time");
        let line = line.expect("the provider's output can be read").expect("the provider says that it is ready");
        let issuer = line.strip_prefix("ready ").expect("the first line is `ready URL`").to_owned();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("an HTTP client");
        Self { issuer, rotates, http, _process: process }
    }

    /// Its origin.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether it replaces refresh tokens.
    pub(crate) const fn rotates(&self) -> bool {
        self.rotates
    }

    /// Where refresh tokens are redeemed.
    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    /// Creates living grants.
    pub(crate) async fn grants(&self, client: OidcClient, count: usize) -> Vec<IssuedGrant> {
        #[derive(Deserialize)]
        struct Answer {
            grants: Vec<IssuedGrant>,
        }
        let answer: Answer = self.post("/_grants", &json!({ "client": client.id, "count": count })).await;
        answer.grants
    }

    /// Which of these refresh tokens could be redeemed, in their order. None of them is consumed by asking.
    pub(crate) async fn alive<'a>(&self, refresh_tokens: impl IntoIterator<Item = &'a str>) -> Vec<bool> {
        #[derive(Deserialize)]
        struct Answer {
            alive: Vec<bool>,
        }
        let tokens: Vec<&str> = refresh_tokens.into_iter().collect();
        let answer: Answer = self.post("/_alive", &json!({ "refresh_tokens": tokens })).await;
        answer.alive
    }

    /// Scripts a failure of the token endpoint, after those already scripted.
    pub(crate) async fn fault(&self, fault: Fault) {
        let _: Value = self.post("/_fault", &serde_json::to_value(fault).expect("a fault is JSON")).await;
    }

    /// Forgets all faults and lets go of the requests that are being delayed.
    pub(crate) async fn release(&self) {
        let _: Value = self.post("/_release", &json!({})).await;
    }

    /// Every request to the token endpoint so far, in order of arrival.
    pub(crate) async fn log(&self) -> Vec<SeenRequest> {
        #[derive(Deserialize)]
        struct Answer {
            requests: Vec<SeenRequest>,
        }
        let answer: Answer = self.get("/_log").await;
        answer.requests
    }

    /// The counts of what the provider has done.
    pub(crate) async fn stats(&self) -> Stats {
        self.get("/_stats").await
    }

    /// Waits until the token endpoint has received this many requests, answered or not.
    pub(crate) async fn arrived(&self, requests: usize) {
        let _: Value = self.get(&format!("/_wait?arrived={requests}")).await;
    }

    /// Waits until the provider has judged this many requests: rotated or refused, with the answer still to be given.
    pub(crate) async fn judged(&self, requests: usize) {
        let _: Value = self.get(&format!("/_wait?judged={requests}")).await;
    }

    /// Waits until the token endpoint is done with this many requests, whether answered or lost.
    pub(crate) async fn finished(&self, requests: usize) {
        let _: Value = self.get(&format!("/_wait?finished={requests}")).await;
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        read(self.http.get(format!("{}{path}", self.issuer))).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> T {
        read(self.http.post(format!("{}{path}", self.issuer)).body(body.to_string())).await
    }
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> T {
    let response = request.send().await.expect("the provider answers");
    let status = response.status();
    let body = response.bytes().await.expect("the answer arrives whole");
    assert!(status.is_success(), "the provider's control path answered {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("the answer has the expected shape")
}

// === impl Fault ===

impl Default for Fault {
    fn default() -> Self {
        Self {
            times: 1,
            delay_before_ms: 0,
            lose_before: false,
            status: None,
            lose_after: false,
            status_after: None,
            delay_after_ms: 0,
            headers: serde_json::Map::new(),
            body: Value::String(String::new()),
        }
    }
}
