//! How records are read: strongly consistent, and again if somebody wrote meanwhile.

use bytes::Bytes;

use super::item::{self, Item, SK, Torn};
use super::table::{Span, Table};
use crate::adapters::store::place::Place;
use crate::adapters::store::reason;
use crate::domain::ports::StoreError;

/// How often a read is begun when somebody writes what is being read. Only values of several items can be torn.
const ATTEMPTS: u32 = 4;

/// How many pages, of up to 1 MB each, one drawer may have.
const PAGES: u32 = 16;

/// The frame of one record: one request, unless the value is longer than an item may be.
pub(super) async fn record(table: &Table, place: &Place) -> Result<Option<Bytes>, StoreError> {
    let Some(first) = table.get(&place.drawer, &place.field, None).await? else { return Ok(None) };
    if !item::is_cut(&first) {
        return only(item::assemble(vec![first]));
    }
    let (last, pieces) = (format!("{}0", place.field), format!("{}/", place.field));
    let is_ours = |item: &Item| item.text(SK).is_some_and(|sk| sk == place.field || sk.starts_with(&pieces));
    for _ in 0..ATTEMPTS {
        let items = span(table, &place.drawer, Some((&place.field, &last))).await?;
        match item::assemble(items.into_iter().filter(is_ours).collect()) {
            Err(Torn) => {}
            whole @ Ok(_) => return only(whole),
        }
    }
    Err(StoreError::unavailable(reason::BUSY))
}

/// The fields and frames of a drawer: one request for each megabyte.
pub(super) async fn drawer(table: &Table, drawer: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
    for _ in 0..ATTEMPTS {
        if let Ok(whole) = item::assemble(span(table, drawer, None).await?) {
            return whole;
        }
    }
    Err(StoreError::unavailable(reason::BUSY))
}

fn only(found: Result<Result<Vec<(String, Bytes)>, StoreError>, Torn>) -> Result<Option<Bytes>, StoreError> {
    let found = found.map_err(|Torn| StoreError::unavailable(reason::BUSY))??;
    Ok(found.into_iter().next().map(|(_, frame)| frame))
}

async fn span(table: &Table, pk: &str, between: Option<(&str, &str)>) -> Result<Vec<Item>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let (items, next) = table.query(&Span { pk, between, after: after.as_deref(), backward: false }, None).await?;
        found.extend(items);
        after = next;
        if after.is_none() {
            return Ok(found);
        }
    }
    Err(StoreError::unavailable(reason::TOO_LARGE))
}
