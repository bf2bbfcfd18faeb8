//! A vault with TLS, who calls it, and who signs their certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::certificates::{Authority, Identity, Wish};
use crate::eventually::eventually;
use crate::installation::{ENGINE, Installation};
use crate::process::{CommandLine, Running, vault_engine};

/// The workload the engine of the tests is, where it is bound to one.
pub(crate) const WORKLOAD: &str = "spiffe://prod.example/ns/sync/sa/engine";

/// Authorities, and the folder with all their certificates.
pub(crate) struct Pki {
    folder: TempDir,
    /// Of the vault's own certificate.
    pub(crate) servers: Authority,
    /// Of the trust domain `prod.example`.
    pub(crate) prod: Authority,
    /// Of the trust domain `test.example`.
    pub(crate) test: Authority,
}

/// A vault and what stands around it.
pub(crate) struct House {
    pub(crate) pki: Pki,
    pub(crate) vault: Running,
    pub(crate) server: String,
    pub(crate) installation: Installation,
}

// === impl Pki ===

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [servers, prod, test] = ["servers", "prod", "test"].map(|name| Authority::new(folder.path(), name));
        let pki = Self { folder, servers, prod, test };
        pki.install(&pki.servers.sign("vault", &Wish::server()));
        pki
    }

    /// Puts a certificate where the vault looks for its own: the folder behind the link is swapped, as Kubernetes does it.
    pub(crate) fn install(&self, identity: &Identity) {
        let name = identity.certificate.file_stem().unwrap().to_owned();
        let version = self.folder.path().join(name).with_extension("version");
        fs::create_dir_all(&version).unwrap();
        fs::copy(&identity.certificate, version.join("tls.crt")).unwrap();
        fs::copy(&identity.key, version.join("tls.key")).unwrap();
        let (fresh, link) = (self.folder.path().join("fresh"), self.mounted());
        std::os::unix::fs::symlink(&version, &fresh).unwrap();
        fs::rename(fresh, link).unwrap();
    }

    /// The folder the vault finds its certificate in.
    pub(crate) fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// What stands in the configuration: its certificate, and more.
    pub(crate) fn section(&self, more: &str) -> String {
        let mounted = self.mounted();
        let file = |name: &str| mounted.join(name).display().to_string();
        format!("tls:\n  cert_file: {}\n  key_file: {}\n  reload_seconds: 1\n{more}", file("tls.crt"), file("tls.key"))
    }

    /// Both trust domains.
    pub(crate) fn trust_domains(&self) -> String {
        let [prod, test] = [&self.prod, &self.test].map(|authority| authority.certificate().display().to_string());
        format!("  trust_domains: {{ prod.example: {prod}, test.example: {test} }}\n")
    }

    /// A certificate of a workload.
    pub(crate) fn workload(&self, id: &str) -> Identity {
        self.prod.sign(&id.replace(['/', ':'], "_"), &Wish::client(&format!("URI:{id}")))
    }
}

// === impl House ===

impl House {
    /// A vault whose engine is bound to [`WORKLOAD`], which its callers have to prove, or may.
    pub(crate) async fn bound(client_certificates: &str) -> Self {
        let pki = Pki::new();
        let more = format!("{}  client_certificates: {client_certificates}\n", pki.trust_domains());
        Self::with(pki, &more, &[WORKLOAD]).await
    }

    /// A vault with this in its section `tls`, whose engine is bound to these workloads.
    pub(crate) async fn with(pki: Pki, more: &str, workloads: &[&str]) -> Self {
        let installation = Installation::over_a_file(None, &pki.section(more)).await;
        let (vault, server) = command(&installation, workloads).serving().await;
        Self { pki, vault, server: server.replace("http://", "https://"), installation }
    }

    /// The engine, showing this certificate or none.
    pub(crate) fn caller(&self, identity: Option<&Identity>) -> Caller {
        Caller::over(&self.endpoint(identity), ENGINE, self.installation.key()).on("gmail")
    }

    /// Its address, as somebody sees it with this certificate or none.
    pub(crate) fn endpoint(&self, identity: Option<&Identity>) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.pki.servers.certificate())));
        let tls = match identity {
            Some(Identity { certificate, key }) => {
                tls.identity(tonic::transport::Identity::from_pem(read(certificate), read(key)))
            }
            None => tls,
        };
        let endpoint = Endpoint::from_shared(self.server.clone()).unwrap().tls_config(tls).unwrap();
        endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(10))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.server.trim_start_matches("https://")
    }

    /// The audit trail so far.
    pub(crate) fn trail(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.installation.data_dir("a").join("audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The calls in it, once there are so many.
    pub(crate) async fn calls(&self, number: usize) -> Vec<Value> {
        eventually("the calls are written down", async || {
            let calls: Vec<Value> = self.trail().into_iter().filter(|line| line["action"] != "audit").collect();
            assert!(calls.len() <= number, "{calls:?}");
            (calls.len() == number).then_some(calls)
        })
        .await
    }
}

/// How a vault is started whose engine is bound to these workloads.
pub(crate) fn command(installation: &Installation, workloads: &[&str]) -> CommandLine {
    let file = installation.write_config("a");
    let text = fs::read_to_string(&file).unwrap();
    let bound = format!("    spiffe_ids: [{}]\n    actions: [get", workloads.join(", "));
    fs::write(&file, text.replace("    actions: [get", &bound)).unwrap();
    vault_engine(["serve", "--config", &file])
}

/// Whether a call never got to be one: the connection was refused.
pub(crate) fn was_turned_away(status: &Status) -> bool {
    let mut behind = std::error::Error::source(status);
    let mut transport = false;
    while let Some(error) = behind {
        transport |= error.is::<tonic::transport::Error>() || error.is::<std::io::Error>();
        behind = error.source();
    }
    transport && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
