//! A place in the changes of a partition, where a store numbers them: a number, and in which life of the store it was given.
//!
//! ```text
//! cursor = life || number        u64 BE, u64 BE
//! ```
//!
//! Every store counts from one, so a number alone would mean something in another store too, into which the records were
//! copied, and whoever goes on there would miss changes. A life is drawn when a store begins to count; it is no secret.

use crate::adapters::system::SystemRandom;
use crate::domain::ports::{ChangeCursor, Random as _, StoreError};

/// What tells one store from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) life: Life,
    pub(super) number: u64,
}

// === impl Life ===

impl Life {
    /// Of a store that began to count before lives were drawn.
    pub(super) const UNKNOWN: Self = Self(0);

    /// A new one.
    pub(super) fn begin() -> Self {
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes);
        Self(u64::from_be_bytes(bytes))
    }
}

// === impl Mark ===

impl Mark {
    pub(super) fn read(cursor: &ChangeCursor) -> Result<Self, StoreError> {
        let (life, number) = cursor.0.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let number = number.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt)?;
        Ok(Self { life: Life(u64::from_be_bytes(*life)), number })
    }

    pub(super) fn cursor(self) -> ChangeCursor {
        ChangeCursor([self.life.0.to_be_bytes(), self.number.to_be_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_life_and_a_number() {
        let mark = Mark { life: Life::begin(), number: 7 };
        assert_eq!(Mark::read(&mark.cursor()).unwrap(), mark);
        for length in (0..40).filter(|length| *length != 16) {
            assert!(matches!(Mark::read(&ChangeCursor(vec![0; length])), Err(StoreError::Corrupt)), "{length}");
        }
    }
}
