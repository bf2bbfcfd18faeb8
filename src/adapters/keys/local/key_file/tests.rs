//! Who may read the key file, what it may hold, and how it comes to be.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::adapters::system::SystemRandom;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

fn parse(text: &str) -> Result<KeyFile, KeyFileError> {
    KeyFile::parse(Path::new("/etc/vault/keys"), text)
}

fn refusal(text: &str) -> String {
    parse(text).err().expect("it was accepted").to_string()
}

#[test]
fn a_missing_file_is_made_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");

    let made = KeyFile::open_or_make(&path, &SystemRandom).unwrap();

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(made.current.id, 1);
    assert_ne!(*made.current.key, [0; 32]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays behind");
}

#[test]
fn a_file_that_is_there_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let first = KeyFile::open_or_make(&path, &SystemRandom).unwrap();
    let before = fs::read(&path).unwrap();

    let second = KeyFile::open_or_make(&path, &SystemRandom).unwrap();

    assert_eq!(*second.current.key, *first.current.key);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn of_two_processes_that_make_the_file_at_once_the_first_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    assert!(make(&path, &SystemRandom).unwrap());
    let before = fs::read(&path).unwrap();

    assert!(!make(&path, &SystemRandom).unwrap());

    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays behind");
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("keys");
    let refused = KeyFile::open_or_make(&path, &SystemRandom).err().unwrap();
    assert_eq!(refused.to_string(), format!("cannot make the key file `{}`", path.display()));
    assert!(!folder.path().join("absent").exists());
}

#[test]
fn a_file_others_can_read_is_refused_with_the_command_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyFile::open_or_make(&path, &SystemRandom).unwrap();

    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = KeyFile::open_or_make(&path, &SystemRandom).err().unwrap().to_string();
        assert!(refused.contains(&format!("mode {mode:03o}")), "{refused}");
        assert!(refused.contains(&format!("run `chmod 600 {}`", path.display())), "{refused}");
    }

    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(KeyFile::open_or_make(&path, &SystemRandom).is_ok(), "a file that is read-only is fine");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let path = Path::new("/etc/vault/keys");
    let judged = |owner, us| judge(path, 0o100_600, owner, us);

    assert!(judged(1000, 1000).is_ok());
    assert!(judged(0, 1000).is_ok(), "root may own it");
    assert_eq!(
        judged(1001, 1000).unwrap_err().to_string(),
        "the key file `/etc/vault/keys` belongs to user 1001, who is neither root nor the vault: \
         run `chown 1000 /etc/vault/keys && chmod 600 /etc/vault/keys`"
    );
    assert!(judged(1001, 0).is_err(), "a vault that runs as root trusts no other user either");
}

#[test]
fn both_keys_are_read_and_comments_are_not() {
    let file = parse(&format!(
        "# keys\n\n current_key_id=4294967295 \r\ncurrent_key = {KEY}\nprevious_key = {}\nprevious_key_id = 7",
        "ff".repeat(32)
    ))
    .unwrap();

    assert_eq!(file.current.id, u32::MAX);
    assert_eq!(*file.current.key, std::array::from_fn(|i| u8::try_from(i).unwrap()));
    assert_eq!(*file.with_id(7).unwrap().key, [0xff; 32]);
    assert!(file.with_id(8).is_none());
}

#[test]
fn a_file_that_is_not_right_is_refused_and_told_where() {
    let current = format!("current_key_id = 1\ncurrent_key = {KEY}\n");
    for (text, place) in [
        (String::new(), "has no current key"),
        ("current_key_id = 1".into(), "has only one half of its current key"),
        (format!("current_key = {KEY}"), "has only one half of its current key"),
        (format!("{current}previous_key_id = 2"), "has only one half of its previous key"),
        (format!("{current}previous_key_id = 1\nprevious_key = {KEY}"), "gives both keys the same id"),
        (format!("{current}current_key_id = 2"), "line 3"),
        (format!("{current}next_key_id = 2"), "line 3"),
        (format!("{current}nonsense"), "line 3"),
        ("current_key_id = 0".into(), "an id must be a whole number"),
        ("current_key_id = -1".into(), "an id must be a whole number"),
        ("current_key_id = 4294967296".into(), "an id must be a whole number"),
        (format!("current_key = {KEY}00"), "a key must be 64 hexadecimal digits"),
        (format!("current_key = {}", KEY.trim_start_matches('0')), "a key must be 64 hexadecimal digits"),
        (format!("current_key = {}", KEY.replace('0', "g")), "a key must be 64 hexadecimal digits"),
        (format!("current_key = \"{KEY}\""), "a key must be 64 hexadecimal digits"),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(place), "`{refused}` does not say `{place}`");
        assert!(refused.contains("/etc/vault/keys"), "`{refused}` does not say which file");
    }
}

#[test]
fn no_refusal_quotes_what_the_file_holds() {
    for text in [format!("current_key {KEY}"), format!("current_key = {KEY}zz"), format!("{KEY} = 1")] {
        let refused = parse(&text).err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("0001020304"), "{refused:?}");
    }
}

#[test]
fn a_file_that_is_too_long_or_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    KeyFile::open_or_make(&path, &SystemRandom).unwrap();

    fs::write(&path, "#".repeat(5_000)).unwrap();
    assert!(matches!(KeyFile::open_or_make(&path, &SystemRandom), Err(KeyFileError::Incomplete { .. })));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(KeyFile::open_or_make(&path, &SystemRandom), Err(KeyFileError::Io { action: "read", .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(KeyFile::open_or_make(&path, &SystemRandom).is_err(), "a folder is no key file");
}
