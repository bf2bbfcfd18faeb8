//! Who walks which partition: leases in the store itself, shared evenly without anybody who hands them out.
//!
//! No wall clock is asked. A lease says for how long it holds after it was written; whoever wants one that is not given
//! back watches it for that long, by a clock of its own, and takes it if nobody has renewed it meanwhile. Two instances
//! that walk the same partition for a moment cost a few reads: what is refreshed is decided by claims.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::domain::connection::InstanceId;
use crate::domain::ports::{Address, Expected, Partition, Store, StoreError, Stored, Version};

/// The partitions this instance walks, and what it knows of the others.
pub(super) struct Leases {
    store: Arc<dyn Store>,
    me: InstanceId,
    length: Duration,
    /// Each until then.
    held: BTreeMap<Partition, Instant>,
    seen: HashMap<Partition, Seen>,
    next_round: Instant,
}

/// Somebody else's lease, as it was when it was first seen like this.
struct Seen {
    version: Version,
    at: Instant,
}

/// What stands in the store.
///
/// ```text
/// lease = format || owner || length
///         u8 = 1    u64 BE   u32 BE     (owner 0: given back; length in milliseconds)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    owner: InstanceId,
    length: Duration,
}

/// Who has a partition.
enum Holder {
    Nobody(Expected),
    Me(Version),
    Other(InstanceId, Version),
}

const FORMAT: u8 = 1;

/// Nobody.
const NOBODY: InstanceId = InstanceId(0);

/// However long a lease claims to hold, it is not watched for longer.
const LONGEST: Duration = Duration::from_mins(5);

// === impl Leases ===

impl Leases {
    pub(super) fn new(store: Arc<dyn Store>, me: InstanceId, length: Duration) -> Self {
        let (held, seen) = (BTreeMap::new(), HashMap::new());
        Self { store, me, length, held, seen, next_round: Instant::now() }
    }

    /// The partitions to walk now. A lease that could not be renewed in time is not among them.
    pub(super) fn held(&self) -> Vec<Partition> {
        let now = Instant::now();
        self.held.iter().filter(|(_, until)| now < **until).map(|(partition, _)| *partition).collect()
    }

    /// Renews what is held and takes what nobody has, three times within the length of a lease.
    pub(super) async fn keep(&mut self) {
        let began = Instant::now();
        if began < self.next_round {
            return;
        }
        self.next_round = began + self.length / 3;
        let mut mine = Vec::new();
        let mut free = Vec::new();
        let mut others: BTreeMap<u64, Vec<(Partition, Expected)>> = BTreeMap::new();
        let reads = join_all(Partition::all().map(|partition| self.read(partition))).await;
        for (partition, read) in Partition::all().zip(reads) {
            // What cannot be read now is left as it is: a lease that is held runs out by itself.
            let Ok(stored) = read else { continue };
            match self.holder(partition, stored.as_ref(), began) {
                Holder::Me(version) => mine.push((partition, Expected::Version(version))),
                Holder::Nobody(expected) => free.push((partition, expected)),
                Holder::Other(owner, version) => {
                    self.held.remove(&partition);
                    others.entry(owner.0).or_default().push((partition, Expected::Version(version)));
                }
            }
        }
        let surplus = fair_share(mine.len() + free.len(), &others);
        self.take(mine.into_iter().chain(free).chain(surplus)).await;
    }

    /// Gives everything back, so that others need not wait for it: what the store says is held here, because a round that
    /// was broken off may have written more than is known.
    pub(super) async fn give_back(&mut self) {
        self.held.clear();
        let free = Written { owner: NOBODY, length: self.length };
        join_all(Partition::all().map(async |partition| {
            let Ok(Some(stored)) = self.read(partition).await else { return };
            if Written::decode(&stored.value).is_some_and(|written| written.owner == self.me) {
                let expected = Expected::Version(stored.version);
                // Whoever was faster has it.
                drop(self.store.put(&Address::Lease { partition }, expected, free.encode().into()).await);
            }
        }))
        .await;
    }

    async fn read(&self, partition: Partition) -> Result<Option<Stored>, StoreError> {
        self.store.get(&Address::Lease { partition }).await
    }

    fn holder(&mut self, partition: Partition, stored: Option<&Stored>, now: Instant) -> Holder {
        let Some(stored) = stored else { return Holder::Nobody(Expected::Absent) };
        let (version, expected) = (stored.version, Expected::Version(stored.version));
        // What is no lease is watched like one.
        let written = Written::decode(&stored.value).unwrap_or(Written { owner: InstanceId(1), length: self.length });
        if written.owner == self.me {
            return Holder::Me(version);
        }
        if written.owner == NOBODY {
            return Holder::Nobody(expected);
        }
        let seen = self.seen.entry(partition).or_insert(Seen { version, at: now });
        if seen.version != version {
            *seen = Seen { version, at: now };
        }
        if now.saturating_duration_since(seen.at) >= written.length.min(LONGEST) {
            return Holder::Nobody(expected);
        }
        Holder::Other(written.owner, version)
    }

    async fn take(&mut self, wanted: impl Iterator<Item = (Partition, Expected)>) {
        let began = Instant::now();
        let mine = Written { owner: self.me, length: self.length };
        let written = join_all(wanted.map(|(partition, expected)| {
            let store = Arc::clone(&self.store);
            async move {
                let put = store.put(&Address::Lease { partition }, expected, mine.encode().into()).await;
                (partition, put)
            }
        }))
        .await;
        for (partition, put) in written {
            match put {
                // It counts from before it was written, as nobody else can count it.
                Ok(()) => {
                    self.held.insert(partition, began + self.length);
                }
                Err(StoreError::Conflict) => {
                    self.held.remove(&partition);
                }
                Err(StoreError::Unavailable { .. } | StoreError::Corrupt) => {}
            }
        }
    }
}

/// What to take from whoever has most, so that both have about as much: all that an instance has to do to be noticed,
/// and all that is needed for any number of them to come to even shares.
fn fair_share(mine: usize, others: &BTreeMap<u64, Vec<(Partition, Expected)>>) -> Vec<(Partition, Expected)> {
    let Some(richest) = others.values().max_by_key(|theirs| theirs.len()) else { return Vec::new() };
    let surplus = richest.len().saturating_sub(mine) / 2;
    richest.iter().take(surplus).copied().collect()
}

// === impl Written ===

impl Written {
    fn encode(self) -> Bytes {
        let millis = u32::try_from(self.length.as_millis()).unwrap_or(u32::MAX);
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.owner.0.to_be_bytes());
        bytes.extend_from_slice(&millis.to_be_bytes());
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let length: [u8; 4] = rest.try_into().ok()?;
        (*format == FORMAT).then(|| Self {
            owner: InstanceId(u64::from_be_bytes(*owner)),
            length: Duration::from_millis(u32::from_be_bytes(length).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(counts: &[usize]) -> BTreeMap<u64, Vec<(Partition, Expected)>> {
        let lease = |_| (Partition::numbered(0).unwrap(), Expected::Absent);
        counts.iter().zip(0_u64..).map(|(count, owner)| (owner, (0..*count).map(lease).collect())).collect()
    }

    #[test]
    fn a_newcomer_takes_half_of_what_is_too_much() {
        let taken = |mine, counts: &[usize]| fair_share(mine, &others(counts)).len();
        assert_eq!(taken(0, &[16]), 8);
        assert_eq!(taken(0, &[8, 8]), 4);
        assert_eq!(taken(7, &[9]), 1);
        assert_eq!(taken(5, &[6, 5]), 0, "an uneven number is shared as evenly as it can be");
        assert_eq!(taken(16, &[]), 0);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let lease = Written { owner: InstanceId(7), length: Duration::from_mins(1) };
        assert_eq!(Written::decode(&lease.encode()), Some(lease));
        let longer = [&lease.encode()[..], b"x"].concat();
        for other in [&b""[..], &b"\x02"[..], &lease.encode()[1..], &longer[..]] {
            assert_eq!(Written::decode(other), None);
        }
    }
}
