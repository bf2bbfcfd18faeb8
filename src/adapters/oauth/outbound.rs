//! Sends one request and reads one bounded answer, and knows whether the request may have left. What the request says
//! and what the answer means are the business of `request` and `answer`.
//!
//! Not wiped: the copies that hyper and rustls make of a request and of an answer while they move through their
//! buffers. Wiped: the request's body and the answer's body in the buffers owned here.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::resolver::{AddressPolicy, GuardedResolver, ResolveFault};
use crate::domain::ports::TransportFault;
use crate::domain::profile::UrlPolicy;

/// No exchange takes longer, whatever its caller allows.
pub(super) const MAX_TIME: Duration = Duration::from_secs(10);

/// An answer's body is read up to here.
const MAX_BODY: usize = 64 * 1024;

/// An answer's header fields may be this large together.
const MAX_HEAD: usize = 16 * 1024;

/// An answer may have this many header fields.
const MAX_FIELDS: usize = 100;

/// For name resolution, connection and TLS together.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Shorter than any server keeps an idle connection. One that the server is just closing would swallow a request, and
/// with it the certainty whether the refresh token was used.
const IDLE_TIME: Duration = Duration::from_secs(2);

/// How this installation calls out.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Which URLs may be called.
    pub url_policy: UrlPolicy,
    /// Hosts that may resolve to private addresses, because an operator vouches for them.
    pub allowed_hosts: BTreeSet<String>,
    /// Certificate authorities to trust beside the machine's own, as a PEM file.
    pub extra_ca_file: Option<PathBuf>,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file with certificate authorities cannot be read.
    #[error("cannot read the certificate authorities in `{}`", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has no certificate in it.
    #[error("there is no certificate in `{}`", .path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up: no certificate authorities, or ones that are not certificates.
    #[error("cannot set up TLS for calls to platforms")]
    Tls(#[source] reqwest::Error),
}

/// A request that is ready to leave.
pub(super) struct Outgoing {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// An answer that arrived, or at least its head.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The body, or why there is none.
    pub(super) body: Result<Zeroizing<Vec<u8>>, TransportFault>,
}

/// No answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// And the request surely did not leave.
    NotSent(TransportFault),
    /// And the request may have been received.
    Lost(TransportFault),
}

/// The hardened client.
pub(super) struct Outbound {
    client: reqwest::Client,
    addresses: AddressPolicy,
}

/// A request body that notes when the connection first asks for it.
///
/// This is what tells [`Unanswered::NotSent`] from [`Unanswered::Lost`]: the secrets are in the body, and until a
/// connection stands and asks for it not one byte of it can have left. The kinds of error a client reports would be
/// guesswork instead: a total time limit, say, can pass while connecting as well as while waiting for the answer.
struct Watched {
    bytes: Option<Bytes>,
    asked_for: Arc<AtomicBool>,
}

// === impl OutboundSettings ===

impl OutboundSettings {
    /// Public `https` hosts only, and the machine's certificate authorities.
    #[must_use]
    pub const fn strict() -> Self {
        Self { url_policy: UrlPolicy::Strict, allowed_hosts: BTreeSet::new(), extra_ca_file: None }
    }
}

// === impl Outbound ===

impl Outbound {
    pub(super) fn new(settings: &OutboundSettings) -> Result<Self, OutboundError> {
        let addresses = AddressPolicy::new(settings.url_policy, &settings.allowed_hosts);
        let mut builder = reqwest::Client::builder()
            .user_agent("vault-engine")
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            // The environment of the process must not decide where a refresh token goes.
            .no_proxy()
            .https_only(settings.url_policy == UrlPolicy::Strict)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .tls_sslkeylogfile(false)
            .http1_only()
            .http1_max_headers(MAX_FIELDS)
            // Other crates may compile these in; an answer that unpacks to a thousand times its size must not.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .connect_timeout(CONNECT_TIME)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(8)
            .pool_idle_timeout(IDLE_TIME)
            .dns_resolver(GuardedResolver::new(addresses.clone()));
        if let Some(path) = &settings.extra_ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        Ok(Self { client: builder.build().map_err(OutboundError::Tls)?, addresses })
    }

    /// Posts, and reads the answer until `deadline`.
    pub(super) async fn post(&self, outgoing: Outgoing, deadline: Instant) -> Result<Answer, Unanswered> {
        self.check_literal(&outgoing.url).map_err(Unanswered::NotSent)?;
        // A timer that has run out still lets the future it guards take its first steps.
        if Instant::now() >= deadline {
            return Err(Unanswered::NotSent(TransportFault::Timeout));
        }
        let asked_for = Arc::new(AtomicBool::new(outgoing.body.is_empty()));
        let body = Watched { bytes: Some(Bytes::from_owner(outgoing.body)), asked_for: Arc::clone(&asked_for) };
        let sending = self.client.post(outgoing.url).headers(outgoing.headers).body(reqwest::Body::wrap(body)).send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unanswered(fault_of(&error), &asked_for)),
            Err(_elapsed) => return Err(unanswered(TransportFault::Timeout, &asked_for)),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = if response.status().is_redirection() {
            Err(TransportFault::Redirect)
        } else if size_of_head(&headers) > MAX_HEAD {
            Err(TransportFault::TooLarge)
        } else {
            timeout_at(deadline, read(response)).await.unwrap_or(Err(TransportFault::Timeout))
        };
        Ok(Answer { status, headers, body })
    }

    /// A host that is an address already is never resolved, so the resolver cannot refuse it.
    fn check_literal(&self, url: &Url) -> Result<(), TransportFault> {
        let address = match url.host() {
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            None => return Err(TransportFault::Misconfigured),
        };
        let host = url.host_str().unwrap_or_default();
        if self.addresses.permits(host, address) { Ok(()) } else { Err(TransportFault::AddressRefused) }
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, OutboundError> {
    let pem = std::fs::read(path).map_err(|source| OutboundError::CaFile { path: path.to_owned(), source })?;
    let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(OutboundError::Tls)?;
    if authorities.is_empty() {
        return Err(OutboundError::NoAuthority { path: path.to_owned() });
    }
    Ok(authorities)
}

async fn read(mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, TransportFault> {
    let stated = response.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if stated.is_some_and(|length| length > MAX_BODY) {
        return Err(TransportFault::TooLarge);
    }
    // Its final size from the start: a buffer that grows leaves copies of what it held behind.
    let mut body = Zeroizing::new(Vec::with_capacity(stated.unwrap_or(MAX_BODY)));
    while let Some(chunk) = response.chunk().await.map_err(|error| fault_of(&error))? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Err(TransportFault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn size_of_head(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}

/// Sorts a fault by whether the request may have left.
fn unanswered(fault: TransportFault, asked_for: &AtomicBool) -> Unanswered {
    if asked_for.load(Ordering::Acquire) {
        return Unanswered::Lost(fault);
    }
    Unanswered::NotSent(match fault {
        // Whatever broke before the request was asked for broke while connecting.
        TransportFault::Broken => TransportFault::Connect,
        other => other,
    })
}

fn fault_of(error: &reqwest::Error) -> TransportFault {
    if let Some(fault) = cause::<ResolveFault>(error) {
        return match fault {
            ResolveFault::Unknown => TransportFault::Dns,
            ResolveFault::Refused => TransportFault::AddressRefused,
        };
    }
    if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse_too_large) {
        TransportFault::TooLarge
    } else if error.is_builder() {
        TransportFault::Misconfigured
    } else if error.is_connect() {
        // Also when the time for connecting passed: `Timeout` is the time limit of the whole exchange.
        TransportFault::Connect
    } else if error.is_timeout() {
        TransportFault::Timeout
    } else {
        TransportFault::Broken
    }
}

/// The first error of a type in a chain of errors.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

// === impl Watched ===

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.asked_for.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    async fn posted(settings: OutboundSettings, url: &str) -> Unanswered {
        let outgoing =
            Outgoing { url: url.parse().unwrap(), headers: HeaderMap::new(), body: Zeroizing::new(b"secret".to_vec()) };
        let deadline = Instant::now() + MAX_TIME;
        Outbound::new(&settings).unwrap().post(outgoing, deadline).await.err().unwrap()
    }

    /// A listener nobody may connect to. Not the runtime's, which learns of a connection only when it is polled.
    fn canary() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn untouched(canary: &TcpListener) -> bool {
        canary.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn a_host_that_resolves_to_this_machine_is_never_connected_to() {
        let (canary, port) = canary();
        let url = format!("https://localhost:{port}/token");
        let refused = Unanswered::NotSent(TransportFault::AddressRefused);
        assert_eq!(posted(OutboundSettings::strict(), &url).await, refused);
        assert!(untouched(&canary));
    }

    #[tokio::test]
    async fn a_host_that_is_an_address_is_never_connected_to() {
        let (canary, port) = canary();
        let refused = Unanswered::NotSent(TransportFault::AddressRefused);
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254"] {
            let url = format!("https://{host}:{port}/token");
            assert_eq!(posted(OutboundSettings::strict(), &url).await, refused, "`{host}`");
        }
        assert!(untouched(&canary));
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_told_apart_from_a_refused_one() {
        let unknown = Unanswered::NotSent(TransportFault::Dns);
        assert_eq!(posted(OutboundSettings::strict(), "https://no-such-host.invalid/token").await, unknown);
    }

    #[tokio::test]
    async fn a_trusted_host_is_connected_to_and_must_still_speak_tls() {
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/token", plain.local_addr().unwrap().port());
        let settings =
            OutboundSettings { allowed_hosts: BTreeSet::from(["localhost".to_owned()]), ..OutboundSettings::strict() };
        let hang_up = async { drop(plain.accept().await.unwrap()) };
        let (outcome, ()) = tokio::join!(posted(settings, &url), hang_up);
        assert_eq!(outcome, Unanswered::NotSent(TransportFault::Connect));
    }
}
