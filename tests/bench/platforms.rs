//! Platforms by the dozen: profiles, and what the configuration says about them.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The name of one of them.
pub(crate) fn name(number: usize) -> String {
    format!("p{number:04}")
}

/// Writes profiles of so many platforms, whose tokens rotate, into a folder, and says what the configuration says about
/// them: that they are all there are.
pub(crate) fn write(folder: &Path, count: usize, origin: &str) -> Result<String, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut names = Vec::new();
    let mut clients = String::new();
    for name in (0..count).map(name) {
        let profile = format!(
            "docs: https://platform.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: {origin}/auth\n\
             token_url: {origin}/{name}\nrefresh: {{ rotates: yes, replay: revoke_all }}\n"
        );
        fs::write(folder.join(format!("{name}.yaml")), profile)?;
        writeln!(clients, "  {name}: {{ client_id: bench }}")?;
        names.push(name);
    }
    let (folder, names) = (folder.display(), names.join(", "));
    Ok(format!("profiles_dir: {folder}\nenabled_platforms: [{names}]\nplatforms:\n{clients}"))
}
