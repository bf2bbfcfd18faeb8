//! What can be done to a trail, done to one, and found by its number.

mod crashes;

use std::fs;
use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::adapters::audit::about::{self, About, CHECKPOINT, OPENED, SEGMENT};
use crate::adapters::audit::chain::{Chain, Head, Link};
use crate::adapters::audit::line::parse_timestamp;
use crate::adapters::audit::{AuditLog, Limits, Settings, Target, TrailKeys};
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::domain::audit::{AuditAction, AuditEntry, AuditResult, Subject};
use crate::domain::ports::AuditSink as _;
use crate::domain::time::Timestamp;

fn keys(seed: u8) -> TrailKeys {
    let key = |byte| Zeroizing::new([byte; 32]);
    TrailKeys::new(&"prod".parse().unwrap(), &key(seed), &key(seed))
}

fn entry(number: usize) -> AuditEntry {
    AuditEntry {
        at: Timestamp::EPOCH,
        request_id: format!("r-{number}").parse().unwrap(),
        engine: Some("action".parse().unwrap()),
        key_id: None,
        peer: None,
        spiffe_id: None,
        action: AuditAction::Refresh,
        subject: Subject { user: Some("u1".parse().unwrap()), ..Subject::default() },
        result: AuditResult::Ok,
        reason: "",
        latency: std::time::Duration::from_micros(7),
        record_version: None,
        items: None,
        token_fp: None,
    }
}

/// A trail on disk.
struct Trail {
    folder: TempDir,
    limits: Limits,
}

impl Trail {
    fn new() -> Self {
        let limits = Limits { checkpoint_lines: 10, segment_bytes: 9_000, ..Limits::default() };
        Self { folder: tempfile::tempdir().unwrap(), limits }
    }

    /// One with several segments and two starts, closed and unpacked: 120 entries.
    async fn written() -> Self {
        let trail = Self::new();
        trail.run(0..70).await;
        trail.run(70..120).await;
        assert!(trail.files().len() > 3);
        trail
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn open(&self) -> AuditLog {
        let target = Target::File(self.path());
        let settings = Settings { limits: self.limits, ..Settings::new(target, "prod".parse().unwrap()) };
        AuditLog::open(&settings, Some(keys(1)), Arc::new(SystemClock), &SystemRandom).unwrap()
    }

    /// A start that writes these entries and ends.
    async fn run(&self, numbers: std::ops::Range<usize>) {
        let log = self.open();
        for number in numbers {
            log.append(entry(number)).await.unwrap();
        }
    }

    /// Unpacks what is closed: easier to get at.
    fn unpack(&self) {
        let place = Place::of(&self.path());
        for segment in place.segments().unwrap().into_iter().filter(|segment| segment.packed) {
            let (mut lines, mut plain) = (Lines::open(&segment.path).unwrap(), Vec::new());
            while let Next::Line(line) = lines.next().unwrap() {
                plain.extend_from_slice(line);
                plain.push(b'\n');
            }
            fs::write(place.closed(segment.first), plain).unwrap();
            fs::remove_file(segment.path).unwrap();
        }
    }

    /// Its files, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        self.unpack();
        let place = Place::of(&self.path());
        let closed = place.segments().unwrap().into_iter().map(|segment| segment.path);
        closed.chain([place.active]).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.files().iter().flat_map(|file| lines_of(file)).collect()
    }

    /// Does something to the lines of the file in which this one is, which has this place there.
    fn alter(&self, seq: u64, change: impl FnOnce(&mut Vec<String>, usize)) {
        let files = self.files();
        let place = |file: &PathBuf| lines_of(file).iter().position(|line| seq_of(line) == seq);
        let (file, at) = files.iter().find_map(|file| place(file).map(|at| (file, at))).unwrap();
        let mut lines = lines_of(file);
        change(&mut lines, at);
        put(file, &lines);
    }

    /// Puts other lines in place of all, in one file.
    fn replace(&self, lines: &[String]) {
        let files = self.files();
        for file in &files[..files.len() - 1] {
            fs::remove_file(file).unwrap();
        }
        put(&self.path(), lines);
    }

    fn verdict(&self) -> Verdict {
        self.verdict_knowing(&Verification { keys: vec![keys(1).public().clone()], ..Verification::default() })
    }

    fn verdict_knowing(&self, knowing: &Verification) -> Verdict {
        let mut reports = verify_trail(&self.path(), knowing, &mut |_, _| ()).unwrap();
        assert_eq!(reports.len(), 1);
        reports.remove(0).verdict
    }

    #[track_caller]
    fn assert_bad(&self, seq: u64, kind: FaultKind) {
        let Verdict::Tampered(fault) = self.verdict() else { panic!("{:?}", self.verdict()) };
        assert_eq!((fault.seq, fault.kind), (seq, kind), "{fault}");
    }

    fn latest(&self) -> Note {
        Note::parse(&fs::read_to_string(Place::of(&self.path()).latest()).unwrap()).unwrap()
    }
}

fn lines_of(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn put(file: &Path, lines: &[String]) {
    fs::write(file, lines.join("\n") + "\n").unwrap();
}

fn seq_of(line: &str) -> u64 {
    Link::parse(line.as_bytes()).unwrap().seq
}

fn reason_of(text: &str) -> String {
    let link = Link::parse(text.as_bytes()).unwrap();
    let about = link.is_about_the_trail().then(|| About::parse(link.rest)).flatten();
    about.map_or_else(String::new, |about| about.reason)
}

/// Links lines anew, as whoever has written them could have, and signs them with these keys. `change` may alter what is
/// said and when, and say that a line is left out.
fn link_anew(
    lines: &[String],
    keys: &TrailKeys,
    mut change: impl FnMut(u64, &mut Timestamp, &mut String) -> bool,
) -> Vec<String> {
    let first = Link::parse(lines[0].as_bytes()).unwrap();
    let (mut chain, mut out) = (Chain::new(first.env, first.instance.to_owned()), Vec::new());
    for line in lines {
        let link = Link::parse(line.as_bytes()).unwrap();
        let (mut at, mut rest) = (parse_timestamp(link.timestamp).unwrap(), link.rest.to_owned());
        if !change(link.seq, &mut at, &mut rest) {
            continue;
        }
        let reason = reason_of(line);
        if matches!(reason.as_str(), OPENED | SEGMENT) {
            let after = About::parse(link.rest).unwrap().after;
            rest = rest.replace(&after, &chain.head.to_string());
            if reason == OPENED { chain.begin_boot("prod") } else { chain.begin_segment() }
        }
        if reason == CHECKPOINT {
            rest = String::from_utf8(about::checkpoint(&chain, at, keys).1).unwrap();
        }
        chain.at = chain.at.min(at);
        chain.link(&mut out, at, rest.as_bytes());
    }
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

/// The number of the first line from `from` on that is a note.
fn note_after(lines: &[String], from: u64) -> u64 {
    lines
        .iter()
        .map(|line| (seq_of(line), line))
        .find(|(seq, line)| *seq > from && reason_of(line) == CHECKPOINT)
        .unwrap()
        .0
}

#[tokio::test]
async fn what_was_written_is_whole_over_segments_and_starts() {
    let trail = Trail::written().await;
    assert_eq!(trail.verdict(), Verdict::Whole);
    let lines = trail.lines();
    assert_eq!(lines, link_anew(&lines, &keys(1), |_, _, _| true), "the tests know how lines are linked");
}

#[tokio::test]
async fn an_edited_line_is_found() {
    for seq in [2, 17, 40, 41, 42, 90] {
        let trail = Trail::written().await;
        trail.alter(seq, |lines, at| {
            let edited = lines[at].replace("\"u1\"", "\"u2\"").replace("\"ok\"", "\"failed\"");
            assert_ne!(lines[at], edited);
            lines[at] = edited;
        });
        let Verdict::Tampered(fault) = trail.verdict() else { panic!("{seq}") };
        assert_eq!(fault.seq, seq, "{fault}");
    }
}

#[tokio::test]
async fn of_edited_lines_that_follow_each_other_the_first_is_named() {
    let trail = Trail::written().await;
    for seq in [24, 25, 26] {
        trail.alter(seq, |lines, at| lines[at] = lines[at].replace("\"u1\"", "\"u2\""));
    }
    let Verdict::Tampered(fault) = trail.verdict() else { panic!("not found") };
    let first = (24..100).find(|seq| trail.lines().iter().any(|line| seq_of(line) == *seq && line.contains("\"u2\"")));
    assert_eq!(Some(fault.seq), first, "{fault}");
}

#[tokio::test]
async fn a_line_that_is_told_to_follow_another_is_found() {
    let trail = Trail::written().await;
    let other = Head([7; 32]).to_string();
    trail.alter(26, |lines, at| {
        let prev = Link::parse(lines[at].as_bytes()).unwrap().prev.to_string();
        lines[at] = lines[at].replace(&prev, &other);
    });
    trail.assert_bad(26, FaultKind::Altered);
    let trail = Trail::written().await;
    trail.alter(26, |lines, at| {
        let prev = Link::parse(lines[at].as_bytes()).unwrap().prev.to_string();
        lines.insert(at, lines[at].replace(&prev, &other).replace("\"ok\"", "\"failed\""));
    });
    trail.assert_bad(26, FaultKind::Altered);
}

#[tokio::test]
async fn a_deleted_line_is_found() {
    let trail = Trail::written().await;
    trail.alter(30, |lines, at| drop(lines.remove(at)));
    trail.assert_bad(30, FaultKind::Missing);
}

#[tokio::test]
async fn an_inserted_line_is_found() {
    let trail = Trail::written().await;
    trail.alter(30, |lines, at| {
        let link = Link::parse(lines[at].as_bytes()).unwrap();
        let (mut chain, mut out) = (Chain::ending_with(&link), Vec::new());
        chain.link(&mut out, Timestamp::EPOCH, br#","request_id":"r-x"}"#);
        lines.insert(at + 1, String::from_utf8(out).unwrap().trim_end().to_owned());
    });
    trail.assert_bad(31, FaultKind::Repeated);
}

#[tokio::test]
async fn swapped_lines_are_found() {
    let trail = Trail::written().await;
    trail.alter(26, |lines, at| lines.swap(at, at + 1));
    trail.assert_bad(26, FaultKind::Missing);
}

#[tokio::test]
async fn a_tail_that_is_cut_off_is_found() {
    let trail = Trail::written().await;
    let last = trail.lines().len() as u64;
    let mut lines = lines_of(&trail.path());
    assert!(lines.len() > 3);
    lines.truncate(lines.len() - 3);
    put(&trail.path(), &lines);
    trail.assert_bad(last - 2, FaultKind::TakenAway);
    // It stays found when the vault goes on, and for whoever has only a note that was kept elsewhere.
    trail.run(200..205).await;
    trail.assert_bad(last - 2, FaultKind::TakenAway);
}

#[tokio::test]
async fn a_tail_that_is_cut_off_with_the_note_about_it_is_found_by_a_note_kept_elsewhere() {
    let trail = Trail::written().await;
    let (anchor, last) = (trail.latest(), trail.lines().len() as u64);
    fs::remove_file(Place::of(&trail.path()).latest()).unwrap();
    let mut lines = lines_of(&trail.path());
    lines.truncate(lines.len() - 3);
    put(&trail.path(), &lines);
    assert!(matches!(trail.verdict(), Verdict::Incomplete(_)));
    let knowing = Verification { keys: vec![keys(1).public().clone()], anchors: vec![anchor], from: None };
    let Verdict::Tampered(fault) = trail.verdict_knowing(&knowing) else { panic!("not found") };
    assert_eq!((fault.seq, fault.kind), (last - 2, FaultKind::TakenAway));
}

#[tokio::test]
async fn a_segment_that_is_cut_out_is_found() {
    let trail = Trail::written().await;
    let files = trail.files();
    let first = seq_of(&lines_of(&files[1])[0]);
    fs::remove_file(&files[1]).unwrap();
    trail.assert_bad(first, FaultKind::Missing);
}

#[tokio::test]
async fn a_segment_that_is_played_again_is_found() {
    let trail = Trail::written().await;
    let files = trail.files();
    let first = seq_of(&lines_of(&files[2])[0]);
    fs::copy(&files[1], &files[2]).unwrap();
    trail.assert_bad(first, FaultKind::Missing);
}

#[tokio::test]
async fn a_fork_is_found() {
    let trail = Trail::written().await;
    // Somebody sets the folder back to what it was, and the vault goes on from there in another way.
    let before: Vec<_> = trail.files().into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    trail.run(300..340).await;
    trail.unpack();
    let (told, latest) = (trail.latest(), Place::of(&trail.path()).latest());
    for file in trail.files() {
        fs::remove_file(file).unwrap();
    }
    for (bytes, file) in before {
        fs::write(file, bytes).unwrap();
    }
    fs::remove_file(latest).unwrap();
    trail.run(400..460).await;
    trail.unpack();
    assert_eq!(trail.verdict(), Verdict::Whole);
    let size = told.size;
    let knowing = Verification { keys: vec![keys(1).public().clone()], anchors: vec![told], from: None };
    let Verdict::Tampered(fault) = trail.verdict_knowing(&knowing) else { panic!("not found") };
    assert_eq!((fault.seq, fault.kind), (size, FaultKind::Forked));
}

#[tokio::test]
async fn a_trail_signed_again_with_another_key_is_found() {
    let trail = Trail::written().await;
    let lines = trail.lines();
    let mut edited = lines.clone();
    edited[25] = edited[25].replace("\"u1\"", "\"u2\"");
    assert_ne!(edited, lines);
    trail.replace(&link_tail(&edited, 25));
    trail.assert_bad(note_after(&lines, 26), FaultKind::NotVouchedFor);
}

/// Links the lines from `from` on anew behind those before, and signs them with the key of somebody else.
fn link_tail(lines: &[String], from: usize) -> Vec<String> {
    let link = Link::parse(lines[from - 1].as_bytes()).unwrap();
    let (mut chain, mut out) = (Chain::ending_with(&link), Vec::new());
    for line in &lines[from..] {
        let link = Link::parse(line.as_bytes()).unwrap();
        let (at, mut rest) = (parse_timestamp(link.timestamp).unwrap(), link.rest.to_owned());
        match reason_of(line).as_str() {
            reason @ (OPENED | SEGMENT) => {
                rest = rest.replace(&About::parse(link.rest).unwrap().after, &chain.head.to_string());
                if reason == OPENED { chain.begin_boot("prod") } else { chain.begin_segment() }
            }
            CHECKPOINT => rest = String::from_utf8(about::checkpoint(&chain, at, &keys(2)).1).unwrap(),
            _ => {}
        }
        chain.link(&mut out, at, rest.as_bytes());
    }
    let tail = String::from_utf8(out).unwrap();
    lines[..from].iter().map(String::as_str).chain(tail.lines()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_clock_set_back_is_found_even_if_whoever_has_the_key_wrote_it() {
    let trail = Trail::written().await;
    let back = link_anew(&trail.lines(), &keys(1), |seq, at, _| {
        if seq == 30 {
            *at = Timestamp::from_unix_seconds(at.unix_seconds() - 3_600);
        }
        true
    });
    trail.replace(&back);
    trail.assert_bad(30, FaultKind::ClockBack);
}

#[tokio::test]
async fn a_dropped_note_is_found() {
    let trail = Trail::written().await;
    let note = note_after(&trail.lines(), 20);
    trail.alter(note, |lines, at| drop(lines.remove(at)));
    trail.assert_bad(note, FaultKind::Missing);
}

#[tokio::test]
async fn notes_that_were_never_made_are_missed_after_a_thousand_lines() {
    let mut trail = Trail::new();
    trail.limits = Limits::default();
    let log = trail.open();
    join_all((0..2_500).map(|number| log.append(entry(number)))).await;
    drop(log);
    assert_eq!(trail.verdict(), Verdict::Whole);
    // The key holder leaves out every note but the first.
    let lines = trail.lines();
    let (first, reasons): (u64, Vec<_>) = (note_after(&lines, 0), lines.iter().map(|line| reason_of(line)).collect());
    let bare = link_anew(&lines, &keys(1), |seq, _, _| {
        seq <= first || reasons[usize::try_from(seq).unwrap() - 1] != CHECKPOINT
    });
    trail.replace(&bare);
    trail.assert_bad(first + 1_001, FaultKind::NotVouchedFor);
}

#[tokio::test]
async fn lines_of_another_instance_are_found() {
    let (trail, other) = (Trail::written().await, Trail::written().await);
    let foreign: Vec<String> = other.lines().into_iter().filter(|line| (26..29).contains(&seq_of(line))).collect();
    trail.alter(26, |lines, at| drop(lines.splice(at..at + 3, foreign)));
    trail.assert_bad(26, FaultKind::Foreign);
}

#[tokio::test]
async fn what_is_no_line_is_found() {
    let trail = Trail::written().await;
    trail.alter(30, |lines, at| lines[at] = "{}".to_owned());
    trail.assert_bad(30, FaultKind::NotALine);
}

#[tokio::test]
async fn an_intact_trail_never_raises_an_alarm_however_long() {
    let lines = std::env::var("VAULT_TEST_AUDIT_LINES").map_or(20_000, |lines| lines.parse().unwrap());
    let mut trail = Trail::new();
    trail.limits = Limits { segment_bytes: 4 * 1_024 * 1_024, ..Limits::default() };
    let (starts, batch) = (4, 500);
    for start in 0..starts {
        let log = trail.open();
        for _ in 0..lines / starts / batch {
            let written = join_all((0..batch).map(|number| log.append(entry(start * batch + number)))).await;
            assert!(written.into_iter().all(|written| written.is_ok()));
        }
    }
    let knowing = Verification { keys: vec![keys(1).public().clone()], ..Verification::default() };
    let began = tokio::time::Instant::now();
    let report = verify_trail(&trail.path(), &knowing, &mut |_, _| ()).unwrap().remove(0);
    let rate = report.lines * 1_000 / u64::try_from(began.elapsed().as_millis()).unwrap().max(1);
    println!(
        "{} lines in {} files verified, {rate} a second",
        report.lines,
        Place::of(&trail.path()).segments().unwrap().len() + 1
    );
    assert_eq!(report.verdict, Verdict::Whole);
    assert!(report.lines >= lines as u64);
}
