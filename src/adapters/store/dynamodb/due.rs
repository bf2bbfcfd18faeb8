//! The index of what is due: one item per connection that is, in the order of its time.
//!
//! ```text
//! pk = "#due:" partition   sk = due_at ":" drawer ":" field      (due_at: 12 digits, Unix seconds)
//! ```
//!
//! The items are in the table of the records, because a global secondary index follows its table with a delay.

use super::item::{Item, SK};
use super::table::{Span, Table};
use crate::adapters::store::place::Place;
use crate::domain::ports::{Due, Partition, StoreError};
use crate::domain::time::Timestamp;

/// The least sort key there can be.
const FIRST: &str = "0";

/// A time as it is stored.
pub(super) fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_seconds()).unwrap_or(0)
}

/// What stands in the index for a connection that is due.
pub(super) fn entry(partition: Partition, at: u64, place: &Place) -> Item {
    Item::at(pk(partition), format!("{at:012}:{}:{}", place.drawer, place.field))
}

/// What is due, the earliest first.
pub(super) async fn find(
    table: &Table,
    partition: Partition,
    by: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    // `;` comes after `:`, so this is after everything of that second.
    let (pk, last) = (pk(partition), format!("{:012};", seconds(by)));
    let mut found = Vec::new();
    let mut after = None;
    while found.len() < limit {
        let span = Span { pk: &pk, between: Some((FIRST, &last)), after: after.as_deref(), backward: false };
        let (items, next) = table.query(&span, Some(limit - found.len())).await?;
        for item in items {
            found.push(item.text(SK).and_then(parse).ok_or(StoreError::Corrupt)?);
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    Ok(found)
}

fn pk(partition: Partition) -> String {
    format!("#due:{}", partition.number())
}

fn parse(sk: &str) -> Option<Due> {
    let mut parts = sk.splitn(3, ':').map(str::to_owned);
    let (at, drawer, field) = (parts.next()?, parts.next()?, parts.next()?);
    let key = Place { drawer, field }.connection().ok()?;
    Some(Due { at: Timestamp::from_unix_seconds(at.parse().ok()?), key })
}
