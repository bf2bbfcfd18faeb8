//! Putting records where they are to be, in the version they had elsewhere, and reading them back.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::Drawer;
use super::patience::Patience;
use crate::domain::ports::{Address, Item, Record, Store, StoreError};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is there now, where nothing was.
    Written,
    /// It is there now, in the place of an older one.
    Replaced,
    /// It was there already, byte for byte.
    Same,
    /// A newer one is there, and stays.
    Newer,
    /// Another one of the same version is there, or what it is sealed under is not; what is there stays.
    Foreign,
}

/// A record, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Which.
    pub address: Address,
    /// What.
    pub placed: Placed,
}

/// How many records became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// [`Placed::Written`].
    pub written: u64,
    /// [`Placed::Replaced`].
    pub replaced: u64,
    /// [`Placed::Same`].
    pub same: u64,
    /// [`Placed::Newer`].
    pub newer: u64,
    /// [`Placed::Foreign`].
    pub foreign: u64,
}

/// Puts many drawers at a time.
pub struct Placing<'a> {
    store: Arc<dyn Store>,
    under_way: FuturesUnordered<BoxFuture<'a, Result<Vec<Placement>, StoreError>>>,
    tally: Tally,
}

/// How many drawers are under way at once: enough for a store that writes many in one go.
const AT_ONCE: usize = 64;

/// How often a record is read and written again.
const ATTEMPTS: u32 = 16;

// === impl Placing ===

impl Placing<'_> {
    /// Puts into this store.
    #[must_use]
    pub fn into_store(store: Arc<dyn Store>) -> Self {
        Self { store, under_way: FuturesUnordered::new(), tally: Tally::default() }
    }

    /// Puts one more drawer, when there is room for it; tells of those that are done.
    ///
    /// # Errors
    ///
    /// When the store does not take or does not keep one of those before.
    pub async fn add(&mut self, drawer: Drawer, mut tell: impl FnMut(&Placement)) -> Result<(), StoreError> {
        while self.under_way.len() >= AT_ONCE {
            self.one_done(&mut tell).await?;
        }
        let store = Arc::clone(&self.store);
        self.under_way.push(Box::pin(async move { place(&*store, drawer).await }));
        Ok(())
    }

    /// Waits for all of them.
    ///
    /// # Errors
    ///
    /// When the store does not take or does not keep one.
    pub async fn finish(mut self, mut tell: impl FnMut(&Placement)) -> Result<Tally, StoreError> {
        while !self.under_way.is_empty() {
            self.one_done(&mut tell).await?;
        }
        Ok(self.tally)
    }

    /// What became of those that are done.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    async fn one_done(&mut self, tell: &mut impl FnMut(&Placement)) -> Result<(), StoreError> {
        if let Some(done) = self.under_way.next().await {
            for placement in done? {
                self.tally.count(placement.placed);
                tell(&placement);
            }
        }
        Ok(())
    }
}

// === impl Tally ===

impl Tally {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.written + self.replaced + self.same + self.newer + self.foreign
    }

    fn count(&mut self, placed: Placed) {
        *match placed {
            Placed::Written => &mut self.written,
            Placed::Replaced => &mut self.replaced,
            Placed::Same => &mut self.same,
            Placed::Newer => &mut self.newer,
            Placed::Foreign => &mut self.foreign,
        } += 1;
    }
}

/// Puts one drawer, keys first. What is sealed under a key that cannot be put is not put either: it could never be
/// opened, and what is there now could no more.
///
/// # Errors
///
/// When the store does not take or does not keep a record.
pub async fn place(store: &dyn Store, drawer: Drawer) -> Result<Vec<Placement>, StoreError> {
    let mut placements = Vec::with_capacity(drawer.len());
    let mut keys_fit = true;
    for item in drawer {
        let is_connection = matches!(item.address, Address::Connection(_));
        let placed = if is_connection && !keys_fit { Placed::Foreign } else { place_one(store, &item).await? };
        keys_fit &= is_connection || placed != Placed::Foreign;
        placements.push(Placement { address: item.address, placed });
    }
    Ok(placements)
}

async fn place_one(store: &dyn Store, item: &Item) -> Result<Placed, StoreError> {
    let (mut patience, mut attempted) = (Patience::new(), None);
    for _ in 0..ATTEMPTS {
        // Also what was just written is read back.
        let found = match store.get(&item.address).await {
            Err(StoreError::Unavailable { .. }) if patience.pause().await => continue,
            found => found?,
        };
        let older = match &found {
            None => Placed::Written,
            Some(found) if found.version < item.stored.version => Placed::Replaced,
            Some(found) if *found == item.stored => return Ok(attempted.unwrap_or(Placed::Same)),
            Some(found) if found.version == item.stored.version => return Ok(Placed::Foreign),
            Some(_) => return Ok(attempted.unwrap_or(Placed::Newer)),
        };
        let record = Record { value: item.stored.value.clone(), hints: item.hints };
        match store.restore(&item.address, item.stored.version, record).await {
            Ok(()) => attempted = Some(older),
            Err(StoreError::Conflict) => {}
            // It may be there all the same.
            Err(StoreError::Unavailable { .. }) if patience.pause().await => attempted = Some(older),
            Err(error) => return Err(error),
        }
    }
    // It says it has taken what it then does not have.
    Err(StoreError::unavailable("not_kept"))
}
