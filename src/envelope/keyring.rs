//! A tenant's keyring as it lies in the store: every generation of the tenant's key, wrapped, and how far its user keys
//! have been sealed under the newest.
//!
//! The wrapped keys prove themselves when they are unwrapped. What stands beside them (which of them seals, from when on,
//! which are retired) is proven by a seal under the newest of them, so that whoever can write to the store can neither
//! bring a retired key back into use nor keep a new one out of it.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::context::Context;
use super::seal;
use crate::domain::error::CorruptRecord;
use crate::domain::ports::{DataKey, Random, Stored, Version, WrappedDataKey};
use crate::domain::time::Timestamp;
use crate::pb::store_v1 as pb;

/// Generations a keyring may hold.
pub(super) const MAX_GENERATIONS: usize = 64;

/// A keyring, wrapped.
#[derive(Clone, Debug)]
pub(super) struct Keyring {
    pub(super) content: pb::TenantKeyring,
    /// What proves it, if it is not as simple as the first one a tenant has.
    proof: Option<Proof>,
}

#[derive(Clone, Debug)]
struct Proof {
    version: Version,
    digest: [u8; 32],
    sealed: Vec<u8>,
}

/// A keyring, unwrapped.
pub(super) struct Unwrapped {
    /// The generation that seals.
    pub(super) active: u32,
    /// Below it nothing opens.
    pub(super) least: u32,
    pub(super) keys: Vec<(u32, DataKey)>,
}

// === impl Keyring ===

impl Keyring {
    /// The first keyring of a tenant.
    pub(super) fn first(generation: u32, wrapped: WrappedDataKey, now: Timestamp) -> Self {
        let key =
            pb::WrappedKey { generation, blob: wrapped.0, created_at: now.unix_seconds(), ..pb::WrappedKey::default() };
        let content = pb::TenantKeyring { active: generation, keys: vec![key], ..pb::TenantKeyring::default() };
        Self { content, proof: None }
    }

    /// Reads what is stored. What it says is to be believed once `prove` has been.
    pub(super) fn decode(stored: &Stored) -> Result<Self, CorruptRecord> {
        let outer = pb::TenantKeyring::decode(&*stored.value).map_err(|_| CorruptRecord::Content)?;
        let (content, proof) = if outer.body.is_empty() {
            (outer, None)
        } else {
            let content = pb::TenantKeyring::decode(&*outer.body).map_err(|_| CorruptRecord::Content)?;
            let digest = Sha256::digest(&outer.body).into();
            (content, Some(Proof { version: stored.version, digest, sealed: outer.proof }))
        };
        let generations = || content.keys.iter().map(|key| key.generation);
        let ascending = generations().zip(generations().skip(1)).all(|(one, next)| one < next);
        let blobs_fit = content.keys.iter().all(|key| key.blob.len() <= WrappedDataKey::MAX_BYTES);
        let holds_active = generations().any(|generation| generation == content.active);
        if content.keys.len() > MAX_GENERATIONS || !ascending || !blobs_fit || !holds_active {
            return Err(CorruptRecord::Content);
        }
        Ok(Self { content, proof })
    }

    /// What is stored of it as this version.
    pub(super) fn encode(
        &self,
        random: &dyn Random,
        place: &Context,
        version: Version,
        keys: &[(u32, DataKey)],
    ) -> Vec<u8> {
        let Some((newest, key)) = keys.iter().max_by_key(|(generation, _)| *generation) else {
            return self.content.encode_to_vec();
        };
        let body = self.content.encode_to_vec();
        let proof = seal::seal(random, key, *newest, version.0, place, &Sha256::digest(&body));
        pb::TenantKeyring { body, proof, ..pb::TenantKeyring::default() }.encode_to_vec()
    }

    /// Whether everything in it is as somebody wrote it who had its newest key.
    pub(super) fn prove(&self, place: &Context, keys: &[(u32, DataKey)]) -> Result<(), CorruptRecord> {
        let Some(proof) = &self.proof else {
            let simple = pb::TenantKeyring { keys: Vec::new(), active: 0, ..self.content.clone() };
            let first =
                matches!(self.content.keys.as_slice(), [only] if only.active_from == 0 && only.destroy_after.is_none());
            return if first && simple == pb::TenantKeyring::default() { Ok(()) } else { Err(CorruptRecord::Content) };
        };
        let (newest, key) = keys.iter().max_by_key(|(generation, _)| *generation).ok_or(CorruptRecord::KeyMissing)?;
        let opened = seal::open(key, *newest, place, &proof.sealed)?;
        let proven = opened.version == proof.version.0 && bool::from(opened.plaintext.ct_eq(&proof.digest));
        if proven { Ok(()) } else { Err(CorruptRecord::Commitment) }
    }

    /// The generation that seals at this time.
    pub(super) fn active_at(&self, now: Timestamp) -> u32 {
        let due = self.content.keys.iter().filter(|key| key.active_from <= now.unix_seconds());
        due.map(|key| key.generation).max().unwrap_or(self.content.active).max(self.content.active)
    }

    /// The newest generation, whether or not it seals yet.
    pub(super) fn newest(&self) -> pb::WrappedKey {
        self.content.keys.last().cloned().unwrap_or_default()
    }

    /// The number of the oldest generation.
    pub(super) fn oldest(&self) -> u32 {
        self.content.keys.first().map_or(0, |key| key.generation)
    }
}
