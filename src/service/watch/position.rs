//! Where a stream stands: a place in the changes of each partition it covers.
//!
//! ```text
//! token = 1 || 0                                            within a snapshot: begin it anew
//!       | 1 || 1 || (partition || u8 length || cursor)*     after these changes
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ports::{ChangeCursor, Partition};

/// A place in the changes of each partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position(pub(super) BTreeMap<Partition, ChangeCursor>);

/// Where a stream is taken up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resumption {
    /// With a new snapshot: the one before was not told to its end.
    Anew,
    /// With what came after this.
    From(Position),
}

const FORMAT: u8 = 1;
const ANEW: u8 = 0;
const FROM: u8 = 1;

// === impl Resumption ===

impl Resumption {
    pub(super) fn anew() -> Vec<u8> {
        vec![FORMAT, ANEW]
    }

    pub(super) fn after(position: &Position) -> Vec<u8> {
        let mut bytes = vec![FORMAT, FROM];
        for (partition, ChangeCursor(cursor)) in &position.0 {
            // Cursors have at most 32 bytes.
            bytes.extend_from_slice(&[partition.number(), u8::try_from(cursor.len()).unwrap_or(u8::MAX)]);
            bytes.extend_from_slice(cursor);
        }
        bytes
    }

    /// What the bytes say, if it is about these partitions.
    pub(super) fn parse(bytes: &[u8], partitions: &BTreeSet<Partition>) -> Option<Self> {
        match bytes {
            [FORMAT, ANEW] => Some(Self::Anew),
            [FORMAT, FROM, rest @ ..] => {
                let position = Position::parse(rest)?;
                position.0.keys().eq(partitions).then_some(Self::From(position))
            }
            _ => None,
        }
    }
}

// === impl Position ===

impl Position {
    fn parse(mut rest: &[u8]) -> Option<Self> {
        let mut cursors = BTreeMap::new();
        while let Some(([number, length], behind)) = rest.split_first_chunk::<2>() {
            let (cursor, behind) = behind.split_at_checked(usize::from(*length))?;
            cursors.insert(Partition::numbered(*number)?, ChangeCursor(cursor.to_vec()));
            rest = behind;
        }
        rest.is_empty().then_some(Self(cursors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_what_its_bytes_say_and_only_of_its_partitions() {
        let all: BTreeSet<Partition> = Partition::all().collect();
        let cursors = all.iter().map(|partition| (*partition, ChangeCursor(vec![partition.number(); 32])));
        let position = Position(cursors.collect());
        let bytes = Resumption::after(&position);
        assert_eq!(Resumption::parse(&bytes, &all), Some(Resumption::From(position)));
        let fewer: BTreeSet<Partition> = all.iter().copied().skip(1).collect();
        assert_eq!(Resumption::parse(&bytes, &fewer), None);
        for length in 0..bytes.len() {
            assert_eq!(Resumption::parse(&bytes[..length], &all), None);
        }
        assert_eq!(Resumption::parse(&Resumption::anew(), &fewer), Some(Resumption::Anew));
    }
}
