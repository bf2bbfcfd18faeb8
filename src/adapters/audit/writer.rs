//! What the thread does that writes the trail: it links lines, vouches for them now and then, closes segments, and knows
//! what could not be written yet.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::about::{self, Before};
use super::chain::Chain;
use super::note::TrailKeys;
use super::place::Place;
use super::segments::Segments;
use super::sync::{Syncer, Unsynced};
use super::syslog::Syslog;
use crate::domain::ports::Clock;
use crate::domain::time::Timestamp;

/// Where lines go.
pub(super) enum Sink {
    /// To somebody who collects them.
    Stream(Box<dyn Write + Send>),
    /// Into segments on disk.
    Trail(Segments),
}

/// How a trail is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment that has so many bytes is closed.
    pub segment_bytes: u64,
    /// One that has entries and is this old, too.
    pub segment_age: Duration,
    /// How many lines a note vouches for, at most 1,000.
    pub checkpoint_lines: u64,
    /// How long lines wait for a note, at most a minute.
    pub checkpoint_age: Duration,
}

/// Whoever has to be told that lines are written.
pub(super) struct Waiter {
    pub(super) done: oneshot::Sender<()>,
    /// Only when they are on disk.
    pub(super) disk: bool,
}

/// The writer's own.
pub(super) struct Writer {
    sink: Sink,
    chain: Chain,
    clock: Arc<dyn Clock>,
    limits: Limits,
    keys: Arc<OnceLock<TrailKeys>>,
    syslog: Option<Syslog>,
    syncer: Option<Syncer>,
    /// Lines that are linked, and how much of them is written.
    lines: Vec<u8>,
    written: usize,
    /// Lines that were written after their calls were refused.
    late: Option<(u64, u64)>,
    /// Entries that were never linked.
    dropped: u64,
    /// Lines since the last note, and when that was made.
    since: u64,
    noted: Option<(Timestamp, Instant)>,
    note: Option<String>,
    segment_began: Instant,
    has_entries: bool,
    looked_at_space: Option<Instant>,
    short_of_space: bool,
}

/// How often somebody looks how much of the disk is free.
const LOOK: Duration = Duration::from_secs(10);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1_024 * 1_024,
            segment_age: Duration::from_secs(3_600),
            checkpoint_lines: 1_000,
            checkpoint_age: Duration::from_secs(60),
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        (sink, chain): (Sink, Chain),
        clock: Arc<dyn Clock>,
        limits: Limits,
        keys: Arc<OnceLock<TrailKeys>>,
        (syslog, syncer): (Option<Syslog>, Option<Syncer>),
    ) -> Self {
        Self {
            sink,
            chain,
            clock,
            limits,
            keys,
            syslog,
            syncer,
            lines: Vec::new(),
            written: 0,
            late: None,
            dropped: 0,
            since: 0,
            noted: None,
            note: None,
            segment_began: Instant::now(),
            has_entries: false,
            looked_at_space: None,
            short_of_space: false,
        }
    }

    /// The vault starts.
    pub(super) fn begin(&mut self, env: &str, before: &Before) -> io::Result<()> {
        let (after, now) = (self.chain.head, self.clock.now());
        if now + Duration::from_secs(1) < self.chain.at {
            tracing::warn!(alarm = "audit_clock", last = %self.chain.at, "the clock is behind the last audit line");
        }
        self.chain.begin_boot(env);
        let opened = about::opened(&after, before, self.keys.get());
        self.chain.link(&mut self.lines, now, &opened);
        for unknown in &before.unknown {
            self.chain.link(&mut self.lines, now, &about::unknown(unknown));
        }
        self.since = 1 + before.unknown.len() as u64;
        self.vouch(now);
        self.look_at_space();
        self.write()?;
        self.give_to_disk(Vec::new());
        Ok(())
    }

    /// Writes entries, each ended by a line break. What could not be written goes before whatever comes next.
    pub(super) fn batch(&mut self, bodies: &[u8]) -> io::Result<()> {
        let each = || bodies.split(|byte| *byte == b'\n').filter(|body| !body.is_empty());
        if let Err(error) = self.write() {
            self.dropped = self.dropped.saturating_add(each().count() as u64);
            return Err(error);
        }
        let (now, first) = (self.clock.now(), self.chain.seq + 1);
        self.say_what_was_missed(now);
        for body in each() {
            self.add(now, body);
        }
        self.has_entries = true;
        let outcome = self.write();
        if outcome.is_err() {
            self.late = Some((self.late.map_or(first, |(from, _)| from), self.chain.seq));
        }
        outcome
    }

    /// Writes a line of its own.
    pub(super) fn say(&mut self, bodies: &[Vec<u8>]) -> io::Result<()> {
        self.write()?;
        let now = self.clock.now();
        for body in bodies {
            self.add(now, body);
        }
        self.write()
    }

    /// What is to be done now and then.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        self.write()?;
        let now = self.clock.now();
        self.say_what_was_missed(now);
        if self.noted.is_none_or(|(_, on)| on.elapsed() >= self.limits.checkpoint_age) {
            self.vouch(now);
        }
        self.write()?;
        if self.note.is_some() {
            self.give_to_disk(Vec::new());
        }
        self.look_at_space();
        self.rotate_if_due();
        Ok(())
    }

    /// The vault stops.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.write()?;
        let now = self.clock.now();
        self.say_what_was_missed(now);
        self.add(now, &about::ended());
        self.vouch(now);
        self.write()?;
        self.give_to_disk(Vec::new());
        Ok(())
    }

    /// Tells whoever waits that their lines are written, or will when they are on disk. Closes the segment if it is time.
    pub(super) fn tell(&mut self, waiters: &mut Vec<Waiter>) {
        let disk = self.syncer.is_some() && matches!(self.sink, Sink::Trail(_));
        let (on_disk, told): (Vec<_>, Vec<_>) = waiters.drain(..).partition(|waiter| disk && waiter.disk);
        for waiter in told {
            // Whoever gave up waiting has had its answer.
            let _ = waiter.done.send(());
        }
        if !on_disk.is_empty() || self.note.is_some() {
            self.give_to_disk(on_disk.into_iter().map(|waiter| waiter.done).collect());
        }
        self.rotate_if_due();
    }

    fn add(&mut self, now: Timestamp, body: &[u8]) {
        let at = self.chain.at.max(now);
        let due = |(noted, _): (Timestamp, Instant)| {
            self.since >= self.limits.checkpoint_lines || at.since(noted) > self.limits.checkpoint_age
        };
        if self.noted.is_none_or(due) {
            self.vouch(now);
        }
        self.chain.link(&mut self.lines, now, body);
        self.since += 1;
    }

    /// Signs what there is, if there are keys.
    fn vouch(&mut self, now: Timestamp) {
        let Some(keys) = self.keys.get() else { return };
        if self.noted.is_none() {
            self.keep_key(keys);
        }
        let (note, body) = about::checkpoint(&self.chain, now, keys);
        self.chain.link(&mut self.lines, now, &body);
        self.since = 0;
        self.noted = Some((self.chain.at, Instant::now()));
        self.note = Some(note.to_string());
    }

    /// Keeps the public key beside the trail, for whoever has no better source of it.
    fn keep_key(&self, keys: &TrailKeys) {
        if let Sink::Trail(segments) = &self.sink
            && let Err(error) = Place::replace(&segments.place().key(), &format!("{}\n", keys.public()))
        {
            tracing::warn!(%error, "the public key of the audit trail cannot be kept beside it");
        }
    }

    fn say_what_was_missed(&mut self, now: Timestamp) {
        if self.late.is_some() || self.dropped > 0 {
            let body = about::resumed(self.late.take(), std::mem::take(&mut self.dropped));
            self.add(now, &body);
        }
    }

    /// Entries that could not even be queued.
    pub(super) fn miss(&mut self, dropped: u64) {
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// Writes the lines that are linked, from where it was left.
    fn write(&mut self) -> io::Result<()> {
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::Stream(stream) => stream,
            Sink::Trail(segments) => segments,
        };
        while let Some(rest) = self.lines.get(self.written..).filter(|rest| !rest.is_empty()) {
            match sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.written > 0 {
            sink.flush()?;
            if let Some(syslog) = &mut self.syslog {
                syslog.send_all(&self.lines);
            }
            self.lines.clear();
            self.written = 0;
        }
        Ok(())
    }

    fn give_to_disk(&mut self, waiters: Vec<oneshot::Sender<()>>) {
        let note = self.note.take();
        if let (Sink::Trail(segments), Some(syncer)) = (&self.sink, &self.syncer) {
            let note = note.map(|note| (segments.place().latest(), note));
            syncer.give(Unsynced { file: segments.file(), waiters, note });
        }
    }

    fn rotate_if_due(&mut self) {
        let Sink::Trail(segments) = &self.sink else { return };
        let old = self.has_entries && self.segment_began.elapsed() >= self.limits.segment_age;
        if !self.lines.is_empty() || !old && segments.bytes() < self.limits.segment_bytes {
            return;
        }
        if let Err(error) = self.rotate() {
            // It goes on where it is, and is tried again with the next lines.
            tracing::error!(alarm = "audit_segment", %error, "an audit segment cannot be closed");
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        self.vouch(now);
        self.write()?;
        self.give_to_disk(Vec::new());
        let (mut chain, mut line) = (self.chain.clone(), Vec::new());
        chain.begin_segment();
        chain.link(&mut line, now, &about::segment(&self.chain.head));
        if let Sink::Trail(segments) = &mut self.sink {
            segments.rotate(&line, chain.seq)?;
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.send_all(&line);
        }
        self.chain = chain;
        self.since += 1;
        (self.segment_began, self.has_entries) = (Instant::now(), false);
        Ok(())
    }

    fn look_at_space(&mut self) {
        let Sink::Trail(segments) = &self.sink else { return };
        if self.looked_at_space.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked_at_space = Some(Instant::now());
        let short = segments.is_short_of_space();
        if short && !self.short_of_space {
            tracing::error!(alarm = "audit_space", "less than 1 GiB is free where the audit trail is written");
        }
        self.short_of_space = short;
    }
}
