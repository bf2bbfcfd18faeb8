//! Moving a vault from one store to another.

use std::sync::Arc;

use super::{Census, Pages, Placed, Placing, drawers, place};
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, Hints, Index, Item, Store, StoreError};

/// A vault that moves.
pub struct CopyVault {
    /// From here.
    pub from: (Arc<dyn Store>, Arc<dyn Index>),
    /// To here.
    pub to: (Arc<dyn Store>, Arc<dyn Index>),
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    /// So many records have been looked at in this pass.
    Copying {
        /// Which pass.
        pass: u32,
        /// How many.
        records: u64,
    },
    /// So many records have been compared.
    Comparing {
        /// How many.
        records: u64,
    },
}

/// What both stores hold in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// How many records were written, over all passes.
    pub written: u64,
    /// What the first store holds.
    pub from: Census,
    /// What the second store holds.
    pub to: Census,
}

/// Why a vault did not move.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store failed.
    #[error("a store cannot be used")]
    Store(#[from] StoreError),
    /// There is nothing to move.
    #[error("there is no vault in the store to copy from")]
    NoVault,
    /// Something else is there.
    #[error("the store to copy to belongs to another vault: it has keys of its own")]
    OtherVault,
    /// Somebody writes.
    #[error("the store to copy from is still being written to: stop every instance, and run this again")]
    StillChanging,
    /// They are not the same.
    #[error(
        "the stores differ: {missing} records of the first are not in the second, and {extra} of the second not in the \
         first; stop every instance and run this again, or begin with an empty store"
    )]
    Differ {
        /// Records of the first that are not in the second as they are.
        missing: u64,
        /// Records of the second that are not in the first as they are.
        extra: u64,
    },
}

/// How often everything is gone through until a pass finds nothing to write.
const PASSES: u32 = 5;

// === impl CopyVault ===

impl CopyVault {
    /// Copies until nothing is left to copy, and then compares. Safe to repeat: what is there already is not written.
    ///
    /// # Errors
    ///
    /// As [`CopyError`] says.
    pub async fn run(&self, mut tell: impl FnMut(CopyStep)) -> Result<CopyReport, CopyError> {
        self.copy_keyring().await?;
        let mut written = 0;
        for pass in 1..=PASSES {
            let wrote = self.pass(|records| tell(CopyStep::Copying { pass, records })).await?;
            written += wrote;
            // The first pass writes everything there is; whether somebody else writes, only the next one tells.
            if wrote == 0 {
                self.copy_alone(Address::Epoch).await?;
                return self.compare(written, tell).await;
            }
        }
        Err(CopyError::StillChanging)
    }

    /// First of all, because it is what tells whose store it is.
    async fn copy_keyring(&self) -> Result<(), CopyError> {
        match self.copy_alone(Address::TenantKeyring { tenant: TenantId::system() }).await? {
            None => Err(CopyError::NoVault),
            Some(Placed::Foreign) => Err(CopyError::OtherVault),
            Some(Placed::Written | Placed::Replaced | Placed::Same | Placed::Newer) => Ok(()),
        }
    }

    async fn copy_alone(&self, address: Address) -> Result<Option<Placed>, StoreError> {
        let Some(stored) = self.from.0.get(&address).await? else { return Ok(None) };
        let item = Item { address, stored, hints: Hints::default() };
        let placements = place(&*self.to.0, vec![item]).await?;
        Ok(placements.first().map(|placement| placement.placed))
    }

    async fn pass(&self, mut seen: impl FnMut(u64)) -> Result<u64, StoreError> {
        let mut pages = Pages::of(Arc::clone(&self.from.1));
        let mut placing = Placing::into_store(Arc::clone(&self.to.0));
        while let Some(page) = pages.next().await? {
            for drawer in drawers(page) {
                placing.add(drawer, |_| ()).await?;
            }
            seen(placing.tally().total());
        }
        let tally = placing.finish(|_| ()).await?;
        seen(tally.total());
        Ok(tally.written + tally.replaced)
    }

    async fn compare(&self, written: u64, mut tell: impl FnMut(CopyStep)) -> Result<CopyReport, CopyError> {
        let to = Census::take(Arc::clone(&self.to.1), |records| tell(CopyStep::Comparing { records })).await?;
        let compared = to.records();
        let seen = |records| tell(CopyStep::Comparing { records: compared + records });
        let from = Census::take(Arc::clone(&self.from.1), seen).await?;
        match from.differences(&to) {
            (0, 0) => Ok(CopyReport { written, from, to }),
            (missing, extra) => Err(CopyError::Differ { missing, extra }),
        }
    }
}
