//! What every file owes its reader: a size one can hold in the head, an opening sentence, a name that says something.

use super::source::{code, is_rust, submodules};

/// The longest a file may be, in lines.
const LIMIT: usize = 500;

/// Words that say what a thing is not: they gather whatever has no home.
const NAMELESS: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "managers"];

/// Words that mark what was left for later. Taken apart here, so that they are not found here.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// A file nobody can hold in the head.
pub(crate) fn too_long(file: &str, source: &str) -> Vec<String> {
    let lines = source.lines().count();
    if lines > LIMIT { vec![format!("{file}: {lines} lines, {LIMIT} are the limit")] } else { Vec::new() }
}

/// A Rust file that does not open with a sentence on what lives in it.
pub(crate) fn unopened(file: &str, source: &str) -> Vec<String> {
    let said = source.strip_prefix("//! ").is_some_and(|said| !said.starts_with('\n'));
    if said { Vec::new() } else { vec![format!("{file}: does not begin with `//!` and what lives here")] }
}

/// A file or a module whose name says nothing.
pub(crate) fn nameless(file: &str, source: &str) -> Vec<String> {
    let says_nothing = |name: &str| name.split(['_', '-', '.']).any(|word| NAMELESS.contains(&word));
    let parts = file.split('/').map(str::to_owned);
    let modules = if is_rust(file) { submodules(source) } else { Vec::new() };
    let names = parts.chain(modules).filter(|name| says_nothing(name));
    names.map(|name| format!("{file}: `{name}` is no name; say what it does")).collect()
}

/// Something left for later.
pub(crate) fn unfinished(file: &str, source: &str) -> Vec<String> {
    lines_with(source, |line| UNFINISHED.iter().any(|word| has_word(line, word)))
        .map(|number| format!("{file}:{number}: left unfinished"))
        .collect()
}

/// A test that waits for time to pass instead of for its condition. Only a peer under `tests/support/` may, to be slow
/// on purpose, and spells it out.
pub(crate) fn sleeping(file: &str, source: &str) -> Vec<String> {
    let call = concat!("sleep", "(");
    let source = if is_rust(file) { code(source) } else { source.to_owned() };
    let slow_peer = |line: &str| {
        let spelled_out = format!("tokio::time::{call}");
        file.starts_with("tests/support/") && !line.replace(&spelled_out, "").contains(call)
    };
    lines_with(&source, |line| has_word(line, call) && !slow_peer(line))
        .map(|number| format!("{file}:{number}: wait for the condition, or pause the clock"))
        .collect()
}

/// A reference to what a reader of this repository does not have.
pub(crate) fn outside_references(file: &str, source: &str) -> Vec<String> {
    let folders = [concat!("../sha", "red"), concat!("sha", "red/design"), concat!("sha", "red/reference")];
    let roots = ["shared", "main", "wt", "tools"].map(|folder| format!("/{}/{folder}", concat!("wo", "rk")));
    let refers = |line: &str| {
        folders.iter().any(|folder| line.contains(folder))
            || roots.iter().any(|root| has_word(line, root))
            || names_an_issue(line)
    };
    lines_with(source, refers)
        .map(|number| format!("{file}:{number}: refers to what the reader does not have"))
        .collect()
}

fn names_an_issue(line: &str) -> bool {
    let line = line.to_lowercase();
    line.match_indices("issue ").any(|(at, word)| {
        let (before, after) = (line.get(..at).unwrap_or(""), line.get(at + word.len()..).unwrap_or(""));
        let number = after.strip_prefix('#').unwrap_or(after);
        !before.ends_with(char::is_alphanumeric) && number.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Whether `word` occurs in `line` on its own, and not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).unwrap_or("");
        let after = line.get(at + word.len()..).unwrap_or("");
        !(before.ends_with(joins) || word.ends_with(joins) && after.starts_with(joins))
    })
}

fn lines_with<'a>(source: &'a str, wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = usize> + 'a {
    source.lines().enumerate().filter(move |(_, line)| wanted(line)).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_501_lines_is_found() {
        assert!(too_long("src/a.rs", &"\n".repeat(500)).is_empty());
        assert_eq!(too_long("src/a.rs", &"\n".repeat(501)), ["src/a.rs: 501 lines, 500 are the limit"]);
    }

    #[test]
    fn a_file_without_an_opening_sentence_is_found() {
        assert!(unopened("src/a.rs", "//! What lives here.\n").is_empty());
        for source in ["", "use std::fmt;", "// a remark", "//! \n", "\n//! Too late."] {
            assert_eq!(unopened("src/a.rs", source).len(), 1, "{source:?}");
        }
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        for file in ["src/utils.rs", "src/common/mod.rs", "src/key_manager.rs", "tests/support/redis_helpers.rs"] {
            assert_eq!(nameless(file, "").len(), 1, "{file}");
        }
        assert_eq!(nameless("src/lib.rs", "pub mod helpers;").len(), 1);
        assert!(nameless("src/commons.rs", "fn utils() {}").is_empty());
    }

    #[test]
    fn what_was_left_for_later_is_found() {
        for word in UNFINISHED {
            assert_eq!(
                unfinished("src/a.rs", &format!("fn f() {{}}\n// {word} later")),
                ["src/a.rs:2: left unfinished"]
            );
            assert!(unfinished("src/a.rs", &format!("let mas{word} = 1;")).is_empty(), "{word} at the end of another");
        }
    }

    #[test]
    fn a_test_that_waits_for_time_to_pass_is_found() {
        let call = concat!("sleep", "(d)");
        for line in [format!("tokio::time::{call}.await;"), format!("std::thread::{call};"), call.to_owned()] {
            assert_eq!(sleeping("tests/spec/main.rs", &line).len(), 1, "{line}");
        }
        assert!(sleeping("tests/spec/main.rs", &format!("// no {call}\nlet a = \"{call}\";")).is_empty());
    }

    #[test]
    fn a_slow_peer_may_be_slow_on_the_clock_that_can_be_paused() {
        let call = concat!("sleep", "(d)");
        assert!(sleeping("tests/support/slow.rs", &format!("tokio::time::{call}.await;")).is_empty());
        assert_eq!(sleeping("tests/support/slow.rs", &format!("std::thread::{call};")).len(), 1);
    }

    #[test]
    fn a_reference_outside_the_repository_is_found() {
        let (work, issue) = (concat!("/wo", "rk"), concat!("iss", "ue"));
        for line in [
            format!("see {work}/main/x"),
            format!("in {}red/design", "sha"),
            format!("Fixes {issue} #12"),
            format!("{issue} 7"),
        ] {
            assert_eq!(outside_references("README.md", &line).len(), 1, "{line}");
        }
        let innocent = format!("a tissue 5, an {issue} of trust, net{work}/main, sha{}", "red/x");
        assert!(outside_references("README.md", &innocent).is_empty());
    }
}
