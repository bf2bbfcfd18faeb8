//! Items, and how a record is kept in them.
//!
//! ```text
//! pk = drawer   sk = field               v = version, f = frame (its first piece), due = due_at?, parts = pieces?
//! pk = drawer   sk = field "/" number    v = version, f = piece
//! ```
//!
//! DynamoDB takes items of up to 400 KB, and a value may have 1 MiB: then the frame is cut, and its pieces change in one
//! transaction. Pieces of another version than the record's are what a later, shorter value left behind, or the sign that
//! it was written over while it was read. `/` is in no field.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;

use super::super::frame;
use super::super::place::Place;
use crate::domain::ports::{StoreError, Version};

/// The partition key.
pub(super) const PK: &str = "pk";
/// The sort key.
pub(super) const SK: &str = "sk";
/// When an item that only an index needs may be thrown away, in Unix seconds. DynamoDB does it by itself, days later.
pub(super) const EXPIRES: &str = "expires";
/// The version of a record.
pub(super) const VERSION: &str = "v";
/// What a writer has to know of a record it writes over.
pub(super) const OUTLINE: &str = "v, due, parts";

const FRAME: &str = "f";
const DUE: &str = "due";
const PARTS: &str = "parts";

/// What one item holds of a frame: well below what DynamoDB takes.
const PIECE_BYTES: usize = 350 * 1_024;

/// A name and values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Item(HashMap<String, AttributeValue>);

/// What is known of a record without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) version: Version,
    /// In Unix seconds.
    pub(super) due: Option<u64>,
    pub(super) parts: u64,
}

/// The items of a drawer do not fit together: somebody wrote while they were read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Torn;

// === impl Item ===

impl Item {
    pub(super) fn at(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self::default().with_text(PK, pk).with_text(SK, sk)
    }

    pub(super) fn with_text(self, name: &str, text: impl Into<String>) -> Self {
        self.with(name, AttributeValue::S(text.into()))
    }

    pub(super) fn with_number(self, name: &str, number: u64) -> Self {
        self.with(name, AttributeValue::N(number.to_string()))
    }

    pub(super) fn with_bytes(self, name: &str, bytes: Vec<u8>) -> Self {
        self.with(name, AttributeValue::B(Blob::new(bytes)))
    }

    fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_s().ok().map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_n().ok()?.parse().ok()
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        Some(self.0.get(name)?.as_b().ok()?.as_ref())
    }

    fn take_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        match self.0.remove(name)? {
            AttributeValue::B(blob) => Some(blob.into_inner()),
            _ => None,
        }
    }

    /// Only where it is.
    pub(super) fn key(&self) -> Self {
        let part = |name: &str| self.text(name).unwrap_or_default().to_owned();
        Self::at(part(PK), part(SK))
    }

    pub(super) fn into_attributes(self) -> HashMap<String, AttributeValue> {
        self.0
    }
}

impl From<HashMap<String, AttributeValue>> for Item {
    fn from(attributes: HashMap<String, AttributeValue>) -> Self {
        Self(attributes)
    }
}

// === impl Outline ===

impl Outline {
    /// Of what is there; `None` if no vault wrote it.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let version = Version(item.number(VERSION)?);
        Some(Self { version, due: item.number(DUE), parts: item.number(PARTS).unwrap_or(1) })
    }
}

/// The items of a record, the one that stands for it first.
pub(super) fn cut(place: &Place, version: Version, due: Option<u64>, frame: &[u8]) -> (Item, Vec<Item>) {
    let mut pieces = frame.chunks(PIECE_BYTES).map(<[u8]>::to_vec);
    let first = Item::at(&place.drawer, &place.field)
        .with_number(VERSION, version.0)
        .with_bytes(FRAME, pieces.next().unwrap_or_default());
    let first = due.into_iter().fold(first, |item, due| item.with_number(DUE, due));
    let more: Vec<_> = (1_u64..)
        .zip(pieces)
        .map(|(number, piece)| piece_at(place, number).with_number(VERSION, version.0).with_bytes(FRAME, piece))
        .collect();
    if more.is_empty() {
        return (first, more);
    }
    (first.with_number(PARTS, 1 + more.len() as u64), more)
}

/// Where a further piece of a record is.
pub(super) fn piece_at(place: &Place, number: u64) -> Item {
    Item::at(&place.drawer, format!("{}/{number}", place.field))
}

/// Puts together what was found in one drawer: fields and frames. The inner answer is about what is stored, the outer
/// about when it was read.
pub(super) fn assemble(items: Vec<Item>) -> Result<Result<Vec<(String, Bytes)>, StoreError>, Torn> {
    let (mut records, mut pieces) = (Vec::new(), HashMap::new());
    for mut item in items {
        let Some(sk) = item.text(SK).map(str::to_owned) else { return Ok(Err(StoreError::Corrupt)) };
        let (version, frame) = (item.number(VERSION), item.take_bytes(FRAME));
        let Some((version, frame)) = version.zip(frame) else { return Ok(Err(StoreError::Corrupt)) };
        if sk.contains('/') {
            pieces.insert((sk, version), frame);
        } else {
            records.push((sk, version, item.number(PARTS).unwrap_or(1), frame));
        }
    }
    let mut whole = Vec::with_capacity(records.len());
    for (field, version, parts, mut frame) in records {
        for number in 1..parts {
            frame.extend(pieces.remove(&(format!("{field}/{number}"), version)).ok_or(Torn)?);
        }
        if frame::version_of(&frame).ok() != Some(Version(version)) {
            return Ok(Err(StoreError::Corrupt));
        }
        whole.push((field, Bytes::from(frame)));
    }
    Ok(Ok(whole))
}

/// Whether there are further pieces, which a look at the item alone does not show.
pub(super) fn is_cut(item: &Item) -> bool {
    item.number(PARTS).is_some_and(|parts| parts > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ports::{MAX_VALUE_BYTES, Record};

    fn place() -> Place {
        Place { drawer: "acme/u1".to_owned(), field: "gmail".to_owned() }
    }

    fn items(version: u64, length: usize) -> (Vec<Item>, Vec<u8>) {
        let value = Bytes::from((0_u8..=255).cycle().take(length).collect::<Vec<_>>());
        let frame = frame::encode(Version(version), &Record::from(value)).unwrap();
        let (first, more) = cut(&place(), Version(version), Some(7), &frame);
        (std::iter::once(first).chain(more).collect(), frame)
    }

    #[test]
    fn the_longest_value_is_cut_and_comes_back_whole_in_any_order() {
        let (mut items, frame) = items(3, MAX_VALUE_BYTES);
        assert_eq!(items.len(), 3);
        assert_eq!(Outline::of(&items[0]), Some(Outline { version: Version(3), due: Some(7), parts: 3 }));
        assert!(is_cut(&items[0]));
        items.reverse();
        assert_eq!(assemble(items).unwrap().unwrap(), [("gmail".to_owned(), Bytes::from(frame))]);
    }

    #[test]
    fn a_short_value_is_one_item() {
        let (items, frame) = items(1, 4_096);
        assert_eq!(items.len(), 1);
        assert!(!is_cut(&items[0]));
        assert_eq!(assemble(items).unwrap().unwrap(), [("gmail".to_owned(), Bytes::from(frame))]);
    }

    #[test]
    fn pieces_of_another_version_are_no_pieces() {
        let (old, _) = items(1, MAX_VALUE_BYTES);
        let (new, _) = items(2, MAX_VALUE_BYTES);
        let mixed = vec![new[0].clone(), old[1].clone(), new[2].clone()];
        assert!(assemble(mixed).is_err());
        let (short, frame) = items(2, 10);
        let left_behind = vec![short[0].clone(), old[1].clone(), old[2].clone()];
        assert_eq!(assemble(left_behind).unwrap().unwrap(), [("gmail".to_owned(), Bytes::from(frame))]);
    }

    #[test]
    fn a_frame_of_another_version_than_its_item_says_is_corrupt() {
        let (items, _) = items(1, 10);
        let altered = items[0].clone().with_number(VERSION, 2);
        assert!(matches!(assemble(vec![altered]), Ok(Err(StoreError::Corrupt))));
        assert!(matches!(assemble(vec![Item::at("acme/u1", "gmail")]), Ok(Err(StoreError::Corrupt))));
    }
}
