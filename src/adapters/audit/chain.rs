//! What holds the lines together: every line names the digest of all that stand before it.
//!
//! ```text
//! line_i = {"v":1,"seq":i,"prev":"p_i","env":"..","instance":"..","boot":n,"timestamp":"..", <what happened> }
//! e_i    = SHA-256(0x00 || line_i)                            without its line break
//! h_i    = SHA-256(0x01 || p_i || e_i)
//! p_i    = h_(i-1), but where a start of the vault or a segment begins:
//!          SHA-256("tv-audit" || LP(env) || LP(instance) || u64 BE n || h_(i-1))
//! ```
//!
//! `LP` is a u16 BE length and the bytes; before the first line of an instance `h` is 32 zero bytes. `instance` names one
//! trail on one disk for as long as it is continued, `boot` counts its openings.

use std::fmt;
use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use super::line;
use crate::domain::time::Timestamp;

/// The digest of a line and of all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head(pub(super) [u8; 32]);

/// The end of a chain, to which lines are linked.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) env: String,
    pub(super) instance: String,
    pub(super) boot: u64,
    /// The number of the last line; 0: there is none.
    pub(super) seq: u64,
    pub(super) head: Head,
    /// When the last line was written. The next is never earlier.
    pub(super) at: Timestamp,
    /// The prefix of lines written in this millisecond: what stands behind `prev`.
    stamp: Vec<u8>,
    stamped: Option<Timestamp>,
}

/// A line of a chain, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) seq: u64,
    pub(super) prev: Head,
    pub(super) env: &'a str,
    pub(super) instance: &'a str,
    pub(super) boot: u64,
    /// As it is written: RFC 3339, always as long.
    pub(super) timestamp: &'a str,
    /// What happened: begins with a comma.
    pub(super) rest: &'a str,
    line: &'a [u8],
}

// === impl Head ===

impl Head {
    /// The digest of a line that names `prev`, and of all before it.
    pub(super) fn after(prev: &Self, line: &[u8]) -> Self {
        let entry = Sha256::new().chain_update([0]).chain_update(line).finalize();
        Self(Sha256::new().chain_update([1]).chain_update(prev.0).chain_update(entry).finalize().into())
    }

    /// What the first line of a segment or of a start names, where `self` is the end of what stands before.
    pub(super) fn base(&self, env: &str, instance: &str, boot: u64) -> Self {
        let mut hash = Sha256::new().chain_update(b"tv-audit");
        for part in [env, instance] {
            hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            hash.update(part);
        }
        Self(hash.chain_update(boot.to_be_bytes()).chain_update(self.0).finalize().into())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut head = [0; 32];
        for (byte, [high, low]) in head.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(head))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower case only: one head has one spelling.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

// === impl Chain ===

impl Chain {
    /// The chain of an instance that has no line yet.
    pub(super) fn new(env: &str, instance: String) -> Self {
        Self {
            env: env.to_owned(),
            instance,
            boot: 0,
            seq: 0,
            head: Head::default(),
            at: Timestamp::EPOCH,
            stamp: Vec::new(),
            stamped: None,
        }
    }

    /// The chain that ends with this line.
    pub(super) fn ending_with(link: &Link<'_>) -> Self {
        Self {
            boot: link.boot,
            seq: link.seq,
            head: link.head(),
            at: line::parse_timestamp(link.timestamp).unwrap_or(Timestamp::EPOCH),
            ..Self::new(link.env, link.instance.to_owned())
        }
    }

    /// The vault starts.
    pub(super) fn begin_boot(&mut self, env: &str) {
        env.clone_into(&mut self.env);
        self.boot = self.boot.saturating_add(1);
        self.begin_segment();
    }

    /// A segment begins.
    pub(super) fn begin_segment(&mut self) {
        self.head = self.head.base(&self.env, &self.instance, self.boot);
        self.stamped = None;
    }

    /// Appends a line; `body` is what happened, from its first comma to the closing brace.
    pub(super) fn link(&mut self, out: &mut Vec<u8>, at: Timestamp, body: &[u8]) {
        self.at = self.at.max(at);
        self.seq = self.seq.saturating_add(1);
        if self.stamped != Some(self.at) {
            self.stamped = Some(self.at);
            self.stamp.clear();
            let (env, instance, boot) = (&self.env, &self.instance, self.boot);
            // Writing to a vector cannot fail.
            let _ = write!(self.stamp, r#"","env":"{env}","instance":"{instance}","boot":{boot},"timestamp":""#);
            line::timestamp(&mut self.stamp, self.at);
            self.stamp.push(b'"');
        }
        let begin = out.len();
        let _ = write!(out, r#"{{"v":1,"seq":{},"prev":"{}"#, self.seq, self.head);
        out.extend_from_slice(&self.stamp);
        out.extend_from_slice(body);
        self.head = Head::after(&self.head, out.get(begin..).unwrap_or_default());
        out.push(b'\n');
    }
}

// === impl Link ===

impl<'a> Link<'a> {
    /// Takes a line apart, without its line break; `None` if it is not one of a trail.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let text = text.strip_prefix(r#"{"v":1,"seq":"#)?;
        let (seq, text) = number(text)?;
        let text = text.strip_prefix(r#","prev":""#)?;
        let (prev, text) = text.split_at_checked(64)?;
        let (env, text) = name(text.strip_prefix(r#"","env":""#)?)?;
        let (instance, text) = name(text.strip_prefix(r#","instance":""#)?)?;
        let (boot, text) = number(text.strip_prefix(r#","boot":"#)?)?;
        let text = text.strip_prefix(r#","timestamp":""#)?;
        let (timestamp, text) = text.split_at_checked(line::TIMESTAMP_LENGTH)?;
        let rest = text.strip_prefix('"')?;
        let whole = rest.starts_with(',') && rest.ends_with('}');
        whole.then_some(Self { seq, prev: Head::parse(prev)?, env, instance, boot, timestamp, rest, line })
    }

    /// The digest of this line and of all before it.
    pub(super) fn head(&self) -> Head {
        Head::after(&self.prev, self.line)
    }

    /// Whether it is about the trail itself.
    pub(super) fn is_about_the_trail(&self) -> bool {
        self.rest.starts_with(r#","action":"audit","#)
    }
}

/// A number without leading zeros.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(end)?;
    let plain = digits == "0" || !digits.starts_with('0');
    plain.then(|| digits.parse().ok().map(|number| (number, rest))).flatten()
}

/// A name up to its closing quote, which is taken away.
fn name(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('"')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-').then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_parsed_again() {
        let mut chain = Chain::new("prod", "0123456789abcdef".to_owned());
        chain.begin_boot("prod");
        let (mut out, before) = (Vec::new(), chain.head);
        chain.link(&mut out, Timestamp::from_unix_millis(1_700_000_000_123), br#","request_id":"r-1"}"#);
        let written = out.strip_suffix(b"\n").unwrap();
        let link = Link::parse(written).unwrap();
        assert_eq!((link.seq, link.boot, link.env, link.instance), (1, 1, "prod", "0123456789abcdef"));
        assert_eq!((link.prev, link.timestamp), (before, "2023-11-14T22:13:20.123Z"));
        assert_eq!((link.rest, link.head()), (r#","request_id":"r-1"}"#, chain.head));
        assert!(serde_json::from_slice::<serde_json::Value>(written).is_ok());
    }

    #[test]
    fn a_line_is_never_earlier_than_the_one_before() {
        let mut chain = Chain::new("prod", "i".to_owned());
        let mut out = Vec::new();
        chain.link(&mut out, Timestamp::from_unix_seconds(100), b",\"a\":1}");
        out.clear();
        chain.link(&mut out, Timestamp::from_unix_seconds(40), b",\"a\":1}");
        assert_eq!(Link::parse(out.trim_ascii_end()).unwrap().timestamp, "1970-01-01T00:01:40.000Z");
    }

    #[test]
    fn the_digests_are_those_of_the_definition() {
        // Made with another implementation of SHA-256.
        let base = Head::default().base("prod", "i", 1);
        assert_eq!(base.to_string(), "7b25aeac851e72944432a44d9186d07d16137c1fafd509d3bb2198d1fda9d975");
        assert_eq!(
            Head::after(&base, b"line").to_string(),
            "d3657a82955463a0f0360799654a09ba00d44b2ce2453bb840021fd3c9bb21f1"
        );
    }

    #[test]
    fn no_line_has_two_spellings() {
        for line in ["", "{}", r#"{"v":1,"seq":01,"prev":""#, "{\"v\":1,\"seq\":1,\"prev\":\"\u{e9}"] {
            assert!(Link::parse(line.as_bytes()).is_none(), "{line}");
        }
        assert_eq!(Head::parse(&"AB".repeat(32)), None);
    }
}
