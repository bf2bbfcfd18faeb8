//! Whether a caller's certificate is believed: one that names a workload only by the authorities of its trust domain.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};

use super::leaf;
use crate::domain::spiffe::TrustDomain;

/// Believes a certificate that names a workload by the authorities of its trust domain, and by no others: an authority of
/// one domain cannot make names of another.
#[derive(Debug)]
pub(super) struct CallerVerifier {
    pub(super) domains: BTreeMap<TrustDomain, Arc<dyn ClientCertVerifier>>,
    /// For certificates that name no workload. `None`: they are refused.
    pub(super) plain: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) required: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

// === impl CallerVerifier ===

impl ClientCertVerifier for CallerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let workload =
            leaf::named_workload(end_entity).map_err(|odd| CertificateError::Other(OtherError(Arc::new(odd))))?;
        let judge = match &workload {
            Some(id) => self.domains.get(id.trust_domain()),
            None => self.plain.as_ref(),
        };
        judge.ok_or(CertificateError::UnknownIssuer)?.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
