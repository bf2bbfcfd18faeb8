//! Whether a trail is what was written: every line follows from the one before, none is missing, and signed notes vouch for
//! all of it but the last minute. Names the first line that is not as it was.

mod walk;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::walk::{Step, Walk};
use super::note::{Note, PublicKey};
use super::place::Place;
use super::read::{Lines, Next, Source, sources};

/// What is known from elsewhere.
#[derive(Debug, Default)]
pub struct Verification {
    /// Whose signatures count. None: those of the key that lies beside the trail.
    pub keys: Vec<PublicKey>,
    /// Notes that were kept where nobody could alter them with the trail.
    pub anchors: Vec<Note>,
    /// The first line there has to be; earlier ones were put away on purpose.
    pub from: Option<u64>,
}

/// What was found of one trail.
#[derive(Debug)]
pub struct Report {
    /// Where it lies.
    pub path: PathBuf,
    /// What it calls itself; empty if it has no line.
    pub instance: String,
    /// How many lines were read.
    pub lines: u64,
    /// The number of the first and of the last that is as it was.
    pub range: (u64, u64),
    /// How often the vault started over it.
    pub boots: u64,
    /// How many signed notes are in it.
    pub notes: u64,
    /// The last line a signed note vouches for.
    pub signed_to: u64,
    /// Whether the signatures were checked with a key that lies beside the trail.
    pub own_key: bool,
    /// What is no fault, and worth knowing.
    pub remarks: Vec<String>,
    /// The outcome.
    pub verdict: Verdict,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was written.
    Whole,
    /// It is not: the first line that is not as it was.
    Tampered(Fault),
    /// Nothing is wrong with what there is, but it may not be all.
    Incomplete(String),
}

/// The first bad line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its number, as the trail counts.
    pub seq: u64,
    /// Where that was found.
    pub file: PathBuf,
    /// In which line of that file.
    pub line: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is no line of a trail.
    NotALine,
    /// It is not what was written: the next does not follow from it, or it does not follow from the one before.
    Altered,
    /// It is not there; another stands in its place.
    Missing,
    /// There is another with the same number.
    Repeated,
    /// It is not there, and nothing follows; but a signed note tells of it.
    TakenAway,
    /// It is one of another instance.
    Foreign,
    /// A start of the vault does not follow from the one before.
    OutOfOrder,
    /// It is earlier than the one before.
    ClockBack,
    /// It is, or should be, a note; none vouches for the lines before it.
    NotVouchedFor,
    /// A note kept elsewhere tells of another line with this number.
    Forked,
    /// The file cannot be unpacked.
    Unreadable,
}

/// Verifies the trail at a path, and those of whoever found it locked.
///
/// # Errors
///
/// When something cannot be read.
pub fn verify_trail(
    path: &Path,
    knowing: &Verification,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Vec<Report>> {
    let places = Place::all(path);
    places.iter().map(|place| verify_place(place, knowing, progress)).collect()
}

/// Verifies files in the order given, as one trail.
///
/// # Errors
///
/// When something cannot be read.
pub fn verify_files(
    files: &[PathBuf],
    knowing: &Verification,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Report> {
    let mut walk = Walk::new(knowing.keys.clone(), knowing.anchors.clone(), knowing.from);
    let mut sources: Vec<Lines> = files.iter().map(|file| Lines::open(file)).collect::<io::Result<_>>()?;
    sources.reverse();
    let fault = run(&mut walk, &mut || Ok(sources.pop()), progress)?;
    Ok(walk.report(files.first().cloned().unwrap_or_default(), fault, false))
}

fn verify_place(place: &Place, knowing: &Verification, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Report> {
    // Before the lines: what it tells of is there.
    let (latest, is_written) = (fs::read_to_string(place.latest()).ok(), place.is_written());
    let mut keys = knowing.keys.clone();
    let own_key = keys.is_empty();
    if own_key {
        keys.extend(fs::read_to_string(place.key()).ok().and_then(|key| key.parse().ok()));
    }
    let anchors = knowing.anchors.iter().cloned().chain(latest.and_then(|text| Note::parse(&text)));
    let mut walk = Walk::new(keys, anchors.collect(), knowing.from);
    let mut sources: Vec<Source> = sources(place)?;
    sources.reverse();
    let fault = run(&mut walk, &mut || sources.pop().map(Source::open).transpose(), progress)?;
    let mut report = walk.report(place.active.clone(), fault, is_written);
    report.own_key = own_key;
    Ok(report)
}

/// How often somebody hears how far it is, in lines.
const STRIDE: u64 = 8_192;

fn run(
    walk: &mut Walk,
    next_file: &mut dyn FnMut() -> io::Result<Option<Lines>>,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Option<Fault>> {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    // A line that does not follow from the one before: the next one tells which of the two is to blame.
    let mut unclear: Option<Vec<u8>> = None;
    while let Some(mut lines) = next_file()? {
        let path = lines.path.clone();
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        loop {
            let number = lines.number + 1;
            let step = match lines.next() {
                Ok(Next::Line(line)) => {
                    if let Some(before) = unclear {
                        return Ok(Some(walk.judge(&before, Some(line))));
                    }
                    (count, bytes) = (count + 1, bytes + line.len() as u64 + 1);
                    let step = walk.step(line, (&path, number));
                    if matches!(step, Step::Unclear) {
                        unclear = Some(line.to_vec());
                    }
                    step
                }
                Ok(Next::Torn(_)) => {
                    walk.torn = true;
                    break;
                }
                Ok(Next::TooLong) => Step::Bad(Fault::at(walk.expected(), FaultKind::NotALine, (&path, number))),
                Ok(Next::End) => break,
                Err(error) if packed => {
                    tracing::debug!(%error, "a segment cannot be unpacked");
                    Step::Bad(Fault::at(walk.expected(), FaultKind::Unreadable, (&path, number)))
                }
                Err(error) => return Err(error),
            };
            if let Step::Bad(fault) = step {
                return Ok(Some(fault));
            }
            if count.is_multiple_of(STRIDE) {
                progress(count, bytes);
            }
        }
    }
    progress(count, bytes);
    Ok(unclear.map(|line| walk.judge(&line, None)))
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotALine => "is no line of a trail",
            Self::Altered => "is not what was written",
            Self::Missing => "is missing",
            Self::Repeated => "is there twice",
            Self::TakenAway => "and all that followed is taken away",
            Self::Foreign => "is one of another instance",
            Self::OutOfOrder => "begins what does not follow from the start before",
            Self::ClockBack => "is earlier than the one before",
            Self::NotVouchedFor => "is no valid note: lines before it may not be what was written",
            Self::Forked => "is another than a signed note tells of",
            Self::Unreadable => "cannot be unpacked",
        })
    }
}

impl Fault {
    fn at(seq: u64, kind: FaultKind, (file, line): (&Path, u64)) -> Self {
        Self { seq, file: file.to_owned(), line, kind }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, file, line, kind } = self;
        write!(f, "line {seq} {kind} (found at {}:{line})", file.display())
    }
}

#[cfg(test)]
mod tests;
