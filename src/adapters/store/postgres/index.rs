//! What the indices answer, understood.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::super::frame;
use super::super::place::Place;
use super::fault::PostgresFault;
use crate::domain::ports::{
    Change, ChangeCursor, Changes, Due, Item, Page, ScanCursor, Scope, StateHint, StoreError, Version,
};
use crate::domain::time::Timestamp;

/// A place in the changes of a partition: a number, and in which life of the database it was given.
///
/// ```text
/// cursor = system || timeline || table || number        u64 BE, u32 BE, u32 BE, u64 BE
/// ```
///
/// A standby that takes over begins a new timeline. It may lack the last changes and give their numbers again, so a place
/// of another life means nothing. Neither does one in a copy of the database, which is
/// another system, or has other tables in the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) life: [u8; 16],
    pub(super) number: i64,
}

/// The names a scan goes through: those after the first and before the second.
pub(super) struct Span(pub(super) String, pub(super) &'static str, Option<String>);

// === impl Mark ===

impl Mark {
    pub(super) fn read(cursor: &ChangeCursor) -> Result<Self, StoreError> {
        let (life, number) = cursor.0.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let number = number.try_into().map(i64::from_be_bytes).map_err(|_| StoreError::Corrupt)?;
        Ok(Self { life: *life, number })
    }

    fn cursor(self) -> ChangeCursor {
        ChangeCursor([&self.life[..], &self.number.to_be_bytes()].concat())
    }
}

// === impl Span ===

impl Span {
    pub(super) fn new(scope: &Scope, after: Option<&ScanCursor>) -> Result<Self, StoreError> {
        let (from, to, own) = match scope {
            // Leases begin with `#`, the only names that sort before every letter and digit.
            Scope::All => ("$".to_owned(), "\u{10ffff}", None),
            Scope::Tenant(tenant) => (format!("{tenant}/"), "", Some(format!("{tenant}0"))),
        };
        let Some(ScanCursor(after)) = after else { return Ok(Self(from, to, own)) };
        let after = str::from_utf8(after).ok().filter(|after| after.len() <= 1_024 && !after.contains('\0'));
        let after = after.ok_or(StoreError::Corrupt)?;
        Ok(Self(from.max(after.to_owned()), to, own))
    }

    pub(super) fn end(&self) -> &str {
        self.2.as_deref().unwrap_or(self.1)
    }
}

pub(super) fn due(row: &PgRow) -> Result<Due, StoreError> {
    let at = row.try_get(2).map_err(unexpected)?;
    Ok(Due { at: Timestamp::from_unix_seconds(at), key: place(row, 0)?.connection()? })
}

pub(super) fn changes(rows: &[PgRow], after: Option<Mark>) -> Result<Changes, StoreError> {
    let head = rows.first().ok_or(PostgresFault::Unexpected)?;
    let last: i64 = head.try_get(0).map_err(unexpected)?;
    let first: Option<i64> = head.try_get(1).map_err(unexpected)?;
    let life = life(head)?;
    let end = Mark { life, number: last };
    let Some(after) = after else { return Ok(Changes::Next { changes: Vec::new(), cursor: end.cursor() }) };
    // A place beyond the end is from another life too, whatever it says.
    let known = after.life == life && after.number <= last && after.number >= first.unwrap_or(last + 1) - 1;
    if !known {
        return Ok(Changes::Forgotten);
    }
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(number) = row.try_get(5).map_err(unexpected)? else { break };
        changes.push((change(row)?, Mark { life, number }.cursor()));
    }
    let cursor = changes.last().map_or_else(|| end.cursor(), |(_, cursor)| cursor.clone());
    Ok(Changes::Next { changes, cursor })
}

pub(super) fn page(rows: Vec<PgRow>, limit: i64) -> Result<Page, StoreError> {
    let full = i64::try_from(rows.len()).is_ok_and(|found| found >= limit);
    let items = rows.into_iter().map(|row| {
        let address = place(&row, 0)?.address().ok_or(StoreError::Corrupt)?;
        let (stored, hints) = frame::decode_whole(frame(&row, 2)?)?;
        Ok((row.try_get(0).map_err(unexpected)?, Item { address, stored, hints }))
    });
    let items = items.collect::<Result<Vec<(String, Item)>, StoreError>>()?;
    let next = items.last().filter(|_| full).map(|(drawer, _)| ScanCursor(drawer.clone().into_bytes()));
    Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next })
}

/// The frame in a column.
pub(super) fn frame(row: &PgRow, column: usize) -> Result<Bytes, StoreError> {
    row.try_get::<Vec<u8>, _>(column).map(Bytes::from).map_err(unexpected)
}

pub(super) fn unexpected(_: sqlx::Error) -> StoreError {
    PostgresFault::Unexpected.into()
}

fn change(row: &PgRow) -> Result<Change, StoreError> {
    let (version, state): (i64, i16) = (row.try_get(8).map_err(unexpected)?, row.try_get(9).map_err(unexpected)?);
    let state = u8::try_from(state).ok().and_then(StateHint::numbered).ok_or(StoreError::Corrupt)?;
    Ok(Change { key: place(row, 6)?.connection()?, version: Version(version.cast_unsigned()), state })
}

/// Drawer and field in a column and the next.
fn place(row: &PgRow, column: usize) -> Result<Place, StoreError> {
    let text = |column| row.try_get(column).map_err(unexpected);
    Ok(Place { drawer: text(column)?, field: text(column + 1)? })
}

/// The system, the timeline, which the name of a file of the log begins with, and the table of the numbers.
fn life(row: &PgRow) -> Result<[u8; 16], StoreError> {
    let system: i64 = row.try_get(2).map_err(unexpected)?;
    let wal_file: String = row.try_get(3).map_err(unexpected)?;
    let timeline = wal_file.get(..8).and_then(|timeline| u32::from_str_radix(timeline, 16).ok());
    let timeline = timeline.ok_or(PostgresFault::Unexpected)?.to_be_bytes();
    let table: i64 = row.try_get(4).map_err(unexpected)?;
    let table = u32::try_from(table).map_err(|_| PostgresFault::Unexpected)?.to_be_bytes();
    let mut life = [0; 16];
    let bytes = system.to_be_bytes().into_iter().chain(timeline).chain(table);
    life.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_life_and_a_number() {
        let mark = Mark { life: *b"systemidtimeoidn", number: 7 };
        assert_eq!(Mark::read(&mark.cursor()).unwrap(), mark);
        assert_eq!(mark.cursor().0.len(), 24);
        for length in (0..40).filter(|length| *length != 24) {
            assert!(matches!(Mark::read(&ChangeCursor(vec![0; length])), Err(StoreError::Corrupt)), "{length}");
        }
    }

    #[test]
    fn a_scan_stays_in_its_scope_whatever_its_cursor_says() {
        let scope = Scope::Tenant("acme".parse().unwrap());
        let span = Span::new(&scope, Some(&ScanCursor(b"a/u".to_vec()))).unwrap();
        assert_eq!((span.0.as_str(), span.end()), ("acme/", "acme0"));
        for cursor in [vec![0xff], vec![b'a'; 1_025], b"a\0".to_vec()] {
            assert!(matches!(Span::new(&scope, Some(&ScanCursor(cursor))), Err(StoreError::Corrupt)));
        }
    }
}
