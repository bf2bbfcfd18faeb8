//! The file the local keys lie in: its format, who may read it, and how it comes to be. What the keys are used for is
//! not known here.
//!
//! ```text
//! # a comment
//! current_key_id = 2
//! current_key = 64 hexadecimal digits
//! previous_key_id = 1
//! previous_key = 64 hexadecimal digits
//! ```
//!
//! The previous key opens what it sealed and seals nothing. To rotate, rename `current_*` to `previous_*` and add a new
//! `current_*` with the next id and a key from `openssl rand -hex 32`.
//!
//! Read by hand and not by a parser, because a parser's errors quote what they could not read.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::domain::ports::Random;

/// The keys of the file.
pub(super) struct KeyFile {
    pub(super) current: LocalKey,
    pub(super) previous: Option<LocalKey>,
}

/// One key. Wiped when dropped.
pub(super) struct LocalKey {
    pub(super) id: u32,
    pub(super) key: Zeroizing<[u8; 32]>,
}

/// Why a key file cannot be used. Says what to do about it; never holds anything of its content.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Somebody but its owner has access.
    #[error("others can read the key file `{path}` (mode {mode:03o}): run `chmod 600 {path}`", path = path.display())]
    OpenToOthers {
        /// Where it is.
        path: PathBuf,
        /// The permission bits it has.
        mode: u32,
    },
    /// It belongs to another user, who could change it at any time.
    #[error(
        "the key file `{path}` belongs to user {owner}, who is neither root nor the vault: \
         run `chown {us} {path} && chmod 600 {path}`",
        path = path.display()
    )]
    ForeignOwner {
        /// Where it is.
        path: PathBuf,
        /// The user it belongs to.
        owner: u32,
        /// The user this process runs as.
        us: u32,
    },
    /// One line is not what it should be.
    #[error("line {line} of the key file `{path}`: {fault}", path = path.display())]
    Line {
        /// Where it is.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// A field is missing, or two keys have the same id.
    #[error("the key file `{path}` {fault}", path = path.display())]
    Incomplete {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// It cannot be read or made.
    #[error("cannot {action} the key file `{path}`", path = path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// What was tried: `read`, `make`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Not `name = value`, or no known name.
    #[error("must be `current_key_id`, `current_key`, `previous_key_id` or `previous_key`, then `= value`")]
    Name,
    /// The name stands there a second time.
    #[error("repeats a name")]
    Repeated,
    /// Not an id.
    #[error("an id must be a whole number from 1 to 4294967295")]
    Id,
    /// Not a key.
    #[error("a key must be 64 hexadecimal digits")]
    Key,
}

/// The most a key file may have, comments and all.
const MAX_BYTES: usize = 4_096;
const FIRST_ID: u32 = 1;
const HEADING: &str = "\
# The local keys of a vault engine. Whoever reads this file can open everything the vault has stored; without it nobody
# can. Keep a copy where the store's backups are not.
";

// === impl KeyFile ===

impl KeyFile {
    /// Reads the file; if there is none, makes one with a fresh key first.
    pub(super) fn open_or_make(path: &Path, random: &dyn Random) -> Result<Self, KeyFileError> {
        let io = |action| move |source| KeyFileError::Io { path: path.to_owned(), action, source };
        match Self::read(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if make(path, random).map_err(io("make"))? {
                    tracing::warn!(path = %path.display(), "made a key file: without it nothing stored can be opened");
                }
                Self::read(path)
            }
            other => other,
        }
    }

    /// The key with this id.
    pub(super) fn with_id(&self, id: u32) -> Option<&LocalKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }

    fn read(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), action: "read", source };
        let file = File::open(path).map_err(io)?;
        // Asked of the open file and not of its path, so that it is this file whose owner and mode are judged.
        let metadata = file.metadata().map_err(io)?;
        judge(path, metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw())?;
        // Room for all of it at once, for the same reason as in `write_draft`.
        let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
        file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(io)?;
        if text.len() > MAX_BYTES {
            return Err(KeyFileError::Incomplete { path: path.to_owned(), fault: "is longer than 4096 bytes" });
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, KeyFileError> {
        let (mut current, mut previous) = (Fields::default(), Fields::default());
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let taken = match line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("current_key_id", value)) => fill(&mut current.id, value, parse_id),
                Some(("current_key", value)) => fill(&mut current.key, value, parse_key),
                Some(("previous_key_id", value)) => fill(&mut previous.id, value, parse_id),
                Some(("previous_key", value)) => fill(&mut previous.key, value, parse_key),
                Some(_) | None => Err(LineFault::Name),
            };
            taken.map_err(|fault| KeyFileError::Line { path: path.to_owned(), line: index + 1, fault })?;
        }

        let incomplete = |fault| KeyFileError::Incomplete { path: path.to_owned(), fault };
        let current = current.complete().map_err(|()| incomplete("has only one half of its current key"))?;
        let current = current.ok_or_else(|| incomplete("has no current key"))?;
        let previous = previous.complete().map_err(|()| incomplete("has only one half of its previous key"))?;
        if previous.as_ref().is_some_and(|previous| previous.id == current.id) {
            return Err(incomplete("gives both keys the same id"));
        }
        Ok(Self { current, previous })
    }
}

#[derive(Default)]
struct Fields {
    id: Option<u32>,
    key: Option<Zeroizing<[u8; 32]>>,
}

// === impl Fields ===

impl Fields {
    fn complete(self) -> Result<Option<LocalKey>, ()> {
        match (self.id, self.key) {
            (Some(id), Some(key)) => Ok(Some(LocalKey { id, key })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(()),
        }
    }
}

fn fill<T>(
    field: &mut Option<T>,
    value: &str,
    parse: impl FnOnce(&str) -> Result<T, LineFault>,
) -> Result<(), LineFault> {
    match field.replace(parse(value)?) {
        None => Ok(()),
        Some(_) => Err(LineFault::Repeated),
    }
}

fn parse_id(text: &str) -> Result<u32, LineFault> {
    text.parse().ok().filter(|id| *id > 0).ok_or(LineFault::Id)
}

fn parse_key(text: &str) -> Result<Zeroizing<[u8; 32]>, LineFault> {
    let mut key = Zeroizing::new([0; 32]);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != key.len() || !rest.is_empty() {
        return Err(LineFault::Key);
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(LineFault::Key);
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Ok(key)
}

fn judge(path: &Path, mode: u32, owner: u32, us: u32) -> Result<(), KeyFileError> {
    const ROOT: u32 = 0;
    if owner != us && owner != ROOT {
        return Err(KeyFileError::ForeignOwner { path: path.to_owned(), owner, us });
    }
    let mode = mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes the file with a fresh key; `false` if somebody else was first.
///
/// Written under another name, synced, and then linked to its own: it is there completely or not at all, and a link,
/// unlike a rename, never replaces a file that is already there.
fn make(path: &Path, random: &dyn Random) -> io::Result<bool> {
    let mut suffix = [0; 8];
    random.fill(&mut suffix);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let draft = path.with_file_name(name);

    let linked = write_draft(&draft, random).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let removed = fs::remove_file(&draft);
    let made = linked?;
    removed?;
    // The name lies in the folder, so the folder is synced too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(made)
}

fn write_draft(draft: &Path, random: &dyn Random) -> io::Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    random.fill(key.as_mut_slice());
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    write!(text, "{HEADING}current_key_id = {FIRST_ID}\ncurrent_key = ").map_err(io::Error::other)?;
    for byte in key.iter() {
        write!(text, "{byte:02x}").map_err(io::Error::other)?;
    }
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
