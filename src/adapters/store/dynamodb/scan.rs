//! Finding everything there is: a register of drawers, and then drawer by drawer.
//!
//! ```text
//! pk = "#drawers:" partition   sk = drawer
//! ```
//!
//! A scan of the table itself would cut users in two, meet the indices as well, and read everybody's records for one
//! tenant. So each drawer is noted before its first record is written, and a scan reads each drawer by one query, which
//! costs what its records cost and never less than the smallest read.

use std::str;

use futures_util::future::try_join_all;

use super::item::{Item, SK};
use super::read;
use super::table::{Change, Span, Table};
use crate::adapters::store::frame;
use crate::adapters::store::place::Place;
use crate::domain::ports::{Address, Item as Found, Page, Partition, ScanCursor, Scope, StoreError};

/// How many drawers are read at once.
const AT_ONCE: usize = 8;

/// How many drawers one page reads at most, whatever is in them.
const DRAWERS_PER_PAGE: usize = 256;

/// How far a scan has come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reached {
    partition: Partition,
    /// The last drawer in it; none yet.
    drawer: Option<String>,
}

/// Notes that there is, or will be, something in this drawer.
pub(super) async fn register(table: &Table, address: &Address, place: &Place) -> Result<(), StoreError> {
    if !matches!(address, Address::Lease { .. } | Address::Epoch) {
        table.commit(vec![Change::Put(Item::at(pk(address.partition()), &place.drawer))]).await?;
    }
    Ok(())
}

/// A page of whole drawers.
pub(super) async fn page(
    table: &Table,
    scope: &Scope,
    after: Option<&ScanCursor>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut reached = match after {
        Some(cursor) => parse(scope, cursor).ok_or(StoreError::Corrupt)?,
        None => Reached { partition: Partition::numbered(0).ok_or(StoreError::Corrupt)?, drawer: None },
    };
    let (mut items, mut read) = (Vec::new(), 0);
    loop {
        let some = AT_ONCE.min(limit.saturating_sub(items.len())).max(1);
        let (drawers, more) = drawers_after(table, scope, &reached, some).await?;
        for found in try_join_all(drawers.iter().map(|drawer| open(table, drawer))).await? {
            items.extend(found);
        }
        read += drawers.len();
        let next = match drawers.into_iter().next_back() {
            Some(last) if more => Some(Reached { drawer: Some(last), ..reached }),
            _ => {
                Partition::numbered(reached.partition.number() + 1).map(|partition| Reached { partition, drawer: None })
            }
        };
        match next {
            None => return Ok(Page { items, next: None }),
            Some(next) if items.len() >= limit || read >= DRAWERS_PER_PAGE => {
                return Ok(Page { items, next: Some(cursor(&next)) });
            }
            Some(next) => reached = next,
        }
    }
}

/// The next drawers of a partition, and whether there are more.
async fn drawers_after(
    table: &Table,
    scope: &Scope,
    reached: &Reached,
    limit: usize,
) -> Result<(Vec<String>, bool), StoreError> {
    let pk = pk(reached.partition);
    let bounds = bounds(scope);
    let between = bounds.as_ref().map(|(first, last)| (first.as_str(), last.as_str()));
    let span = Span { pk: &pk, between, after: reached.drawer.as_deref(), backward: false };
    let (items, next) = table.query(&span, Some(limit)).await?;
    let drawers = items.iter().map(|item| item.text(SK).map(str::to_owned).ok_or(StoreError::Corrupt));
    Ok((drawers.collect::<Result<_, _>>()?, next.is_some()))
}

async fn open(table: &Table, drawer: &str) -> Result<Vec<Found>, StoreError> {
    let found = read::drawer(table, drawer).await?.into_iter().map(|(field, frame)| {
        let place = Place { drawer: drawer.to_owned(), field };
        let address = place.address().ok_or(StoreError::Corrupt)?;
        let (stored, hints) = frame::decode_whole(frame)?;
        Ok(Found { address, stored, hints })
    });
    found.collect()
}

fn pk(partition: Partition) -> String {
    format!("#drawers:{}", partition.number())
}

/// What the users' drawers of a tenant lie between: `/` ends its name, and the name of a user is of less than DEL.
fn bounds(scope: &Scope) -> Option<(String, String)> {
    match scope {
        Scope::All => None,
        Scope::Tenant(tenant) => Some((format!("{tenant}/"), format!("{tenant}/\u{7f}"))),
    }
}

fn cursor(reached: &Reached) -> ScanCursor {
    let drawer = reached.drawer.as_deref().unwrap_or_default();
    ScanCursor([&[reached.partition.number()], drawer.as_bytes()].concat())
}

fn parse(scope: &Scope, cursor: &ScanCursor) -> Option<Reached> {
    let (number, drawer) = cursor.0.split_first()?;
    let (partition, drawer) = (Partition::numbered(*number)?, str::from_utf8(drawer).ok()?);
    let in_scope = bounds(scope).is_none_or(|(first, last)| (first.as_str()..=last.as_str()).contains(&drawer));
    match drawer {
        "" => Some(Reached { partition, drawer: None }),
        _ if in_scope && drawer.len() <= 1_023 => Some(Reached { partition, drawer: Some(drawer.to_owned()) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_scan_comes_back_as_it_was_given() {
        let scope = Scope::Tenant("acme".parse().unwrap());
        for drawer in [None, Some("acme/u1".to_owned())] {
            let reached = Reached { partition: Partition::numbered(7).unwrap(), drawer };
            assert_eq!(parse(&scope, &cursor(&reached)), Some(reached));
        }
    }

    #[test]
    fn a_place_this_store_did_not_give_is_refused() {
        let scope = Scope::Tenant("acme".parse().unwrap());
        for bytes in [&b""[..], &[16], b"\x01acm/u1", b"\x01acme0", b"\x01acme", b"\x01\xff"] {
            assert_eq!(parse(&scope, &ScanCursor(bytes.to_vec())), None, "{bytes:?}");
        }
    }
}
