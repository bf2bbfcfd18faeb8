//! What a certificate says of itself. Whether it may be believed is decided elsewhere, over the same bytes.

use std::time::Duration;

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SubjectAltName};

use crate::domain::spiffe::SpiffeId;
use crate::domain::time::Timestamp;

/// How long a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub from: Timestamp,
    /// The last moment.
    pub until: Timestamp,
}

/// Why a certificate names no workload although it tries to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnSvid {
    /// It is no certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It names several URIs.
    #[error("the certificate names several URIs")]
    Several,
    /// It names one, and that is none.
    #[error("the URI of the certificate is not a SPIFFE id")]
    NoSpiffeId,
    /// It is not of a workload.
    #[error("the certificate may sign others")]
    Authority,
}

/// The one workload a certificate names; `None`: it has no URI.
///
/// SPIFFE, "The X.509 SPIFFE Verifiable Identity Document", sections 2 to 5: exactly one URI, and nothing that would
/// make it an authority. That it is none by its basic constraints is checked by whoever verifies the chain.
///
/// # Errors
///
/// When it names something, and that is not the one workload it is of.
pub fn named_workload(der: &[u8]) -> Result<Option<SpiffeId>, NotAnSvid> {
    let certificate = Certificate::from_der(der).map_err(|_| NotAnSvid::Unreadable)?;
    let about = certificate.tbs_certificate();
    let names = about.get_extension::<SubjectAltName>().map_err(|_| NotAnSvid::Unreadable)?;
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let Some(uri) = uris.next() else { return Ok(None) };
    if uris.next().is_some() {
        return Err(NotAnSvid::Several);
    }
    let usage = about.get_extension::<KeyUsage>().map_err(|_| NotAnSvid::Unreadable)?;
    if usage.is_some_and(|(_, usage)| usage.key_cert_sign() || usage.crl_sign()) {
        return Err(NotAnSvid::Authority);
    }
    uri.parse().map(Some).map_err(|_| NotAnSvid::NoSpiffeId)
}

/// How long a certificate is good.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let certificate = Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let timestamp =
        |since_epoch: Duration| Timestamp::from_unix_seconds(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX));
    let [from, until] = [validity.not_before, validity.not_after].map(|time| timestamp(time.to_unix_duration()));
    Some(Validity { from, until })
}
