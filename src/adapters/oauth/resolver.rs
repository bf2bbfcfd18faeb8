//! Resolves host names and drops what must not be called. Which addresses those are is `address`'s part.
//!
//! The check stands here, between resolution and connection, because a check before the client resolves on its own
//! could be told one address and the client another (DNS rebinding).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{is_private_network, is_public};
use crate::domain::profile::UrlPolicy;

/// Which addresses this installation may call.
#[derive(Debug, Clone)]
pub(super) struct AddressPolicy {
    urls: UrlPolicy,
    /// Hosts an operator vouches for, in lower case.
    trusted: Arc<BTreeSet<String>>,
}

/// Resolves with the operating system's resolver.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    policy: AddressPolicy,
}

/// Why a name led nowhere. Found again in the client's chain of errors by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveFault {
    /// It did not resolve.
    #[error("the name did not resolve")]
    Unknown,
    /// It resolved to nothing but addresses that must not be called.
    #[error("the name resolved to an address that must not be called")]
    Refused,
}

// === impl AddressPolicy ===

impl AddressPolicy {
    pub(super) fn new(urls: UrlPolicy, trusted: &BTreeSet<String>) -> Self {
        Self { urls, trusted: Arc::new(trusted.iter().map(|host| canonical(host)).collect()) }
    }

    /// Whether `host` may be called at `address`.
    pub(super) fn permits(&self, host: &str, address: IpAddr) -> bool {
        let development = match self.urls {
            UrlPolicy::Strict => false,
            UrlPolicy::AllowLoopback => address.is_loopback(),
        };
        is_public(address) || development || (is_private_network(address) && self.trusted.contains(&canonical(host)))
    }
}

/// A host as it is compared: `Example.com.` names the same one as `example.com`.
fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

// === impl GuardedResolver ===

impl GuardedResolver {
    pub(super) const fn new(policy: AddressPolicy) -> Self {
        Self { policy }
    }

    async fn addresses(self, host: String) -> Result<Vec<SocketAddr>, ResolveFault> {
        // The port is filled in by the client.
        let found = tokio::net::lookup_host((host.as_str(), 0)).await.map_err(|_| ResolveFault::Unknown)?;
        let mut found = found.peekable();
        if found.peek().is_none() {
            return Err(ResolveFault::Unknown);
        }
        let kept: Vec<SocketAddr> = found.filter(|address| self.policy.permits(&host, address.ip())).collect();
        if kept.is_empty() { Err(ResolveFault::Refused) } else { Ok(kept) }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let kept = resolver.addresses(name.as_str().to_owned()).await?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(urls: UrlPolicy, trusted: &[&str]) -> AddressPolicy {
        AddressPolicy::new(urls, &trusted.iter().map(ToString::to_string).collect())
    }

    async fn resolved(policy: AddressPolicy, host: &str) -> Result<Vec<SocketAddr>, ResolveFault> {
        GuardedResolver::new(policy).addresses(host.to_owned()).await
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused_and_told_apart_from_an_unknown_one() {
        let strict = policy(UrlPolicy::Strict, &[]);
        assert_eq!(resolved(strict.clone(), "localhost").await, Err(ResolveFault::Refused));
        assert_eq!(resolved(strict, "no-such-host.invalid").await, Err(ResolveFault::Unknown));
    }

    #[tokio::test]
    async fn a_trusted_host_may_resolve_to_this_machine() {
        let found = resolved(policy(UrlPolicy::Strict, &["LOCALHOST."]), "localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn development_opens_loopback_and_nothing_else() {
        let development = policy(UrlPolicy::AllowLoopback, &[]);
        assert!(development.permits("a", IpAddr::from([127, 0, 0, 1])));
        assert!(!development.permits("a", IpAddr::from([10, 0, 0, 1])));
        assert!(!development.permits("a", IpAddr::from([169, 254, 169, 254])));
    }

    #[test]
    fn trust_is_given_to_one_host_and_never_reaches_a_metadata_service() {
        let strict = policy(UrlPolicy::Strict, &["idp.corp.example"]);
        assert!(strict.permits("IDP.corp.example.", IpAddr::from([10, 0, 0, 1])));
        assert!(!strict.permits("other.corp.example", IpAddr::from([10, 0, 0, 1])));
        assert!(!strict.permits("x.idp.corp.example", IpAddr::from([10, 0, 0, 1])));
        assert!(!strict.permits("idp.corp.example", IpAddr::from([169, 254, 169, 254])));
    }
}
