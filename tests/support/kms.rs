//! Real KMS emulators on loopback: moto, which checks contexts and ciphertexts, and ministack, which checks key states.
//!
//! Each tells the truth where the other does not: moto answers for disabled and deleted keys as if nothing were wrong,
//! ministack opens ciphertexts with flipped bits and under foreign keys. Ask each only what it knows.

#![expect(clippy::panic, reason = "a test whose server does not start has failed")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, interval, timeout};
use vault_engine::adapters::keys::aws::{AwsKms, AwsKmsSettings};

/// Which emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emulator {
    /// Checks contexts and ciphertexts; knows no key states.
    Moto,
    /// Checks key states; opens damaged ciphertexts.
    Ministack,
}

/// A running emulator. Killed when dropped.
pub(crate) struct KmsServer {
    process: Child,
    endpoint: String,
}

/// The servers that run now, while any test holds one: a start takes a second of a Python interpreter.
static MOTO: Mutex<Weak<KmsServer>> = Mutex::const_new(Weak::new());
static MINISTACK: Mutex<Weak<KmsServer>> = Mutex::const_new(Weak::new());

const REGION: &str = "us-east-1";
const START_LIMIT: Duration = Duration::from_mins(1);

// === impl KmsServer ===

impl KmsServer {
    /// The server of this kind that runs, or a new one.
    pub(crate) async fn shared(emulator: Emulator) -> Arc<Self> {
        let slot = match emulator {
            Emulator::Moto => &MOTO,
            Emulator::Ministack => &MINISTACK,
        };
        let mut running = slot.lock().await;
        if let Some(server) = running.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(emulator).await);
        *running = Arc::downgrade(&server);
        server
    }

    /// Starts one on a free port and waits until it answers.
    pub(crate) async fn start(emulator: Emulator) -> Self {
        // Between choosing a port and using it another process may take it: then the server ends, and we choose again.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(emulator).await {
                return server;
            }
        }
        panic!("{emulator:?} did not start on any of five ports");
    }

    async fn try_start(emulator: Emulator) -> Option<Self> {
        let port = free_port();
        let process = emulator.command(port).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process =
            process.unwrap_or_else(|error| panic!("{emulator:?} cannot be run from `{}`: {error}", venv().display()));
        let mut server = Self { process, endpoint: format!("http://127.0.0.1:{port}") };

        let deadline = Instant::now() + START_LIMIT;
        let mut tick = interval(Duration::from_millis(20));
        while Instant::now() < deadline {
            tick.tick().await;
            if server.process.try_wait().expect("the process can be asked").is_some() {
                return None;
            }
            if answers(port, emulator.ready_path()).await {
                return Some(server);
            }
        }
        panic!("{emulator:?} was not ready within {START_LIMIT:?}");
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a symmetric key and returns its id.
    pub(crate) async fn create_key(&self) -> String {
        let made = self.client().create_key().send().await.expect("a key can be made");
        made.key_metadata.expect("a key has metadata").key_id
    }

    /// The provider under test, connected to this key.
    pub(crate) async fn provider(&self, key_id: &str) -> AwsKms {
        provider_at(self.endpoint(), key_id).await
    }

    /// A plain client, for what only an administrator does. Signs with the same dummy credentials.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(credentials())
            .build();
        Client::from_conf(config)
    }
}

impl Drop for KmsServer {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// === impl Emulator ===

impl Emulator {
    fn command(self, port: u16) -> Command {
        match self {
            Self::Moto => {
                let mut command = Command::new(venv().join("bin/moto_server"));
                command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
                command
            }
            Self::Ministack => {
                let mut command = Command::new(venv().join("bin/ministack"));
                // Without these it listens on every interface, and on MQTT's port as well.
                command.env("BIND_HOST", "127.0.0.1").env("IOT_MTLS_ENABLED", "0");
                command.env("GATEWAY_PORT", port.to_string()).env("SERVICES", "kms");
                command
            }
        }
    }

    fn ready_path(self) -> &'static str {
        match self {
            Self::Moto => "/moto-api/data.json",
            Self::Ministack => "/_ministack/health",
        }
    }
}

/// The provider under test, connected to this key at this endpoint.
pub(crate) async fn provider_at(endpoint: &str, key_id: &str) -> AwsKms {
    provider_with(endpoint, key_id, &[]).await
}

/// The same, which opens what other keys have wrapped, too.
pub(crate) async fn provider_with(endpoint: &str, key_id: &str, others: &[&str]) -> AwsKms {
    let settings = AwsKmsSettings {
        key_id: key_id.to_owned(),
        other_key_ids: others.iter().map(|&key_id| key_id.to_owned()).collect(),
        region: Some(REGION.to_owned()),
        endpoint: Some(endpoint.to_owned()),
    };
    AwsKms::connect_as(settings, credentials()).await.expect("a region is set")
}

/// A port nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("it has an address").port()
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}

/// Where the Python tools are.
fn venv() -> PathBuf {
    std::env::var_os("VAULT_TEST_VENV")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv"), PathBuf::from)
}

/// Whether a GET of this path is answered with 200.
async fn answers(port: u16, path: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status.ends_with(b" 200"))
    };
    matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(true)))
}
