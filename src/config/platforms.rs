//! The clients this installation is registered as at platforms.

use std::collections::BTreeMap;

use super::{Context, secret};
use crate::document::{Mismatch, Node, Section};
use crate::domain::id::PlatformId;
use crate::domain::secret::ClientSecret;

/// The client this installation is registered as at one platform.
#[derive(Debug)]
pub struct PlatformConfig {
    /// Whether it is in use.
    pub enabled: bool,
    /// The client id; without one, tokens can be kept but not refreshed.
    pub client_id: Option<String>,
    /// The client's secrets, tried in order, so that one can be replaced without a gap.
    pub client_secrets: Vec<ClientSecret>,
    /// Values for the variables of the profile's URLs.
    pub vars: BTreeMap<String, String>,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> BTreeMap<PlatformId, PlatformConfig> {
    let id = |name: &str| name.parse().map_err(|error| Mismatch::new(format!("is not a platform: {error}"), ""));
    section.section_map("platforms", id, |section| Some(platform(section, context)))
}

fn platform(section: &mut Section<'_>, context: &Context<'_>) -> PlatformConfig {
    let enabled = section.optional("enabled", Node::boolean).unwrap_or(true);
    let client_id = section.optional("client_id", Node::text).map(str::to_owned);
    section.forbid("client_secret", "is called `client_secrets`, a list", "write `client_secrets: [{ file: /path }]`");
    let client_secrets = section.list("client_secrets", |node| client_secret(node, context)).unwrap_or_default();
    let vars = section.map("vars", |_, node| node.text().map(str::to_owned));
    if client_id.is_none() && !client_secrets.is_empty() {
        section.fault("client_id", "must be given where there are `client_secrets`", "");
    }
    PlatformConfig { enabled, client_id, client_secrets, vars }
}

fn client_secret(node: Node<'_>, context: &Context<'_>) -> Result<ClientSecret, Mismatch> {
    use secrecy::ExposeSecret as _;

    let text = secret::fetch(node, context)?.expose_secret().to_owned();
    ClientSecret::new(text).ok_or_else(|| Mismatch::new("is empty", ""))
}
