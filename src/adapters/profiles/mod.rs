//! Platform profiles, read from YAML: those that ship with the binary and those of the operator.
//!
//! One platform per file, named by its id. A file says nothing about this installation: its client id and secrets are
//! configuration, and no text in a profile is ever expanded.

mod errors;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::{Document, Fault, Limits};
use crate::domain::id::PlatformId;
use crate::domain::profile::{Profile, UrlPolicy};

/// Id and text of every profile that ships with the binary.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// A profile is a page, not a database.
const LIMITS: Limits = Limits { bytes: 64 * 1_024, depth: 8 };

/// Profiles by id.
#[derive(Debug, Default)]
pub struct Profiles {
    by_id: BTreeMap<PlatformId, Profile>,
}

// === impl Profiles ===

impl Profiles {
    /// The profiles that ship with the binary.
    ///
    /// # Errors
    ///
    /// When one of them is not a profile; a test sees to it that none is.
    pub fn builtin() -> Result<Self, Vec<Fault>> {
        let mut profiles = Self::default();
        profiles.insert_all(SHIPPED.iter().map(|(id, text)| {
            let file = PathBuf::from(format!("{id}.yaml"));
            Document::parse(text, Some(&file), LIMITS).and_then(|document| profile(&document, &file, UrlPolicy::Strict))
        }))?;
        Ok(profiles)
    }

    /// Adds every `*.yaml` file of a folder; one with an id that is already known replaces it. All or nothing.
    ///
    /// # Errors
    ///
    /// All faults of all files, or that the folder cannot be read.
    pub fn load_dir(&mut self, folder: &Path, policy: UrlPolicy) -> Result<(), Vec<Fault>> {
        let files = yaml_files(folder).map_err(|error| {
            let problem = format!("cannot be read: {}", error.kind());
            vec![Fault::of_file(folder, problem, "name a folder with one YAML file per platform")]
        })?;
        self.insert_all(files.iter().map(|file| load_file(file, policy)))
    }

    /// The profile of a platform.
    #[must_use]
    pub fn get(&self, id: &PlatformId) -> Option<&Profile> {
        self.by_id.get(id)
    }

    /// All of them, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.by_id.values()
    }

    fn insert_all(&mut self, outcomes: impl Iterator<Item = Result<Profile, Vec<Fault>>>) -> Result<(), Vec<Fault>> {
        let (mut good, mut faults) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(profile) => good.push(profile),
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() {
            self.by_id.extend(good.into_iter().map(|profile| (profile.id.clone(), profile)));
            Ok(())
        } else {
            Err(faults)
        }
    }
}

impl IntoIterator for Profiles {
    type Item = Profile;
    type IntoIter = std::collections::btree_map::IntoValues<PlatformId, Profile>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_id.into_values()
    }
}

/// The profile in a file, whose name without `.yaml` is the id of the platform.
///
/// # Errors
///
/// All faults of the file.
pub fn load_file(file: &Path, policy: UrlPolicy) -> Result<Profile, Vec<Fault>> {
    profile(&Document::load(file, LIMITS)?, file, policy)
}

/// All faults of a file with a profile; none if it is good.
#[must_use]
pub fn check_file(file: &Path, policy: UrlPolicy) -> Vec<Fault> {
    load_file(file, policy).err().unwrap_or_default()
}

fn profile(document: &Document, file: &Path, policy: UrlPolicy) -> Result<Profile, Vec<Fault>> {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let id: PlatformId = name.parse().map_err(|error| {
        let problem = format!("is not named like a platform: the name {error}");
        vec![Fault::of_file(file, problem, "name the file `<id>.yaml`, such as `acme.yaml`")]
    })?;
    document.read(|section| read::profile(section, id, policy))
}

/// The YAML files of a folder, sorted. Names that begin with a dot are skipped: Kubernetes keeps its own there.
fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
