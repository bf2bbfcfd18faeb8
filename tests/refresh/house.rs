//! A platform, a store, and as many instances of the vault as a test wants over the two. Their clock is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use vault_engine::adapters::keys::local::{InProduction, LocalKeys};
use vault_engine::adapters::oauth::{HttpTokenEndpoint, OutboundSettings};
use vault_engine::adapters::outbox::{Bounds, FolderOutbox};
use vault_engine::adapters::profiles::load_file;
use vault_engine::adapters::steady::SteadyClock;
use vault_engine::adapters::store::embedded::EmbeddedStore;
use vault_engine::adapters::store::retry::{RetryPolicy, RetryingStore};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::audit::AuditEntry;
use vault_engine::domain::catalog::{App, Catalog, Platform};
use vault_engine::domain::connection::{Connection, Entry};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::{ConnectionKey, Environment};
use vault_engine::domain::ports::{
    AuditSink, AuditUnavailable, Clock, Index, KeyProvider, Outbox, Random, Store, Tasks, TokenEndpoint, Version,
};
use vault_engine::domain::profile::{Profile, UrlPolicy};
use vault_engine::domain::secret::{AccessToken, ClientSecret, RefreshToken};
use vault_engine::envelope::{KeyLimits, Sealer, TenantKeys, UserKeys};
use vault_engine::refresher::{Answers, RefreshSettings, Refresher, RefresherParts};
use vault_engine::service::{
    DeleteToken, GetToken, GetTokenAnswer, GetTokenQuery, Loaded, Records, StoreToken, StoreTokenCommand,
};

use crate::failing_store::FailingStore;
use crate::faulty::FaultyKeys;
use crate::provider::{Answer, Gate, Provider};
use crate::set_clock::{MachineClock, SetClock};

/// How long a stored or refreshed access token lives.
pub(crate) const LIFE: Duration = Duration::from_secs(3_600);
/// How long a claim protects its owner.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
/// How long the store may take for a call.
pub(crate) const STORE_LIMIT: Duration = Duration::from_secs(2);

/// A platform and a store.
pub(crate) struct World {
    pub(crate) clock: Arc<SetClock>,
    pub(crate) provider: Provider,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) store: Arc<dyn Store>,
    setup: Setup,
    observer: Records,
    folder: TempDir,
}

/// What may differ from test to test.
pub(crate) struct Setup {
    pub(crate) profile: Profile,
    pub(crate) client_secrets: Option<Vec<&'static str>>,
    pub(crate) settings: RefreshSettings,
    /// How much the outbox of each instance holds.
    pub(crate) outbox: Bounds,
}

/// One instance of the vault.
pub(crate) struct Instance {
    pub(crate) clock: Arc<MachineClock>,
    pub(crate) store: Arc<FailingStore>,
    pub(crate) keys: FaultyKeys,
    pub(crate) audit: Arc<Trail>,
    pub(crate) outbox: Arc<FolderOutbox>,
    pub(crate) refresher: Arc<Refresher>,
    pub(crate) get_token: GetToken,
    store_token: StoreToken,
    delete_token: DeleteToken,
    tasks: Arc<Mortal>,
}

/// An audit trail in memory.
#[derive(Default)]
pub(crate) struct Trail {
    entries: Mutex<Vec<AuditEntry>>,
    broken: AtomicBool,
}

/// Tasks that can be ended as a crash ends them: in the middle.
#[derive(Default)]
struct Mortal {
    tracker: TaskTracker,
    handles: Mutex<Vec<AbortHandle>>,
}

// === impl World ===

impl World {
    /// A platform that rotates refresh tokens, over a file.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with differences.
    pub(crate) async fn with(differ: impl FnOnce(&mut Setup)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(&folder.path().join("vault.redb")).unwrap());
        Self::over(store, folder, differ).await
    }

    /// The same over any store.
    pub(crate) async fn over(
        store: Arc<impl Store + Index + 'static>,
        folder: TempDir,
        differ: impl FnOnce(&mut Setup),
    ) -> Self {
        let (store, index): (Arc<dyn Store>, Arc<dyn Index>) = (Arc::clone(&store) as _, store);
        // As the process does first thing; every test of this binary wants to, one does.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = Provider::start().await;
        rotate(&provider);
        let settings = RefreshSettings { lease: LEASE, exchange: Duration::from_secs(5), ..RefreshSettings::default() };
        let profile = plain_profile(&provider, &folder);
        let outbox = Bounds { entries: 100, bytes: 16 * 1_024 * 1_024 };
        let mut setup = Setup { profile, client_secrets: Some(vec!["hush"]), settings, outbox };
        differ(&mut setup);
        let clock = Arc::new(SetClock::new());
        let observer = records(
            &store,
            Arc::new(local_keys(&folder)),
            (Arc::default(), &(Arc::clone(&clock) as _)),
            &Arc::default(),
        );
        Self { clock, provider, index, store, setup, observer, folder }
    }

    /// Another instance, with nothing in memory.
    pub(crate) fn instance(&self) -> Instance {
        self.instance_of(&self.setup.profile)
    }

    /// An instance that was given another profile of the platform.
    pub(crate) fn instance_of(&self, profile: &Profile) -> Instance {
        self.build(profile, 0, None)
    }

    /// An instance whose machine never had the right time: so many seconds are wrong.
    pub(crate) fn instance_wrong_by(&self, seconds: i64) -> Instance {
        self.build(&self.setup.profile, seconds, None)
    }

    /// An instance with another way to the platform.
    pub(crate) fn instance_with(&self, endpoint: Arc<dyn TokenEndpoint>) -> Instance {
        self.build(&self.setup.profile, 0, Some(endpoint))
    }

    fn build(&self, profile: &Profile, error: i64, endpoint: Option<Arc<dyn TokenEndpoint>>) -> Instance {
        let time = Arc::clone(&self.clock);
        let machine = Arc::new(MachineClock::wrong_by(time, error));
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::around(Arc::clone(&machine) as _));
        let endpoint = endpoint.unwrap_or_else(|| over_http(&clock));
        let store = Arc::new(FailingStore::around(Arc::clone(&self.store)));
        let policy = RetryPolicy { attempts: 1, time_limit: STORE_LIMIT, ..RetryPolicy::default() };
        let bounded: Arc<dyn Store> =
            Arc::new(RetryingStore::new(Arc::clone(&store) as Arc<dyn Store>, Arc::new(SystemRandom), policy));
        let keys = FaultyKeys::around(Arc::new(local_keys(&self.folder)));
        let tasks = Arc::new(Mortal::default());
        let secret = |text: &&str| ClientSecret::new((*text).to_owned()).unwrap();
        let app = self
            .setup
            .client_secrets
            .as_ref()
            .map(|secrets| App { client_id: "client-1".to_owned(), secrets: secrets.iter().map(secret).collect() });
        let catalog = Arc::new(Catalog::new([Platform { profile: profile.clone(), app, vars: BTreeMap::new() }]));
        let records = Arc::new(records(&bounded, Arc::new(keys.clone()), (Arc::clone(&catalog), &clock), &tasks));
        let audit = Arc::new(Trail::default());
        let random = Arc::new(SystemRandom) as Arc<dyn Random>;
        let outbox = FolderOutbox::open(&self.outboxes(), self.setup.outbox, Arc::clone(&clock), random);
        let outbox = Arc::new(outbox.unwrap());
        let answers = Answers {
            records: Arc::clone(&records),
            outbox: Arc::clone(&outbox) as Arc<dyn Outbox>,
            audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
            clock: Arc::clone(&clock),
        };
        let refresher = Refresher::new(
            RefresherParts {
                records: Arc::clone(&records),
                catalog: Arc::clone(&catalog),
                endpoint,
                audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
                clock: Arc::clone(&clock),
                random: Arc::new(SystemRandom) as Arc<dyn Random>,
                tasks: Arc::clone(&tasks) as Arc<dyn Tasks>,
                answers: Some(Arc::new(answers)),
            },
            self.setup.settings,
        );
        Instance {
            clock: machine,
            store,
            keys,
            audit,
            outbox,
            get_token: GetToken {
                records: Arc::clone(&records),
                catalog: Arc::clone(&catalog),
                clock: Arc::clone(&clock),
                renewal: Arc::new(Arc::clone(&refresher)),
            },
            store_token: StoreToken { records: Arc::clone(&records), catalog, clock: Arc::clone(&clock) },
            delete_token: DeleteToken { records, clock },
            refresher,
            tasks,
        }
    }

    /// What is stored, as somebody sees it who has nothing to do with all this.
    pub(crate) async fn entry(&self, key: &ConnectionKey) -> (Entry, Version) {
        let Loaded { entry, version } = self.observer.load(key).await.unwrap().unwrap();
        (entry, version)
    }

    /// The connection that is stored.
    pub(crate) async fn connection(&self, key: &ConnectionKey) -> Connection {
        match self.entry(key).await.0 {
            Entry::Live(connection) => *connection,
            Entry::Deleted(_) => panic!("the connection was deleted"),
        }
    }

    /// Where the outboxes of all instances are.
    pub(crate) fn outboxes(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    /// How often the platform was asked for new tokens.
    pub(crate) fn refreshes(&self) -> usize {
        self.provider.requests().iter().filter(|seen| seen.target == "/token").count()
    }

    /// The refresh tokens the platform was shown, in order.
    pub(crate) fn presented(&self) -> Vec<String> {
        let refreshes = self.provider.requests().into_iter().filter(|seen| seen.target == "/token");
        refreshes.map(|seen| seen.form().remove("refresh_token").unwrap()).collect()
    }

    /// What is known about the platform.
    pub(crate) fn profile(&self) -> &Profile {
        &self.setup.profile
    }

    /// The platform keeps the next answer back until the gate is opened.
    pub(crate) fn hold(&self, answer: Answer) -> Gate {
        let gate = Gate::closed();
        self.provider.will(answer.behind(&gate));
        gate
    }

    /// An instance sends a refresh and dies before the answer comes.
    pub(crate) async fn dies_waiting(&self, dying: &Instance, refresh: impl Future<Output = impl Sized>) {
        let _never_opened = self.hold(granted(99));
        tokio::select! {
            _ = refresh => panic!("there is no answer"),
            () = self.provider.has_seen(1) => {}
        }
        dying.crash().await;
    }
}

// === impl Instance ===

impl Instance {
    /// A user consents: tokens that live for an hour from now.
    pub(crate) async fn consent(&self, key: &ConnectionKey, access: &str, refresh: &str) {
        let command = StoreTokenCommand { refresh: RefreshToken::new(refresh.to_owned()), ..self.tokens(key, access) };
        self.store_token.run(command).await.unwrap();
    }

    /// A user consents to a platform that issues no refresh tokens.
    pub(crate) async fn consent_without_refresh_token(&self, key: &ConnectionKey, access: &str) {
        self.store_token.run(self.tokens(key, access)).await.unwrap();
    }

    /// A user consents again, and the platform issues no refresh token this time.
    pub(crate) async fn consent_keeping_the_refresh_token(&self, key: &ConnectionKey, access: &str) {
        let command = StoreTokenCommand { keep_refresh_token: true, ..self.tokens(key, access) };
        self.store_token.run(command).await.unwrap();
    }

    fn tokens(&self, key: &ConnectionKey, access: &str) -> StoreTokenCommand {
        StoreTokenCommand {
            key: key.clone(),
            access: AccessToken::new(access.to_owned()).unwrap(),
            refresh: None,
            expires_at: Some(self.store_token.clock.now() + LIFE),
            scopes: Vec::new(),
            token_type: None,
            keep_refresh_token: false,
        }
    }

    /// Everything of the user of a connection is erased: how many records of connections that was.
    pub(crate) async fn erase(&self, key: &ConnectionKey) -> Result<u64, VaultError> {
        self.get_token.records.erase(&key.tenant, &key.user).await
    }

    /// It reads the record, for whatever reason.
    pub(crate) async fn sees(&self, key: &ConnectionKey) {
        self.get_token.records.load(key).await.unwrap();
    }

    pub(crate) async fn delete(&self, key: &ConnectionKey) {
        assert!(self.delete_token.run(key).await.unwrap().version.is_some());
    }

    /// A caller who waits as long as it takes.
    pub(crate) async fn get(&self, key: &ConnectionKey) -> Result<GetTokenAnswer, VaultError> {
        self.get_token.run(&query(key)).await
    }

    /// A caller in a hurry.
    pub(crate) async fn get_within(
        &self,
        patience: Duration,
        key: &ConnectionKey,
    ) -> Result<GetTokenAnswer, VaultError> {
        self.get_token.run(&GetTokenQuery { patience, ..query(key) }).await
    }

    /// A caller who needs the token for a while.
    pub(crate) async fn get_lasting(
        &self,
        min_ttl: Duration,
        key: &ConnectionKey,
    ) -> Result<GetTokenAnswer, VaultError> {
        self.get_token.run(&GetTokenQuery { min_ttl, ..query(key) }).await
    }

    /// A caller whose token the platform has just refused.
    pub(crate) async fn get_another(&self, key: &ConnectionKey) -> Result<GetTokenAnswer, VaultError> {
        self.get_token.run(&GetTokenQuery { force_refresh: true, ..query(key) }).await
    }

    /// Waits for everything that runs in the background.
    pub(crate) async fn settled(&self) {
        self.tasks.tracker.close();
        tokio::time::timeout(Duration::from_secs(30), self.tasks.tracker.wait()).await.unwrap();
    }

    /// Ends everything that runs, wherever it is. Its connections close.
    pub(crate) async fn crash(&self) {
        for handle in self.tasks.handles.lock().unwrap().drain(..) {
            handle.abort();
        }
        self.settled().await;
    }
}

// === impl Trail ===

impl Trail {
    /// From now on nothing can be written.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// The lines so far.
    pub(crate) fn entries(&self) -> Vec<AuditEntry> {
        self.entries.lock().unwrap().clone()
    }
}

#[async_trait]
impl AuditSink for Trail {
    async fn append(&self, entry: AuditEntry) -> Result<(), AuditUnavailable> {
        self.post(entry);
        if self.is_writable() { Ok(()) } else { Err(AuditUnavailable) }
    }

    fn post(&self, entry: AuditEntry) {
        if self.is_writable() {
            self.entries.lock().unwrap().push(entry);
        }
    }

    fn is_writable(&self) -> bool {
        !self.broken.load(Ordering::SeqCst)
    }
}

// === impl Mortal ===

impl Tasks for Mortal {
    fn spawn(&self, _: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let handle = self.tracker.spawn(work).abort_handle();
        self.handles.lock().unwrap().push(handle);
    }
}

/// The connection of a user.
pub(crate) fn connection_of(user: &str) -> ConnectionKey {
    ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "acme".parse().unwrap() }
}

/// The `n`th answer of a platform that rotates.
pub(crate) fn tokens(n: usize) -> Value {
    json!({ "access_token": format!("access-{n}"), "refresh_token": format!("refresh-{n}"), "expires_in": LIFE.as_secs() })
}

/// An answer with tokens.
pub(crate) fn granted(n: usize) -> Answer {
    Answer::json(200, &tokens(n))
}

/// The answer of a platform that refuses for this reason.
pub(crate) fn refused(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({ "error": error }))
}

/// The platform grants whatever comes, and counts: `access-1`, `access-2`, ...
fn rotate(provider: &Provider) {
    let answers = AtomicUsize::new(0);
    provider.otherwise(move |_| granted(answers.fetch_add(1, Ordering::SeqCst) + 1));
}

fn query(key: &ConnectionKey) -> GetTokenQuery {
    GetTokenQuery {
        key: key.clone(),
        min_ttl: Duration::ZERO,
        force_refresh: false,
        patience: Duration::from_secs(20),
        request: "request-1".parse().unwrap(),
    }
}

/// What four lines of YAML make of a platform.
fn plain_profile(provider: &Provider, folder: &TempDir) -> Profile {
    let file = folder.path().join("acme.yaml");
    let yaml = format!(
        "docs: https://acme.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: {}\ntoken_url: {}\n",
        provider.url("/authorize"),
        provider.url("/token"),
    );
    std::fs::write(&file, yaml).unwrap();
    load_file(&file, UrlPolicy::AllowLoopback).unwrap()
}

fn over_http(clock: &Arc<dyn Clock>) -> Arc<dyn TokenEndpoint> {
    let outbound =
        OutboundSettings { url_policy: UrlPolicy::AllowLoopback, allowed_hosts: BTreeSet::new(), extra_ca_file: None };
    Arc::new(HttpTokenEndpoint::new(&outbound, Arc::clone(clock)).unwrap())
}

fn local_keys(folder: &TempDir) -> LocalKeys {
    let environment = "test".parse().unwrap();
    LocalKeys::open(&folder.path().join("kms.key"), &environment, InProduction::Refuse, Arc::new(SystemRandom)).unwrap()
}

fn records(
    store: &Arc<dyn Store>,
    keys: Arc<dyn KeyProvider>,
    (catalog, clock): (Arc<Catalog>, &Arc<dyn Clock>),
    tasks: &Arc<Mortal>,
) -> Records {
    let environment: Environment = "test".parse().unwrap();
    let tools = (Arc::clone(clock), Arc::new(SystemRandom) as Arc<dyn Random>, Arc::clone(tasks) as Arc<dyn Tasks>);
    let limits = KeyLimits::default();
    let tenants = Arc::new(TenantKeys::new(environment.clone(), Arc::clone(store), keys, tools, limits));
    let users = UserKeys::new(environment.clone(), tenants, Arc::clone(store), Arc::new(SystemRandom), limits);
    let sealer = Sealer::new(environment, Arc::new(users), Arc::new(SystemRandom));
    Records::new(Arc::clone(store), sealer, catalog, Arc::clone(clock))
}
