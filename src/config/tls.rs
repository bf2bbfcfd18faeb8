//! TLS of the server: its certificate, and the certificates of those who call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{path, private_file, seconds};
use crate::document::{Mismatch, Section};
use crate::domain::spiffe::{SpiffeId, TrustDomain};

/// TLS of the server. All files are in PEM, and are read again when they change.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Whether callers show a certificate too.
    pub client_certificates: ClientCertificates,
    /// Authorities of callers' certificates without a SPIFFE id.
    pub client_ca_file: Option<PathBuf>,
    /// Authorities of SPIFFE ids, a file per trust domain.
    pub trust_domains: BTreeMap<TrustDomain, PathBuf>,
    /// How often the files are looked at.
    pub reload: Duration,
}

/// Whether callers show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked to.
    None,
    /// They may; one that is no good is refused all the same.
    Optional,
    /// They must.
    Required,
}

// === impl ClientCertificates ===

impl ClientCertificates {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Whether certificates with this id are believed, if they are good.
    #[must_use]
    pub fn knows(&self, id: &SpiffeId) -> bool {
        self.trust_domains.contains_key(id.trust_domain())
    }
}

/// TLS, if it is asked for.
pub(super) fn read(section: &mut Section<'_>) -> Option<TlsConfig> {
    if !section.has("tls") {
        section.optional("tls", |_| Ok(()));
        return None;
    }
    section.section("tls", tls).flatten()
}

fn tls(section: &mut Section<'_>) -> Option<TlsConfig> {
    let cert_file = section.required("cert_file", path);
    let key_file = section.required("key_file", private_file);
    let client_ca_file = section.optional("client_ca_file", path);
    let domains = section.map("trust_domains", |name, node| Ok((domain(name)?, path(node)?)));
    let trust_domains: BTreeMap<_, _> = domains.into_values().collect();
    let nobody = client_ca_file.is_none() && trust_domains.is_empty();
    let words = [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required]
        .map(|choice| (choice.as_str(), choice));
    let default = if nobody { ClientCertificates::None } else { ClientCertificates::Required };
    let client_certificates = section.optional("client_certificates", |node| node.one_of(&words)).unwrap_or(default);
    match client_certificates {
        ClientCertificates::None if !nobody => section.fault(
            "client_certificates",
            "is `none`, and there are authorities for them",
            "remove `client_ca_file` and `trust_domains`, or make it `optional` or `required`",
        ),
        ClientCertificates::Optional | ClientCertificates::Required if nobody => section.fault(
            "client_certificates",
            "cannot be checked without authorities",
            "give `trust_domains` for SPIFFE ids, or `client_ca_file`",
        ),
        ClientCertificates::None | ClientCertificates::Optional | ClientCertificates::Required => {}
    }
    let reload = seconds(section, "reload_seconds", 1..=3_600, 10);
    Some(TlsConfig {
        cert_file: cert_file?,
        key_file: key_file?,
        client_certificates,
        client_ca_file,
        trust_domains,
        reload,
    })
}

fn domain(name: &str) -> Result<TrustDomain, Mismatch> {
    let hint = "write `prod.example: /path/of/its/authorities.pem`";
    name.parse().map_err(|error| Mismatch::new(format!("is not a trust domain: {error}"), hint))
}
