//! `vault-engine demo`: the whole main job in one minute, over real gRPC, with nothing left behind.

mod provider;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use self::provider::{CLIENT_ID, CLIENT_SECRET, Provider};
use super::client::{Client, explain};
use super::dev::{ENGINES, made_engine};
use super::output::{bold, dim, green, say};
use super::serve::Running;
use super::{Failure, status};
use crate::access::EngineKey;
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::app::StartError;
use crate::config::Config;
use crate::domain::ports::{Clock as _, Random as _, Tasks as _};
use crate::lifecycle::Lifecycle;
use crate::pb::vault_v1::{GetStatusRequest, GetTokenRequest, GetTokenResponse, StoreTokenRequest};

const USER: &str = "ada@example.com";
const PLATFORM: &str = "demo";
const CALLERS: usize = 20;
/// How long the first access token lives.
const SHORT_LIFE: Duration = Duration::from_secs(3);

/// A folder that goes when the demo ends, however it ends.
struct Scratch(PathBuf);

/// What the demo plays with.
struct Stage {
    provider: Provider,
    folder: Scratch,
    server: String,
    keys: Vec<(&'static str, String)>,
}

pub(super) async fn run() -> Result<ExitCode, Failure> {
    let lifecycle = Lifecycle::default();
    let outcome = play(&lifecycle).await;
    lifecycle.drain();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn play(lifecycle: &Lifecycle) -> Result<(), Failure> {
    let began = Instant::now();
    say(bold("Vault Engine: one token's life in a minute"));
    let stage = Stage::set(lifecycle).await?;
    stage.store().await?;
    stage.get().await?;
    stage.refuse_strangers().await?;
    stage.refresh_under_load().await?;
    stage.show_status().await?;
    stage.show_audit()?;
    stage.show_store()?;
    say(format!(
        "\n{} in {:.1} s. Everything above was real: gRPC, OAuth, sealing, audit.",
        green("Done"),
        began.elapsed().as_secs_f32()
    ));
    say(dim("Next: `vault-engine dev` serves for development; README.md shows how to run it for real."));
    Ok(())
}

// === impl Stage ===

impl Stage {
    async fn set(lifecycle: &Lifecycle) -> Result<Self, Failure> {
        let folder = Scratch::make()?;
        let provider = Provider::default();
        let platform = provider.start(lifecycle).await?;
        let profiles = folder.0.join("profiles");
        std::fs::create_dir(&profiles)?;
        std::fs::write(profiles.join(format!("{PLATFORM}.yaml")), profile(platform))?;
        // The environment of whoever runs this is left alone: the demo is the same everywhere.
        let config = Config::load(None, settings(&folder.0, &profiles).into_iter()).map_err(StartError::Faults)?;
        let mut engines = Vec::new();
        let mut keys = Vec::new();
        for (name, actions) in ENGINES {
            let key = EngineKey::make(&SystemRandom);
            keys.push((name, key.expose()));
            engines.push(made_engine(name, actions, key)?);
        }
        let vault = Running::start(config, lifecycle.clone(), &engines).await?;
        let server = format!("http://{}", vault.address()?);
        let serving = async move {
            if let Err(error) = vault.serve().await {
                super::output::failure(&*error);
            }
        };
        lifecycle.spawn("demo vault", Box::pin(serving));
        step(1, "A vault, and a platform to connect to");
        say(format!("   vault      {server}   embedded store, local keys, in {}", folder.0.display()));
        say(format!("   platform   http://{platform}/token   rotates refresh tokens, revokes the grant on reuse"));
        say("   engines    action (get)   sync (status, get, store)   local (all)");
        Ok(Self { provider, folder, server, keys })
    }

    async fn store(&self) -> Result<(), Failure> {
        step(2, "`sync` stores what a user's consent gave: an access token, and the refresh token");
        let expires_at = (SystemClock.now() + SHORT_LIFE).unix_seconds();
        let message = StoreTokenRequest {
            user_id: USER.to_owned(),
            platform: PLATFORM.to_owned(),
            access_token: "demo-access-1".to_owned(),
            refresh_token: self.provider.consent(),
            expires_at,
            scopes: vec!["notes".to_owned()],
            ..StoreTokenRequest::default()
        };
        let mut client = self.client("sync").await?;
        let request = client.request(message);
        let answer = client.vault.store_token(request).await.map_err(|status| explain(&status))?.into_inner();
        say(format!(
            "   StoreToken {USER} @ {PLATFORM}  ->  version {}, refreshable {}",
            answer.version, answer.refreshable
        ));
        Ok(())
    }

    async fn get(&self) -> Result<(), Failure> {
        step(3, "`action` gets the access token, and never sees the refresh token");
        let answer = self.fetch("action").await?;
        say(format!(
            "   GetToken   ->  {}  (version {}, refreshed {})",
            answer.access_token, answer.version, answer.refreshed
        ));
        Ok(())
    }

    async fn refuse_strangers(&self) -> Result<(), Failure> {
        step(4, "Whoever may not, does not");
        let forged = EngineKey::make(&SystemRandom).expose();
        let mut stranger = Client::new(self.channel().await?, "action", &forged)?;
        let request = stranger.request(get_request());
        let refused = stranger.vault.get_token(request).await.err().ok_or("a forged key was let in")?;
        say(format!("   a forged key            ->  {:?}: {}", refused.code(), refused.message()));
        let mut action = self.client("action").await?;
        let request = action.request(GetStatusRequest { user_id: USER.to_owned(), ..GetStatusRequest::default() });
        let refused = action.vault.get_status(request).await.err().ok_or("an engine did what it may not")?;
        say(format!("   `action` asks a status  ->  {:?}: {}", refused.code(), refused.message()));
        Ok(())
    }

    async fn refresh_under_load(&self) -> Result<(), Failure> {
        step(5, &format!("The token expires, and {CALLERS} callers want it in the same moment"));
        tokio::time::sleep(SHORT_LIFE).await;
        let began = Instant::now();
        let answers = join_all((0..CALLERS).map(|_| self.fetch("action"))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (refreshes, revoked) = self.provider.seen();
        let same = answers.iter().all(|answer| answer.access_token == "demo-access-2");
        let one = answers.first().ok_or("nobody called")?;
        say(format!(
            "   {CALLERS} x GetToken  ->  {}  for every one of them: {same}, in {} ms",
            one.access_token,
            began.elapsed().as_millis()
        ));
        say(format!(
            "   the platform saw {refreshes} refresh, and the grant is {}",
            if revoked { "revoked" } else { "alive" }
        ));
        if (refreshes, revoked, same) != (1, false, true) {
            return Err("the platform should have seen exactly one refresh".into());
        }
        Ok(())
    }

    async fn show_status(&self) -> Result<(), Failure> {
        step(6, "`local` looks at the user's connections");
        let mut client = self.client("local").await?;
        let platforms = ["demo", "gmail", "slack"].map(ToOwned::to_owned).to_vec();
        let request =
            client.request(GetStatusRequest { user_id: USER.to_owned(), platforms, ..GetStatusRequest::default() });
        let answer = client.vault.get_status(request).await.map_err(|status| explain(&status))?.into_inner();
        status::show(&answer.connected_platforms);
        Ok(())
    }

    fn show_audit(&self) -> Result<(), Failure> {
        step(7, "Everything is in the audit trail, and no secret is");
        let trail = std::fs::read_to_string(self.folder.0.join("audit.jsonl"))?;
        let lines: Vec<&str> = trail.lines().collect();
        let shown = |line: &&&str| {
            let is_get = line.contains("\"action\":\"get\"") && !line.contains("denied");
            !is_get && !line.contains("\"action\":\"audit\"")
        };
        for line in lines.iter().filter(shown) {
            let said = line.split_once("\"timestamp\"").map_or("", |(_, said)| said);
            say(dim(&format!("   {{... \"timestamp\"{said}")));
        }
        let gets = lines.iter().filter(|line| line.contains("\"action\":\"get\",\"result\":\"ok\"")).count();
        say(format!("   and {gets} lines of tokens handed out"));
        if trail.contains("demo-access") || trail.contains("demo-refresh") || trail.contains("tvk1_") {
            return Err("the audit trail holds a secret".into());
        }
        Ok(())
    }

    fn show_store(&self) -> Result<(), Failure> {
        step(8, "And the store holds nothing a thief could read");
        let bytes = std::fs::read(self.folder.0.join("vault.redb"))?;
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let found = ["demo-access", "demo-refresh", CLIENT_SECRET].into_iter().filter(|text| holds(text)).count();
        say(format!("   tokens found in {} KiB of vault.redb: {found}", bytes.len() / 1_024));
        if found > 0 {
            return Err("the store holds a token in the clear".into());
        }
        Ok(())
    }

    async fn fetch(&self, engine: &str) -> Result<GetTokenResponse, Failure> {
        let mut client = self.client(engine).await?;
        let request = client.request(get_request());
        Ok(client.vault.get_token(request).await.map_err(|status| explain(&status))?.into_inner())
    }

    async fn client(&self, engine: &str) -> Result<Client, Failure> {
        let key = self.keys.iter().find(|(name, _)| *name == engine).ok_or("no such engine")?;
        Client::new(self.channel().await?, engine, &key.1)
    }

    async fn channel(&self) -> Result<tonic::transport::Channel, Failure> {
        Ok(Endpoint::from_shared(self.server.clone())?.tcp_nodelay(true).connect().await?)
    }
}

fn get_request() -> GetTokenRequest {
    GetTokenRequest { user_id: USER.to_owned(), platform: PLATFORM.to_owned(), ..GetTokenRequest::default() }
}

fn step(number: u32, what: &str) {
    say(format!("\n{}", bold(&format!("{number}. {what}"))));
}

/// The whole profile of a plain platform.
fn profile(platform: std::net::SocketAddr) -> String {
    format!(
        "docs: https://example.com/demo\nfacts_as_of: 2026-11-21\nauthorize_url: http://{platform}/authorize\ntoken_url: \
         http://{platform}/token\nrefresh: {{ rotates: yes, replay: revoke_all }}\n"
    )
}

fn settings(folder: &Path, profiles: &Path) -> Vec<(String, String)> {
    let text = |path: &Path| path.display().to_string();
    let pairs = [
        ("ENVIRONMENT", "dev".to_owned()),
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("DATA_DIR", text(folder)),
        ("PROFILES_DIR", text(profiles)),
        ("OUTBOUND__ALLOW_LOOPBACK", "true".to_owned()),
        ("PLATFORMS__DEMO__CLIENT_ID", CLIENT_ID.to_owned()),
        ("PLATFORMS__DEMO__CLIENT_SECRETS", "[{ env: VAULT_ENGINE_SECRET_DEMO }]".to_owned()),
        ("SECRET_DEMO", CLIENT_SECRET.to_owned()),
    ];
    pairs.map(|(name, value)| (format!("VAULT_ENGINE_{name}"), value)).to_vec()
}

// === impl Scratch ===

impl Scratch {
    fn make() -> std::io::Result<Self> {
        let mut chance = [0; 8];
        SystemRandom.fill(&mut chance);
        let name = format!("vault-engine-demo-{:016x}", u64::from_be_bytes(chance));
        let path = std::env::temp_dir().join(name);
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
