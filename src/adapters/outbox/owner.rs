//! Whose a folder is: whoever holds its lock, for as long as the process lives. The operating system lets go of it when
//! the process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::connection::InstanceId;
use crate::domain::ports::Random;

/// A folder this process owns.
pub(super) struct Owned {
    path: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
/// How often another name is tried when somebody else was faster with one.
const ATTEMPTS: usize = 8;

// === impl Owned ===

impl Owned {
    /// Makes a folder of its own below `root`, which is made as well.
    pub(super) fn make(root: &Path, random: &dyn Random) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        for _ in 0..ATTEMPTS {
            let mut name = [0; 8];
            random.fill(&mut name);
            let path = root.join(format!("{:016x}", u64::from_be_bytes(name)));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // Whoever tidies up after dead owners may take a folder without a lock for one, and be faster.
            match Self::claim(&path) {
                Ok(Some(owned)) => {
                    File::open(root)?.sync_all()?;
                    return Ok(owned);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no folder of its own could be made"))
    }

    /// Takes a folder over; `None` if its owner lives.
    pub(super) fn claim(path: &Path) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The owner before may have left, and taken the file with it, between the opening and the lock.
        let linked = lock.metadata()?.nlink() > 0;
        Ok(linked.then(|| Self { path: path.to_owned(), _lock: lock }))
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The instance it was made for, which is in its name.
    pub(super) fn owner(&self) -> Option<InstanceId> {
        let name = self.path.file_name()?.to_str()?;
        u64::from_str_radix(name, 16).ok().map(InstanceId)
    }

    /// Gives the folder up, and removes it if nothing is left in it. Whether it is gone: somebody may have made it theirs
    /// meanwhile.
    pub(super) fn leave(self) -> bool {
        let left = fs::read_dir(&self.path).map(|files| files.flatten().any(|file| file.file_name() != LOCK));
        if !left.is_ok_and(|left| !left) {
            return false;
        }
        let removed = fs::remove_file(self.path.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
        if let Err(error) = &removed {
            tracing::debug!(folder = %self.path.display(), %error, "an empty outbox folder stays behind");
        }
        removed.is_ok()
    }
}

/// Whether the owner of a folder lives. Leaves no trace.
pub(super) fn lives(folder: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}
