//! Sealing every user key of a tenant under the newest generation of the tenant's key. Tokens are not touched: they are
//! under their user's key, and that does not change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep_until};

use super::Pages;
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, Index, Item, ScanCursor, StoreError};
use crate::domain::time::Timestamp;
use crate::envelope::{KeyLifeError, Next, Resealed, RewrapView, Steps, TenantKeys, UserKeys, Walk};

/// A tenant whose user keys move.
pub struct Rewrap {
    /// How its users are found.
    pub index: Arc<dyn Index>,
    /// The tenant's keys.
    pub tenant_keys: Arc<TenantKeys>,
    /// Its users' keys.
    pub user_keys: Arc<UserKeys>,
    /// Whoever does it: drawn for one run.
    pub worker: u64,
    /// Keys sealed in a second, at most.
    pub per_second: u32,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewrapEnd {
    /// Nothing is left under an earlier generation, and those are retired.
    Done,
    /// Nothing was found to be left; after this time another run can tell for sure, and retires them.
    Settles(Timestamp),
    /// So many keys do not open: nothing is retired.
    Failed(u64),
}

/// Keys that are being sealed at the same time.
const TOGETHER: usize = 16;
/// After so many users, or so long, it is written down how far it is.
const USERS: u64 = 2_048;
const WHILE: Duration = Duration::from_secs(5);

// === impl Rewrap ===

impl Rewrap {
    /// Goes through all users until nothing is left under an earlier generation. Stopped anywhere, it can be run again, by
    /// anybody, and goes on where it was.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says: a pause among them.
    pub async fn run(
        &self,
        tenant: &TenantId,
        mut tell: impl FnMut(&RewrapView),
        mut broken: impl FnMut(&Address, &VaultError),
    ) -> Result<RewrapEnd, KeyLifeError> {
        let mut walk = self.tenant_keys.take_on(tenant, self.worker).await?;
        loop {
            tell(&walk.view);
            walk = match self.go_on(tenant, &walk, &mut tell, &mut broken).await? {
                Next::Walk(walk) => walk,
                Next::Done => return Ok(RewrapEnd::Done),
                Next::Settles(at) => return Ok(RewrapEnd::Settles(at)),
                Next::Failed(keys) => return Ok(RewrapEnd::Failed(keys)),
            };
        }
    }

    /// How many user keys are under which generation.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn count(&self, tenant: &TenantId, mut tell: impl FnMut(u64)) -> Result<BTreeMap<u32, u64>, StoreError> {
        let mut pages = Pages::of_tenant(Arc::clone(&self.index), tenant.clone(), None);
        let (mut counts, mut seen) = (BTreeMap::new(), 0);
        while let Some(page) = pages.next().await? {
            for item in page.iter().filter(|item| matches!(item.address, Address::UserKey { .. })) {
                seen += 1;
                if let Some(generation) = UserKeys::parent_generation(&item.stored) {
                    *counts.entry(generation).or_default() += 1;
                }
            }
            tell(seen);
        }
        Ok(counts)
    }

    /// Some more users; what came of it.
    async fn go_on(
        &self,
        tenant: &TenantId,
        walk: &Walk,
        tell: &mut impl FnMut(&RewrapView),
        broken: &mut impl FnMut(&Address, &VaultError),
    ) -> Result<Next, KeyLifeError> {
        let after = walk.cursor.clone().map(ScanCursor);
        let mut pages = Pages::of_tenant(Arc::clone(&self.index), tenant.clone(), after);
        let (began, mut steps) = (Instant::now(), Steps::default());
        while let Some(page) = pages.next().await.map_err(VaultError::from)? {
            self.page(tenant, page, walk.view.to, &mut steps, broken).await?;
            let view = walk.view;
            let (seen, rewrapped) = (view.seen + steps.seen, view.rewrapped + steps.rewrapped);
            tell(&RewrapView { seen, rewrapped, rewrapped_in_all: view.rewrapped_in_all + steps.rewrapped, ..view });
            let Some(place) = pages.place() else { break };
            sleep_until(began + Duration::from_secs(steps.rewrapped) / self.per_second.max(1)).await;
            if steps.seen >= USERS || began.elapsed() >= WHILE {
                return self.tenant_keys.come_by(tenant, self.worker, steps, Some(&place.0)).await;
            }
        }
        self.tenant_keys.come_by(tenant, self.worker, steps, None).await
    }

    async fn page(
        &self,
        tenant: &TenantId,
        page: Vec<Item>,
        to: u32,
        steps: &mut Steps,
        broken: &mut impl FnMut(&Address, &VaultError),
    ) -> Result<(), VaultError> {
        let keys = stream::iter(page).filter_map(async |item| match &item.address {
            Address::UserKey { user, generation, .. } => Some((user.clone(), *generation, item)),
            _ => None,
        });
        let resealed = keys.map(async |(user, generation, item)| {
            (self.user_keys.reseal(tenant, (&user, generation), &item.stored, to).await, item.address)
        });
        let mut resealed = std::pin::pin!(resealed.buffer_unordered(TOGETHER));
        while let Some((outcome, address)) = resealed.next().await {
            steps.seen += 1;
            match outcome {
                // What somebody else has written meanwhile counts as work, so that another walk looks at it.
                Ok(Resealed::Done | Resealed::Changed) => steps.rewrapped += 1,
                Ok(Resealed::Already) => {}
                Err(error @ VaultError::Corrupt(_)) => {
                    steps.failed += 1;
                    broken(&address, &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
