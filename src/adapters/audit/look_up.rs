//! Looking events up in a trail. Every line is looked at; only those that may be meant are taken apart.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::chain::Link;
use super::line::{parse_timestamp, timestamp};
use super::place::Place;
use super::read::{Lines, Next, Source, sources};
use crate::domain::id::{EngineId, PlatformId, RequestId, TenantId, UserId};
use crate::domain::ports::{AuditReader, AuditUnreadable};
use crate::domain::time::Timestamp;
use crate::domain::trail::{TrailEvent, TrailFilter, TrailOrder, TrailPage, TrailPlace};

/// The trail at a path, and those of whoever found it locked, one after the other.
#[derive(Debug, Clone)]
pub struct TrailReader {
    path: PathBuf,
}

/// A filter as it is compared with lines.
struct Sieve {
    /// Fields as they stand in a line that is meant.
    fields: Vec<String>,
    since: Option<String>,
    until: Option<String>,
}

/// What a line says besides what holds it in its place.
#[derive(Deserialize)]
struct Said {
    request_id: Option<String>,
    engine: Option<String>,
    key_id: Option<String>,
    peer: Option<String>,
    tenant: Option<String>,
    user: Option<String>,
    platform: Option<String>,
    #[serde(default)]
    action: String,
    #[serde(default)]
    result: String,
    #[serde(default)]
    reason: String,
    record_version: Option<u64>,
    token_fp: Option<String>,
}

/// Where a search stands.
struct Search<'a> {
    sieve: &'a Sieve,
    limit: usize,
    trail: u32,
    page: TrailPage,
    /// Lines that may still be looked at for this page.
    left: usize,
}

/// Lines looked at for one page, about: a segment that was begun is looked at to its end.
const MOST_LINES: usize = 200_000;

// === impl TrailReader ===

impl TrailReader {
    /// The trail whose active file is, or was, there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads a page, on this thread.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read(
        &self,
        filter: &TrailFilter,
        order: TrailOrder,
        from: Option<TrailPlace>,
        limit: usize,
    ) -> io::Result<TrailPage> {
        let (places, sieve) = (Place::all(&self.path), Sieve::of(filter));
        let begin = usize::try_from(from.map_or(0, |from| from.trail)).unwrap_or(usize::MAX);
        let (page, left) = (TrailPage::default(), MOST_LINES);
        let mut search = Search { sieve: &sieve, limit, trail: 0, page, left };
        for (number, place) in places.iter().enumerate().skip(begin) {
            search.trail = u32::try_from(number).unwrap_or(u32::MAX);
            let from = from.filter(|from| from.trail == search.trail).map(|from| from.seq);
            let files = sources(place)?;
            let stopped = match order {
                TrailOrder::OldestFirst => search.forwards(files, from.unwrap_or(0))?,
                TrailOrder::NewestFirst => search.backwards(files, from.unwrap_or(u64::MAX))?,
            };
            if let Some(seq) = stopped {
                search.page.next = Some(TrailPlace { trail: search.trail, seq });
                break;
            }
        }
        Ok(search.page)
    }
}

#[async_trait]
impl AuditReader for TrailReader {
    async fn page(
        &self,
        filter: TrailFilter,
        order: TrailOrder,
        from: Option<TrailPlace>,
        limit: usize,
    ) -> Result<TrailPage, AuditUnreadable> {
        let reader = self.clone();
        let read = tokio::task::spawn_blocking(move || reader.read(&filter, order, from, limit)).await;
        read.map_err(|error| AuditUnreadable(Arc::new(error)))?.map_err(|error| AuditUnreadable(Arc::new(error)))
    }
}

// === impl Search ===

impl Search<'_> {
    /// Looks at what comes after a line; where it stopped, if it did before the end.
    fn forwards(&mut self, files: Vec<Source>, after: u64) -> io::Result<Option<u64>> {
        let last = files.iter().rposition(|file| file.first().is_some_and(|first| first <= after.saturating_add(1)));
        for file in files.into_iter().skip(last.unwrap_or(0)) {
            let mut lines = file.open()?;
            while let Some(line) = next_line(&mut lines)? {
                let Some(link) = Link::parse(line).filter(|link| link.seq > after) else { continue };
                if self.sieve.is_past(&link) {
                    return Ok(None);
                }
                self.left = self.left.saturating_sub(1);
                if let Some(event) = self.sieve.catch(&link, line) {
                    self.page.events.push(event);
                }
                if self.page.events.len() >= self.limit || self.left == 0 {
                    return Ok(Some(link.seq));
                }
            }
        }
        Ok(None)
    }

    /// Looks at what comes before a line, one file after the other: within a file lines can only be read forwards, so the
    /// last of those that pass are kept.
    fn backwards(&mut self, files: Vec<Source>, before: u64) -> io::Result<Option<u64>> {
        let files: Vec<Source> =
            files.into_iter().filter(|file| file.first().is_some_and(|first| first < before)).collect();
        for file in files.into_iter().rev() {
            let (first, room) = (file.first().unwrap_or(0), self.limit.saturating_sub(self.page.events.len()));
            let (mut kept, mut lines) = (VecDeque::new(), file.open()?);
            let mut passed_over = false;
            let mut begins_before = false;
            while let Some(line) = next_line(&mut lines)? {
                let Some(link) = Link::parse(line) else { continue };
                if link.seq >= before {
                    break;
                }
                begins_before |= self.sieve.is_before(&link);
                self.left = self.left.saturating_sub(1);
                if let Some(event) = self.sieve.catch(&link, line) {
                    kept.push_back(event);
                    if kept.len() > room {
                        kept.pop_front();
                        passed_over = true;
                    }
                }
            }
            let full = kept.len() == room;
            let earliest = kept.front().map_or(first, |event| event.seq);
            self.page.events.extend(kept.into_iter().rev());
            if full {
                return Ok((passed_over || earliest > 1).then_some(earliest));
            }
            if begins_before {
                return Ok(None);
            }
            if self.left == 0 && first > 1 {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }
}

/// The next whole line.
fn next_line(lines: &mut Lines) -> io::Result<Option<&[u8]>> {
    match lines.next()? {
        Next::Line(line) => Ok(Some(line)),
        Next::Torn(_) | Next::End | Next::TooLong => Ok(None),
    }
}

// === impl Sieve ===

impl Sieve {
    fn of(filter: &TrailFilter) -> Self {
        let TrailFilter { tenant, user, platform, engine, action, result, request, token, since, until } = filter;
        let token = token.map(|token| token.to_string());
        let wanted = [
            ("tenant", tenant.as_ref().map(TenantId::as_str)),
            ("user", user.as_ref().map(UserId::as_str)),
            ("platform", platform.as_ref().map(PlatformId::as_str)),
            ("engine", engine.as_ref().map(EngineId::as_str)),
            ("action", action.as_deref()),
            ("result", result.as_deref()),
            ("request_id", request.as_ref().map(RequestId::as_str)),
            ("token_fp", token.as_deref()),
        ];
        let field = |(key, value): (&str, Option<&str>)| {
            // As it is written: a quote in a value is not one in a line.
            value.map(|value| format!(",\"{key}\":{}", serde_json::Value::from(value)))
        };
        let text = |at: Timestamp| {
            let mut text = Vec::new();
            timestamp(&mut text, at);
            String::from_utf8_lossy(&text).into_owned()
        };
        Self { fields: wanted.into_iter().filter_map(field).collect(), since: since.map(text), until: until.map(text) }
    }

    /// Whether no later line can be meant.
    fn is_past(&self, link: &Link<'_>) -> bool {
        self.until.as_deref().is_some_and(|until| link.timestamp >= until)
    }

    /// Whether no earlier line can be meant.
    fn is_before(&self, link: &Link<'_>) -> bool {
        self.since.as_deref().is_some_and(|since| link.timestamp < since)
    }

    /// What a line says, if it is meant.
    fn catch(&self, link: &Link<'_>, whole: &[u8]) -> Option<TrailEvent> {
        // Quotes are escaped inside of values, so a field that is found is one.
        let meant = self.fields.iter().all(|field| link.rest.contains(field.as_str()));
        if !meant || self.is_past(link) || self.is_before(link) {
            return None;
        }
        let fields = link.rest.strip_prefix(',')?;
        let said: Said = serde_json::from_str(&format!("{{{fields}")).ok()?;
        Some(TrailEvent {
            seq: link.seq,
            instance: link.instance.to_owned(),
            at: parse_timestamp(link.timestamp)?,
            request_id: said.request_id,
            engine: said.engine,
            key_id: said.key_id,
            peer: said.peer,
            tenant: said.tenant,
            user: said.user,
            platform: said.platform,
            action: said.action,
            result: said.result,
            reason: said.reason,
            record_version: said.record_version,
            token_fp: said.token_fp,
            line: String::from_utf8_lossy(whole).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tempfile::TempDir;

    use crate::adapters::audit::{AuditLog, Limits, Settings, Target};
    use crate::adapters::system::{SystemClock, SystemRandom};
    use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
    use crate::domain::ports::AuditSink as _;

    const ENTRIES: usize = 300;

    fn entry(number: usize) -> AuditEntry {
        AuditEntry {
            at: Timestamp::EPOCH,
            request_id: format!("r-{number}").parse().unwrap(),
            engine: Some("action".parse().unwrap()),
            key_id: None,
            peer: None,
            spiffe_id: None,
            action: AuditAction::Refresh,
            subject: Subject { user: Some(format!("u{}", number % 7).parse().unwrap()), ..Subject::default() },
            result: if number.is_multiple_of(2) { AuditResult::Ok } else { AuditResult::Failed },
            reason: "",
            latency: Duration::ZERO,
            record_version: None,
            items: None,
            token_fp: None,
        }
    }

    async fn trail() -> (TempDir, TrailReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let limits = Limits { segment_bytes: 9_000, ..Limits::default() };
        let target = Target::File(path.clone());
        let settings = Settings { limits, ..Settings::new(target, "dev".parse().unwrap()) };
        let log = AuditLog::open(&settings, None, Arc::new(SystemClock), &SystemRandom).unwrap();
        for number in 0..ENTRIES {
            log.append(entry(number)).await.unwrap();
        }
        drop(log);
        assert!(Place::of(&path).segments().unwrap().len() > 5);
        (folder, TrailReader::new(path))
    }

    async fn all(reader: &TrailReader, filter: &TrailFilter, order: TrailOrder, limit: usize) -> Vec<String> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = reader.page(filter.clone(), order, from, limit).await.unwrap();
            assert!(page.events.len() <= limit);
            found.extend(page.events.into_iter().filter_map(|event| event.request_id));
            from = page.next;
            if from.is_none() {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn pages_of_any_size_tell_every_event_once_in_either_order() {
        let (_folder, reader) = trail().await;
        let mut expected: Vec<String> = (0..ENTRIES).map(|number| format!("r-{number}")).collect();
        let any = TrailFilter::default();
        for limit in [1, 7, 64, 1_000] {
            assert_eq!(all(&reader, &any, TrailOrder::OldestFirst, limit).await, expected, "{limit}");
        }
        expected.reverse();
        for limit in [1, 7, 64, 1_000] {
            assert_eq!(all(&reader, &any, TrailOrder::NewestFirst, limit).await, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn a_filter_lets_through_what_has_all_of_it() {
        let (_folder, reader) = trail().await;
        let filter = TrailFilter {
            user: Some("u3".parse().unwrap()),
            result: Some("ok".to_owned()),
            engine: Some("action".parse().unwrap()),
            ..TrailFilter::default()
        };
        let expected: Vec<_> = (0..ENTRIES).filter(|n| n % 7 == 3 && n % 2 == 0).map(|n| format!("r-{n}")).collect();
        assert_eq!(all(&reader, &filter, TrailOrder::OldestFirst, 5).await, expected);
        let other = TrailFilter { platform: Some("gmail".parse().unwrap()), ..filter.clone() };
        assert!(all(&reader, &other, TrailOrder::NewestFirst, 5).await.is_empty());
        // A part of a name is another name.
        let part = TrailFilter { user: Some("u".parse().unwrap()), ..TrailFilter::default() };
        assert!(all(&reader, &part, TrailOrder::OldestFirst, 5).await.is_empty());
        let one = TrailFilter { request: Some("r-42".parse().unwrap()), ..TrailFilter::default() };
        assert_eq!(all(&reader, &one, TrailOrder::NewestFirst, 5).await, ["r-42"]);
    }

    #[tokio::test]
    async fn a_time_range_has_its_beginning_and_not_its_end() {
        let (_folder, reader) = trail().await;
        let one = TrailFilter { request: Some("r-100".parse().unwrap()), ..TrailFilter::default() };
        let page = reader.read(&one, TrailOrder::OldestFirst, None, 1).unwrap();
        let at = page.events[0].at;
        let since = TrailFilter { since: Some(at), ..TrailFilter::default() };
        let until = TrailFilter { until: Some(at), ..TrailFilter::default() };
        for order in [TrailOrder::OldestFirst, TrailOrder::NewestFirst] {
            let (after, before) = (all(&reader, &since, order, 50).await, all(&reader, &until, order, 50).await);
            assert!(after.contains(&"r-100".to_owned()) && !before.contains(&"r-100".to_owned()));
            assert_eq!(after.len() + before.len(), ENTRIES);
        }
    }
}
