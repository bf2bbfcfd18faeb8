//! What is asked of the indices, and what their answers mean.

use std::str;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Value, cmd};

use super::super::frame;
use super::super::place::Place;
use super::fault::RedisFault;
use super::layout;
use crate::domain::ports::{
    Change, ChangeCursor, Changes, Due, Item, Partition, ScanCursor, Scope, StateHint, StoreError,
};
use crate::domain::time::Timestamp;

/// A place in a stream: milliseconds of the server's clock, and a number within them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StreamId {
    millis: u64,
    number: u64,
}

/// An entry of a stream: its place, and its fields with their values in one row.
type Entry = (String, Vec<Vec<u8>>);

/// A place in a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ScanPlace {
    pub(super) partition: Partition,
    /// The last drawer that was found there.
    pub(super) after: Option<String>,
}

// === due ===

/// Asks what is due, the earliest first.
pub(super) fn due(key: &str, by: Timestamp, limit: usize) -> Cmd {
    let mut command = cmd("ZRANGE");
    command.arg(key).arg("-inf").arg(by.unix_seconds()).arg("BYSCORE").arg("LIMIT").arg(0).arg(limit);
    command.arg("WITHSCORES");
    command
}

pub(super) fn read_due(answer: Value) -> Result<Vec<Due>, StoreError> {
    let found: Vec<(Vec<u8>, String)> = understood(answer)?;
    let due = |(indexed, score): (Vec<u8>, String)| {
        let seconds = score.parse().map_err(|_| StoreError::Corrupt)?;
        Ok(Due { at: Timestamp::from_unix_seconds(seconds), key: layout::place(&indexed)?.connection()? })
    };
    found.into_iter().map(due).collect()
}

// === changes ===

impl StreamId {
    /// Before everything.
    pub(super) const BEGIN: Self = Self { millis: 0, number: 0 };

    pub(super) fn read(cursor: &ChangeCursor) -> Result<Self, StoreError> {
        let (millis, number) = cursor.0.split_first_chunk().ok_or(StoreError::Corrupt)?;
        let number = number.try_into().map_err(|_| StoreError::Corrupt)?;
        Ok(Self { millis: u64::from_be_bytes(*millis), number: u64::from_be_bytes(number) })
    }

    fn cursor(self) -> ChangeCursor {
        ChangeCursor([self.millis.to_be_bytes(), self.number.to_be_bytes()].concat())
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        let parts = text.split_once('-').ok_or(StoreError::Corrupt)?;
        let number = |text: &str| text.parse().map_err(|_| StoreError::Corrupt);
        Ok(Self { millis: number(parts.0)?, number: number(parts.1)? })
    }
}

/// Asks where a stream ends.
pub(super) fn last_change(key: &str) -> Cmd {
    let mut command = cmd("XREVRANGE");
    command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
    command
}

pub(super) fn read_last_change(answer: Value) -> Result<Changes, StoreError> {
    let found: Vec<Entry> = understood(answer)?;
    let last = found.first().map_or(Ok(StreamId::BEGIN), |(id, _)| StreamId::parse(id))?;
    Ok(Changes::Next { changes: Vec::new(), cursor: last.cursor() })
}

/// Asks for the change at this place and those after it.
pub(super) fn changes_from(key: &str, place: StreamId, limit: usize) -> Cmd {
    let mut command = cmd("XRANGE");
    command.arg(key).arg(format!("{}-{}", place.millis, place.number)).arg("+");
    command.arg("COUNT").arg(limit.saturating_add(1));
    command
}

/// What came after this place. That the change at the place is still there proves that none after it has gone, and that
/// this is the stream the place was in: one that was flushed, or lost its end in a failover, goes on with other places,
/// which may well be greater ones.
pub(super) fn read_changes(answer: Value, place: StreamId, limit: usize) -> Result<Changes, StoreError> {
    let found: Vec<Entry> = understood(answer)?;
    let mut ids = found.iter();
    if place != StreamId::BEGIN && ids.next().map(|(id, _)| StreamId::parse(id)).transpose()? != Some(place) {
        return Ok(Changes::Forgotten);
    }
    let mut changes = Vec::with_capacity(found.len());
    for (id, fields) in ids.as_slice().iter().take(limit) {
        changes.push((change(fields)?, StreamId::parse(id)?.cursor()));
    }
    let cursor = changes.last().map_or_else(|| place.cursor(), |(_, cursor)| cursor.clone());
    Ok(Changes::Next { changes, cursor })
}

/// Asks whether a stream still has everything that was ever in it.
pub(super) fn whole(key: &str) -> Cmd {
    let mut command = cmd("XINFO");
    command.arg("STREAM").arg(key);
    command
}

pub(super) fn read_whole(answer: Value) -> Result<bool, StoreError> {
    let Value::Array(fields) = answer else { return Err(RedisFault::Unexpected.into()) };
    let number = |name: &str| {
        fields.as_chunks().0.iter().find_map(|[field, value]| match (field, value) {
            (Value::BulkString(field), Value::Int(number)) if field == name.as_bytes() => Some(*number),
            _ => None,
        })
    };
    Ok(number("length").is_some() && number("length") == number("entries-added"))
}

fn change(fields: &[Vec<u8>]) -> Result<Change, StoreError> {
    let [_, indexed, _, header] = fields else { return Err(StoreError::Corrupt) };
    let state = header.get(frame::VERSION_BYTES).and_then(|number| StateHint::numbered(*number));
    Ok(Change {
        key: layout::place(indexed)?.connection()?,
        version: frame::version_of(header)?,
        state: state.ok_or(StoreError::Corrupt)?,
    })
}

// === scan ===

impl ScanPlace {
    pub(super) fn read(cursor: Option<&ScanCursor>) -> Result<Self, StoreError> {
        let bytes = cursor.map_or(&[0][..], |cursor| &cursor.0);
        let (number, after) = bytes.split_first().ok_or(StoreError::Corrupt)?;
        let partition = Partition::numbered(*number).ok_or(StoreError::Corrupt)?;
        let after = str::from_utf8(after).map_err(|_| StoreError::Corrupt)?;
        Ok(Self { partition, after: (!after.is_empty()).then(|| after.to_owned()) })
    }

    pub(super) fn cursor(&self) -> ScanCursor {
        let mut bytes = vec![self.partition.number()];
        bytes.extend_from_slice(self.after.as_deref().unwrap_or_default().as_bytes());
        ScanCursor(bytes)
    }

    /// The beginning of the next partition.
    pub(super) fn next_partition(&self) -> Option<Self> {
        Some(Self { partition: Partition::numbered(self.partition.number() + 1)?, after: None })
    }
}

/// Asks for the drawers after this place.
pub(super) fn drawers_after(key: &str, scope: &Scope, place: &ScanPlace, limit: usize) -> Cmd {
    let (begin, to) = match scope {
        Scope::All => (String::new(), "+".to_owned()),
        // The byte after `/` is `0`.
        Scope::Tenant(tenant) => (format!("{tenant}/"), format!("({tenant}0")),
    };
    let from = match &place.after {
        Some(after) if *after >= begin => format!("({after}"),
        Some(_) | None => format!("[{begin}"),
    };
    let mut command = cmd("ZRANGE");
    command.arg(key).arg(from).arg(to).arg("BYLEX").arg("LIMIT").arg(0).arg(limit);
    command
}

pub(super) fn read_drawers(answer: Value) -> Result<Vec<String>, StoreError> {
    understood::<Vec<Vec<u8>>>(answer)?
        .into_iter()
        .map(|name| String::from_utf8(name).map_err(|_| StoreError::Corrupt))
        .collect()
}

/// Everything in one drawer.
pub(super) fn read_items(drawer: &str, answer: Value) -> Result<Vec<Item>, StoreError> {
    let found: Vec<(Vec<u8>, Vec<u8>)> = understood(answer)?;
    let item = |(field, frame): (Vec<u8>, Vec<u8>)| {
        let field = String::from_utf8(field).map_err(|_| StoreError::Corrupt)?;
        let address = Place { drawer: drawer.to_owned(), field }.address().ok_or(StoreError::Corrupt)?;
        let (stored, hints) = frame::decode_whole(Bytes::from(frame))?;
        Ok(Item { address, stored, hints })
    };
    found.into_iter().map(item).collect()
}

/// An answer of this shape.
pub(super) fn understood<T: FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    redis::from_redis_value(answer).map_err(|_| RedisFault::Unexpected.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, version: u8) -> Value {
        let bytes = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let header = [2, 0, 0, 0, 0, 0, 0, 0, version, 1];
        let fields = Value::Array(vec![bytes(b"r"), bytes(b"acme/u1:gmail"), bytes(b"h"), bytes(&header)]);
        Value::Array(vec![bytes(id.as_bytes()), fields])
    }

    fn id(millis: u64, number: u64) -> StreamId {
        StreamId { millis, number }
    }

    fn versions(answer: Value, place: StreamId, limit: usize) -> Option<(Vec<u64>, StreamId)> {
        match read_changes(answer, place, limit).unwrap() {
            Changes::Next { changes, cursor } => {
                let versions = changes.iter().map(|(change, _)| change.version.0).collect();
                Some((versions, StreamId::read(&cursor).unwrap()))
            }
            Changes::Forgotten => None,
        }
    }

    #[test]
    fn a_place_whose_change_is_there_is_known_and_any_other_forgotten() {
        let stream = || Value::Array(vec![entry("5-1", 1), entry("7-0", 2), entry("7-1", 3)]);
        assert_eq!(versions(stream(), id(5, 1), 10), Some((vec![2, 3], id(7, 1))));
        assert_eq!(versions(stream(), id(5, 1), 1), Some((vec![2], id(7, 0))));
        assert_eq!(versions(stream(), id(5, 1), 0), Some((vec![], id(5, 1))));
        assert_eq!(versions(stream(), StreamId::BEGIN, 10), Some((vec![1, 2, 3], id(7, 1))));
        // Trimmed or of another life: the next one is there, the place itself is not.
        assert_eq!(versions(stream(), id(5, 0), 10), None);
        // Beyond the end.
        assert_eq!(versions(Value::Array(Vec::new()), id(9, 0), 10), None);
        assert_eq!(versions(Value::Array(Vec::new()), StreamId::BEGIN, 10), Some((vec![], StreamId::BEGIN)));
    }

    #[test]
    fn places_come_back_as_they_were_given_out() {
        let place = id(u64::MAX, 7);
        assert_eq!(StreamId::read(&place.cursor()).unwrap(), place);
        assert!(place.cursor().0.len() <= 32);
        for bytes in [vec![], vec![0; 8], vec![0; 15], vec![0; 17]] {
            assert!(matches!(StreamId::read(&ChangeCursor(bytes)), Err(StoreError::Corrupt)));
        }
        let place = ScanPlace { partition: Partition::numbered(15).unwrap(), after: Some("acme/u1".to_owned()) };
        assert_eq!(ScanPlace::read(Some(&place.cursor())).unwrap(), place);
        assert_eq!(place.next_partition(), None);
        for bytes in [vec![], vec![16], vec![0, 0xff]] {
            assert!(matches!(ScanPlace::read(Some(&ScanCursor(bytes))), Err(StoreError::Corrupt)));
        }
    }
}
