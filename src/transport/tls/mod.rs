//! TLS of the server: 1.3 alone, nothing resumed, nothing early, and callers' certificates judged as configured. Where the
//! files are and when they change is not known here.

mod leaf;
mod verifier;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

pub use self::leaf::{NotAnSvid, Validity, named_workload};
use self::verifier::CallerVerifier;
use crate::domain::spiffe::{SpiffeId, TrustDomain};

/// What TLS is made of. Every text is PEM.
pub struct TlsMaterial {
    /// The server's certificate, and those between it and its authority.
    pub chain: String,
    /// Its key.
    pub key: Zeroizing<String>,
    /// Whether callers show a certificate.
    pub asked: Asked,
    /// Authorities of callers' certificates without a SPIFFE id.
    pub authorities: Option<String>,
    /// Authorities of SPIFFE ids.
    pub trust_domains: BTreeMap<TrustDomain, String>,
}

/// Whether callers are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// They are not.
    No,
    /// They may come without. One that is no good is refused all the same.
    Politely,
    /// They must have one.
    Firmly,
}

/// What every connection begins with.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// How long the server's certificate is good.
    pub validity: Validity,
}

/// The TLS that connections begin with from now on. Clones are one and the same.
#[derive(Clone)]
pub struct CurrentTls(Arc<RwLock<Tls>>);

/// Why TLS cannot be made of the material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds something else than it should.
    #[error("`{field}` {problem}")]
    Material {
        /// The key of the configuration that names it.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The certificate and the key do not belong together, or neither can be used.
    #[error("`tls.cert_file` and `tls.key_file` cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The authorities cannot be used.
    #[error("the authorities of `{field}` cannot be used")]
    Authorities {
        /// The key of the configuration that names them.
        field: String,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

// === impl Tls ===

impl Tls {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// When a part is not what it should be, or the parts do not belong together.
    pub fn of(material: &TlsMaterial) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("tls.cert_file", &material.chain)?;
        let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
            .map_err(|_| broken("tls.key_file", "holds no key in PEM"))?;
        let leaf = chain.first().ok_or_else(|| broken("tls.cert_file", "holds no certificate"))?;
        let validity = leaf::validity(leaf).ok_or_else(|| broken("tls.cert_file", "holds no X.509 certificate"))?;
        let verifier = verifier(material, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Whoever was let in once is looked at again the next time: with the roots of that time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), validity })
    }
}

// === impl CurrentTls ===

impl CurrentTls {
    /// Begins with this one.
    #[must_use]
    pub fn new(tls: Tls) -> Self {
        Self(Arc::new(RwLock::new(tls)))
    }

    /// Connections begin with this one from now on; those that are open stay.
    pub fn replace(&self, tls: Tls) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// How long the certificate that is shown is good.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).validity
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).config))
    }
}

/// The workload a connection is from, read from the very bytes that were verified. `None`: its certificate names none, or
/// it has none.
pub(super) fn workload(connection: &rustls::ServerConnection) -> io::Result<Option<SpiffeId>> {
    match connection.peer_certificates().and_then(<[_]>::first) {
        None => Ok(None),
        Some(certificate) => leaf::named_workload(certificate).map_err(io::Error::other),
    }
}

fn verifier(material: &TlsMaterial, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let required = match material.asked {
        Asked::No => return Ok(Arc::new(NoClientAuth)),
        Asked::Politely => false,
        Asked::Firmly => true,
    };
    let plain = material.authorities.as_deref().map(|text| roots("tls.client_ca_file", text, provider)).transpose()?;
    let domains = material.trust_domains.iter().map(|(domain, text)| {
        let verifier = roots(&format!("tls.trust_domains.{domain}"), text, provider)?;
        Ok((domain.clone(), verifier))
    });
    let domains = domains.collect::<Result<_, TlsError>>()?;
    Ok(Arc::new(CallerVerifier { domains, plain, required, algorithms: provider.signature_verification_algorithms }))
}

fn roots(field: &str, text: &str, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(field, text)? {
        roots.add(certificate).map_err(|_| broken(field, "holds something that is no authority"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        // Which authorities are believed is nobody's business who has not shown a certificate yet.
        .clear_root_hint_subjects()
        .build()
        .map_err(|source| TlsError::Authorities { field: field.to_owned(), source })
}

fn certificates(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(broken(field, "holds no certificate in PEM")),
        Err(_) => Err(broken(field, "is not PEM")),
    }
}

fn broken(field: &str, problem: &'static str) -> TlsError {
    TlsError::Material { field: field.to_owned(), problem }
}
