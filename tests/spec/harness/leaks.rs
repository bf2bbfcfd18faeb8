//! Secrets nobody can mistake for anything else, and finding them in whatever form.

use std::fmt::Write as _;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::ports::Random as _;
use vault_engine::pb::vault_v1::StoreTokenRequest;

use super::requests::status;
use super::setup::spec;

/// The secrets of one test. All of them begin alike, so that one search finds any of them, and the beginning of any.
pub(super) struct Canaries {
    stem: String,
    made: Mutex<u32>,
    /// Secrets that were made elsewhere.
    others: Mutex<Vec<String>>,
}

/// What to look for.
pub(super) struct Search {
    forms: Vec<(&'static str, Vec<u8>)>,
    /// The two bytes some form begins with.
    beginnings: Vec<bool>,
}

// === impl Canaries ===

impl Canaries {
    /// None yet.
    pub(super) fn new() -> Self {
        let mut chance = [0; 8];
        SystemRandom.fill(&mut chance);
        // Whatever has to be escaped somewhere: `/`, `+`, `%`, `=`, `&`.
        let stem = format!("canary/{:016x}+%=&", u64::from_be_bytes(chance));
        Self { stem, made: Mutex::default(), others: Mutex::default() }
    }

    /// A secret unlike any other.
    pub(super) fn make(&self, what: &str) -> String {
        let mut made = self.made.lock().unwrap();
        *made += 1;
        format!("{}{what}-{made}", self.stem)
    }

    /// Another secret to look for.
    pub(super) fn include(&self, secret: &str) {
        self.others.lock().unwrap().push(secret.to_owned());
    }

    /// A search for all of them.
    pub(super) fn search(&self) -> Search {
        let others = self.others.lock().unwrap();
        Search::new(others.iter().map(String::as_str).chain([self.stem.as_str()]))
    }
}

// === impl Search ===

impl Search {
    fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let forms: Vec<_> = secrets.flat_map(forms_of).collect();
        let mut beginnings = vec![false; 1 << 16];
        for (_, form) in &forms {
            beginnings[index(form)] = true;
        }
        Self { forms, beginnings }
    }

    /// The forms in which a secret is in there, each with what surrounds it.
    pub(super) fn find(&self, haystack: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..haystack.len().saturating_sub(1) {
            let rest = &haystack[at..];
            if self.beginnings[index(rest)] {
                let here = self.forms.iter().filter(|(_, form)| rest.starts_with(form));
                found.extend(here.map(|(name, form)| {
                    let context = &haystack[at.saturating_sub(120)..haystack.len().min(at + form.len() + 40)];
                    format!("{name}: …{}…", String::from_utf8_lossy(context))
                }));
            }
        }
        found
    }
}

fn index(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// What a secret looks like when it got somewhere it must not be.
fn forms_of(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let percent = |plain: fn(u8) -> bool, upper: bool| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            match byte {
                byte if plain(*byte) => text.push(char::from(*byte)),
                byte if upper => write!(text, "%{byte:02X}").unwrap(),
                byte => write!(text, "%{byte:02x}").unwrap(),
            }
            text
        })
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let decimal = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("in JSON twice", secret.replace('/', "\\/")),
        ("in hex", hex.clone()),
        ("in upper case hex", hex.to_ascii_uppercase()),
        ("as a list of bytes", decimal),
        ("percent-encoded", percent(unreserved, true)),
        ("percent-encoded", percent(unreserved, false)),
        ("form-encoded", percent(unreserved, true).replace("%20", "+")),
        ("percent-encoded byte by byte", percent(|_| false, true)),
    ];
    for shift in 0..3 {
        // What stands before and behind decides the first and the last characters, so those are left out.
        let shifted = [&vec![0; shift], bytes].concat();
        for (name, text) in [("in base64", STANDARD.encode(&shifted)), ("in base64url", URL_SAFE.encode(&shifted))] {
            forms.push((name, text[if shift == 0 { 0 } else { 4 }..text.len() - 4].to_owned()));
        }
    }
    forms.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

// === tests: the harness bites ===

#[test]
fn a_secret_is_found_in_every_form() {
    let canaries = Canaries::new();
    let secret = canaries.make("token");
    let search = canaries.search();
    for (name, form) in forms_of(&secret) {
        let haystack = [b"before ", &*form, b" behind"].concat();
        assert!(!search.find(&haystack).is_empty(), "{name}");
    }
    for before in ["", "u", "us", "use"] {
        let basic = STANDARD.encode(format!("{before}:{secret}"));
        assert!(!search.find(basic.as_bytes()).is_empty(), "behind `{before}:`");
    }
    assert!(search.find(b"an innocent line about a canary").is_empty());
}

#[test]
#[should_panic(expected = "1 leaks\nthe log: as it is")]
fn a_secret_in_the_log_fails_the_test() {
    spec(async |vault| tracing::trace!(said = vault.secret("token"), "a leak"));
}

#[test]
#[should_panic(expected = "the log: in base64")]
fn a_secret_in_the_log_of_another_thread_fails_the_test() {
    spec(async |vault| {
        let said = STANDARD.encode(vault.secret("token"));
        std::thread::spawn(move || tracing::trace!(said, "a leak")).join().unwrap();
    });
}

#[test]
#[should_panic(expected = "an answer: as it is")]
fn a_secret_in_an_answer_fails_the_test() {
    spec(async |vault| {
        let scopes = vec![vault.secret("scope")];
        let local = vault.as_engine("local");
        local.call(StoreTokenRequest { scopes, ..vault.tokens().request("plain", 60) }).await.unwrap();
        local.call(status(&["plain"])).await.unwrap();
    });
}
