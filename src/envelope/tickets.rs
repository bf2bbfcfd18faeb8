//! What callers are given to hand back: where a page ended, where a stream broke off.
//!
//! Sealed with a key of the installation, for one tenant and one request, so that every instance can open it and nobody
//! can read it, alter it, or use it elsewhere. Nothing is remembered about it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::context::{Context, Kind};
use super::seal;
use super::tenant_keys::TenantKeys;
use crate::domain::error::VaultError;
use crate::domain::id::{Environment, TenantId};
use crate::domain::ports::Random;

/// Seals tickets and opens them again.
pub struct Tickets {
    environment: Environment,
    keys: Arc<TenantKeys>,
    random: Arc<dyn Random>,
}

/// What a ticket is good for.
#[derive(Debug, Clone, Copy)]
pub struct Ticket<'a> {
    /// Which kind it is.
    pub kind: Kind,
    /// The tenant it was given out for.
    pub tenant: &'a TenantId,
    /// The request it was given out for, in whatever words: at most 65,535 bytes.
    pub request: &'a str,
}

/// What tickets are sealed with is derived for this purpose.
const PURPOSE: &str = "tickets";
/// Tickets know no generations and no versions: there is one key, and each ticket is new.
const ONLY: u32 = 1;
/// Longer than any ticket.
const MAX_BYTES: usize = 192 * 1_024;

// === impl Tickets ===

impl Tickets {
    /// The tickets of one installation.
    #[must_use]
    pub fn new(environment: Environment, keys: Arc<TenantKeys>, random: Arc<dyn Random>) -> Self {
        Self { environment, keys, random }
    }

    /// Makes a ticket with this inside.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn seal(&self, ticket: Ticket<'_>, payload: &[u8]) -> Result<String, VaultError> {
        let key = self.keys.system_key(PURPOSE).await?;
        let context = self.context(ticket);
        Ok(URL_SAFE_NO_PAD.encode(seal::seal(&*self.random, &key, ONLY, ONLY.into(), &context, payload)))
    }

    /// What is inside; `None` if it was not made for this.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn open(&self, ticket: Ticket<'_>, text: &str) -> Result<Option<Vec<u8>>, VaultError> {
        if text.len() > MAX_BYTES {
            return Ok(None);
        }
        let Ok(sealed) = URL_SAFE_NO_PAD.decode(text) else { return Ok(None) };
        let key = self.keys.system_key(PURPOSE).await?;
        let opened = seal::open(&key, ONLY, &self.context(ticket), &sealed).ok();
        Ok(opened.map(|opened| opened.plaintext.to_vec()))
    }

    fn context(&self, Ticket { kind, tenant, request }: Ticket<'_>) -> Context {
        Context::new(kind, &self.environment, tenant, request, "")
    }
}
