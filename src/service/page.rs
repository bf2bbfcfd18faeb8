//! Where a page of a listing ends and the next begins.
//!
//! ```text
//! place = 1 || next || u8 length || platform || u16 BE count || (u8 length || user)*
//! next  = 0  |  1 || u16 BE length || cursor  |  2          the beginning, a place in the scan, its end
//! ```

use std::collections::VecDeque;

use crate::domain::id::{PlatformId, UserId};
use crate::domain::ports::ScanCursor;

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Users that were found already and come before anything else.
    pub(super) users: VecDeque<UserId>,
    /// Of the first of them, only what comes after this platform.
    pub(super) after: Option<PlatformId>,
    /// Where the scan goes on.
    pub(super) next: Next,
}

/// Where a scan goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// At the beginning.
    Beginning,
    /// Here.
    From(ScanCursor),
    /// It does not.
    End,
}

const FORMAT: u8 = 1;

// === impl Place ===

impl Place {
    /// Where every listing begins.
    pub(super) const fn beginning() -> Self {
        Self { users: VecDeque::new(), after: None, next: Next::Beginning }
    }

    /// Whether there is nothing more to list.
    pub(super) fn is_end(&self) -> bool {
        self.users.is_empty() && self.next == Next::End
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        match &self.next {
            Next::Beginning => bytes.push(0),
            Next::From(ScanCursor(cursor)) => {
                bytes.push(1);
                put_wide(&mut bytes, cursor.len());
                bytes.extend_from_slice(cursor);
            }
            Next::End => bytes.push(2),
        }
        put_text(&mut bytes, self.after.as_ref().map_or("", PlatformId::as_str));
        put_wide(&mut bytes, self.users.len());
        for user in &self.users {
            put_text(&mut bytes, user.as_str());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes.strip_prefix(&[FORMAT])?;
        let next = match take(rest, 1)? {
            [0] => Next::Beginning,
            [1] => {
                let length = take_wide(rest)?;
                Next::From(ScanCursor(take(rest, length)?.to_vec()))
            }
            [2] => Next::End,
            _ => return None,
        };
        let after = match take_text(rest)? {
            "" => None,
            platform => Some(platform.parse().ok()?),
        };
        let count = take_wide(rest)?;
        let mut users = VecDeque::new();
        for _ in 0..count {
            users.push_back(take_text(rest)?.parse().ok()?);
        }
        rest.is_empty().then_some(Self { users, after, next })
    }
}

/// Cursors have at most 1 KiB and pages at most some thousand users.
fn put_wide(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

/// Identifiers have at most 128 bytes.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text.as_bytes());
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn take_wide(rest: &mut &[u8]) -> Option<usize> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u16::from_be_bytes(*number).into())
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, behind) = rest.split_first()?;
    *rest = behind;
    std::str::from_utf8(take(rest, usize::from(*length))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> [Place; 4] {
        let users: VecDeque<UserId> = ["u1", "u2"].iter().map(|user| user.parse().unwrap()).collect();
        let after = Some("gmail".parse().unwrap());
        let cursor = ScanCursor(vec![7; 1_024]);
        [
            Place::beginning(),
            Place { users: users.clone(), after, next: Next::From(cursor) },
            Place { users, after: None, next: Next::End },
            Place { users: VecDeque::new(), after: None, next: Next::End },
        ]
    }

    #[test]
    fn a_place_is_what_its_bytes_say() {
        for place in places() {
            assert_eq!(Place::parse(&place.to_bytes()), Some(place));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_place() {
        for place in places() {
            let bytes = place.to_bytes();
            for length in 0..bytes.len() {
                assert_eq!(Place::parse(&bytes[..length]), None);
            }
            assert_eq!(Place::parse(&[&*bytes, &[0]].concat()), None);
        }
    }
}
