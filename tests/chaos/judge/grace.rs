//! django-oauth-toolkit with a grace period: a refresh token that comes twice gets the same answer twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Judge, Seen};
use crate::installation::{PLATFORM, Platform};

/// It builds its database before it is ready.
const PATIENCE: Duration = Duration::from_secs(90);

const CLIENT: (&str, &str) = ("vault", "a-secret-for-the-gracious");

struct Grace {
    origin: String,
    http: reqwest::Client,
    _process: Child,
}

pub(super) async fn start() -> Box<dyn Judge> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = std::env::var_os("VAULT_TEST_VENV").map_or_else(|| checkout.join(".venv"), PathBuf::from);
    let mut process = Command::new(venv.join("bin/python3"))
        .arg(checkout.join("tests/peers/grace.py"))
        .env("CLIENT_ID", CLIENT.0)
        .env("CLIENT_SECRET", CLIENT.1)
        // Ends when this end of the pipe does.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts; run ./test");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it is ready in time").unwrap();
    let origin = line.expect("it says that it is ready").strip_prefix("ready ").unwrap().to_owned();
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    Box::new(Grace { origin, http, _process: process })
}

#[async_trait]
impl Judge for Grace {
    fn platform(&self) -> Platform {
        Platform {
            id: PLATFORM.to_owned(),
            origin: self.origin.clone(),
            token_path: "/o/token/".to_owned(),
            client_id: CLIENT.0.to_owned(),
            client_secret: CLIENT.1.to_owned(),
            profile: "refresh: { rotates: yes, reuse_window_seconds: 120 }\n".to_owned(),
        }
    }

    async fn grants(&self, count: usize) -> Vec<(String, String)> {
        let answer = self.http.post(format!("{}/_grants?count={count}", self.origin)).send().await.unwrap();
        let tokens: Vec<String> = answer.json().await.unwrap();
        tokens.into_iter().enumerate().map(|(n, token)| (format!("user-{n}"), token)).collect()
    }

    async fn seen(&self) -> Seen {
        #[derive(Deserialize)]
        struct Stats {
            granted: usize,
            refused: usize,
        }
        let answer = self.http.get(format!("{}/_stats", self.origin)).send().await.unwrap();
        let Stats { granted, refused } = answer.json().await.unwrap();
        Seen { granted, refused, revoked: 0, granted_to: BTreeMap::new() }
    }
}
