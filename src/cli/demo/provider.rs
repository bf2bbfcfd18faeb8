//! A small OAuth server on loopback: it rotates refresh tokens, and revokes the whole grant when a used one comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Form, Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::domain::ports::Tasks;

/// What the server has seen, shared with whoever watches it.
#[derive(Clone, Default)]
pub(super) struct Provider {
    grants: Arc<Mutex<Grants>>,
}

#[derive(Default)]
struct Grants {
    /// Refresh token -> whether it was used.
    tokens: HashMap<String, bool>,
    refreshes: u32,
    revoked: bool,
}

/// The client that is registered here.
pub(super) const CLIENT_ID: &str = "demo-client";
pub(super) const CLIENT_SECRET: &str = "demo-secret";

// === impl Provider ===

impl Provider {
    /// Starts the server on a free port.
    pub(super) async fn start(&self, tasks: &dyn Tasks) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/token", post(token)).with_state(self.clone());
        tasks.spawn(
            "demo provider",
            Box::pin(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "the demo's OAuth server failed");
                }
            }),
        );
        Ok(address)
    }

    /// A user consents: the first refresh token of a grant.
    pub(super) fn consent(&self) -> String {
        let mut grants = self.lock();
        let token = format!("demo-refresh-{}", grants.tokens.len() + 1);
        grants.tokens.insert(token.clone(), false);
        token
    }

    /// How many refreshes succeeded, and whether the grant was revoked.
    pub(super) fn seen(&self) -> (u32, bool) {
        let grants = self.lock();
        (grants.refreshes, grants.revoked)
    }

    fn redeem(&self, form: &HashMap<String, String>) -> (StatusCode, Json<Value>) {
        let refuse = |status, error: &str| (status, Json(json!({ "error": error })));
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if (field("client_id"), field("client_secret")) != (CLIENT_ID, CLIENT_SECRET) {
            return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        let mut grants = self.lock();
        match grants.tokens.get(field("refresh_token")).copied() {
            Some(false) if !grants.revoked => {}
            // RFC 9700 section 4.14.2: a used token that comes back may be stolen, so the whole grant goes.
            Some(true) => {
                grants.revoked = true;
                return refuse(StatusCode::BAD_REQUEST, "invalid_grant");
            }
            Some(false) | None => return refuse(StatusCode::BAD_REQUEST, "invalid_grant"),
        }
        grants.tokens.insert(field("refresh_token").to_owned(), true);
        let next = format!("demo-refresh-{}", grants.tokens.len() + 1);
        grants.tokens.insert(next.clone(), false);
        grants.refreshes += 1;
        let access = format!("demo-access-{}", grants.refreshes + 1);
        let answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 3_600, "refresh_token": next, "scope": "notes",
        });
        (StatusCode::OK, Json(answer))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn token(
    State(provider): State<Provider>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    // As slow as a platform far away, so that callers really meet.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    provider.redeem(&form)
}
