//! What is in the file of an entry.
//!
//! ```text
//! "TVOB" || format = 1 || LP(tenant) || LP(user) || LP(platform) || u32 BE length || sealed || crc32 of all before
//!                         LP(x) = u8 length || bytes
//! ```
//!
//! Whose it is stands in the clear, as in the store: it says which record to look at. The sealed part is bound to it, so
//! that an altered name opens nothing. The checksum tells an entry that was cut by a crash from one that was tampered with.

use std::str::{FromStr, from_utf8};

use bytes::Bytes;

use crate::domain::id::ConnectionKey;
use crate::domain::ports::OutboxEntry;

const MAGIC: &[u8] = b"TVOB\x01";
/// No entry is larger: the sealed part is bounded like any record, and names are short.
pub(super) const LARGEST: u64 = 1_048_576 + 1_024;

/// The bytes of an entry. `None` if it is larger than any may be.
pub(super) fn encode(entry: &OutboxEntry) -> Option<Vec<u8>> {
    let names = [entry.key.tenant.as_str(), entry.key.user.as_str(), entry.key.platform.as_str()];
    let mut bytes = Vec::with_capacity(entry.sealed.len() + 512);
    bytes.extend_from_slice(MAGIC);
    for name in names {
        bytes.push(u8::try_from(name.len()).ok()?);
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(&u32::try_from(entry.sealed.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(&entry.sealed);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    (bytes.len() as u64 <= LARGEST).then_some(bytes)
}

/// The entry in these bytes, if a vault wrote them and they are whole.
pub(super) fn decode(bytes: &[u8]) -> Option<OutboxEntry> {
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?;
    let (tenant, rest) = name(rest)?;
    let (user, rest) = name(rest)?;
    let (platform, rest) = name(rest)?;
    let (length, sealed) = rest.split_first_chunk::<4>()?;
    let whole = usize::try_from(u32::from_be_bytes(*length)) == Ok(sealed.len());
    whole.then(|| OutboxEntry { key: ConnectionKey { tenant, user, platform }, sealed: Bytes::copy_from_slice(sealed) })
}

fn name<T: FromStr>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((from_utf8(name).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> OutboxEntry {
        let key = ConnectionKey {
            tenant: "t".parse().unwrap(),
            user: "ada".parse().unwrap(),
            platform: "p".parse().unwrap(),
        };
        OutboxEntry { key, sealed: Bytes::from_static(b"sealed") }
    }

    #[test]
    fn an_entry_survives_encoding() {
        assert_eq!(decode(&encode(&entry()).unwrap()), Some(entry()));
    }

    #[test]
    fn an_entry_as_it_was_first_written_is_read_for_ever() {
        let written = b"TVOB\x01\x01t\x03ada\x01p\0\0\0\x06sealed\xd1\xea\xff\x88";
        assert_eq!(encode(&entry()).unwrap(), written);
        assert_eq!(decode(written), Some(entry()));
    }

    #[test]
    fn an_entry_that_was_cut_or_altered_anywhere_is_none() {
        let whole = encode(&entry()).unwrap();
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&altered), None, "bit {bit}");
        }
    }

    #[test]
    fn an_entry_larger_than_any_record_is_not_written() {
        let sealed = Bytes::from(vec![0; usize::try_from(LARGEST).unwrap()]);
        assert_eq!(encode(&OutboxEntry { sealed, ..entry() }), None);
    }
}
