//! Drawers from records that come one by one.

use super::drawer::owner;
use super::{Drawer, drawers};
use crate::domain::ports::{Address, Item};

/// Records of one owner, until another's comes.
#[derive(Debug, Default)]
pub struct Gather {
    drawer: Drawer,
    bytes: usize,
}

/// What one drawer may hold before it is split: a bound on memory, not on users.
const MAX_BYTES: usize = 4 * 1_024 * 1_024;

// === impl Gather ===

impl Gather {
    /// Adds a record; returns the drawer that is full with it. A drawer that is split has its keys in each part.
    pub fn add(&mut self, item: Item) -> Option<Drawer> {
        let same = self.drawer.last().is_some_and(|last| owner(&last.address) == owner(&item.address));
        let bytes = item.stored.value.len();
        if self.drawer.is_empty() || same && self.bytes.saturating_add(bytes) <= MAX_BYTES {
            self.bytes = self.bytes.saturating_add(bytes);
            self.drawer.push(item);
            return None;
        }
        let is_key = |item: &&Item| !matches!(item.address, Address::Connection(_));
        let keys = if same { self.drawer.iter().filter(is_key).cloned().collect() } else { Vec::new() };
        let full = std::mem::replace(&mut self.drawer, keys);
        self.bytes = bytes;
        self.drawer.push(item);
        sorted(full)
    }

    /// The last drawer.
    #[must_use]
    pub fn finish(self) -> Option<Drawer> {
        sorted(self.drawer)
    }
}

fn sorted(drawer: Drawer) -> Option<Drawer> {
    drawers(drawer).pop()
}
