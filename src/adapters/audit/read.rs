//! Reading a trail: its segments in order, whether compressed or not, line by line, none longer than a line may be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::place::{Place, Segment};

/// Lines that are read one after the other.
pub(super) struct Lines {
    source: Box<dyn BufRead + Send>,
    pub(super) path: PathBuf,
    /// The number of the last line that was read, in its file.
    pub(super) number: u64,
    line: Vec<u8>,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A line, without its line break.
    Line(&'a [u8]),
    /// Bytes at the end of the file that no line break follows.
    Torn(&'a [u8]),
    /// Bytes without a line break that are more than a line may have.
    TooLong,
    End,
}

/// One file of a trail, that is opened when it is its turn.
#[derive(Debug)]
pub(super) enum Source {
    Closed(Segment),
    /// Opened before the closed ones were listed, so that none is missed that is closed meanwhile.
    Active {
        path: PathBuf,
        file: File,
        first: Option<u64>,
    },
}

/// The longest line, and its line break. The vault writes none that is half as long.
pub(super) const MAX_LINE: usize = 64 * 1_024;
const BUFFER: usize = 256 * 1_024;

/// The files of a trail, the oldest first.
pub(super) fn sources(place: &Place) -> io::Result<Vec<Source>> {
    let active = match File::open(&place.active) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        active => Some(active?),
    };
    let mut segments = place.segments()?;
    let active = match active {
        None => None,
        Some(file) => {
            let first = first_seq(file.try_clone()?)?;
            // It was closed after it was opened here.
            segments.retain(|segment| first.is_none_or(|first| segment.first < first));
            Some(Source::Active { path: place.active.clone(), file, first })
        }
    };
    Ok(segments.into_iter().map(Source::Closed).chain(active).collect())
}

fn first_seq(mut file: File) -> io::Result<Option<u64>> {
    let mut lines = Lines::new(Box::new(BufReader::new(file.try_clone()?)), Path::new(""));
    let first = match lines.next()? {
        Next::Line(line) => super::chain::Link::parse(line).map(|link| link.seq),
        _ => None,
    };
    io::Seek::rewind(&mut file)?;
    Ok(first)
}

impl Source {
    /// The number of its first line; `None` if it has none.
    pub(super) fn first(&self) -> Option<u64> {
        match self {
            Self::Closed(segment) => Some(segment.first),
            Self::Active { first, .. } => *first,
        }
    }

    pub(super) fn open(self) -> io::Result<Lines> {
        match self {
            Self::Active { path, file, .. } => Ok(Lines::new(Box::new(BufReader::with_capacity(BUFFER, file)), &path)),
            Self::Closed(segment) => match Lines::open(&segment.path) {
                // It was compressed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !segment.packed => {
                    let mut packed = segment.path.into_os_string();
                    packed.push(".gz");
                    Lines::open(Path::new(&packed))
                }
                lines => lines,
            },
        }
    }
}

impl Lines {
    /// The lines of a file; what ends in `.gz` is unpacked.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(BUFFER, File::open(path)?);
        if path.extension().is_some_and(|extension| extension == "gz") {
            let unpacked = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file));
            return Ok(Self::new(Box::new(unpacked), path));
        }
        Ok(Self::new(Box::new(file), path))
    }

    pub(super) fn new(source: Box<dyn BufRead + Send>, path: &Path) -> Self {
        Self { source, path: path.to_owned(), number: 0, line: Vec::new() }
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = (&mut self.source).take(most).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(Next::End);
        }
        self.number += 1;
        Ok(match self.line.strip_suffix(b"\n") {
            Some(line) => Next::Line(line),
            None if read == MAX_LINE => Next::TooLong,
            None => Next::Torn(&self.line),
        })
    }
}
