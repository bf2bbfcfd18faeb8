//! The stored frame, the same in every store: a version beside the opaque value.
//!
//! ```text
//! frame = format || version || value
//!         u8 = 1    u64 BE     0..=1 MiB
//! ```
//!
//! What the value is, and whether anybody altered it, is the envelope's business.

use bytes::Bytes;

use super::reason;
use crate::domain::ports::{MAX_VALUE_BYTES, StoreError, Stored, Version};

/// The one format there is.
const FORMAT: u8 = 1;

/// How many bytes stand before the value.
pub(super) const HEADER_BYTES: usize = 9;

/// What the frame of this version begins with.
pub(super) fn header(version: Version) -> [u8; HEADER_BYTES] {
    let mut header = [FORMAT; HEADER_BYTES];
    header.iter_mut().skip(1).zip(version.0.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    header
}

/// Makes the frame. Refusing what is too large here means that no store can forget to.
pub(super) fn encode(version: Version, value: &[u8]) -> Result<Vec<u8>, StoreError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::unavailable(reason::TOO_LARGE));
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + value.len());
    frame.extend_from_slice(&header(version));
    frame.extend_from_slice(value);
    Ok(frame)
}

/// Takes the frame apart without copying the value.
pub(super) fn decode(mut frame: Bytes) -> Result<Stored, StoreError> {
    let version = version_of(&frame)?;
    Ok(Stored { version, value: frame.split_off(HEADER_BYTES) })
}

/// The version in a frame. No vault writes version 0, so a frame that has it is not one.
pub(super) fn version_of(frame: &[u8]) -> Result<Version, StoreError> {
    let (format, rest) = frame.split_first().ok_or(StoreError::Corrupt)?;
    let version = rest.first_chunk().copied().map(u64::from_be_bytes).ok_or(StoreError::Corrupt)?;
    if *format == FORMAT && version > 0 { Ok(Version(version)) } else { Err(StoreError::Corrupt) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_apart_as_it_was_made() {
        let frame = encode(Version(0x0102_0304_0506_0708), b"sealed").unwrap();
        assert_eq!(frame, [&[1, 1, 2, 3, 4, 5, 6, 7, 8], b"sealed".as_slice()].concat());
        let stored = decode(Bytes::from(frame)).unwrap();
        assert_eq!(stored, Stored { version: Version(0x0102_0304_0506_0708), value: Bytes::from_static(b"sealed") });
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let stored = decode(Bytes::from(encode(Version::FIRST, b"").unwrap())).unwrap();
        assert_eq!(stored, Stored { version: Version::FIRST, value: Bytes::new() });
    }

    #[test]
    fn what_no_vault_wrote_is_corrupt() {
        for frame in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0\x01v", b"\x01\0\0\0\0\0\0\0\0v"] {
            assert!(matches!(decode(Bytes::from_static(frame)), Err(StoreError::Corrupt)), "{frame:?}");
        }
    }

    #[test]
    fn a_value_beyond_the_bound_makes_no_frame() {
        assert!(encode(Version::FIRST, &vec![0; MAX_VALUE_BYTES]).is_ok());
        let refused = encode(Version::FIRST, &vec![0; MAX_VALUE_BYTES + 1]);
        assert!(matches!(refused, Err(StoreError::Unavailable { reason: reason::TOO_LARGE, .. })));
    }
}
