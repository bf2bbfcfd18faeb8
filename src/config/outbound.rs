//! Which addresses the vault may call.

use super::Context;
use crate::document::{Mismatch, Node, Section};
use crate::domain::profile::UrlPolicy;

/// Which addresses the vault may call.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// Hosts that may resolve to private addresses, such as a platform on the company's own network.
    pub allowed_hosts: Vec<String>,
    /// Whether profiles may name this machine, also without TLS. For development.
    pub allow_loopback: bool,
}

// === impl OutboundConfig ===

impl OutboundConfig {
    /// Which URLs profiles may name.
    #[must_use]
    pub fn url_policy(&self) -> UrlPolicy {
        if self.allow_loopback { UrlPolicy::AllowLoopback } else { UrlPolicy::Strict }
    }
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> OutboundConfig {
    let allowed_hosts = section.list("allowed_hosts", host).unwrap_or_default();
    let allow_loopback = section.optional("allow_loopback", Node::boolean).unwrap_or_default();
    if allow_loopback && !context.development {
        section.fault("allow_loopback", "is for development", "remove it, or set `environment: dev`");
    }
    OutboundConfig { allowed_hosts, allow_loopback }
}

fn host(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    let named = text.len() <= 253 && text.bytes().all(plain) && text.split('.').all(|label| !label.is_empty());
    if named {
        Ok(text.to_owned())
    } else {
        let hint = "write `login.example.com`: small letters, no scheme, no port, no `*`";
        Err(Mismatch::new("must be the name of one host", hint))
    }
}
