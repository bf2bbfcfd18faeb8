//! Key commitment. AES-GCM alone has none: whoever knows two keys can make one ciphertext that opens under both. This
//! makes such a ciphertext, shows that AES-GCM takes it twice, and that a sealed record does not.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes_gcm::{AeadInOut as _, Aes256Gcm};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use vault_engine::domain::error::CorruptRecord;
use vault_engine::envelope::seal::{open, seal};

use crate::{Salt, place};

const SALT: [u8; 32] = [0x55; 32];
const ONE: [u8; 32] = [0x11; 32];
const OTHER: [u8; 32] = [0x22; 32];

/// What a record is encrypted with, derived here a second time.
struct Derived {
    key: [u8; 32],
    nonce: [u8; 12],
    commitment: [u8; 32],
}

#[test]
fn a_ciphertext_made_for_two_keys_opens_only_under_the_one_it_commits_to() {
    // Arrange: one block and a tag that are valid under both keys.
    let head: [u8; 16] = seal(&Salt(SALT), &ONE, 3, 9, &place(), &[0; 16])[..16].try_into().unwrap();
    let aad = [place_bytes().as_slice(), &head].concat();
    let (one, other) = (Derived::from(&ONE, &aad), Derived::from(&OTHER, &aad));
    let (block, tag) = collide(&one, &other, &aad);
    assert!(gcm_accepts(&one, &aad, block, tag), "AES-GCM opens it under the first key");
    assert!(gcm_accepts(&other, &aad, block, tag), "AES-GCM opens it under the second key too");

    // Act and assert: whatever it commits to, exactly that key opens it.
    let record = |commitment: [u8; 32]| [&head[..], &SALT, &commitment, &block, &tag].concat();
    let answer = |key: &[u8; 32], sealed: &[u8]| open(key, 3, &place(), sealed).err();
    let (to_one, to_other) = (record(one.commitment), record(other.commitment));
    assert_eq!(answer(&ONE, &to_one), None);
    assert_eq!(answer(&OTHER, &to_one), Some(CorruptRecord::Commitment));
    assert_eq!(answer(&ONE, &to_other), Some(CorruptRecord::Commitment));
    assert_eq!(answer(&OTHER, &to_other), None);
}

#[test]
fn a_record_without_its_commitment_opens_under_no_key() {
    let mut sealed = seal(&Salt(SALT), &ONE, 3, 9, &place(), b"x");
    sealed[48..80].fill(0);
    for key in [ONE, OTHER] {
        assert_eq!(open(&key, 3, &place(), &sealed).err(), Some(CorruptRecord::Commitment));
    }
}

// === impl Derived ===

impl Derived {
    fn from(parent: &[u8; 32], aad: &[u8]) -> Self {
        let h = Sha256::digest(aad);
        let prk = Hkdf::<Sha256>::new(Some(&SALT), parent);
        let (mut key_and_nonce, mut commitment) = ([0; 44], [0; 32]);
        prk.expand_multi_info(&[b"tv/1 enc", &h], &mut key_and_nonce).expect("44 bytes");
        prk.expand_multi_info(&[b"tv/1 com", &h], &mut commitment).expect("32 bytes");
        let (key, nonce) = key_and_nonce.split_at(32);
        Self { key: key.try_into().expect("32 bytes"), nonce: nonce.try_into().expect("12 bytes"), commitment }
    }

    /// GHASH's key and the mask of the tag (NIST SP 800-38D, sections 6.4 and 7.1).
    fn ghash_key_and_mask(&self) -> (u128, u128) {
        let cipher = Aes256::new(&self.key.into());
        let encrypt = |block: [u8; 16]| {
            let mut block = block.into();
            cipher.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let mut first_counter = [0; 16];
        first_counter[..12].copy_from_slice(&self.nonce);
        first_counter[15] = 1;
        (encrypt([0; 16]), encrypt(first_counter))
    }
}

/// The one ciphertext block `c`, and its tag, that both keys accept.
///
/// With `a` the hash of the associated data and `l` the length block, `tag = a*h^2 ^ c*h^2 ^ l*h ^ mask` for each key;
/// two equal tags are one linear equation in `c`.
fn collide(one: &Derived, other: &Derived, aad: &[u8]) -> ([u8; 16], [u8; 16]) {
    let bits = |bytes: usize| u128::try_from(bytes * 8).expect("a small number");
    let lengths = (bits(aad.len()) << 64) | bits(16);
    let terms = |derived: &Derived| {
        let (h, mask) = derived.ghash_key_and_mask();
        let hashed = aad.chunks(16).fold(0, |sum, chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            multiply(sum ^ u128::from_be_bytes(block), h)
        });
        let square = multiply(h, h);
        (square, multiply(hashed, square) ^ multiply(lengths, h) ^ mask)
    };
    let ((square_one, rest_one), (square_other, rest_other)) = (terms(one), terms(other));
    let block = multiply(rest_one ^ rest_other, invert(square_one ^ square_other));
    (block.to_be_bytes(), (multiply(block, square_one) ^ rest_one).to_be_bytes())
}

/// Multiplication in GF(2^128), bit 0 being the most significant (NIST SP 800-38D, section 6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let (mut product, mut shifted) = (0, y);
    for bit in (0..128).rev() {
        if (x >> bit) & 1 == 1 {
            product ^= shifted;
        }
        shifted = (shifted >> 1) ^ if shifted & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    product
}

/// `x^(2^128 - 2)`, which is `1/x`: all exponent bits set but the last.
fn invert(x: u128) -> u128 {
    let power = (0..126).fold(x, |power, _| multiply(multiply(power, power), x));
    multiply(power, power)
}

fn gcm_accepts(derived: &Derived, aad: &[u8], mut block: [u8; 16], tag: [u8; 16]) -> bool {
    Aes256Gcm::new(&derived.key.into())
        .decrypt_inout_detached(&derived.nonce.into(), aad, InOutBuf::from(block.as_mut_slice()), &tag.into())
        .is_ok()
}

/// [`place`] in canonical bytes, written out a second time.
fn place_bytes() -> Vec<u8> {
    let field = |text: &str| [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat();
    [b"tv/1".as_slice(), &[2], &field("prod"), &field("acme"), &field("u-42"), &field("google")].concat()
}
