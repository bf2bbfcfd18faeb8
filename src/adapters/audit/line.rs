//! What an audit line looks like. Written by hand into a buffer that is used again: it is on the path of every call.

use std::io::Write as _;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::domain::audit::AuditEntry;
use crate::domain::id::{EngineId, PlatformId, TenantId, UserId};
use crate::domain::spiffe::SpiffeId;
use crate::domain::time::Timestamp;

/// RFC 3339, in UTC, always with milliseconds: lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// How long a time is, as text.
pub(super) const TIMESTAMP_LENGTH: usize = 24;

/// Appends what a line says of a call, keys in a fixed order, absent values left out. What holds the lines together
/// stands before it and is not known yet.
pub(super) fn write(buffer: &mut Vec<u8>, entry: &AuditEntry) {
    text(buffer, "request_id", entry.request_id.as_str());
    optional(buffer, "engine", entry.engine.as_ref().map(EngineId::as_str));
    optional(buffer, "key_id", entry.key_id.as_deref());
    optional(buffer, "peer", entry.peer.as_deref());
    optional(buffer, "spiffe_id", entry.spiffe_id.as_ref().map(SpiffeId::as_str));
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
    if let Some(fingerprint) = entry.token_fp {
        begin(buffer, "token_fp");
        let _ = write!(buffer, "\"{fingerprint}\"");
    }
    buffer.extend_from_slice(b"}\n");
}

pub(super) fn timestamp(buffer: &mut Vec<u8>, at: Timestamp) {
    let nanos = i128::from(at.unix_millis()) * 1_000_000;
    // Writing to a vector cannot fail, and every `Timestamp` has a date.
    if let Ok(date) = OffsetDateTime::from_unix_timestamp_nanos(nanos) {
        let _ = date.format_into(buffer, &TIMESTAMP);
    }
}

/// The time a line shows.
pub(super) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let (pattern, bytes) = (b"0000-00-00T00:00:00.000Z", text.as_bytes());
    let fits = |(byte, wanted): (&u8, &u8)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    if bytes.len() != TIMESTAMP_LENGTH || !bytes.iter().zip(pattern).all(fits) {
        return None;
    }
    let field = |from: usize, to: usize| {
        let digits = bytes.get(from..to).unwrap_or_default();
        digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'))
    };
    let small = |value: i64| u8::try_from(value).unwrap_or(u8::MAX);
    let month = time::Month::try_from(small(field(5, 7))).ok()?;
    let year = i32::try_from(field(0, 4)).ok()?;
    let date = time::Date::from_calendar_date(year, month, small(field(8, 10))).ok()?;
    let (hour, minute, second) = (field(11, 13), field(14, 16), field(17, 19));
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i64::from(date.to_julian_day()) - i64::from(time::macros::date!(1970 - 01 - 01).to_julian_day());
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_unix_millis(seconds * 1_000 + field(20, 23)))
}

fn optional(buffer: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(buffer, key, value);
    }
}

/// Identifiers cannot hold what would have to be escaped; it is escaped all the same.
pub(super) fn text(buffer: &mut Vec<u8>, key: &str, value: &str) {
    begin(buffer, key);
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        buffer.push(b'"');
        buffer.extend_from_slice(value.as_bytes());
        buffer.push(b'"');
    } else {
        let _ = serde_json::to_writer(buffer, value);
    }
}

pub(super) fn number(buffer: &mut Vec<u8>, key: &str, value: u64) {
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
    use crate::domain::audit::{AuditAction, AuditResult, Fingerprint, Subject};
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
            spiffe_id: Some("spiffe://prod/ns/action".parse().unwrap()),
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
            token_fp: Some(Fingerprint([0xa0; 16])),
        };
        let mut buffer = vec![b'{', b'"', b'v', b'"', b':', b'1'];
        write(&mut buffer, &entry);
        let line: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "v": 1, "token_fp": "a0".repeat(16), "request_id": "r-1", "engine": "action", "key_id": "K",
                "peer": "127.0.0.1:1", "spiffe_id": "spiffe://prod/ns/action", "tenant": "acme", "user": "u1",
                "platform": "gmail", "target": "sync/4J7QX2M9ZK3T", "action": "get",
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

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for millis in [0, 1, 951_782_399_999, 1_700_000_000_123, 4_102_444_800_000, 253_402_300_799_000] {
            let (at, mut buffer) = (Timestamp::from_unix_millis(millis), Vec::new());
            timestamp(&mut buffer, at);
            assert_eq!(parse_timestamp(std::str::from_utf8(&buffer).unwrap()), Some(at));
        }
        for text in [
            "2023-11-14T22:13:20.12Z",
            "2023-02-30T00:00:00.000Z",
            "2023-11-14T24:00:00.000Z",
            "+023-11-14T22:13:20.123Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
