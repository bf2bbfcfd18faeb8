//! Looking at outboxes from outside, without touching them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::entry;
use super::owner;
use super::writer::{QUARANTINED, WAITING, read_bounded};
use crate::domain::id::ConnectionKey;

/// A folder of an outbox.
#[derive(Debug)]
pub struct Listed {
    /// Where it is.
    pub path: PathBuf,
    /// Whether its owner lives.
    pub lives: bool,
    /// What lies in it, the oldest first.
    pub found: Vec<Found>,
}

/// A file in it.
#[derive(Debug)]
pub struct Found {
    /// Its name, without what kind it is.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whose it is; `None` if it cannot be read.
    pub key: Option<ConnectionKey>,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub since: Option<SystemTime>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An answer that waits to be stored.
    Waiting,
    /// One that nobody can make sense of.
    Quarantined,
}

/// The folders `dir` stands for: itself if it is one, else those in it.
///
/// # Errors
///
/// When it cannot be read.
pub fn folders_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if kind_of(&path).is_some() || path.file_name().is_some_and(|name| name == "lock") {
            return Ok(vec![dir.to_owned()]);
        }
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// What lies in one folder.
///
/// # Errors
///
/// When it cannot be read.
pub fn list(folder: &Path) -> io::Result<Listed> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let (Some(kind), Some(name)) = (kind_of(&path), path.file_stem()) else { continue };
        // Its owner may have removed it by now.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let entry = read_bounded(&path).ok().and_then(|bytes| entry::decode(&bytes));
        found.push(Found {
            name: name.to_string_lossy().into_owned(),
            kind,
            key: entry.map(|entry| entry.key),
            bytes: metadata.len(),
            since: metadata.modified().ok(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listed { path: folder.to_owned(), lives: owner::lives(folder), found })
}

fn kind_of(path: &Path) -> Option<Kind> {
    let kind = path.extension()?;
    if kind == WAITING {
        Some(Kind::Waiting)
    } else if kind == QUARANTINED {
        Some(Kind::Quarantined)
    } else {
        None
    }
}
