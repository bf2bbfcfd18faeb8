//! What a change amounts to: found out once, by whoever needs it first.

use tokio::sync::OnceCell;

use super::WatchParts;
use crate::domain::connection::Entry;
use crate::domain::error::VaultError;
use crate::domain::outline::Outline;
use crate::domain::ports::{Change, ChangeCursor, Partition, Version};
use crate::service::{ConnectionStatus, Loaded, PlatformStatus};

/// Changes of one partition, one after the other.
pub(super) struct Batch {
    /// The place before the first.
    pub(super) from: ChangeCursor,
    /// The changes.
    pub(super) changes: Vec<Noted>,
}

/// A change, the place after it, and what it amounts to once that is known. No token is in it.
pub(super) struct Noted {
    pub(super) partition: Partition,
    pub(super) change: Change,
    pub(super) after: ChangeCursor,
    amounts_to: OnceCell<Option<(Version, PlatformStatus)>>,
}

// === impl Batch ===

impl Batch {
    pub(super) fn new(partition: Partition, from: ChangeCursor, changes: Vec<(Change, ChangeCursor)>) -> Self {
        let noted = |(change, after)| Noted { partition, change, after, amounts_to: OnceCell::new() };
        Self { from, changes: changes.into_iter().map(noted).collect() }
    }

    /// What comes after this place, if the place is in here and not at the end.
    pub(super) fn after(&self, cursor: &ChangeCursor) -> Option<&[Noted]> {
        // The last such place: a change that is in here twice must not lead back to where a stream was.
        match self.changes.iter().rposition(|noted| noted.after == *cursor) {
            Some(at) => self.changes.get(at + 1..).filter(|rest| !rest.is_empty()),
            None => (self.from == *cursor).then_some(self.changes.as_slice()),
        }
    }
}

// === impl Noted ===

impl Noted {
    /// How the connection stands. `None`: nothing to tell, because its platform is not enabled, or because the record
    /// has moved on: then a later change is in the index already, and what the record is now is told there.
    pub(super) async fn amounts_to(
        &self,
        parts: &WatchParts,
    ) -> Result<Option<&(Version, PlatformStatus)>, VaultError> {
        self.amounts_to.get_or_try_init(|| self.find_out(parts)).await.map(Option::as_ref)
    }

    async fn find_out(&self, parts: &WatchParts) -> Result<Option<(Version, PlatformStatus)>, VaultError> {
        let Change { key, version, .. } = &self.change;
        let Some(platform) = parts.catalog.get(&key.platform) else { return Ok(None) };
        let status = match parts.records.load(key).await {
            Ok(Some(loaded)) if loaded.version > *version => return Ok(None),
            Ok(Some(Loaded { entry: Entry::Live(connection), .. })) => {
                PlatformStatus::of(platform, &Outline::from(&*connection), parts.clock.now())
            }
            Ok(Some(Loaded { entry: Entry::Deleted(_), .. }) | None) => PlatformStatus::missing(platform),
            Err(VaultError::Corrupt(corrupt)) => {
                PlatformStatus::without(platform, ConnectionStatus::Unreadable(corrupt))
            }
            Err(error) => return Err(error),
        };
        Ok(Some((*version, status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::ConnectionKey;
    use crate::domain::ports::StateHint;

    fn place(number: u8) -> ChangeCursor {
        ChangeCursor(vec![number])
    }

    fn batch(from: u8, after: &[u8]) -> Batch {
        let [tenant, user, platform] = ["t", "u", "p"];
        let key = ConnectionKey {
            tenant: tenant.parse().unwrap(),
            user: user.parse().unwrap(),
            platform: platform.parse().unwrap(),
        };
        let changes = after.iter().map(|number| {
            let version = Version(u64::from(*number));
            (Change { key: key.clone(), version, state: StateHint::Alive }, place(*number))
        });
        Batch::new(Partition::of(&key.tenant, &key.user), place(from), changes.collect())
    }

    fn versions(batch: &Batch, cursor: u8) -> Option<Vec<u64>> {
        batch.after(&place(cursor)).map(|rest| rest.iter().map(|noted| noted.change.version.0).collect())
    }

    #[test]
    fn what_comes_after_a_place_is_what_is_behind_it() {
        let batch = batch(1, &[2, 3, 4]);
        assert_eq!(versions(&batch, 1), Some(vec![2, 3, 4]));
        assert_eq!(versions(&batch, 3), Some(vec![4]));
        assert_eq!((versions(&batch, 4), versions(&batch, 9)), (None, None));
    }

    #[test]
    fn what_is_in_it_twice_never_leads_back() {
        assert_eq!(versions(&batch(1, &[2, 2, 3, 3]), 2), Some(vec![3, 3]));
        assert_eq!(versions(&batch(1, &[2, 2]), 2), None);
        assert_eq!(versions(&batch(1, &[1, 2]), 1), Some(vec![2]));
        assert_eq!(versions(&batch(1, &[1]), 1), None);
    }
}
