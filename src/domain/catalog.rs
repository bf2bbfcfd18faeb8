//! The platforms this installation has enabled, each with the client it is registered as.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::connection::OriginFingerprint;
use super::id::PlatformId;
use super::profile::{Profile, UrlPolicy};
use super::secret::ClientSecret;

/// An enabled platform.
#[derive(Debug)]
pub struct Platform {
    /// What is known about it.
    pub profile: Profile,
    /// The client this installation is registered as; without one, tokens can be kept but not refreshed.
    pub app: Option<App>,
    /// The values of the variables of the profile's URLs, all of them.
    pub vars: BTreeMap<String, String>,
}

/// A client registered at a platform.
#[derive(Debug)]
pub struct App {
    /// Its id: not a secret.
    pub client_id: String,
    /// Its secrets, tried in order, so that one can be replaced without a gap. Empty for a public client.
    pub secrets: Vec<ClientSecret>,
}

/// All enabled platforms.
#[derive(Debug, Default)]
pub struct Catalog {
    platforms: BTreeMap<PlatformId, Arc<Platform>>,
}

// === impl Platform ===

impl Platform {
    /// A fingerprint of where refresh tokens of this platform are sent: recorded with each of them.
    #[must_use]
    pub fn refresh_origin(&self) -> OriginFingerprint {
        let Ok(url) = self.profile.refresh_endpoint().fill(&self.vars, UrlPolicy::AllowLoopback) else {
            return OriginFingerprint::default();
        };
        let digest: [u8; 32] = Sha256::digest(url.origin().ascii_serialization()).into();
        OriginFingerprint(digest.first_chunk().map_or(0, |head| u64::from_be_bytes(*head)))
    }
}

// === impl Catalog ===

impl Catalog {
    /// A catalog of these platforms.
    #[must_use]
    pub fn new(platforms: impl IntoIterator<Item = Platform>) -> Self {
        let keyed = platforms.into_iter().map(|platform| (platform.profile.id.clone(), Arc::new(platform)));
        Self { platforms: keyed.collect() }
    }

    /// The platform with this id, if it is enabled.
    #[must_use]
    pub fn get(&self, id: &PlatformId) -> Option<&Arc<Platform>> {
        self.platforms.get(id)
    }

    /// All of them, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Platform>> {
        self.platforms.values()
    }
}
