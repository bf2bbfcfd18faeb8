//! The indices beside the records: two more tables of the same file, written in the transaction of the record itself.
//!
//! ```text
//! due:     partition || due_at || key   -> ()              u8, u64 BE
//! changes: partition || number          -> version || state || key      u8, u64 BE -> u64 BE, u8
//!          0xff, nine times             -> life                         -> u64 BE
//! ```

use redb::{Database, ReadableDatabase as _, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::super::frame;
use super::super::life::{Life, Mark};
use super::super::place::Place;
use super::file::{self, RECORDS};
use crate::domain::ports::{
    CHANGES_KEPT, Change, Changes, Due, Hints, Item, Page, Partition, ScanCursor, Scope, StateHint, StoreError, Version,
};
use crate::domain::time::Timestamp;

const DUE: TableDefinition<'static, &[u8], ()> = TableDefinition::new("due");
const CHANGES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("changes");

/// Partition and number.
const HEAD_BYTES: usize = 9;

/// Where the life of the file is: behind every partition.
const LIFE: [u8; HEAD_BYTES] = [0xff; HEAD_BYTES];

/// The indices, open for writing.
pub(super) struct Writing<'t> {
    due: Table<'t, &'static [u8], ()>,
    changes: Table<'t, &'static [u8], &'static [u8]>,
}

/// What was found, before anybody has looked whether a vault wrote it.
type Raw = (Vec<u8>, Vec<u8>);

/// Changes that were found, and the place they come after.
type Found = (Vec<Raw>, Mark);

// === impl Writing ===

impl<'t> Writing<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { due: transaction.open_table(DUE)?, changes: transaction.open_table(CHANGES)? })
    }

    /// Follows one record from what it was to what it is now.
    pub(super) fn follow(
        &mut self,
        partition: Partition,
        key: &[u8],
        before: Option<Hints>,
        now: Hints,
        version: Version,
    ) -> Result<(), redb::Error> {
        let due_before = before.and_then(|hints| hints.due_at);
        if due_before != now.due_at {
            if let Some(at) = due_before {
                self.due.remove(due_key(partition, at, key).as_slice())?;
            }
            if let Some(at) = now.due_at {
                self.due.insert(due_key(partition, at, key).as_slice(), ())?;
            }
        }
        if now.state != StateHint::None {
            let number = self.last_number(partition)? + 1;
            let mut change = version.0.to_be_bytes().to_vec();
            change.push(now.state.number());
            change.extend_from_slice(key);
            self.changes.insert(head(partition, number).as_slice(), change.as_slice())?;
            if let Some(forgotten) = number.checked_sub(CHANGES_KEPT as u64) {
                self.changes.remove(head(partition, forgotten).as_slice())?;
            }
        }
        Ok(())
    }

    fn last_number(&self, partition: Partition) -> Result<u64, redb::Error> {
        let (from, to) = (head(partition, 0), head(partition, u64::MAX));
        let last = self.changes.range(from.as_slice()..=to.as_slice())?.next_back().transpose()?;
        Ok(last.and_then(|(key, _)| number_of(key.value())).unwrap_or(0))
    }
}

/// Makes the tables, so that a read never finds one missing, and begins the life of the file.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut changes = Writing::open(transaction)?.changes;
    if life_of(&changes)?.is_none() {
        changes.insert(LIFE.as_slice(), Life::begin().0.to_be_bytes().as_slice())?;
    }
    Ok(())
}

/// Whether [`make_tables`] has nothing to do.
pub(super) fn has_tables(database: &Database) -> Result<bool, redb::Error> {
    match database.begin_read()?.open_table(CHANGES) {
        Ok(changes) => Ok(life_of(&changes)?.is_some()),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn life_of(changes: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<Option<Life>, redb::Error> {
    let found = changes.get(LIFE.as_slice())?;
    Ok(found.and_then(|found| found.value().try_into().ok()).map(u64::from_be_bytes).map(Life))
}

pub(super) fn due(
    database: &Database,
    partition: Partition,
    by: Timestamp,
    limit: usize,
) -> Result<Vec<Vec<u8>>, redb::Error> {
    let due = database.begin_read()?.open_table(DUE)?;
    let (from, to) = (head(partition, 0), head(partition, seconds(by) + 1));
    due.range(from.as_slice()..to.as_slice())?.take(limit).map(|found| Ok(found?.0.value().to_vec())).collect()
}

/// What `due` found, understood.
pub(super) fn parse_due(found: &[u8]) -> Result<Due, StoreError> {
    let (number, key) = number_of(found).zip(found.get(HEAD_BYTES..)).ok_or(StoreError::Corrupt)?;
    let seconds = i64::try_from(number).map_err(|_| StoreError::Corrupt)?;
    Ok(Due { at: Timestamp::from_unix_seconds(seconds), key: place_of(key)?.connection()? })
}

/// What came after a place, or the end; `None` if it is forgotten.
pub(super) fn changes(
    database: &Database,
    partition: Partition,
    after: Option<Mark>,
    limit: usize,
) -> Result<Option<Found>, redb::Error> {
    let changes = database.begin_read()?.open_table(CHANGES)?;
    let life = life_of(&changes)?.unwrap_or(Life::UNKNOWN);
    let (first, end) = (head(partition, 0), head(partition, u64::MAX));
    let all = || changes.range(first.as_slice()..=end.as_slice());
    let last = all()?.next_back().transpose()?.and_then(|(key, _)| number_of(key.value())).unwrap_or(0);
    let Some(after) = after else { return Ok(Some((Vec::new(), Mark { life, number: last }))) };
    let oldest = all()?.next().transpose()?.and_then(|(key, _)| number_of(key.value())).unwrap_or(0);
    // A place beyond the end is from another life too, whatever it says.
    if after.life != life || after.number > last || after.number + 1 < oldest {
        return Ok(None);
    }
    let from = head(partition, after.number + 1);
    let mut found = Vec::new();
    for change in changes.range(from.as_slice()..=end.as_slice())?.take(limit) {
        let (key, value) = change?;
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(Some((found, after)))
}

/// What `changes` found, understood.
pub(super) fn parse_changes(found: Option<Found>) -> Result<Changes, StoreError> {
    let Some((found, after)) = found else { return Ok(Changes::Forgotten) };
    let mut cursor = after.cursor();
    let mut changes = Vec::with_capacity(found.len());
    for (key, value) in found {
        let number = number_of(&key).ok_or(StoreError::Corrupt)?;
        cursor = Mark { number, ..after }.cursor();
        changes.push((parse_change(&value).ok_or(StoreError::Corrupt)?, cursor.clone()));
    }
    Ok(Changes::Next { changes, cursor })
}

/// A page of records, and whether there are more: from after a key, whole drawers only.
pub(super) fn scan(
    database: &Database,
    scope: &Scope,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<Raw>, bool), redb::Error> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let (from, to) = match scope {
        // Leases begin with `#`, the only names that sort before every letter and digit.
        Scope::All => (b"$".to_vec(), vec![0xff]),
        Scope::Tenant(tenant) => (format!("{tenant}/").into_bytes(), format!("{tenant}0").into_bytes()),
    };
    // The least key after a key is that key and a zero.
    let from = after.map_or(from.clone(), |after| from.max([after, &[0]].concat()));
    let mut found: Vec<Raw> = Vec::new();
    for record in records.range(from.as_slice()..to.as_slice())? {
        let (key, frame) = record?;
        if found.len() >= limit && found.last().is_none_or(|(last, _)| drawer(last) != drawer(key.value())) {
            return Ok((found, true));
        }
        found.push((key.value().to_vec(), frame.value().to_vec()));
    }
    Ok((found, false))
}

/// What `scan` found, understood.
pub(super) fn parse_page((found, more): (Vec<Raw>, bool)) -> Result<Page, StoreError> {
    let next = if more { found.last().map(|(key, _)| ScanCursor(key.clone())) } else { None };
    let item = |(key, frame): Raw| {
        let address = place_of(&key)?.address().ok_or(StoreError::Corrupt)?;
        let (stored, hints) = frame::decode_whole(frame.into())?;
        Ok(Item { address, stored, hints })
    };
    Ok(Page { items: found.into_iter().map(item).collect::<Result<_, StoreError>>()?, next })
}

fn head(partition: Partition, number: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.push(partition.number());
    head.extend_from_slice(&number.to_be_bytes());
    head
}

fn number_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.first_chunk().copied().map(u64::from_be_bytes)
}

fn due_key(partition: Partition, at: Timestamp, key: &[u8]) -> Vec<u8> {
    let mut due = head(partition, seconds(at));
    due.extend_from_slice(key);
    due
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_seconds()).unwrap_or(0)
}

fn parse_change(value: &[u8]) -> Option<Change> {
    let (version, rest) = value.split_first_chunk()?;
    let (state, key) = rest.split_first()?;
    Some(Change {
        key: place_of(key).ok()?.connection().ok()?,
        version: Version(u64::from_be_bytes(*version)),
        state: StateHint::numbered(*state)?,
    })
}

fn place_of(key: &[u8]) -> Result<Place, StoreError> {
    file::place(key).ok_or(StoreError::Corrupt)
}

fn drawer(key: &[u8]) -> Option<&[u8]> {
    key.split(|byte| *byte == b':').next()
}
