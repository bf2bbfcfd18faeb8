//! The log of changes: what every write leaves in an inbox, and whoever reads puts in order.
//!
//! ```text
//! pk = "#inbox:" partition   sk = drawer ":" field ":" version     s = state, expires      (version: 20 digits)
//! pk = "#log:" partition     sk = number of the last               n = how many, b = entries, expires
//! pk = "#log:" partition     sk = "head"                           last = number, read = when the inbox was last empty,
//!                                                                  life
//! entry = version || state || length || drawer ":" field           u64 BE, u8, u16 BE
//! ```
//!
//! The inbox entry is of the transaction of the record, so none is ever missing or too many. It carries no number: a
//! counter would be one item that all writers of a partition fight for, and their clocks do not agree. A reader gives
//! the numbers instead, moving what lies in the inbox to the end of the log in one transaction, on the condition that
//! the end is where it was. Readers are few, so that costs them little, and no clock decides what is found.
//!
//! The inbox is read from its end. A later version of a connection stands behind the earlier ones and is written after
//! them; whoever has seen it and goes backwards therefore meets them all.
//!
//! What nobody reads expires. A log that nobody read for longer than [`UNREAD`] may have lost some of its inbox, so a
//! number is left out, which tells every reader from before that something is missing.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::try_join;

use super::fault::DynamoFault;
use super::item::{EXPIRES, Item, SK};
use super::table::{Change, Condition, Span, Table, Verdict};
use crate::adapters::store::life::{Life, Mark};
use crate::adapters::store::place::Place;
use crate::adapters::store::reason;
use crate::domain::ports::{Change as Written, Changes, Partition, StateHint, StoreError, Version};
use crate::domain::time::Timestamp;

/// How long an entry is kept, in the inbox and in the log.
const KEPT: Duration = Duration::from_hours(72);

/// After how long without a reader an inbox is not trusted any more: well before its first entry expires.
const UNREAD: Duration = Duration::from_hours(48);

/// How often it is written down that the inbox was read, when nothing else is.
const READ_NOTED: Duration = Duration::from_hours(1);

/// How many entries of the inbox are looked at, and moved, at once. As one item of the log they stay below 150 KB.
const AT_ONCE: usize = 500;

/// How many times one call moves entries, or begins again because somebody else moved them.
const ROUNDS: usize = 32;

const HEAD: &str = "head";
const LAST: &str = "last";
const READ: &str = "read";
const LIFE: &str = "life";
const STATE: &str = "s";
const COUNT: &str = "n";
const ENTRIES: &str = "b";

/// The end of a log.
#[derive(Debug, Clone, Copy)]
struct Head {
    life: Life,
    last: u64,
    /// In Unix seconds.
    read: u64,
    /// Whether it is stored yet.
    stored: bool,
}

/// An entry of the inbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    place: String,
    version: u64,
    state: u8,
}

/// The log of one partition.
#[derive(Debug)]
pub(super) struct Log<'a> {
    table: &'a Table,
    now: Timestamp,
    inbox: String,
    ordered: String,
}

/// What a write leaves in the inbox.
pub(super) fn entry(partition: Partition, place: &Place, version: Version, state: StateHint, now: Timestamp) -> Item {
    let entry = Entry { place: format!("{}:{}", place.drawer, place.field), version: version.0, state: state.number() };
    Item::at(inbox(partition), entry.sk())
        .with_number(STATE, entry.state.into())
        .with_number(EXPIRES, seconds(now + KEPT))
}

// === impl Log ===

impl<'a> Log<'a> {
    pub(super) fn of(table: &'a Table, partition: Partition, now: Timestamp) -> Self {
        Self { table, now, inbox: inbox(partition), ordered: format!("#log:{}", partition.number()) }
    }

    /// What came after a place.
    pub(super) async fn after(&self, after: Option<Mark>, limit: usize) -> Result<Changes, StoreError> {
        let end = self.put_in_order().await?;
        match after {
            None => Ok(Changes::Next { changes: Vec::new(), cursor: end.cursor() }),
            // A place beyond the end is from another life too, whatever it says.
            Some(after) if after.life != end.life || after.number > end.number => Ok(Changes::Forgotten),
            Some(after) if after == end => Ok(Changes::Next { changes: Vec::new(), cursor: after.cursor() }),
            Some(after) => self.logged_after(after, limit).await,
        }
    }

    async fn logged_after(&self, after: Mark, limit: usize) -> Result<Changes, StoreError> {
        let (first, last) = (sk_of(after.number + 1), sk_of(u64::MAX));
        let (mut changes, mut number, mut page) = (Vec::new(), after.number, None);
        let found = |changes, number| Changes::Next { changes, cursor: Mark { number, ..after }.cursor() };
        while changes.len() < limit {
            let between = Some((first.as_str(), last.as_str()));
            let span = Span { pk: &self.ordered, between, after: page.as_deref(), backward: false };
            // Two items nearly always hold what is asked for.
            let (items, next) = self.table.query(&span, Some(1 + limit.div_ceil(AT_ONCE))).await?;
            for item in items {
                let (first, entries) = unpack(&item).ok_or(StoreError::Corrupt)?;
                if first > number + 1 {
                    // In the middle of what is found this is said the next time.
                    return Ok(if changes.is_empty() { Changes::Forgotten } else { found(changes, number) });
                }
                let known = usize::try_from(number + 1 - first).map_err(|_| StoreError::Corrupt)?;
                for entry in entries.into_iter().skip(known).take(limit - changes.len()) {
                    number += 1;
                    let place = Mark { number, ..after }.cursor();
                    changes.push((entry.written().ok_or(StoreError::Corrupt)?, place));
                }
            }
            page = next;
            if page.is_none() {
                break;
            }
        }
        // The end is further on, so whatever led there has expired.
        Ok(if changes.is_empty() && limit > 0 { Changes::Forgotten } else { found(changes, number) })
    }

    /// Moves what lies in the inbox to the log, and says where that ends. With more in the inbox than one call moves the
    /// rest has its numbers later.
    async fn put_in_order(&self) -> Result<Mark, StoreError> {
        let mut last = None;
        for _ in 0..ROUNDS {
            let (head, (entries, more)) = try_join(self.head(), self.waiting()).await?;
            let unread = self.now.since(Timestamp::from_unix_seconds(i64::try_from(head.read).unwrap_or(0)));
            if unread > UNREAD {
                self.commit(head, Head { last: head.last + 1, ..head }, Vec::new(), true).await?;
                continue;
            }
            if head.stored {
                last = Some(head.last());
            }
            if entries.is_empty() {
                let noted = if !head.stored || unread > READ_NOTED {
                    self.commit(head, head, Vec::new(), true).await?
                } else {
                    true
                };
                // A head that somebody else has stored meanwhile has another life.
                if head.stored || noted {
                    return Ok(head.last());
                }
                continue;
            }
            if let Some(number) = self.move_to_log(head, entries, !more).await? {
                let end = Mark { number, ..head.last() };
                last = Some(end);
                if !more {
                    return Ok(end);
                }
            }
        }
        last.ok_or(StoreError::unavailable(reason::BUSY))
    }

    /// Gives these their numbers, and takes them out of the inbox. `None`: somebody else gave numbers meanwhile.
    async fn move_to_log(&self, head: Head, entries: Vec<Entry>, all: bool) -> Result<Option<u64>, StoreError> {
        let moved = self.moved_last(head).await?;
        let gone: Vec<_> = entries.iter().map(|entry| Item::at(&self.inbox, entry.sk())).collect();
        let new: Vec<_> = entries.into_iter().filter(|entry| !moved.contains(entry)).collect();
        let end = head.last + new.len() as u64;
        if !new.is_empty() && !self.commit(head, Head { last: end, ..head }, new, all).await? {
            return Ok(None);
        }
        // What stays, because this fails or is never reached, is moved again and so told again.
        if let Err(fault) = self.table.delete_all(gone).await {
            tracing::warn!(reason = fault.reason(), "changes that are in order stay in the inbox of the store");
        }
        Ok(Some(end))
    }

    /// What was moved last and may still lie in the inbox, because whoever moved it is not done yet, or never will be.
    async fn moved_last(&self, head: Head) -> Result<HashSet<Entry>, DynamoFault> {
        let item = self.table.get(&self.ordered, &sk_of(head.last), None).await?;
        Ok(item.as_ref().and_then(unpack).map(|(_, entries)| entries.into_iter().collect()).unwrap_or_default())
    }

    /// Writes the new end, and what leads there. `false`: the end is not where it was.
    async fn commit(&self, before: Head, now: Head, entries: Vec<Entry>, all: bool) -> Result<bool, DynamoFault> {
        // Whether the inbox is empty now, but for what came meanwhile.
        let read = if all { seconds(self.now) } else { now.read };
        let head = Item::at(&self.ordered, HEAD).with_number(LAST, now.last).with_number(READ, read);
        let head = head.with_number(LIFE, now.life.0);
        let condition = if before.stored { Condition::Has(LAST, before.last) } else { Condition::Absent };
        let mut changes = vec![Change::PutIf(head, condition)];
        if !entries.is_empty() {
            let item = pack(Item::at(&self.ordered, sk_of(now.last)), &entries);
            changes.push(Change::Put(item.with_number(EXPIRES, seconds(self.now + KEPT))));
        }
        Ok(self.table.commit(changes).await? == Verdict::Done)
    }

    async fn head(&self) -> Result<Head, DynamoFault> {
        let Some(found) = self.table.get(&self.ordered, HEAD, None).await? else {
            // Nobody has a place in this log yet, so nobody misses anything.
            return Ok(Head { life: Life::begin(), last: 0, read: seconds(self.now), stored: false });
        };
        match (found.number(LAST), found.number(READ)) {
            (Some(last), Some(read)) => {
                let life = found.number(LIFE).map_or(Life::UNKNOWN, Life);
                Ok(Head { life, last, read, stored: true })
            }
            _ => Err(DynamoFault::Unexpected),
        }
    }

    /// Some of what lies in the inbox, by connection and then version, and whether there is more.
    async fn waiting(&self) -> Result<(Vec<Entry>, bool), DynamoFault> {
        let (mut found, mut after): (Vec<Entry>, _) = (Vec::new(), None);
        loop {
            let span = Span { pk: &self.inbox, between: None, after: after.as_deref(), backward: true };
            let (items, next) = self.table.query(&span, Some(AT_ONCE)).await?;
            for item in &items {
                found.push(Entry::parse(item).ok_or(DynamoFault::Unexpected)?);
            }
            let more = next.is_some();
            if let (true, Some(last)) = (more, found.last().map(|entry| entry.place.clone())) {
                // The earlier versions of the connection at the edge may be on the next page.
                if found.first().is_some_and(|first| first.place == last) {
                    after = next;
                    continue;
                }
                found.retain(|entry| entry.place != last);
            }
            found.reverse();
            let cut = found.len() > AT_ONCE;
            found.truncate(AT_ONCE);
            return Ok((found, more || cut));
        }
    }
}

// === impl Head ===

impl Head {
    fn last(self) -> Mark {
        Mark { life: self.life, number: self.last }
    }
}

// === impl Entry ===

impl Entry {
    fn sk(&self) -> String {
        format!("{}:{:020}", self.place, self.version)
    }

    fn parse(item: &Item) -> Option<Self> {
        let (place, version) = item.text(SK)?.rsplit_once(':')?;
        let state = u8::try_from(item.number(STATE)?).ok()?;
        Some(Self { place: place.to_owned(), version: version.parse().ok()?, state })
    }

    fn written(&self) -> Option<Written> {
        let (drawer, field) = self.place.split_once(':')?;
        let place = Place { drawer: drawer.to_owned(), field: field.to_owned() };
        let (key, state) = (place.connection().ok()?, StateHint::numbered(self.state)?);
        Some(Written { key, version: Version(self.version), state })
    }
}

fn pack(item: Item, entries: &[Entry]) -> Item {
    let mut bytes = Vec::new();
    for Entry { place, version, state } in entries {
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.push(*state);
        bytes.extend_from_slice(&u16::try_from(place.len()).unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(place.as_bytes());
    }
    item.with_number(COUNT, entries.len() as u64).with_bytes(ENTRIES, bytes)
}

/// The number of the first, and all of them.
fn unpack(item: &Item) -> Option<(u64, Vec<Entry>)> {
    let (last, count): (u64, _) = (item.text(SK)?.parse().ok()?, item.number(COUNT)?);
    let mut rest = item.bytes(ENTRIES)?;
    let mut entries = Vec::new();
    while let Some((version, after)) = rest.split_first_chunk() {
        let (state, after) = after.split_first()?;
        let (length, after) = after.split_first_chunk()?;
        let (place, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let place = String::from_utf8(place.to_vec()).ok()?;
        entries.push(Entry { place, version: u64::from_be_bytes(*version), state: *state });
        rest = after;
    }
    (rest.is_empty() && entries.len() as u64 == count).then_some(())?;
    Some(((last + 1).checked_sub(count)?, entries))
}

fn inbox(partition: Partition) -> String {
    format!("#inbox:{}", partition.number())
}

fn sk_of(number: u64) -> String {
    format!("{number:020}")
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_seconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_with_its_numbers() {
        let entry = |version| Entry { place: "acme/u1:gmail".to_owned(), version, state: 1 };
        let item = pack(Item::at("#log:3", sk_of(12)), &[entry(4), entry(5)]);
        assert_eq!(unpack(&item), Some((11, vec![entry(4), entry(5)])));
        assert_eq!(entry(4).written().unwrap().version, Version(4));
    }

    #[test]
    fn what_was_not_packed_here_does_not_come_out() {
        let good = pack(Item::at("#log:3", sk_of(1)), &[Entry { place: "a/b:c".to_owned(), version: 1, state: 1 }]);
        let bytes = good.bytes(ENTRIES).unwrap().to_vec();
        for length in 0..bytes.len() {
            assert_eq!(unpack(&good.clone().with_bytes(ENTRIES, bytes[..length].to_vec())), None, "{length}");
        }
        assert_eq!(unpack(&good.clone().with_number(COUNT, 2)), None);
        assert!(unpack(&good).is_some());
    }

    #[test]
    fn versions_of_a_connection_sort_as_numbers() {
        let entry = |version| Entry { place: "a/b:c".to_owned(), version, state: 1 }.sk();
        assert!(entry(9) < entry(10) && entry(10) < entry(u64::MAX));
    }
}
