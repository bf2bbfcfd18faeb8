//! The layout of a sealed record. Fixed width: no length in it could be lied about.
//!
//! ```text
//! off len field
//!  0   2  magic "TV"
//!  2   1  format = 1
//!  3   1  suite = 1              HKDF-SHA256, AES-256-GCM, 32-byte key commitment
//!  4   4  parent generation      u32 BE, of the key this was sealed under
//!  8   8  version                u64 BE
//! 16  32  salt
//! 48  32  commitment
//! 80   n  ciphertext
//! 80+n 16 tag
//! ```

use crate::domain::error::CorruptRecord;

/// Bytes a sealed record has beyond its plaintext.
pub const OVERHEAD: usize = 96;

/// The authenticated head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The generation of the key it was sealed under.
    pub parent_generation: u32,
    /// The version of the record.
    pub version: u64,
}

/// A sealed record, cut into its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) head: &'a [u8; HEAD],
    pub(super) salt: &'a [u8; 32],
    pub(super) commitment: &'a [u8; 32],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8; 16],
}

pub(super) const HEAD: usize = 16;
const MAGIC: [u8; 2] = *b"TV";
const FORMAT: u8 = 1;
const SUITE: u8 = 1;

// === impl Header ===

impl Header {
    /// Reads the head of a sealed record, without opening it. What it says is not to be trusted before the record has
    /// opened.
    ///
    /// # Errors
    ///
    /// [`CorruptRecord::Format`] if it is not a sealed record.
    pub fn parse(sealed: &[u8]) -> Result<Self, CorruptRecord> {
        Parts::cut(sealed).map(|parts| parts.header)
    }

    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let [g0, g1, g2, g3] = self.parent_generation.to_be_bytes();
        let [v0, v1, v2, v3, v4, v5, v6, v7] = self.version.to_be_bytes();
        let [m0, m1] = MAGIC;
        [m0, m1, FORMAT, SUITE, g0, g1, g2, g3, v0, v1, v2, v3, v4, v5, v6, v7]
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    pub(super) fn cut(sealed: &'a [u8]) -> Result<Self, CorruptRecord> {
        let cut = || {
            let (head, rest) = sealed.split_first_chunk::<HEAD>()?;
            let (salt, rest) = rest.split_first_chunk::<32>()?;
            let (commitment, rest) = rest.split_first_chunk::<32>()?;
            let (ciphertext, tag) = rest.split_last_chunk::<16>()?;
            let [m0, m1, format, suite, g0, g1, g2, g3, version @ ..] = *head;
            let known = [m0, m1] == MAGIC && format == FORMAT && suite == SUITE;
            known.then_some(Self {
                header: Header {
                    parent_generation: u32::from_be_bytes([g0, g1, g2, g3]),
                    version: u64::from_be_bytes(version),
                },
                head,
                salt,
                commitment,
                ciphertext,
                tag,
            })
        };
        cut().ok_or(CorruptRecord::Format)
    }
}
