//! One walk over a trail, line by line, with what is known so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Fault, FaultKind, Report, Verdict};
use crate::adapters::audit::about::{About, CHECKPOINT, CLOSED, OPENED, SEGMENT, checkpoint_line};
use crate::adapters::audit::chain::{Head, Link};
use crate::adapters::audit::line::parse_timestamp;
use crate::adapters::audit::note::{Note, PublicKey, origin};
use crate::domain::time::Timestamp;

/// How far it is.
pub(super) struct Walk {
    keys: Vec<PublicKey>,
    /// Notes from elsewhere that one of the keys signed, by the line they end with.
    anchors: BTreeMap<u64, Vec<Note>>,
    refused_anchors: usize,
    from: Option<u64>,
    first: Option<u64>,
    seq: u64,
    head: Head,
    timestamp: String,
    env: String,
    instance: String,
    boot: u64,
    /// Whether this start signs what it writes, and when it last did.
    signs: bool,
    noted: Option<Timestamp>,
    /// Lines since then.
    since: u64,
    /// The reasons of the last two lines, if they are about the trail.
    reasons: [String; 2],
    lines: u64,
    boots: u64,
    notes: u64,
    signed_to: u64,
    at: (PathBuf, u64),
    remarks: Vec<String>,
    /// The last line has no line break.
    pub(super) torn: bool,
}

/// What a line is.
pub(super) enum Step {
    /// As it was.
    Good,
    /// Not.
    Bad(Fault),
    /// Either this one or the one before is not: the next one tells.
    Unclear,
}

/// What may stand between two notes: that is how the vault writes them.
const MOST_LINES: u64 = 1_000;
const LONGEST: Duration = Duration::from_secs(60);
/// A start that says nothing for so long was stopped, or something was taken from it.
const SILENCE: Duration = Duration::from_secs(120);
/// Remarks that are kept.
const MOST_REMARKS: usize = 50;

// === impl Walk ===

impl Walk {
    pub(super) fn new(keys: Vec<PublicKey>, anchors: Vec<Note>, from: Option<u64>) -> Self {
        let (given, mut signed) = (anchors.len(), BTreeMap::<u64, Vec<Note>>::new());
        for note in anchors.into_iter().filter(|note| note.is_signed_by(&keys)) {
            signed.entry(note.size).or_default().push(note);
        }
        let refused_anchors = given - signed.values().map(Vec::len).sum::<usize>();
        Self {
            keys,
            anchors: signed,
            refused_anchors,
            from,
            first: None,
            seq: 0,
            head: Head::default(),
            timestamp: String::new(),
            env: String::new(),
            instance: String::new(),
            boot: 0,
            signs: false,
            noted: None,
            since: 0,
            reasons: Default::default(),
            lines: 0,
            boots: 0,
            notes: 0,
            signed_to: 0,
            at: (PathBuf::new(), 0),
            remarks: Vec::new(),
            torn: false,
        }
    }

    /// The number the next line has to have.
    pub(super) fn expected(&self) -> u64 {
        if self.first.is_some() { self.seq.saturating_add(1) } else { self.from.unwrap_or(1) }
    }

    pub(super) fn step(&mut self, bytes: &[u8], at: (&Path, u64)) -> Step {
        let bad = |seq, kind| Step::Bad(Fault::at(seq, kind, at));
        let Some(link) = Link::parse(bytes) else { return bad(self.expected(), FaultKind::NotALine) };
        if self.from.is_some_and(|from| self.first.is_none() && link.seq < from) {
            return Step::Good;
        }
        let about = link.is_about_the_trail().then(|| About::parse(link.rest));
        let Some(about) = about.map_or(Some(None), |about| about.map(Some)) else {
            return bad(link.seq, FaultKind::Altered);
        };
        let reason = about.as_ref().map_or("", |about| about.reason.as_str());
        let begins = matches!(reason, OPENED | SEGMENT);
        if self.first.is_none() {
            self.start(&link, about.as_ref().filter(|_| begins));
        }
        if link.instance != self.instance {
            return bad(self.expected(), FaultKind::Foreign);
        }
        if link.seq != self.expected() {
            if link.seq == self.seq {
                return bad(link.seq, FaultKind::Repeated);
            }
            let taken = about.as_ref().is_some_and(|about| about.lost_from.is_some());
            return bad(self.expected(), if taken { FaultKind::TakenAway } else { FaultKind::Missing });
        }
        if let Some(kind) = self.misplaced(&link, reason) {
            return bad(link.seq, kind);
        }
        let prev = if begins { self.head.base(link.env, link.instance, link.boot) } else { self.head };
        if link.prev != prev {
            return Step::Unclear;
        }
        if link.timestamp < self.timestamp.as_str() {
            return bad(link.seq, FaultKind::ClockBack);
        }
        let Some(time) = parse_timestamp(link.timestamp) else { return bad(link.seq, FaultKind::NotALine) };
        let vouched = match (&about, reason) {
            (Some(about), CHECKPOINT) => self.vouched(&link, about, time),
            _ => !self.signs || self.is_in_time(time, reason == OPENED),
        };
        if !vouched {
            return bad(link.seq, FaultKind::NotVouchedFor);
        }
        self.go_on(&link, time, about.as_ref(), at);
        let forked = self.anchors.get(&self.seq).into_iter().flatten().any(|note| self.contradicts(note));
        if forked { bad(self.seq, FaultKind::Forked) } else { Step::Good }
    }

    /// The first line there is. What stood before it is what it says stood there.
    fn start(&mut self, link: &Link<'_>, begins: Option<&About>) {
        self.first = Some(link.seq);
        self.seq = link.seq.saturating_sub(1);
        (self.env, self.instance, self.boot) = (link.env.to_owned(), link.instance.to_owned(), link.boot);
        let opens = begins.is_some_and(|about| about.reason == OPENED);
        if opens {
            self.boot = self.boot.saturating_sub(1);
        }
        self.head = match begins {
            Some(about) => Head::parse(&about.after).unwrap_or_default(),
            None => link.prev,
        };
        self.timestamp.clear();
        // Where the trail is read from its middle, what signs it is known from the first note on.
        self.since = 0;
    }

    fn misplaced(&self, link: &Link<'_>, reason: &str) -> Option<FaultKind> {
        let follows = match reason {
            OPENED => self.boot.checked_add(1) == Some(link.boot),
            _ => link.boot == self.boot && link.env == self.env,
        };
        (!follows).then_some(FaultKind::OutOfOrder)
    }

    /// Whether a note is one, and fits what stands before it.
    fn vouched(&mut self, link: &Link<'_>, about: &About, time: Timestamp) -> bool {
        self.notes += 1;
        let Some(note) = Note::parse(&about.note) else { return false };
        let fits = note.size == link.seq.saturating_sub(1)
            && note.head == link.prev
            && note.timestamp == link.timestamp
            && note.origin == origin(link.env, link.instance)
            && link.rest.as_bytes() == checkpoint_line(&note);
        if !fits || !self.keys.is_empty() && !note.is_signed_by(&self.keys) {
            return false;
        }
        (self.signed_to, self.signs, self.noted) = (note.size, true, Some(time));
        self.since = 0;
        true
    }

    /// Whether a line comes before another note is due.
    fn is_in_time(&self, time: Timestamp, opens: bool) -> bool {
        opens || self.since < MOST_LINES && self.noted.is_none_or(|noted| time.since(noted) <= LONGEST)
    }

    fn go_on(&mut self, link: &Link<'_>, time: Timestamp, about: Option<&About>, (file, number): (&Path, u64)) {
        let silent = parse_timestamp(&self.timestamp).map(|last| time.since(last)).unwrap_or_default();
        let reason = about.map_or("", |about| about.reason.as_str());
        if let (Some(about), OPENED) = (about, reason) {
            (self.boot, self.boots) = (link.boot, self.boots + 1);
            link.env.clone_into(&mut self.env);
            (self.signs, self.noted, self.since) = (about.key.is_some(), None, 0);
            if about.unclosed {
                self.remark(format!(
                    "line {}: the process before was killed; calls that were on their way then have no line, and were \
                     answered nothing",
                    link.seq
                ));
            }
        } else if silent > SILENCE && self.signs {
            self.remark(format!("line {}: nothing was written for {} s before it", link.seq, silent.as_secs()));
        }
        if let Some(dropped) = about.and_then(|about| about.dropped) {
            self.remark(format!("line {}: {dropped} entries could not be written", link.seq));
        }
        if reason != CHECKPOINT {
            self.since += 1;
        }
        let [_, last] = std::mem::take(&mut self.reasons);
        self.reasons = [last, reason.to_owned()];
        (self.seq, self.head) = (link.seq, link.head());
        self.lines += 1;
        link.timestamp.clone_into(&mut self.timestamp);
        if self.at.0 != file {
            file.clone_into(&mut self.at.0);
        }
        self.at.1 = number;
    }

    fn remark(&mut self, remark: String) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.push(remark);
        }
    }

    fn contradicts(&self, note: &Note) -> bool {
        note.origin == origin(&self.env, &self.instance) && note.head != self.head
    }

    /// Which of two lines is to blame, the last one that seemed good or `line`, which does not follow from it. It is the
    /// earlier one, which nothing speaks for any more, unless a note vouches for it, or the next line shows that only
    /// `line` was put there or was told to follow something else.
    pub(super) fn judge(&self, line: &[u8], next: Option<&[u8]>) -> Fault {
        let seq = self.seq.saturating_add(1);
        let next = next.and_then(Link::parse);
        let is_next_after = |head: Head| next.as_ref().is_some_and(|next| follows(head, next));
        let stranger = is_next_after(self.head)
            || Link::parse(line).is_some_and(|link| {
                let prev = if begins(&link) { self.head.base(link.env, link.instance, link.boot) } else { self.head };
                let mended = String::from_utf8_lossy(line).replacen(&link.prev.to_string(), &prev.to_string(), 1);
                is_next_after(Head::after(&prev, mended.as_bytes()))
            });
        let vouched = self.lines == 0 || self.reasons[1] == CHECKPOINT;
        let (blamed, (file, number)) =
            if vouched || stranger { (seq, self.after()) } else { (self.seq, self.at.clone()) };
        Fault::at(blamed, FaultKind::Altered, (&file, number))
    }

    /// Where the line after the last good one stands, as far as that is known.
    fn after(&self) -> (PathBuf, u64) {
        (self.at.0.clone(), self.at.1 + 1)
    }

    pub(super) fn report(mut self, path: PathBuf, fault: Option<Fault>, is_written: bool) -> Report {
        if self.refused_anchors > 0 {
            self.remark(format!("{} notes from elsewhere are signed by none of the keys", self.refused_anchors));
        }
        let verdict = match fault {
            Some(fault) => Verdict::Tampered(fault),
            None => self.verdict(is_written),
        };
        Report {
            path,
            instance: self.instance,
            lines: self.lines,
            range: (self.first.unwrap_or(0), self.seq),
            boots: self.boots,
            notes: self.notes,
            signed_to: self.signed_to,
            own_key: false,
            remarks: self.remarks,
            verdict,
        }
    }

    /// The outcome where no line is bad.
    fn verdict(&self, is_written: bool) -> Verdict {
        let incomplete = |why: String| Verdict::Incomplete(why);
        let origin = origin(&self.env, &self.instance);
        let mut known = self.anchors.values().flatten().filter(|note| note.origin == origin).peekable();
        let elsewhere = known.peek().is_some();
        if known.any(|note| note.size > self.seq) {
            let (file, line) = self.after();
            return Verdict::Tampered(Fault::at(self.seq + 1, FaultKind::TakenAway, (&file, line)));
        }
        let Some(first) = self.first else { return incomplete("there is no line".to_owned()) };
        if first > self.from.unwrap_or(1) {
            return incomplete(format!("it begins with line {first}: what was before is elsewhere, or gone"));
        }
        if self.keys.is_empty() {
            return incomplete("there is no public key to check its signatures with".to_owned());
        }
        let closed = self.reasons[0] == CLOSED && self.reasons[1] == CHECKPOINT;
        if !closed && !is_written {
            return incomplete(format!(
                "it was not closed: the process was killed, or its end is cut off; nobody has signed what follows line {}",
                self.signed_to
            ));
        }
        if self.torn && !is_written {
            return incomplete("its last line is not whole: the next start takes it away, and says so".to_owned());
        }
        if !self.signs || self.noted.is_none() {
            return incomplete(format!("nobody has signed what follows line {}", self.signed_to));
        }
        if !elsewhere {
            return incomplete(
                "nothing beside it tells how long it was: there is no `latest`, and no anchor".to_owned(),
            );
        }
        Verdict::Whole
    }
}

/// Whether a line was written after that.
fn follows(head: Head, next: &Link<'_>) -> bool {
    next.prev == if begins(next) { head.base(next.env, next.instance, next.boot) } else { head }
}

/// Whether a start or a segment begins with it.
fn begins(link: &Link<'_>) -> bool {
    let about = link.is_about_the_trail().then(|| About::parse(link.rest)).flatten();
    about.is_some_and(|about| matches!(about.reason.as_str(), OPENED | SEGMENT))
}
