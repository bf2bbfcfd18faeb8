//! What a trail says about itself: how it begins, goes on, is vouched for and ends, and what is missing in it.

use serde::Deserialize;

use super::chain::{Chain, Head};
use super::line::{number, text};
use super::note::{Note, TrailKeys};
use crate::domain::audit::AuditResult;
use crate::domain::time::Timestamp;

/// What a line about the trail says, as it is read again.
#[derive(Debug, Default, Deserialize)]
pub(super) struct About {
    pub(super) reason: String,
    /// The digest of everything before a start or a segment.
    #[serde(default)]
    pub(super) after: String,
    /// The key the notes of this start are signed with.
    #[serde(default)]
    pub(super) key: Option<String>,
    /// A signed note.
    #[serde(default)]
    pub(super) note: String,
    /// How the start before ended, if it did not close the trail.
    #[serde(default)]
    pub(super) unclosed: bool,
    /// Number of the first line that was there and is not any more.
    #[serde(default)]
    pub(super) lost_from: Option<u64>,
    /// Entries that were not written.
    #[serde(default)]
    pub(super) dropped: Option<u64>,
}

/// What is known of the time before, when a trail is opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Before {
    /// It was not closed: the process was killed.
    pub(super) unclosed: bool,
    /// Half a line at the end of it, taken away.
    pub(super) torn: Option<String>,
    /// A signed note tells of more lines than there are: the first that is not there.
    pub(super) lost_from: Option<u64>,
    /// Operations that were begun and of which nobody knows how they ended.
    pub(super) unknown: Vec<Unknown>,
}

/// An operation of which nobody knows how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) seq: u64,
    /// What was said of it when it began.
    pub(super) fields: Vec<(&'static str, String)>,
}

/// The line a start of the vault begins with.
pub(super) const OPENED: &str = "opened";
/// The line a segment begins with.
pub(super) const SEGMENT: &str = "segment";
/// A signed note.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// The vault stops.
pub(super) const CLOSED: &str = "closed";

/// Begins what a line about the trail says.
fn about(result: AuditResult, reason: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    text(&mut body, "action", "audit");
    text(&mut body, "result", result.as_str());
    text(&mut body, "reason", reason);
    body
}

fn closed(mut body: Vec<u8>) -> Vec<u8> {
    body.push(b'}');
    body
}

/// The vault starts. `after` is the digest of everything before.
pub(super) fn opened(after: &Head, before: &Before, keys: Option<&TrailKeys>) -> Vec<u8> {
    let result = if before.lost_from.is_some() { AuditResult::Failed } else { AuditResult::Ok };
    let mut body = about(result, OPENED);
    text(&mut body, "after", &after.to_string());
    if let Some(keys) = keys {
        text(&mut body, "key", &keys.public().short());
    }
    if before.unclosed {
        body.extend_from_slice(b",\"unclosed\":true");
    }
    if let Some(seq) = before.lost_from {
        number(&mut body, "lost_from", seq);
    }
    if let Some(torn) = &before.torn {
        text(&mut body, "torn", torn);
    }
    closed(body)
}

/// A segment begins.
pub(super) fn segment(after: &Head) -> Vec<u8> {
    let mut body = about(AuditResult::Ok, SEGMENT);
    text(&mut body, "after", &after.to_string());
    closed(body)
}

/// Nobody knows how an operation ended.
pub(super) fn unknown(Unknown { seq, fields }: &Unknown) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    for (key, value) in fields {
        text(&mut body, key, value);
    }
    text(&mut body, "result", "unknown");
    text(&mut body, "reason", "interrupted");
    number(&mut body, "begun_seq", *seq);
    closed(body)
}

/// The vault stops.
pub(super) fn ended() -> Vec<u8> {
    closed(about(AuditResult::Ok, CLOSED))
}

/// The trail can be written again. Lines from `late` on were written after their calls had been refused; `dropped` were
/// not written at all.
pub(super) fn resumed(late: Option<(u64, u64)>, dropped: u64) -> Vec<u8> {
    let mut body = about(AuditResult::Failed, if dropped > 0 { "entries_dropped" } else { "written_late" });
    if let Some((from, to)) = late {
        number(&mut body, "late_from", from);
        number(&mut body, "late_to", to);
    }
    if dropped > 0 {
        number(&mut body, "dropped", dropped);
    }
    closed(body)
}

/// So many calls of one source were refused in a minute and are not written one by one.
pub(super) fn refused(source: &str, reason: &str, count: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(192);
    text(&mut body, "action", "audit");
    text(&mut body, "result", AuditResult::Denied.as_str());
    text(&mut body, "reason", "calls_refused");
    text(&mut body, "peer", source);
    text(&mut body, "refused_as", reason);
    number(&mut body, "count", count);
    closed(body)
}

/// A note about everything up to the last line, and the line that holds it.
pub(super) fn checkpoint(chain: &Chain, at: Timestamp, keys: &TrailKeys) -> (Note, Vec<u8>) {
    let mut made = Vec::new();
    super::line::timestamp(&mut made, chain.at.max(at));
    let made = String::from_utf8_lossy(&made);
    let note = keys.sign(&chain.env, &chain.instance, (chain.seq, chain.head), &made, chain.boot);
    let body = checkpoint_line(&note);
    (note, body)
}

/// The line that holds a note.
pub(super) fn checkpoint_line(note: &Note) -> Vec<u8> {
    let mut body = about(AuditResult::Ok, CHECKPOINT);
    text(&mut body, "note", &note.to_string());
    closed(body)
}

impl About {
    /// Reads what stands behind the fields that hold the lines together.
    pub(super) fn parse(rest: &str) -> Option<Self> {
        let fields = rest.strip_prefix(',')?;
        serde_json::from_str(&format!("{{{fields}")).ok()
    }
}
