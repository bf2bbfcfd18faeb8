//! Holds the house together: who may name whom, where each driver lives, and what every file owes its reader.
//!
//! Each rule is a function from one file to the faults in it. Here it is asked of every file of the checkout; next to
//! the rule, a made-up file proves that it can fail.

mod deploy;
mod fuzz;
mod habits;
mod layers;
mod source;

use std::fs;
use std::path::Path;

use source::is_rust;

/// What is made, not written.
const BUILT: &[&str] = &["target", "node_modules", "__pycache__", ".git"];

/// Hidden folders that hold sources nevertheless.
const HIDDEN: &[&str] = &[".cargo", ".ci", ".github"];

/// Files that a tool writes.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json"];

/// A text file of the checkout: its path from the root, and its contents.
struct File {
    path: String,
    text: String,
}

fn checkout() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the checkout can be read") {
        let path = entry.expect("the checkout can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let written =
                !BUILT.contains(&name.as_str()) && (!name.starts_with('.') || HIDDEN.contains(&name.as_str()));
            if written && !path.is_symlink() {
                collect(root, &path, files);
            }
        } else if !BUILT.contains(&name.as_str())
            && !GENERATED.contains(&name.as_str())
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
}

/// Asks a rule of every file it is about. A rule that is about no file would be green for nothing.
#[track_caller]
fn hold(about: impl Fn(&str) -> bool, rule: fn(&str, &str) -> Vec<String>) {
    let files: Vec<File> = checkout().into_iter().filter(|file| about(&file.path)).collect();
    assert!(!files.is_empty(), "the rule is about no file");
    let faults: Vec<String> = files.iter().flat_map(|file| rule(&file.path, &file.text)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn is_source(path: &str) -> bool {
    path.starts_with("src/") && is_rust(path)
}

/// Not the unit tests that have a file of their own.
fn is_shipped(path: &str) -> bool {
    is_source(path) && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

fn is_script(path: &str) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some_and(|extension| ["mjs", "js", "py", "sh"].iter().any(|script| extension == *script))
        || matches!(path, "test" | "justfile" | ".ci/run")
}

fn is_written(path: &str) -> bool {
    is_rust(path) || is_script(path) || path.starts_with("proto/")
}

#[test]
fn every_layer_names_only_what_stands_below_it() {
    hold(is_shipped, layers::misplaced_imports);
}

#[test]
fn every_driver_stays_in_its_room() {
    hold(is_shipped, layers::strayed_drivers);
}

#[test]
fn the_time_is_asked_in_one_place() {
    hold(is_shipped, layers::hidden_clocks);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    hold(is_written, habits::too_long);
}

#[test]
fn every_file_opens_with_what_lives_in_it() {
    hold(is_rust, habits::unopened);
}

#[test]
fn every_name_says_something() {
    hold(is_written, habits::nameless);
}

#[test]
fn nothing_is_left_unfinished() {
    hold(is_written, habits::unfinished);
}

#[test]
fn no_test_waits_for_time_to_pass() {
    hold(|path| path.starts_with("tests/") && (is_rust(path) || is_script(path)), habits::sleeping);
}

#[test]
fn nothing_refers_to_what_a_reader_does_not_have() {
    hold(|_| true, habits::outside_references);
}
