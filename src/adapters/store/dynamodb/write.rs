//! How a record is written: with its indices, in one transaction.
//!
//! What a connection was due at before is in its record and nowhere else, so a writer reads that first; what it read is
//! what the transaction then insists on. Nobody finds keys and leases through an index, so they are one plain write.

use std::time::Duration;

use tokio::time::sleep;

use super::changes;
use super::due;
use super::item::{self, OUTLINE, Outline, VERSION};
use super::scan;
use super::table::{Change, Condition as Wanted, Table, Verdict};
use crate::adapters::store::frame::{self, Condition};
use crate::adapters::store::place::Place;
use crate::adapters::store::reason;
use crate::domain::ports::{Address, Expected, Hints, Record, StateHint, StoreError, Version};
use crate::domain::time::Timestamp;

/// How often a write is begun when somebody else is writing the same just then.
const ATTEMPTS: u32 = 5;

/// The pause after the first clash; it doubles with every further one. A transaction takes some milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// A write.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) address: &'a Address,
    pub(super) condition: Condition,
    pub(super) version: Version,
    pub(super) record: &'a Record,
    pub(super) now: Timestamp,
}

/// What a write goes over.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Nothing.
    Nothing,
    /// This version. Nobody looked at what else is there.
    Version(Version),
    /// This.
    Known(Outline),
}

// === impl Write ===

impl Write<'_> {
    /// Does it.
    pub(super) async fn run(&self, table: &Table) -> Result<(), StoreError> {
        let frame = frame::encode(self.version, self.record)?;
        let place = Place::from(self.address);
        let mut registered = false;
        let mut look = self.has_to_look();
        for attempt in 0..ATTEMPTS {
            let before = self.before(table, &place, look).await?;
            if matches!(before, Before::Nothing) && !registered {
                // Before the record, so that no scan misses it. A drawer without records does no harm.
                scan::register(table, self.address, &place).await?;
                registered = true;
            }
            match table.commit(self.changes(&place, &frame, before)).await? {
                Verdict::Done => return Ok(()),
                // A restore may go over another version than the one it looked at, too.
                Verdict::Refused if matches!(self.condition, Condition::Is(_)) => return Err(StoreError::Conflict),
                Verdict::Refused | Verdict::Clash => {}
            }
            look = true;
            sleep(PAUSE * (1 << attempt)).await;
        }
        Err(StoreError::unavailable(reason::BUSY))
    }

    /// Whether what is there has to be known before anything is written.
    fn has_to_look(&self) -> bool {
        match self.condition {
            Condition::Is(Expected::Absent) => false,
            Condition::Is(Expected::Version(_)) => matches!(self.address, Address::Connection(_)),
            Condition::OlderThan(_) => true,
        }
    }

    async fn before(&self, table: &Table, place: &Place, look: bool) -> Result<Before, StoreError> {
        if !look {
            return Ok(match self.condition {
                Condition::Is(Expected::Version(version)) => Before::Version(version),
                Condition::Is(Expected::Absent) | Condition::OlderThan(_) => Before::Nothing,
            });
        }
        let found = table.get(&place.drawer, &place.field, Some(OUTLINE)).await?;
        let Some(found) = found else {
            return match self.condition {
                Condition::Is(Expected::Version(_)) => Err(StoreError::Conflict),
                Condition::Is(Expected::Absent) | Condition::OlderThan(_) => Ok(Before::Nothing),
            };
        };
        // What no vault wrote has no version, so it is what nobody wants.
        let found = Outline::of(&found).ok_or(StoreError::Conflict)?;
        let holds = match self.condition {
            Condition::Is(expected) => expected == Expected::Version(found.version),
            Condition::OlderThan(version) => found.version < version,
        };
        if holds { Ok(Before::Known(found)) } else { Err(StoreError::Conflict) }
    }

    fn changes(&self, place: &Place, frame: &[u8], before: Before) -> Vec<Change> {
        let indexed = matches!(self.address, Address::Connection(_));
        let partition = self.address.partition();
        let Hints { state, due_at, .. } = if indexed { self.record.hints } else { Hints::default() };
        let due = due_at.map(due::seconds).filter(|due| *due > 0);
        let (known, wanted) = match before {
            Before::Nothing => (None, Wanted::Absent),
            Before::Version(version) => (None, Wanted::Has(VERSION, version.0)),
            Before::Known(outline) => (Some(outline), Wanted::Has(VERSION, outline.version.0)),
        };
        let (first, more) = item::cut(place, self.version, due, frame);
        let parts = 1 + more.len() as u64;
        let mut changes = vec![Change::PutIf(first, wanted)];
        changes.extend(more.into_iter().map(Change::Put));
        let left_behind = known.map_or(0, |outline| outline.parts);
        changes.extend((parts..left_behind).map(|number| Change::Delete(item::piece_at(place, number))));
        let due_before = known.and_then(|outline| outline.due);
        if due_before != due {
            let entry = |at: u64| due::entry(partition, at, place);
            changes.extend(due_before.map(|at| Change::Delete(entry(at))));
            changes.extend(due.map(|at| Change::Put(entry(at))));
        }
        if state != StateHint::None {
            changes.push(Change::Put(changes::entry(partition, place, self.version, state, self.now)));
        }
        changes
    }
}
