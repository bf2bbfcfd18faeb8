//! Where a trail lies: the file that is written, and the folder beside it with everything else.
//!
//! ```text
//! <path>                              the active segment
//! <path>.d/lock                       locked by whoever writes
//! <path>.d/<first line>.jsonl[.gz]    closed segments, compressed when there is time for it
//! <path>.d/next.jsonl                 a segment about to become the active one
//! <path>.d/latest                     the newest signed note
//! <path>.d/key                        the public key it is signed with
//! <path>.d/unchained-<n>.jsonl        what lay at <path> and was no trail of this kind
//! ```
//!
//! Whoever finds the trail locked writes one of its own beside it: `audit.2.jsonl` beside `audit.jsonl`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The paths of one trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) active: PathBuf,
    pub(super) folder: PathBuf,
}

/// A closed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first line, by its name.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    pub(super) packed: bool,
}

/// How many may write trails beside each other.
const MOST: usize = 64;
const PLAIN: &str = ".jsonl";
const PACKED: &str = ".jsonl.gz";
const DIGITS: usize = 12;

// === impl Place ===

impl Place {
    pub(super) fn of(active: &Path) -> Self {
        let mut folder = active.as_os_str().to_owned();
        folder.push(".d");
        Self { active: active.to_owned(), folder: folder.into() }
    }

    /// The first place for a trail at `path` that nobody else writes to, and its lock.
    pub(super) fn claim(path: &Path) -> io::Result<(Self, File)> {
        for number in 1..=MOST {
            let place = Self::of(&numbered(path, number));
            match DirBuilder::new().mode(0o700).create(&place.folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut lock = OpenOptions::new();
            lock.write(true).create(true).truncate(false).mode(0o600);
            let lock = lock.open(place.folder.join("lock"))?;
            match lock.try_lock() {
                Ok(()) => return Ok((place, lock)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("too many processes write trails there"))
    }

    /// All trails at `path`: its own and those of whoever found it locked.
    pub(super) fn all(path: &Path) -> Vec<Self> {
        let places = (1..=MOST).map(|number| Self::of(&numbered(path, number)));
        places.filter(|place| place.active.exists() || place.folder.exists()).collect()
    }

    /// Whether somebody writes to it. Leaves no trace.
    pub(super) fn is_written(&self) -> bool {
        let lock = OpenOptions::new().write(true).open(self.folder.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    pub(super) fn next(&self) -> PathBuf {
        self.folder.join("next.jsonl")
    }

    pub(super) fn latest(&self) -> PathBuf {
        self.folder.join("latest")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// Where the segment goes that begins with this line, once it is closed.
    pub(super) fn closed(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:0DIGITS$}{PLAIN}"))
    }

    /// Where something goes that is no trail.
    pub(super) fn aside(&self) -> PathBuf {
        let numbered = |number| self.folder.join(format!("unchained-{number}.jsonl"));
        (1..10_000_u32).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| self.next())
    }

    /// The closed segments, in order, each once.
    pub(super) fn segments(&self) -> io::Result<Vec<Segment>> {
        let files = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut segments = Vec::new();
        for file in files {
            let path = file?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let (number, packed) = match (name.strip_suffix(PACKED), name.strip_suffix(PLAIN)) {
                (Some(number), _) => (number, true),
                (_, Some(number)) => (number, false),
                _ => continue,
            };
            if number.len() >= DIGITS
                && let Ok(first) = number.parse()
            {
                segments.push(Segment { first, path, packed });
            }
        }
        // One that was being compressed when the process was killed is there twice.
        segments.sort_by_key(|segment| (segment.first, segment.packed));
        segments.dedup_by_key(|segment| segment.first);
        Ok(segments)
    }

    /// Writes a small file in one step.
    pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        io::Write::write_all(&mut &file, text.as_bytes())?;
        fs::rename(&beside, path)
    }
}

/// `audit.2.jsonl` beside `audit.jsonl`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let (Some(stem), true) = (path.file_stem(), number > 1) else { return path.to_owned() };
    let mut name = stem.to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Whether lines go to a file that is ours to rotate, and not to a device or a pipe.
pub(super) fn is_ours(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |found| found.is_file() || found.is_dir())
}
