//! The stored frame, the same in every store: a version and hints beside the opaque value.
//!
//! ```text
//! frame = format || version || state || expires_at || due_at || value
//!         u8 = 2    u64 BE     u8       u40 BE        u40 BE    0..=1 MiB      (times: Unix seconds, 0: none)
//! ```
//!
//! What the value is, and whether anybody altered it, is the envelope's business.

use bytes::Bytes;

use super::reason;
use crate::domain::ports::{Expected, Hints, MAX_VALUE_BYTES, Record, StateHint, StoreError, Stored, Version};
use crate::domain::time::Timestamp;

/// The one format there is.
const FORMAT: u8 = 2;

/// How many bytes stand before the hints: all a comparison needs.
pub(super) const VERSION_BYTES: usize = 9;

/// How many bytes stand before the value.
pub(super) const HEADER_BYTES: usize = VERSION_BYTES + 11;

/// What a write wants to find.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition {
    /// Exactly this.
    Is(Expected),
    /// Nothing, or an older version than this.
    OlderThan(Version),
}

// === impl Condition ===

impl Condition {
    /// Whether a write may go over what is there. What no vault wrote has no version, so it is what nobody wants.
    pub(super) fn holds(self, found: Option<&[u8]>) -> bool {
        let Some(found) = found else { return !matches!(self, Self::Is(Expected::Version(_))) };
        hints(found).and_then(|_| version_of(found)).is_ok_and(|found| match self {
            Self::Is(expected) => expected == Expected::Version(found),
            Self::OlderThan(version) => found < version,
        })
    }
}

/// What the frame of this version begins with.
pub(super) fn version_header(version: Version) -> [u8; VERSION_BYTES] {
    let mut header = [FORMAT; VERSION_BYTES];
    header.iter_mut().skip(1).zip(version.0.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    header
}

/// Makes the frame. Refusing what is too large here means that no store can forget to.
pub(super) fn encode(version: Version, record: &Record) -> Result<Vec<u8>, StoreError> {
    let Record { value, hints } = record;
    if value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::unavailable(reason::TOO_LARGE));
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + value.len());
    frame.extend_from_slice(&version_header(version));
    frame.push(hints.state.number());
    for time in [hints.expires_at, hints.due_at] {
        let seconds = time.map_or(0, Timestamp::unix_seconds).to_be_bytes();
        // The year 9999 needs 38 bits.
        frame.extend_from_slice(seconds.last_chunk::<5>().unwrap_or(&[0; 5]));
    }
    frame.extend_from_slice(value);
    Ok(frame)
}

/// Takes the frame apart without copying the value.
pub(super) fn decode(frame: Bytes) -> Result<Stored, StoreError> {
    decode_whole(frame).map(|(stored, _)| stored)
}

/// Takes the frame apart, hints and all.
pub(super) fn decode_whole(mut frame: Bytes) -> Result<(Stored, Hints), StoreError> {
    let (version, hints) = (version_of(&frame)?, hints(&frame)?);
    Ok((Stored { version, value: frame.split_off(HEADER_BYTES) }, hints))
}

/// The version in a frame. No vault writes version 0, so a frame that has it is not one.
pub(super) fn version_of(frame: &[u8]) -> Result<Version, StoreError> {
    let (format, rest) = frame.split_first().ok_or(StoreError::Corrupt)?;
    let version = rest.first_chunk().copied().map(u64::from_be_bytes).ok_or(StoreError::Corrupt)?;
    if *format == FORMAT && version > 0 { Ok(Version(version)) } else { Err(StoreError::Corrupt) }
}

/// The hints in a frame.
pub(super) fn hints(frame: &[u8]) -> Result<Hints, StoreError> {
    version_of(frame)?;
    frame.get(VERSION_BYTES..).and_then(hints_of).ok_or(StoreError::Corrupt)
}

fn hints_of(bytes: &[u8]) -> Option<Hints> {
    let (state, times) = bytes.split_first()?;
    let (expires_at, due_at) = times.split_first_chunk::<5>()?;
    Some(Hints {
        state: StateHint::numbered(*state)?,
        expires_at: time_of(*expires_at),
        due_at: time_of(*due_at.first_chunk()?),
    })
}

fn time_of(bytes: [u8; 5]) -> Option<Timestamp> {
    let seconds = bytes.iter().fold(0_i64, |seconds, byte| (seconds << 8) | i64::from(*byte));
    (seconds > 0).then(|| Timestamp::from_unix_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &'static [u8]) -> Record {
        Record::from(Bytes::from_static(value))
    }

    #[test]
    fn a_frame_comes_apart_as_it_was_made() {
        let hints = Hints {
            state: StateHint::Dead,
            expires_at: Some(Timestamp::from_unix_seconds(0x01_0203_0405)),
            due_at: Some(Timestamp::from_unix_seconds(i64::MAX)),
        };
        let frame = encode(Version(0x0102_0304_0506_0708), &Record { hints, ..record(b"sealed") }).unwrap();
        let header = [2, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 2, 3, 4, 5, 0x3a, 0xff, 0xf4, 0x41, 0x7f];
        assert_eq!(frame, [&header, b"sealed".as_slice()].concat());
        let whole = decode_whole(Bytes::from(frame)).unwrap();
        let stored = Stored { version: Version(0x0102_0304_0506_0708), value: Bytes::from_static(b"sealed") };
        assert_eq!(whole, (stored, hints));
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let whole = decode_whole(Bytes::from(encode(Version::FIRST, &record(b"")).unwrap())).unwrap();
        assert_eq!(whole, (Stored { version: Version::FIRST, value: Bytes::new() }, Hints::default()));
    }

    #[test]
    fn what_no_vault_wrote_is_corrupt() {
        let good = encode(Version::FIRST, &record(b"")).unwrap();
        for length in 0..good.len() {
            assert!(matches!(decode(Bytes::copy_from_slice(&good[..length])), Err(StoreError::Corrupt)), "{length}");
        }
        for (at, byte) in [(0, 1), (0, 3), (8, 0), (9, 4)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(matches!(decode(Bytes::from(bad)), Err(StoreError::Corrupt)), "{at}");
        }
    }

    #[test]
    fn a_value_beyond_the_bound_makes_no_frame() {
        assert!(encode(Version::FIRST, &Record::from(Bytes::from(vec![0; MAX_VALUE_BYTES]))).is_ok());
        let refused = encode(Version::FIRST, &Record::from(Bytes::from(vec![0; MAX_VALUE_BYTES + 1])));
        assert!(matches!(refused, Err(StoreError::Unavailable { reason: reason::TOO_LARGE, .. })));
    }
}
