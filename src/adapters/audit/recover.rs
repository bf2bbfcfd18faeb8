//! What a start finds of the trail before it, and how it goes on from there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;

use super::about::{About, Before, CHECKPOINT, CLOSED, Unknown};
use super::chain::{Chain, Link};
use super::note::{Note, origin};
use super::place::Place;
use super::read::{Lines, MAX_LINE, Next};
use crate::domain::ports::Random;

/// What was found.
pub(super) struct Found {
    pub(super) chain: Chain,
    pub(super) before: Before,
    /// The number of the first line of the active segment, if it has one.
    pub(super) first: Option<u64>,
}

/// What an entry of something that has begun says for its reason.
const BEGUN: &str = r#","reason":"begun""#;
/// What is said again of an operation whose end is unknown.
const REPEATED: [&str; 9] =
    ["request_id", "engine", "key_id", "peer", "tenant", "user", "platform", "action", "token_fp"];

/// Looks at a segment from its beginning to its end.
#[derive(Default)]
struct Look {
    first: Option<u64>,
    last: Option<Chain>,
    /// The reasons of the last two lines, if they are about the trail.
    reasons: [String; 2],
    begun: BTreeMap<String, Unknown>,
    torn: Option<String>,
    /// The bytes up to the end of the last line.
    whole: u64,
    foreign: bool,
}

/// Finds the end of the trail at a place that is locked, and takes half a line away that a crash left there.
pub(super) fn recover(place: &Place, env: &str, random: &dyn Random) -> io::Result<Found> {
    let next = place.next();
    if !place.active.exists() && next.exists() {
        // Killed between the two steps of closing a segment.
        fs::rename(&next, &place.active)?;
    }
    let mut look = match Lines::open(&place.active) {
        Ok(lines) => look_at(lines)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Look::default(),
        Err(error) => return Err(error),
    };
    if look.foreign {
        let aside = place.aside();
        tracing::warn!(file = %aside.display(), "what lay where the audit trail goes is no such trail: it is kept aside");
        fs::rename(&place.active, &aside)?;
        look = Look::default();
    } else if look.torn.is_some() {
        OpenOptions::new().write(true).open(&place.active)?.set_len(look.whole)?;
    }
    let first = look.first;
    if look.last.is_none() {
        let torn = look.torn.take();
        if let Some(segment) = place.segments()?.last() {
            look = look_at(Lines::open(&segment.path)?)?;
        }
        look.torn = torn.or(look.torn);
    }
    let mut before = Before { torn: look.torn, ..Before::default() };
    let Some(mut chain) = look.last else {
        let chain = Chain::new(env, make_instance(random));
        return Ok(Found { chain, before, first });
    };
    before.unclosed = look.reasons != [CLOSED, CHECKPOINT] && look.reasons[1] != CLOSED;
    before.unknown = look.begun.into_values().collect();
    before.unknown.sort_by_key(|unknown| unknown.seq);
    let latest = fs::read_to_string(place.latest()).ok().and_then(|text| Note::parse(&text));
    if let Some(note) = latest
        && note.origin == origin(&chain.env, &chain.instance)
        && note.size > chain.seq
    {
        before.lost_from = Some(chain.seq.saturating_add(1));
        // What is written from now on must not pass for what is gone.
        chain.seq = note.size;
        tracing::error!(
            alarm = "audit_lines_missing",
            last = before.lost_from.map(|seq| seq - 1),
            noted = note.size,
            "the audit trail is shorter than it was"
        );
    }
    Ok(Found { chain, before, first })
}

/// What a trail is called for as long as it is continued.
pub(super) fn make_instance(random: &dyn Random) -> String {
    let mut name = [0; 8];
    random.fill(&mut name);
    format!("{:016x}", u64::from_be_bytes(name))
}

fn look_at(mut lines: Lines) -> io::Result<Look> {
    let mut look = Look::default();
    loop {
        let torn = match lines.next()? {
            Next::Line(line) => {
                if look.add(line) {
                    look.whole += line.len() as u64 + 1;
                    continue;
                }
                // A line that is none, in the middle: for a verification to find. The end is what counts here.
                look.foreign = look.last.is_none();
                look.whole += line.len() as u64 + 1;
                if look.foreign {
                    return Ok(look);
                }
                continue;
            }
            Next::Torn(torn) => torn,
            Next::TooLong => {
                look.foreign = look.last.is_none();
                &[]
            }
            Next::End => return Ok(look),
        };
        look.torn =
            Some(String::from_utf8_lossy(torn.get(..torn.len().min(MAX_LINE / 16)).unwrap_or(torn)).into_owned());
        return Ok(look);
    }
}

impl Look {
    /// Whether it is a line of a trail.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let Some(link) = Link::parse(bytes) else { return false };
        self.first.get_or_insert(link.seq);
        let reason = link.is_about_the_trail().then(|| About::parse(link.rest)).flatten();
        let reason = reason.map_or_else(String::new, |about| about.reason);
        let [_, last] = std::mem::take(&mut self.reasons);
        self.reasons = [last, reason];
        if link.rest.contains(BEGUN) || !self.begun.is_empty() {
            self.follow(&link);
        }
        self.last = Some(Chain::ending_with(&link));
        true
    }

    /// Remembers what has begun, and forgets what has ended.
    fn follow(&mut self, link: &Link<'_>) {
        let fields = link.rest.strip_prefix(',').unwrap_or_default();
        let Ok(fields) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&format!("{{{fields}")) else {
            return;
        };
        let text = |key: &str| fields.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let operation = format!("{} {}", text("request_id"), text("action"));
        if text("reason") == "begun" {
            let said = REPEATED.iter().map(|key| (*key, text(key).to_owned()));
            let fields = said.filter(|(_, value)| !value.is_empty()).collect();
            self.begun.insert(operation, Unknown { seq: link.seq, fields });
        } else {
            self.begun.remove(&operation);
        }
    }
}

/// Takes away what a process left that was killed while it replaced something.
pub(super) fn sweep(place: &Place) -> io::Result<()> {
    if place.active.exists() {
        match fs::remove_file(place.next()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    File::open(&place.folder)?.sync_all()
}
