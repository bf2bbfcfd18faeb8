//! What an audit line looks like. Written by hand into a buffer that is used again: it is on the path of every call.

use std::io::Write as _;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::domain::audit::{AuditEntry, AuditResult};
use crate::domain::id::{EngineId, PlatformId, TenantId, UserId};
use crate::domain::time::Timestamp;

/// RFC 3339, in UTC, always with milliseconds: lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Appends one line, keys in a fixed order, absent values left out.
pub(super) fn write(buffer: &mut Vec<u8>, entry: &AuditEntry) {
    buffer.extend_from_slice(b"{\"timestamp\":\"");
    timestamp(buffer, entry.at);
    buffer.push(b'"');
    text(buffer, "request_id", entry.request_id.as_str());
    optional(buffer, "engine", entry.engine.as_ref().map(EngineId::as_str));
    optional(buffer, "key_id", entry.key_id.as_deref());
    optional(buffer, "peer", entry.peer.as_deref());
    optional(buffer, "tenant", entry.subject.tenant.as_ref().map(TenantId::as_str));
    optional(buffer, "user", entry.subject.user.as_ref().map(UserId::as_str));
    optional(buffer, "platform", entry.subject.platform.as_ref().map(PlatformId::as_str));
    optional(buffer, "target", entry.subject.target.as_deref());
    text(buffer, "action", entry.action.as_str());
    text(buffer, "result", entry.result.as_str());
    text(buffer, "reason", entry.reason);
    number(buffer, "latency_us", u64::try_from(entry.latency.as_micros()).unwrap_or(u64::MAX));
    if let Some(version) = entry.record_version {
        number(buffer, "record_version", version);
    }
    if let Some(items) = entry.items {
        number(buffer, "items", items);
    }
    buffer.extend_from_slice(b"}\n");
}

/// Appends the line that says that others are missing.
pub(super) fn write_dropped(buffer: &mut Vec<u8>, at: Timestamp, dropped: u64) {
    about_the_trail(buffer, at, AuditResult::Failed, "entries_dropped");
    number(buffer, "dropped", dropped);
    buffer.extend_from_slice(b"}\n");
}

/// Appends the line a trail begins with.
pub(super) fn write_opened(buffer: &mut Vec<u8>, at: Timestamp) {
    about_the_trail(buffer, at, AuditResult::Ok, "opened");
    buffer.extend_from_slice(b"}\n");
}

fn about_the_trail(buffer: &mut Vec<u8>, at: Timestamp, result: AuditResult, reason: &str) {
    buffer.extend_from_slice(b"{\"timestamp\":\"");
    timestamp(buffer, at);
    buffer.push(b'"');
    text(buffer, "action", "audit");
    text(buffer, "result", result.as_str());
    text(buffer, "reason", reason);
}

fn timestamp(buffer: &mut Vec<u8>, at: Timestamp) {
    let nanos = i128::from(at.unix_millis()) * 1_000_000;
    // Writing to a vector cannot fail, and every `Timestamp` has a date.
    if let Ok(date) = OffsetDateTime::from_unix_timestamp_nanos(nanos) {
        let _ = date.format_into(buffer, &TIMESTAMP);
    }
}

fn optional(buffer: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(buffer, key, value);
    }
}

/// Identifiers cannot hold what would have to be escaped; it is escaped all the same.
fn text(buffer: &mut Vec<u8>, key: &str, value: &str) {
    begin(buffer, key);
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        buffer.push(b'"');
        buffer.extend_from_slice(value.as_bytes());
        buffer.push(b'"');
    } else {
        let _ = serde_json::to_writer(buffer, value);
    }
}

fn number(buffer: &mut Vec<u8>, key: &str, value: u64) {
    begin(buffer, key);
    let _ = write!(buffer, "{value}");
}

fn begin(buffer: &mut Vec<u8>, key: &str) {
    buffer.extend_from_slice(b",\"");
    buffer.extend_from_slice(key.as_bytes());
    buffer.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{AuditAction, Subject};
    use crate::domain::method::Method;
    use std::time::Duration;

    #[test]
    fn a_line_is_one_json_object_with_everything_in_it() {
        let entry = AuditEntry {
            at: Timestamp::from_unix_millis(1_700_000_000_123),
            request_id: "r-1".parse().unwrap(),
            engine: Some("action".parse().unwrap()),
            key_id: Some("K".into()),
            peer: Some("127.0.0.1:1".into()),
            action: AuditAction::Call(Method::GetToken),
            subject: Subject {
                tenant: Some("acme".parse().unwrap()),
                user: Some("u1".parse().unwrap()),
                platform: Some("gmail".parse().unwrap()),
                target: Some("sync/4J7QX2M9ZK3T".into()),
            },
            result: AuditResult::Ok,
            reason: "",
            latency: Duration::from_micros(42),
            record_version: Some(7),
            items: Some(8),
        };
        let mut buffer = Vec::new();
        write(&mut buffer, &entry);
        let line: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": "2023-11-14T22:13:20.123Z", "request_id": "r-1", "engine": "action", "key_id": "K",
                "peer": "127.0.0.1:1", "tenant": "acme", "user": "u1", "platform": "gmail",
                "target": "sync/4J7QX2M9ZK3T", "action": "get",
                "result": "ok", "reason": "", "latency_us": 42, "record_version": 7, "items": 8
            })
        );
        assert!(buffer.ends_with(b"}\n"));
    }

    #[test]
    fn control_characters_cannot_break_a_line() {
        let mut buffer = Vec::new();
        text(&mut buffer, "k", "a\n\u{1b}[31m\"");
        assert_eq!(buffer, br#","k":"a\n\u001b[31m\"""#);
    }
}
