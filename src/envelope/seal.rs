//! The one sealing primitive.
//!
//! ```text
//! aad   = context || head
//! h     = SHA-256(aad)
//! prk   = HKDF-Extract(salt, parent key)
//! k||n  = HKDF-Expand(prk, "tv/1 enc" || h, 44)     32-byte key, 12-byte nonce
//! com   = HKDF-Expand(prk, "tv/1 com" || h, 32)
//! ```
//!
//! The nonce is derived, so no caller can reuse one; `h` holds the version, so even a generator that repeats a salt
//! gives another key to another record or version. The commitment ties the ciphertext to one key and one place: it is
//! compared before anything is decrypted, which tells a wrong key from a damaged record.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::context::Context;
use super::format::{HEAD, Header, OVERHEAD, Parts};
use crate::domain::error::CorruptRecord;
use crate::domain::ports::Random;

/// What came out of a sealed record.
pub struct Opened {
    /// The version it was sealed with: authenticated.
    pub version: u64,
    /// What was inside. Wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
}

/// Keys for exactly one record; wiped when dropped.
struct RecordKeys {
    cipher_key: Zeroizing<[u8; 32]>,
    nonce: [u8; 12],
    commitment: [u8; 32],
}

/// Seals a plaintext for one place and one version.
///
/// # Panics
///
/// Never: AES-GCM refuses only plaintexts beyond 64 GiB, and nothing here is larger than 1 MiB.
#[must_use]
#[expect(clippy::expect_used, reason = "going on after a refused encryption would store the plaintext")]
pub fn seal(
    random: &dyn Random,
    parent: &[u8; 32],
    parent_generation: u32,
    version: u64,
    context: &Context,
    plaintext: &[u8],
) -> Vec<u8> {
    let mut salt = [0; 32];
    random.fill(&mut salt);
    let head = Header { parent_generation, version }.to_bytes();
    let aad = aad(context, &head);
    let keys = RecordKeys::derive(&salt, parent, &aad);
    let mut sealed = Vec::with_capacity(OVERHEAD + plaintext.len());
    sealed.extend_from_slice(&head);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(&keys.commitment);
    let body = sealed.len();
    sealed.extend_from_slice(plaintext);
    let (_, body) = sealed.split_at_mut(body);
    let tag = Aes256Gcm::new(&(*keys.cipher_key).into())
        .encrypt_inout_detached(&keys.nonce.into(), &aad, InOutBuf::from(body))
        .expect("the plaintext is shorter than AES-GCM's bound");
    sealed.extend_from_slice(&tag);
    sealed
}

/// Opens what was sealed for this place under this key.
///
/// # Errors
///
/// [`CorruptRecord`] says in which way it does not belong here. Nothing of the plaintext survives a failure.
pub fn open(
    parent: &[u8; 32],
    parent_generation: u32,
    context: &Context,
    sealed: &[u8],
) -> Result<Opened, CorruptRecord> {
    let parts = Parts::cut(sealed)?;
    if parts.header.parent_generation != parent_generation {
        return Err(CorruptRecord::Commitment);
    }
    let aad = aad(context, parts.head);
    let keys = RecordKeys::derive(parts.salt, parent, &aad);
    if !bool::from(keys.commitment.ct_eq(parts.commitment)) {
        return Err(CorruptRecord::Commitment);
    }
    let mut plaintext = Zeroizing::new(parts.ciphertext.to_vec());
    let opened = Aes256Gcm::new(&(*keys.cipher_key).into()).decrypt_inout_detached(
        &keys.nonce.into(),
        &aad,
        InOutBuf::from(plaintext.as_mut_slice()),
        &(*parts.tag).into(),
    );
    match opened {
        Ok(()) => Ok(Opened { version: parts.header.version, plaintext }),
        Err(_) => Err(CorruptRecord::Tag),
    }
}

/// Derives a key for one purpose from a parent key.
#[must_use]
pub fn derive_key(parent: &[u8; 32], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    expand(&Hkdf::<Sha256>::new(None, parent), &[b"tv/1 key ", purpose], key.as_mut());
    key
}

// === impl RecordKeys ===

impl RecordKeys {
    fn derive(salt: &[u8; 32], parent: &[u8; 32], aad: &[u8]) -> Self {
        let h = Sha256::digest(aad);
        let prk = Hkdf::<Sha256>::new(Some(salt), parent);
        let mut key_and_nonce = Zeroizing::new([0; 44]);
        expand(&prk, &[b"tv/1 enc", &h], key_and_nonce.as_mut());
        let mut keys = Self { cipher_key: Zeroizing::new([0; 32]), nonce: [0; 12], commitment: [0; 32] };
        let (key, nonce) = key_and_nonce.split_at(32);
        keys.cipher_key.copy_from_slice(key);
        keys.nonce.copy_from_slice(nonce);
        expand(&prk, &[b"tv/1 com", &h], &mut keys.commitment);
        keys
    }
}

impl Drop for RecordKeys {
    fn drop(&mut self) {
        self.nonce.zeroize();
    }
}

/// # Panics
///
/// Never: HKDF-SHA256 refuses only outputs beyond 8,160 bytes, and the longest here is 44.
#[expect(clippy::expect_used, reason = "the output length is a constant below HKDF's bound")]
fn expand(prk: &Hkdf<Sha256>, info: &[&[u8]], output: &mut [u8]) {
    prk.expand_multi_info(info, output).expect("the output is shorter than HKDF's bound");
}

fn aad(context: &Context, head: &[u8; HEAD]) -> Vec<u8> {
    [context.as_bytes(), head].concat()
}
