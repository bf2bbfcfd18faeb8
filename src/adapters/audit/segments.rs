//! The segments of a trail as whoever writes it sees them: the active one is appended to, and now and then closed, linked
//! to and put away. Whenever the process is killed, what is there is a trail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::place::{Place, Segment};

/// The segment that is written, and the way to the next.
pub(super) struct Segments {
    place: Place,
    file: Arc<File>,
    /// The number of its first line.
    first: u64,
    bytes: u64,
    /// Whoever compresses what is closed.
    packer: Option<JoinHandle<()>>,
    _lock: File,
}

/// The disk says less than this is free: somebody has to see to it.
const LITTLE: u64 = 1_024 * 1_024 * 1_024;

// === impl Segments ===

impl Segments {
    /// Goes on with the active segment of a place that is ours. `first` is the number of its first line.
    pub(super) fn open(place: Place, lock: File, first: u64) -> io::Result<Self> {
        let file = append_to(&place.active)?;
        let bytes = file.metadata()?.len();
        let packer = pack_in_background(&place, None);
        Ok(Self { place, file: Arc::new(file), first, bytes, packer, _lock: lock })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What is being written, to be synced.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Closes the active segment, and goes on in a new one that begins with `line`, which has this number.
    ///
    /// The new one is whole before the old one is renamed: if the process is killed in between, the next start finds it.
    pub(super) fn rotate(&mut self, line: &[u8], first: u64) -> io::Result<()> {
        let next = self.place.next();
        let file = OpenOptions::new().append(true).create(true).truncate(false).mode(0o600).open(&next)?;
        file.set_len(0)?;
        (&file).write_all(line)?;
        let closed = self.place.closed(self.first);
        fs::rename(&self.place.active, &closed)?;
        if let Err(error) = fs::rename(&next, &self.place.active) {
            // What is written now has to stay where it is looked for.
            let _ = fs::rename(&closed, &self.place.active);
            return Err(error);
        }
        (self.file, self.first, self.bytes) = (Arc::new(file), first, line.len() as u64);
        self.packer = pack_in_background(&self.place, self.packer.take());
        Ok(())
    }

    /// Whether so little is free that somebody should know. Where that cannot be told, nobody is bothered.
    pub(super) fn is_short_of_space(&self) -> bool {
        rustix::fs::fstatvfs(&self.file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < LITTLE)
    }
}

impl Write for Segments {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&*self.file).write(bytes)?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        if let Some(packer) = self.packer.take() {
            let _ = packer.join();
        }
    }
}

/// Opens a file to append to it, made for the owner alone if it is not there.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Compresses what is closed, once the one before is done. If the process is killed meanwhile, the next one does it.
fn pack_in_background(place: &Place, before: Option<JoinHandle<()>>) -> Option<JoinHandle<()>> {
    let plain: Vec<Segment> = place.segments().ok()?.into_iter().filter(|segment| !segment.packed).collect();
    if plain.is_empty() {
        return before;
    }
    let pack_all = move || {
        let _ = before.map(JoinHandle::join);
        for Segment { path, .. } in plain {
            if let Err(error) = pack(&path) {
                tracing::warn!(segment = %path.display(), %error, "an audit segment cannot be compressed");
            }
        }
    };
    let spawned = std::thread::Builder::new().name("audit-pack".to_owned()).spawn(pack_all);
    spawned.inspect_err(|error| tracing::warn!(%error, "audit segments are not compressed")).ok()
}

/// Compresses one segment: the plain one goes when the other is on disk.
fn pack(plain: &Path) -> io::Result<()> {
    let mut packed = plain.as_os_str().to_owned();
    packed.push(".gz");
    let packed = PathBuf::from(packed);
    let beside = packed.with_extension("tmp");
    let source = match File::open(plain) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut BufReader::new(source), &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&beside, &packed)?;
    fs::remove_file(plain)
}
