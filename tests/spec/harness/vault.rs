//! A whole vault in this process, what stands around it, and what it leaves behind.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use vault_engine::access::{EngineKey, Guard};
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::adapters::system::SystemRandom;
use vault_engine::app::{App, Foundation, MadeEngine, audit_events};
use vault_engine::config::{Config, EngineConfig};
use vault_engine::domain::method::Action;
use vault_engine::domain::policy::{Named, Policy};
use vault_engine::envelope::Tickets;
use vault_engine::lifecycle::Lifecycle;
use vault_engine::pb::vault_v1::StoreTokenRequest;
use vault_engine::service::ListAuditEvents;
use vault_engine::transport::{Reflection, ServeError, Server, ServerLimits};

use super::answers::Witness;
use super::caller::Caller;
use super::capture::Log;
use super::index::QuietIndex;
use super::leaks::Canaries;
use super::records::Drawer;
use super::requests::{USER, now, until};
use super::setup::Setup;
use super::{platforms, records, trail};
use crate::provider::{Answer, Provider};
use crate::redis::{RedisOptions, RedisServer};

/// Who may call: id, actions, tenants.
const ENGINES: [(&str, &[Action], &[&str]); 6] = [
    ("action", &[Action::Get], &["default"]),
    ("sync", &[Action::Status, Action::Get, Action::Store, Action::List, Action::Watch], &["default"]),
    ("local", &Action::ALL, &["default"]),
    ("acme", &Action::ALL, &["acme"]),
    ("broker", &Action::ALL, &["acme", "globex"]),
    ("admin", &Action::ADMIN, &["*"]),
];

/// Instances that were started so far, by all tests.
static INSTANCES: AtomicU64 = AtomicU64::new(7);

/// A vault, running.
pub(crate) struct Vault {
    folder: TempDir,
    settings: Mutex<BTreeMap<String, String>>,
    limits: ServerLimits,
    keys: BTreeMap<&'static str, String>,
    provider: Provider,
    redis: Option<RedisServer>,
    canaries: Canaries,
    log: Log,
    witness: Arc<Witness>,
    running: Mutex<Option<Running>>,
}

struct Running {
    lifecycle: Lifecycle,
    guard: Weak<Guard>,
    server: JoinHandle<Result<(), ServeError>>,
    url: String,
    channel: Channel,
    /// For another instance to stand on.
    foundation: Foundation,
    /// Another instance on the same store.
    other: Option<Box<Running>>,
}

/// What a platform issued at a consent or a refresh: secrets unlike any others.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

// === impl Vault ===

impl Vault {
    /// Starts one. Only the runner of tests may.
    pub(super) async fn start(setup: Setup, log: Log) -> Self {
        // As the process does first thing; every test of this binary wants to, one does.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let provider = Provider::start().await;
        let redis = setup.redis.then(|| RedisServer::start(RedisOptions::default()));
        let canaries = Canaries::new();
        let profiles = folder.path().join("profiles");
        let mut settings = platforms::install(&profiles, provider.address(), || canaries.make("client-secret"));
        settings.insert("VAULT_ENGINE_ENVIRONMENT".to_owned(), "dev".to_owned());
        settings.insert("VAULT_ENGINE_DATA_DIR".to_owned(), folder.path().display().to_string());
        // What a test sees is what its calls do.
        settings.insert("VAULT_ENGINE_REFRESH__BACKGROUND__ENABLED".to_owned(), "false".to_owned());
        // Every refused call has its line, unless a test says otherwise.
        let refused = settings.entry("VAULT_ENGINE_AUDIT__REFUSED_PER_MINUTE".to_owned());
        refused.or_insert_with(|| "1000000".to_owned());
        if let Some(redis) = &redis {
            settings.insert("VAULT_ENGINE_STORE__KIND".to_owned(), "redis".to_owned());
            let url = format!("redis://127.0.0.1:{}/0", redis.port());
            settings.insert("VAULT_ENGINE_STORE__REDIS__URL".to_owned(), url);
            // What a test counts is what its calls ask of the store.
            settings.insert("VAULT_ENGINE_REGISTRY__ENABLED".to_owned(), "false".to_owned());
            // What a test does to the records behind the vault's back is to be seen at once.
            settings.insert("VAULT_ENGINE_NEAR_CACHE__MAX_MEBIBYTES".to_owned(), "0".to_owned());
        }
        settings.extend(setup.settings);
        let keys: BTreeMap<_, _> = ENGINES.map(|(name, ..)| (name, EngineKey::make(&SystemRandom).expose())).into();
        for key in keys.values() {
            // Its public part may be seen.
            canaries.include(key.rsplit('_').next().unwrap());
        }
        let vault = Self {
            folder,
            settings: Mutex::new(settings),
            limits: setup.limits,
            keys,
            provider,
            redis,
            canaries,
            log,
            witness: Arc::default(),
            running: Mutex::default(),
        };
        vault.launch().await;
        vault
    }

    /// Stops it as a signal would, and starts it again on the same data. Callers from before have nobody to talk to.
    pub(crate) async fn restart(&self) {
        self.restart_after(|_| {}).await;
    }

    /// Does something to the data while it is stopped.
    pub(crate) async fn restart_after(&self, meanwhile: impl FnOnce(&Self)) {
        self.stop().await;
        meanwhile(self);
        self.launch().await;
    }

    /// Does something to the records while it is stopped, as somebody who can write to the store and has no keys.
    pub(crate) async fn while_stopped(&self, meanwhile: impl AsyncFnOnce(&EmbeddedStore)) {
        self.stop().await;
        let store = EmbeddedStore::open(&self.store_file()).unwrap();
        meanwhile(&store).await;
        drop(store);
        self.launch().await;
    }

    /// Configured otherwise from the next start on.
    pub(crate) fn configure(&self, key: &str, value: &str) {
        self.settings.lock().unwrap().insert(format!("VAULT_ENGINE_{key}"), value.to_owned());
    }

    /// An engine with its credentials: `action`, `sync`, `local`, `admin`, and for other tenants `acme` and `broker`.
    pub(crate) fn as_engine(&self, engine: &str) -> Caller {
        self.as_nobody().and("x-engine-id", engine).and("x-engine-key", self.key_of(engine))
    }

    /// Somebody without credentials.
    pub(crate) fn as_nobody(&self) -> Caller {
        let running = self.running.lock().unwrap();
        Caller::new(running.as_ref().unwrap().channel.clone(), Arc::clone(&self.witness))
    }

    /// Somebody without credentials at each instance.
    pub(crate) fn as_nobody_everywhere(&self) -> Vec<Caller> {
        let running = self.running.lock().unwrap();
        let mut callers = Vec::new();
        let mut next = running.as_ref();
        while let Some(instance) = next {
            callers.push(Caller::new(instance.channel.clone(), Arc::clone(&self.witness)));
            next = instance.other.as_deref();
        }
        callers
    }

    /// A key that was just made: it must be found nowhere but in the answer.
    pub(crate) fn keep_secret(&self, key: &str) {
        self.canaries.include(key.rsplit('_').next().unwrap());
    }

    /// Starts another instance on the same store.
    pub(crate) async fn start_another(&self) {
        let foundation = self.running.lock().unwrap().as_ref().unwrap().foundation.clone();
        let other = self.run(Some(foundation)).await;
        let mut running = self.running.lock().unwrap();
        let mut last = running.as_mut().unwrap();
        while last.other.is_some() {
            last = last.other.as_mut().unwrap();
        }
        last.other = Some(Box::new(other));
    }

    /// Starts another instance on the same store, which is told nothing and has to ask.
    pub(crate) async fn start_another_untold(&self) -> Arc<QuietIndex> {
        let foundation = self.running.lock().unwrap().as_ref().unwrap().foundation.clone();
        let index = QuietIndex::over(Arc::clone(&foundation.index));
        let other = self.run(Some(Foundation { index: Arc::clone(&index) as _, ..foundation })).await;
        self.running.lock().unwrap().as_mut().unwrap().other = Some(Box::new(other));
        index
    }

    /// An engine that calls the other instance.
    pub(crate) fn as_engine_of_another(&self, engine: &str) -> Caller {
        let running = self.running.lock().unwrap();
        let channel = running.as_ref().unwrap().other.as_ref().unwrap().channel.clone();
        let caller = Caller::new(channel, Arc::clone(&self.witness));
        caller.and("x-engine-id", engine).and("x-engine-key", self.key_of(engine))
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> String {
        self.running.lock().unwrap().as_ref().unwrap().url.clone()
    }

    /// The key of an engine.
    pub(crate) fn key_of(&self, engine: &str) -> &str {
        self.keys.get(engine).unwrap_or_else(|| panic!("there is no engine `{engine}`"))
    }

    /// A secret that must be found nowhere.
    pub(crate) fn secret(&self, what: &str) -> String {
        self.canaries.make(what)
    }

    /// Tokens that nobody has yet.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens { access: self.secret("access"), refresh: self.secret("refresh") }
    }

    /// The user connects: tokens that expire in so many seconds are stored.
    pub(crate) async fn connect(&self, platform: &str, life: i64) -> Tokens {
        self.connect_user(USER, platform, life).await
    }

    /// Somebody connects.
    pub(crate) async fn connect_user(&self, user: &str, platform: &str, life: i64) -> Tokens {
        let tokens = self.tokens();
        let request = StoreTokenRequest { user_id: user.to_owned(), ..tokens.request(platform, life) };
        self.as_engine("local").call(request).await.unwrap();
        tokens
    }

    /// What the configuration says of these keys, as the operator would find out: the public id of each, its verifier.
    pub(crate) async fn verifiers<const N: usize>(&self, engine: &str, keys: &[EngineKey; N]) -> [(String, String); N] {
        self.stop().await;
        let (config, lifecycle) = (self.config(), Lifecycle::default());
        let foundation = Foundation::lay(&config, &lifecycle).await.unwrap();
        let pepper = foundation.pepper().await.unwrap();
        drop(foundation);
        self.launch().await;
        keys.each_ref().map(|key| {
            let verifier = key.verifier(&pepper, engine);
            (verifier.key_id.clone(), verifier.to_text())
        })
    }

    /// Where all the made-up platforms are.
    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The refresh tokens the provider was shown so far.
    pub(crate) fn redeemed(&self) -> Vec<String> {
        self.provider.requests().iter().map(|request| request.form()["refresh_token"].clone()).collect()
    }

    /// The server its records are in.
    pub(crate) fn redis(&self) -> &RedisServer {
        self.redis.as_ref().unwrap()
    }

    /// Everything of a user in Redis.
    pub(crate) fn drawer(&self, tenant: &str, user: &str) -> Drawer<'_> {
        records::drawer(self.redis(), tenant, user)
    }

    /// What is in Redis of a tenant and of no user.
    pub(crate) fn tenant_drawer(&self, tenant: &str) -> Drawer<'_> {
        records::tenant_drawer(self.redis(), tenant)
    }

    /// How often Redis was asked what, so far.
    pub(crate) fn store_calls(&self) -> BTreeMap<String, u64> {
        records::commands(self.redis())
    }

    /// How often Redis was asked what since then.
    pub(crate) fn store_calls_since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let since = self.store_calls().into_iter().map(|(name, calls)| {
            let before = before.get(&name).copied().unwrap_or_default();
            (name, calls - before)
        });
        since.filter(|(_, calls)| *calls > 0).collect()
    }

    /// The file its records are in.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.folder.path().join("vault.redb")
    }

    /// The audit trail so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        trail::read(&self.trail_file())
    }

    /// What lists its audit trail.
    pub(crate) fn audit_events(&self) -> ListAuditEvents {
        let (config, running) = (self.config(), self.running.lock().unwrap());
        let keys = Arc::clone(&running.as_ref().unwrap().foundation.tenant_keys);
        let tickets = Tickets::new(config.environment.clone(), keys, Arc::new(SystemRandom));
        audit_events(&config, Arc::new(tickets)).unwrap()
    }

    /// Where the audit trail is, unless the test configured another place.
    pub(crate) fn trail_file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// The line about one call, which may be written after the call was answered.
    pub(crate) async fn audit_of(&self, request_id: &str) -> Value {
        until("a line in the audit trail", async || {
            let beside = ["refresh", "watch_end"];
            let is_beside =
                |line: &Value| beside.contains(&line["action"].as_str().unwrap()) || line["reason"] == "begun";
            let is_call = |line: &&Value| line["request_id"] == request_id && !is_beside(line);
            let trail = self.audit();
            let lines: Vec<&Value> = trail.iter().filter(is_call).collect();
            assert!(lines.len() < 2, "two lines about one call: {lines:?}");
            lines.first().map(|line| (*line).clone())
        })
        .await
    }

    /// The vault's own log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// The alarms in the log so far, each with its reason.
    pub(crate) fn alarms(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines = self.log();
        let alarms = lines.iter().filter(|line| !line["alarm"].is_null());
        alarms.map(|line| (text(&line["alarm"]), text(&line["reason"]))).collect()
    }

    /// Drains the vault, and waits until nothing runs any more that outlives its call.
    pub(super) async fn settle(&self) {
        let lifecycles: Vec<Lifecycle> = {
            let running = self.running.lock().unwrap();
            let running = running.as_ref().unwrap();
            let all = std::iter::successors(Some(running), |running| running.other.as_deref());
            all.map(|one| one.lifecycle.clone()).collect()
        };
        for lifecycle in lifecycles {
            lifecycle.drain();
            let ended = lifecycle.finish(Duration::from_secs(5)).await;
            assert!(ended, "the test is over and the vault still works");
        }
    }

    /// Looks for the test's secrets wherever they must not be. Everything of the vault has ended before.
    pub(super) fn look_for_leaks(&mut self) {
        let search = self.canaries.search();
        let [own, others] = self.log.everything();
        let mut places = vec![("the log", own), ("the log", others), ("an answer", self.witness.everything())];
        if let Ok(trail) = std::fs::read(self.trail_file()) {
            places.push(("the audit trail", trail));
        }
        match &self.redis {
            Some(redis) => places.push(("the store", records::everything(redis))),
            None => places.push(("the store", std::fs::read(self.store_file()).unwrap())),
        }
        let leaks: Vec<String> = places
            .iter()
            .flat_map(|(place, bytes)| search.find(bytes).into_iter().map(move |leak| format!("{place}: {leak}")))
            .collect();
        assert!(leaks.is_empty(), "{} leaks\n{}", leaks.len(), leaks[..leaks.len().min(20)].join("\n"));
    }

    #[expect(clippy::disallowed_methods, reason = "the server under test is what this test waits for")]
    async fn run(&self, foundation: Option<Foundation>) -> Running {
        let made: Vec<MadeEngine> = ENGINES.iter().map(|engine| self.made_engine(engine)).collect();
        let config = self.config();
        let lifecycle = Lifecycle::default();
        let foundation = match foundation {
            Some(foundation) => foundation,
            None => Foundation::lay(&config, &lifecycle).await.unwrap(),
        };
        let reflection = if config.server.reflection { Reflection::On } else { Reflection::Off };
        let guard = App::over(foundation.clone(), config, &lifecycle, &made).await.unwrap().guard;
        let weak = Arc::downgrade(&guard);
        // No two instances give two calls one id.
        let number = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let free = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(free, guard, reflection, self.limits, number).await.unwrap();
        let url = format!("http://{}", server.address().unwrap());
        let health = server.health();
        health.serving().await;
        let drained = {
            let lifecycle = lifecycle.clone();
            async move {
                lifecycle.drained().await;
                health.not_serving().await;
            }
        };
        let server = tokio::spawn(server.serve(drained));
        let channel = Endpoint::from_shared(url.clone()).unwrap().tcp_nodelay(true).connect_lazy();
        Running { lifecycle, guard: weak, server, url, channel, foundation, other: None }
    }

    async fn launch(&self) {
        let running = self.run(None).await;
        *self.running.lock().unwrap() = Some(running);
    }

    fn config(&self) -> Config {
        Config::load(None, self.settings.lock().unwrap().clone().into_iter()).unwrap()
    }

    async fn stop(&self) {
        let mut running = self.running.lock().unwrap().take();
        while let Some(Running { lifecycle, guard, server, channel, foundation, other, .. }) = running {
            drop((channel, foundation));
            lifecycle.drain();
            server.await.unwrap().unwrap();
            assert!(lifecycle.finish(Duration::from_secs(5)).await, "asked to stop, and still works");
            until("the end of the last connection", async || (guard.strong_count() == 0).then_some(())).await;
            running = other.map(|other| *other);
        }
    }

    fn made_engine(&self, (name, actions, tenants): &(&str, &[Action], &[&str])) -> MadeEngine {
        let mut config = EngineConfig::allowing(name.parse().unwrap(), actions.iter().copied(), []);
        let tenants = match tenants {
            ["*"] => Named::All,
            named => Named::Only(named.iter().map(|tenant| tenant.parse().unwrap()).collect()),
        };
        config.policy = Policy::new(tenants, config.policy.rules().to_vec()).unwrap();
        MadeEngine { config, key: self.key_of(name).parse().unwrap() }
    }
}

// === impl Tokens ===

impl Tokens {
    /// To store them for the user; they expire in so many seconds.
    pub(crate) fn request(&self, platform: &str, life: i64) -> StoreTokenRequest {
        StoreTokenRequest {
            user_id: USER.to_owned(),
            platform: platform.to_owned(),
            access_token: self.access.clone(),
            refresh_token: self.refresh.clone(),
            expires_at: now() + life,
            scopes: vec!["read".to_owned()],
            ..Default::default()
        }
    }

    /// What a platform says when it issues them, for an hour.
    pub(crate) fn issued(&self) -> Value {
        json!({ "access_token": self.access, "refresh_token": self.refresh, "token_type": "Bearer", "expires_in": 3_600 })
    }

    /// A platform's answer that issues them.
    pub(crate) fn answer(&self) -> Answer {
        Answer::json(200, &self.issued())
    }
}
