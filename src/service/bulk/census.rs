//! What a store holds, as a fingerprint: two stores that hold the same have the same, whatever order they tell it in.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Pages;
use crate::domain::ports::{Address, Index, Item, StoreError};
use crate::domain::time::Timestamp;

/// One SHA-256 per record, sorted: 32 MB for a million of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(Vec<[u8; 32]>);

// === impl Census ===

impl Census {
    /// Looks at everything in a store; `seen` is told how many there were so far.
    ///
    /// # Errors
    ///
    /// When the store does not answer, or holds what no vault wrote.
    pub async fn take(index: Arc<dyn Index>, mut seen: impl FnMut(u64)) -> Result<Self, StoreError> {
        let mut pages = Pages::of(index);
        let mut records = Vec::new();
        while let Some(page) = pages.next().await? {
            records.extend(page.iter().map(fingerprint));
            seen(records.len() as u64);
        }
        records.sort_unstable();
        Ok(Self(records))
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.0.len() as u64
    }

    /// The SHA-256 of all of them, in hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut all = Sha256::new();
        for record in &self.0 {
            all.update(record);
        }
        hex(&all.finalize())
    }

    /// How many of these records the other does not have, and how many of the other's these are without.
    #[must_use]
    pub fn differences(&self, other: &Self) -> (u64, u64) {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let (mut missing, mut extra) = (0, 0);
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return (missing, extra),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(our), Some(their)) => our.cmp(their),
            };
            if order.is_le() {
                ours.next();
            }
            if order.is_ge() {
                theirs.next();
            }
            missing += u64::from(order.is_lt());
            extra += u64::from(order.is_gt());
        }
    }
}

/// `SHA-256(kind || LP(name)… || version || state || expires_at || due_at || value)`, numbers in 8 bytes, `LP(x)` = length ||
/// bytes, times in Unix seconds with -1 for none.
fn fingerprint(item: &Item) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut name = |kind: u64, parts: &[&str]| {
        hash.update(kind.to_be_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    };
    match &item.address {
        Address::Connection(key) => name(1, &[key.tenant.as_str(), key.user.as_str(), key.platform.as_str()]),
        Address::UserKey { tenant, user, generation } => {
            name(2, &[tenant.as_str(), user.as_str(), &generation.to_string()]);
        }
        Address::TenantKeyring { tenant } => name(3, &[tenant.as_str()]),
        Address::Document { tenant, name: document } => name(4, &[tenant.as_str(), document.as_str()]),
        // No scan finds them.
        Address::Lease { .. } | Address::Epoch => name(0, &[]),
    }
    hash.update(item.stored.version.0.to_be_bytes());
    hash.update([item.hints.state.number()]);
    for time in [item.hints.expires_at, item.hints.due_at] {
        hash.update(time.map_or(-1, Timestamp::unix_seconds).to_be_bytes());
    }
    hash.update(&item.stored.value);
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_on_both_sides() {
        let census = |numbers: &[u8]| Census(numbers.iter().map(|number| [*number; 32]).collect());
        assert_eq!(census(&[1, 2, 3]).differences(&census(&[1, 2, 3])), (0, 0));
        assert_eq!(census(&[1, 2, 3, 5]).differences(&census(&[2, 4])), (3, 1));
        assert_eq!(census(&[]).differences(&census(&[2, 4])), (0, 2));
        assert_ne!(census(&[1]).sha256(), census(&[2]).sha256());
    }
}
